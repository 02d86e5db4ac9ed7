"""Has the distribution of a stream changed? Asked over hundreds to thousands of rows, with a stated false-alarm rate.

What is watched is how often a value lies above a few edges, quantiles of what came first. Such shares are bounded, so
that no tail is too heavy, and nothing but the order of the values counts, which are told apart to a millionth of how
far they are from the first of them: any increasing transformation of a stream gives the same bits. A drift is a share
over the last 128, 512 or 2,048 rows that is too far from its usual one.

Too far is measured against the stream's own history of that very difference, not against independent draws: a day's
cycle or slow noise moves shares about, and published detectors, which assume independence, take that for drift.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.online.moving import Moving, moving, stacked
from carrousel.online.state import Field, Online, check_rows_of, number, whole

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BLOCK = 16  # rows that are counted before anything else is done
SAMPLES = 32  # blocks whose last values give the edges
RANKS = (3, 9, 15, 22, 28)  # of the edges among them: about 10, 30, 50, 70 and 90 %
LOWER = 2  # so many edges count what lies on them as above, the others as below: a step off a constant shows either way
SCALES = (8, 32, 128)  # blocks that the recent shares look back: 128, 512 and 2,048 rows
WAIT = (64, 128, 384)  # blocks of history before the differences at each scale are judged
LONGEST = 4096  # blocks that the usual shares look back, 65,536 rows; and the length of the tables
CLIP = 9.0  # the square of a difference counts no more than so many usual ones in the history
SKEW = 0.7  # see _judge
# The squared threshold of each scale for one false alarm in R rows is OFFSET + SLOPE · ln(R): fitted by simulation to
# white noise and AR(1) with φ = 0.5 and 0.9, for R from 10,000 to 100,000.
OFFSET = (-8.7, -8.45, -9.7)
SLOPE = 1.85
SHARE = 2.6  # scales that alarm independently of each other, as three of them do

_B, _J = len(RANKS), len(SCALES)
_HIGHEST = 0x7FF00000  # of a key, that of infinity
_LOWEST = -_HIGHEST - 1


class DriftReading(NamedTuple):
    """What an update says, each array (N, K).

    Parameters
    ----------
    score : float64, the largest difference as a share of its threshold; at 1 it is a drift. It is judged every 16th
        row that is not missing and stays the same in between; 0 while the usual shares are being learnt
    drift : bool, a drift was decided on this row. Learning starts anew behind it
    """

    score: Floats
    drift: Flags


class Drift(Online):
    """Drift of N streams of K variables, each variable on its own.

    For each variable: the last values of 32 blocks of 16 rows give five edges q_b. From then on, with y the share of a
    block above an edge,

        p_b ← p_b + (y − p_b)/k,  e_jb ← e_jb + a_j (y − e_jb),  d = e − p,  V_jb ← V_jb + (d²/v_j(k) − V_jb)/k'

    where v_j(k) is the variance of d_j for independent blocks of variance 1, so that V is the long-run variance of the
    blocks as that scale sees it; d² counts no more than 9 v V in it. A drift is a

        d² ≥ h_j² v_j V (1 + s_j/k) (1 + 0.7 max(0, d (1 − 2p)) / (p (1 − p)))

    Parameters
    ----------
    batch : N, streams
    variables : K
    every : rows between two false alarms of a variable on a stable stream, on average, at least 5,000

    Raises
    ------
    SettingError : a setting outside its range

    Notes
    -----
    Nothing is judged in the first 1,536 rows, nor in as many behind a drift; the larger scales wait 2,560 and 6,656
    rows. A cycle that is longer than that has not been seen yet, and may be taken for drift once. Missing values, NaN,
    are left out: rows are counted without them.

    References
    ----------
    Recent and usual distribution, compared at quantiles: Kifer, Ben-David & Gehrke 2004, Detecting Change in Data
    Streams, VLDB (§3). Normalising a mean by its own fluctuations under dependence: Shao & Zhang 2010, Testing for
    Change Points in Time Series, JASA 105 (§2). The last factor has the form of Bernstein's inequality, whose second
    summand matters where few independent blocks make up a share near 0 or 1; its constant is fitted.

    Examples
    --------
    >>> drift = Drift(1, 1)
    >>> random = np.random.default_rng(0)
    >>> alarms = [t for t in range(8000) if drift.update(random.normal(2.0 * (t >= 5000), 1, (1, 1))).drift[0, 0]]
    >>> len(alarms), 5000 <= alarms[0] < 5100
    (1, True)
    """

    def __init__(self, batch: int, variables: int, *, every: float = 100_000.0) -> None:
        self._variables = whole("variables", variables)
        self._every = number("every", every, 5_000.0)
        self._table = _table(self._every)
        each = (self._variables,)
        edges = (_B, *each)
        super().__init__(
            batch,
            {
                "present": Field(shape=each, dtype="uint8"),  # rows of the block that is being counted
                "above": Field(shape=edges, dtype="uint8", axis=1),  # those of them above each edge
                "blocks": Field(shape=each, dtype="int16"),
                "edge": Field(shape=edges, axis=1, start=np.nan),  # while they are learnt, the first is the first value
                # The usual shares above each edge, the recent ones of each scale and how far they go from those; the
                # keys of the sample, int32, while there are no edges.
                "learnt": Field(shape=((1 + 2 * _J) * _B, *each), dtype="float32", axis=1),
                "score": Field(shape=each, dtype="float32"),
            },
        )

    @property
    def variables(self) -> int:
        """K, the number of variables."""
        return self._variables

    @property
    def every(self) -> float:
        """Rows between two false alarms of a variable on a stable stream."""
        return self._every

    @property
    def table(self) -> Floats:
        """What depends on nothing but the number of blocks, (4, J, longest + 1): the fields of ``Moving``."""
        return stacked(self._table)

    def bind(self) -> None:
        shape = (self.batch, self._variables)
        # Streams and variables as one dimension: the heavy part works on those whose block is full.
        self._flat = {name: a.reshape(*a.shape[:-2], -1) for name, a in self.arrays.items()}
        self._above, self._present, self._edge = (self.arrays[name] for name in ("above", "present", "edge"))
        self._score = self.arrays["score"]
        self._is_above = np.empty((_B, *shape), bool)
        self._is_there = np.empty(shape, bool)
        self._one_above, self._one_there = self._is_above.view(np.uint8), self._is_there.view(np.uint8)
        self._full = np.full(shape, BLOCK, np.uint8)
        self._none = np.zeros(shape, bool)
        self._none.flags.writeable = False

    def update(self, x: Floats) -> DriftReading:
        """Take a row of every stream.

        Parameters
        ----------
        x : float64 (N, K), NaN where a value is missing; infinite values are the largest and the smallest

        Raises
        ------
        ShapeError : another shape or dtype
        """
        check_rows_of("x", x, self._none.shape)
        np.greater(x, self._edge, self._is_above)
        np.add(self._above, self._one_above, self._above)
        np.equal(x, x, self._is_there)
        np.add(self._present, self._one_there, self._present)
        np.equal(self._present, self._full, self._is_there)
        drift = self._none
        if np.count_nonzero(self._is_there):
            drift = self._close(np.flatnonzero(self._is_there), x.reshape(-1))
        return DriftReading(self._score.astype(np.float64), drift)

    def _close(self, at: npt.NDArray[np.int64], x: Floats) -> Flags:
        """Finish the blocks of those streams' variables."""
        flat = self._flat
        blocks = np.clip(flat["blocks"][at].astype(np.int32), 0, SAMPLES + LONGEST)  # whatever a loaded state says
        share = flat["above"][:, at] / BLOCK  # (B, M)
        flat["above"][:, at] = 0
        flat["present"][at] = 0
        flat["blocks"][at] = np.minimum(blocks + 1, SAMPLES + LONGEST)
        drift = np.zeros(self._none.shape, bool)
        learns = blocks < SAMPLES
        if np.count_nonzero(learns):
            self._learn(at[learns], blocks[learns], x)
            at, share, blocks = at[~learns], share[:, ~learns], blocks[~learns]
        if len(at):
            score = self._judge(at, share, np.minimum(blocks - (SAMPLES - 1), LONGEST))
            flat["score"][at] = score
            found = at[score >= 1.0]
            if len(found):
                drift.reshape(-1)[found] = True
                flat["blocks"][found] = 0  # all else is overwritten while they learn
                flat["edge"][:, found] = np.nan
        return drift

    def _learn(self, at: npt.NDArray[np.int64], blocks: npt.NDArray[np.int32], x: Floats) -> None:
        """Keep the last values of the blocks; the last of them gives the edges."""
        flat, keys = self._flat, self._flat["learnt"].view(np.int32)
        value, first = x[at], blocks == 0
        flat["edge"][0, at[first]] = np.where(np.isfinite(value), value, 0.0)[first]
        with np.errstate(over="ignore"):  # below the least finite value lies minus infinity
            keys[blocks, at] = key_of(value - flat["edge"][0, at])
            flat["score"][at] = 0.0
            last = at[blocks == SAMPLES - 1]
            if len(last):
                edge = np.sort(keys[:SAMPLES, last], axis=0)[list(RANKS)]
                # A key's width to that side on which what is alike belongs.
                edge[:LOWER] = np.maximum(edge[:LOWER] - 1, _LOWEST)
                edge[LOWER:] = np.minimum(edge[LOWER:] + 1, _HIGHEST)
                flat["edge"][:, last] = flat["edge"][0, last] + number_of(edge)
                flat["edge"][:LOWER, last] = np.nextafter(flat["edge"][:LOWER, last], -np.inf)
                flat["learnt"][:, last] = 0.0

    def _judge(self, at: npt.NDArray[np.int64], share: Floats, k: npt.NDArray[np.int32]) -> Floats:
        """Move the shares on by a block, the k-th since the edges were known, and score their differences, (M,)."""
        flat, table = self._flat, self._table
        learnt = flat["learnt"][:, at].astype(np.float64)
        usual, recent, spread = learnt[:_B], *learnt[_B:].reshape(2, _J, _B, -1)
        usual += (share - usual) / k
        recent += (share - recent) * table.gain[:, None, k]
        difference = recent - usual
        square = difference * difference
        square /= table.variance[:, None, k]
        # What independent rows would have; a share that was 0 or 1 throughout may yet be another in one of k blocks.
        likely = (k * usual + 0.5) / (k + 1.0)
        white = likely * (1.0 - likely)
        known = np.maximum(spread, white / BLOCK)
        # A share of few independent blocks is skewed away from 0 or 1: what is rare comes in clumps.
        skew = np.maximum(difference * (1.0 - 2.0 * likely), 0.0) / white
        skew *= SKEW
        skew += 1.0
        score = square / known
        score /= skew
        score *= table.judge[:, None, k]
        limit = np.where(table.judge[:, None, k] > 0.0, known * CLIP, np.inf)
        spread += (np.minimum(square, limit) - spread) * table.remember[:, None, k]
        flat["learnt"][:, at] = learnt
        return np.sqrt(score.max(axis=(0, 1)))


def key_of(x: Floats) -> npt.NDArray[np.int32]:
    """Whole numbers in the order of these: the upper halves of their bits, which tell a millionth apart."""
    half = ((x + 0.0).view(np.int64) >> 32).astype(np.int32)  # no −0
    return np.where(half < 0, half ^ 0x7FFFFFFF, half)


def number_of(key: npt.NDArray[np.int32]) -> Floats:
    """The number nearest to 0 that has that key."""
    half = np.where(key < 0, key ^ 0x7FFFFFFF, key).astype(np.int64)
    return (half << 32).view(np.float64)


@lru_cache(maxsize=8)
def _table(every: float) -> Moving:
    blind = BLOCK * (SAMPLES + WAIT[0])  # rows behind a false alarm in which there can be no other
    threshold = [offset + SLOPE * math.log(SHARE * (every - blind)) for offset in OFFSET]
    return moving(SCALES, WAIT, threshold, LONGEST, against_mean=True)
