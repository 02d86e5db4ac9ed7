"""The trend underneath a live stream: level and slope with an interval, and the rows at which either of them changed.

A line is fitted by discounted least squares to values whose distance from it is bounded, so that a spike moves it
little. Whether the stream has left its line is judged on means over 8 to 128 rows, against how far such means have
wandered in this stream before: noise with a memory and daily cycles wander far, and are no change.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.errors import TimeError
from carrousel.online.line import median_slope, variance
from carrousel.online.moving import Moving, moving, stacked
from carrousel.online.onset import BLOCK, MIDDLE, QUANTILE, RECENT, RUN, explain, run_on
from carrousel.online.state import Field, Online, check_rows_of, number, whole

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64] | slice

LARGEST = 1e300  # beyond it a value counts as missing: differences of two must be finite
LEAST = 1e-290  # of a bound
BOUND = 3.0  # standard deviations beyond which a distance counts no more
YOUNG = 4  # blocks from which the first scale comes
REMEMBERED = 128  # blocks that the scale looks back
SCALES = (1, 2, 4, 8, 16)  # blocks that the means look back
WAIT = (24, 24, 32, 48, 80)  # blocks of history before each is judged
LONGEST = 1024  # blocks that the history of the means looks back, 8,192 rows; and the length of the tables
CLIP = 9.0  # the square of a mean counts no more than so many usual ones in that history
# The least that is taken for usual, a little less than what white noise has: one or two spikes are no shift then.
WHITE = 0.8 / (BLOCK * BOUND * BOUND)
LOST = 4  # blocks beyond the bound on one side after which the line is given up, whatever was judged
WIDER = 1.2  # the line took some of the noise with it
# The squared threshold for one false change in R rows is OFFSET + SLOPE · ln(R), by simulation: the same at each scale,
# for white noise, heavy tails and AR(1).
OFFSET = -7.9
SLOPE = 2.0
SHARE = 3.5  # scales that alarm independently of each other, as five of them do
_J = len(SCALES)


class TrendReading(NamedTuple):
    """What an update says, each array (N, K).

    Parameters
    ----------
    level : float64, the line at this row; NaN before the first value
    slope : float64, its rise per usual step
    lower, upper : float64, 95% interval of the slope, NaN while nothing is known of the noise; renewed every 8th value
    level_lower, level_upper : float64, the same of the level
    change : int8, decided on this row: 0 none, 1 the level shifted, 2 the slope changed
    since : int64, rows since the onset of the last change, or since the first value
    margin : float64, rows: the onset of the last change lies within since ± margin (about 95%); 0 before the first
    """

    level: Floats
    slope: Floats
    lower: Floats
    upper: Floats
    level_lower: Floats
    level_upper: Floats
    change: npt.NDArray[np.int8]
    since: npt.NDArray[np.int64]
    margin: Floats


class Trend(Online):
    """Trend of N streams of K variables, each on its own.

    The line θ = (level, slope) minimises Σ β^i (x_i − level + slope · age_i)², i counting values back, recursively:
    θ ← F θ + R⁻¹ h max(−3σ, min(3σ, x − hᵀF θ)), where F moves on by a step, h = (1, 0), R holds the discounted sums of
    1, age and age², and σ is the scale of the distances.

    Of the means of 8 distances, in units of 3σ, five moving averages E_j are kept, over 1 to 16 of them, and how large
    their squares usually are: V_j, relative to v_j, those of independent ones. The line was left where

        E_j² ≥ h² (1 + s_j/k) (v_j + ℓ) V_j,

    ℓ being what the error of the line itself adds. It starts anew from the step or bend that explains most of the
    distances since the cumulative sum in that direction last left 0.

    Parameters
    ----------
    batch : N, streams
    variables : K
    memory : rows that the line looks back, 1/(1 − β), at least 64
    every : rows between two false changes of a variable on a stream without any, on average, at least 2,000: at most
        twice as many come on white noise, noise with a memory, heavy tails and cycles

    Raises
    ------
    SettingError : a setting outside its range

    Notes
    -----
    Nothing is judged before the 232nd value. A cycle that has not been seen yet may be taken for changes. A bend of
    many deviations is told as one or more steps first; the slope and its interval follow within tens of rows.

    References
    ----------
    Discounted least squares: Brown 1963, Smoothing, Forecasting and Prediction, ch. 9 and 11; bounded distances:
    Gelper, Fried & Croux 2010, Robust forecasting with exponential and Holt-Winters smoothing, J. Forecasting 29 (§3);
    cumulative sums: Page 1954, Continuous Inspection Schemes, Biometrika 41; the onset: ``online.onset``. Normalising
    by the fluctuations under dependence: Shao & Zhang 2010, Testing for Change Points in Time Series, JASA 105.
    """

    def __init__(self, batch: int, variables: int, *, memory: float = 256.0, every: float = 100_000.0) -> None:
        self._variables = whole("variables", variables)
        self._memory = number("memory", memory, 64.0)
        self._every = number("every", every, 2_000.0)
        self._table = _table(self._every)
        each = (self._variables,)
        super().__init__(
            batch,
            {
                # slope, level, the interval of the slope, the margin of the last onset, half the interval of the level
                "line": Field(shape=(6, *each), axis=1, start=np.nan),
                "weights": Field(shape=(2, 3, *each), axis=2, start=np.nan),  # Σ w, Σ w age, Σ w age²; w = β^i and β^2i
                "bound": Field(shape=(2, *each), axis=1, start=LEAST),  # 3σ and −3σ
                "sums": Field(shape=(4, *each), axis=1),  # over a block: of x, |r|, bounded r/3σ and its square
                "elapsed": Field(shape=each),  # usual steps in this block
                "present": Field(shape=each, dtype="uint8", start=BLOCK - 1),  # the first value closes block 0
                "blocks": Field(shape=each, dtype="int32", start=-1),
                "means": Field(shape=(_J, *each), dtype="float32", axis=1),
                "spread": Field(shape=(_J, *each), dtype="float32", axis=1),
                "runs": Field(shape=(len(RUN), 2, *each), axis=2),  # upwards and downwards
                "recent": Field(shape=(RECENT, *each), axis=1),  # means of the last blocks
                "lost": Field(shape=each, dtype="uint8"),  # blocks in a row whose rows lie beyond the bound
                "since": Field(shape=each, dtype="int64"),
            },
        )

    @property
    def memory(self) -> float:
        """Rows that the line looks back."""
        return self._memory

    @property
    def table(self) -> Floats:
        """What depends on nothing but the number of blocks, (4, J, longest + 1): the fields of ``Moving``."""
        return stacked(self._table)

    def bind(self) -> None:
        shape = (self.batch, self._variables)
        self._size = self.batch * self._variables
        arrays = self.arrays
        # Streams and variables as one dimension: the heavy part works on those whose block is full.
        self._flat = {name: a.reshape(*a.shape[:-2], -1) for name, a in arrays.items()}
        self._all, self._sums, self._elapsed = arrays["line"], arrays["sums"], arrays["elapsed"]
        self._line = self._all[:2]
        self._slope, self._level = self._line
        self._weights = arrays["weights"]
        self._sum, self._age, self._square = (self._weights[:, i] for i in range(3))
        self._s0, self._s1, self._s2 = self._weights[0]
        self._gains = self._weights[0, 1:]
        self._high, self._low = arrays["bound"]
        self._present, self._since = arrays["present"], arrays["since"]
        self._there = np.empty(shape, bool)
        self._one = self._there.view(np.uint8)
        self._full = np.full(shape, BLOCK, np.uint8)
        self._unit, self._row = np.ones((1, 1)), np.ones((1, 1), np.int64)
        self._top = np.full((1, 1), LARGEST)
        self._work = np.empty((4, *shape))
        self._x, self._absolute, self._z, self._zz = self._work
        self._r, self._bounded, self._det, self._other, self._mask = np.empty((5, *shape))
        self._move = np.empty((2, *shape))
        beta = 1.0 - 1.0 / self._memory
        self._discount = np.array([beta, beta * beta]).reshape(2, 1, 1, 1)
        self._discounts = np.empty((2, 1, *shape))
        self._none = np.zeros(shape, np.int8)
        self._none.flags.writeable = False

    def update(self, x: Floats, dt: Floats | None = None) -> TrendReading:
        """Take a row of every stream.

        Parameters
        ----------
        x : float64 (N, K); NaN, infinite and values beyond ±1e300 count as missing
        dt : float64 (N,), usual steps since the row before, above 0 and below 1e9; 1 without it

        Raises
        ------
        ShapeError : another shape or dtype
        TimeError : a step that is not above 0
        """
        check_rows_of("x", x, self._none.shape)
        np.abs(x, self._absolute)
        np.less_equal(self._absolute, self._top, self._there)
        whole_row = np.count_nonzero(self._there) == self._size
        self._move_on(self._unit if dt is None else self._step(dt), whole_row)
        np.copyto(self._x, x)
        np.subtract(x, self._level, self._r)
        np.fmin(self._r, self._high, self._bounded)
        np.fmax(self._bounded, self._low, self._bounded)
        np.abs(self._r, self._absolute)
        if whole_row:
            np.add(self._sum, self._unit, self._sum)
        else:
            np.add(self._sum, self._mask, self._sum)
            np.multiply(self._bounded, self._mask, self._bounded)
        np.divide(self._bounded, self._high, self._z)
        np.multiply(self._z, self._z, self._zz)
        np.add(self._sums, self._work, self._sums, where=whole_row or self._there)
        # R⁻¹ h = (Σ w age², Σ w age) / det R
        np.multiply(self._s0, self._s2, self._det)
        np.multiply(self._s1, self._s1, self._other)
        np.subtract(self._det, self._other, self._det)
        np.divide(self._bounded, self._det, self._bounded)
        np.multiply(self._gains, self._bounded, self._move)
        np.add(self._line, self._move, self._line)
        np.add(self._since, self._row, self._since)
        np.add(self._present, self._one, self._present)
        np.equal(self._present, self._full, self._there)
        closing = np.count_nonzero(self._there)
        change = self._none
        if closing:
            at = slice(None) if closing == self._size else np.flatnonzero(self._there)
            change = self._close(at, x.reshape(-1))
        slope, level, lower, upper, margin, half = self._all.copy()
        return TrendReading(level, slope, lower, upper, level - half, level + half, change, self._since.copy(), margin)

    def _step(self, dt: Floats) -> Floats:
        check_rows_of("dt", dt, (self.batch,))
        good = (dt > 0.0) & (dt < 1e9)
        if not good.all():
            row = int(np.argmin(good))
            raise TimeError(f"dt: expected usual steps above 0 and below 1e9, got {dt[row]} in row {row}")
        return dt[:, None]

    def _move_on(self, step: Floats, whole_row: bool) -> None:
        """Carry the line to this row: its age grows by the step; what it rests on fades by one value, if one came."""
        if step is self._unit:
            np.add(self._square, self._age, self._square)
            np.add(self._age, self._sum, self._age)
            np.add(self._square, self._age, self._square)
            np.add(self._level, self._slope, self._level)
        else:
            np.add(self._square, step * self._age, self._square)
            np.add(self._age, step * self._sum, self._age)
            np.add(self._square, step * self._age, self._square)
            np.add(self._level, step * self._slope, self._level)
        np.add(self._elapsed, step, self._elapsed)
        if whole_row:
            np.multiply(self._weights, self._discount, self._weights)
        else:
            np.copyto(self._mask, self._there)
            self._discounts[...] = np.where(self._there, self._discount, 1.0)
            np.multiply(self._weights, self._discounts, self._weights)

    def _close(self, at: Index, x: Floats) -> npt.NDArray[np.int8]:
        """Take in the blocks of those streams' variables that are full, and judge them."""
        flat = self._flat
        change = np.zeros(self._none.shape, np.int8)
        flat["blocks"][at] += 1
        blocks = np.clip(flat["blocks"][at], 0, YOUNG + LONGEST)
        flat["blocks"][at] = blocks
        fresh = blocks == 0
        with np.errstate(all="ignore"):  # values of 1e300 and scales of 1e-290 may meet; infinities lead to no change
            if np.count_nonzero(fresh):
                every = np.arange(self._size)[at]
                self._begin(every[fresh], x)
                at, blocks = every[~fresh], blocks[~fresh]
            if len(blocks):
                self._judge(at, blocks, change.reshape(-1))
        return change

    def _begin(self, at: Index, x: Floats) -> None:
        """The first value: a flat line through it."""
        flat = self._flat
        for name in ("sums", "elapsed", "since"):
            flat[name][..., at] = 0
        flat["line"][:, at] = np.array([0.0, 0.0, np.nan, np.nan, 0.0, np.nan])[:, None]
        flat["line"][1, at] = x[at]
        flat["weights"][:, :, at] = np.array([1.0, 0.0, 1.0]).reshape(1, 3, 1)
        flat["bound"][:, at] = np.array([[LEAST], [-LEAST]])
        flat["present"][at] = 1
        flat["sums"][0, at] = x[at]

    def _judge(self, at: Index, blocks: npt.NDArray[np.int32], change: npt.NDArray[np.int8]) -> None:
        flat, table = self._flat, self._table
        x, absolute, z, square = flat["sums"][:, at] / BLOCK
        elapsed = flat["elapsed"][at].copy()
        flat["sums"][:, at] = 0.0
        flat["elapsed"][at] = 0.0
        flat["present"][at] = 0
        recent = flat["recent"][:, at].copy()
        recent[:-1] = recent[1:]
        recent[-1] = x
        flat["recent"][:, at] = recent
        self._rescale(at, blocks, x, elapsed, absolute, square)
        lost = (flat["lost"][at] + 1) * (np.abs(z) > 0.9)
        astray = (lost >= LOST) & (blocks > YOUNG)
        if np.count_nonzero(blocks <= YOUNG) or np.count_nonzero(astray):
            blocks = self._place(at, blocks, astray, recent, elapsed)
        flat["lost"][at] = np.where(astray, 0, lost)
        slope = flat["line"][0, at].copy()
        high = flat["bound"][0, at]
        of_level, of_slope = variance(flat["weights"][:, :, at])
        k = np.maximum(blocks - YOUNG, 0)
        gain, wait = table.gain[:, k], table.judge[:, k]
        means = flat["means"][:, at].astype(np.float64)
        means += (z - means) * gain
        usual = means * means
        usual /= table.variance[:, k] + BLOCK * of_level
        spread = flat["spread"][:, at].astype(np.float64)
        known = np.maximum(spread, WHITE)
        left = usual * wait >= known
        left |= astray
        left &= wait > 0.0
        limit = np.where(wait > 0.0, known * CLIP, np.inf)
        spread += (np.minimum(usual, limit) - spread) * table.remember[:, k]
        flat["means"][:, at] = means
        flat["spread"][:, at] = spread
        # Long-run deviation a row, in units of x; what it grew by at the largest scale, it would grow by once more.
        grows = np.fmin(np.fmax(spread[-1] / spread[-2], 1.0), 2.0)
        noise = np.sqrt(BLOCK * WIDER * np.maximum.accumulate(spread, axis=0)[-1] * grows) * high
        half = QUANTILE * noise * np.sqrt(of_slope)
        half[wait[0] == 0.0] = np.nan
        flat["line"][2, at] = slope - half
        flat["line"][3, at] = slope + half
        flat["line"][5, at] = np.where(wait[0] == 0.0, np.nan, QUANTILE * noise * np.sqrt(of_level))
        runs = flat["runs"][:, :, at].copy()
        run_on(runs, x, z / np.maximum(np.sqrt(spread[0]), 0.02), elapsed)
        over = (runs[0] <= 0.0) | (blocks <= YOUNG)  # these begin again at the line as it is now
        runs[:6][:, over] = 0.0
        for place, now in ((6, slope), (7, flat["line"][1, at]), (8, flat["since"][at])):
            np.copyto(runs[place], now, where=over)
        flat["runs"][:, :, at] = runs
        if np.count_nonzero(left):
            scale = left.argmax(axis=0)
            columns = np.arange(len(blocks))
            down = (means[scale, columns] < 0.0).astype(np.int64)
            found = columns[left.any(axis=0) & (runs[1, down, columns] >= 2.0)]
            if len(found):
                where = np.arange(self._size)[at][found]
                change[where] = self._start_anew(where, runs[:, down[found], found], recent[:, found], noise[found])

    def _rescale(
        self, at: Index, blocks: npt.NDArray[np.int32], x: Floats, elapsed: Floats, absolute: Floats, square: Floats
    ) -> None:
        """Renew σ by a block."""
        slope, level = self._flat["line"][:2, at]
        sigma = self._flat["bound"][0, at] / BOUND
        gain = np.maximum(1.0 / blocks, 1.0 / REMEMBERED)
        grown = sigma * np.sqrt(1.0 + gain * (BOUND * BOUND * square - 1.0))
        # Most rows beyond the bound are no outliers: the scale is another one.
        young, wrong = blocks <= YOUNG, square > 5.0 / 9.0
        if np.count_nonzero(young) or np.count_nonzero(wrong):
            aside = np.abs(x - (level - slope * elapsed * MIDDLE))
            within = 1.9 * np.maximum(absolute - aside, 0.0)  # of |r| about itself, as the σ of a normal distribution
            grown = np.where(wrong, np.maximum(grown, within), grown)
            grown = np.where(young, sigma + (within - sigma) / blocks, grown)
        sigma = np.maximum(grown, np.abs(level) * 2.0**-40 + LEAST)
        self._flat["bound"][0, at] = BOUND * sigma
        self._flat["bound"][1, at] = -BOUND * sigma

    def _place(
        self, at: Index, blocks: npt.NDArray[np.int32], astray: Flags, recent: Floats, elapsed: Floats
    ) -> npt.NDArray[np.int32]:
        """Put young lines through the means of their blocks; lines that went astray before they could be judged too."""
        flat = self._flat
        early = astray & (self._table.judge[0][blocks - YOUNG] == 0.0)
        blocks = np.where(early, YOUNG, blocks)
        flat["blocks"][at] = blocks
        young = blocks <= YOUNG
        slope = np.where(blocks == YOUNG, median_slope(recent[-YOUNG:]), 0.0) / elapsed
        age = elapsed * MIDDLE
        flat["line"][0, at] = np.where(young, slope, flat["line"][0, at])
        flat["line"][1, at] = np.where(young, recent[-1] + slope * age, flat["line"][1, at])
        count = np.full_like(age, BLOCK)
        alike = np.stack([count, count * age, count * age * age + 1.0])  # which tell nothing of the slope
        flat["weights"][:, :, at] = np.where(young, alike, flat["weights"][:, :, at])
        return blocks

    def _start_anew(
        self, at: npt.NDArray[np.int64], run: Floats, recent: Floats, noise: Floats
    ) -> npt.NDArray[np.int8]:
        """Begin the line at the onset that explains most of the distances of each run, int8 (M,)."""
        flat = self._flat
        onset = explain(run, recent, noise)
        flat["line"][0, at], flat["line"][1, at] = onset.slope, onset.level
        later = np.maximum(onset.blocks - 1.0, 1.0)
        count = np.minimum(BLOCK * later, self._memory)
        span = later * run[2] / run[1]
        flat["weights"][:, :, at] = np.stack([count, count * span / 2.0, count * span * span / 3.0 + 1.0])
        rows = (flat["since"][at] - run[8]) / run[1]  # a block, missing ones too
        flat["since"][at] = np.rint(rows * onset.ago).astype(np.int64)
        flat["line"][4, at] = np.minimum(onset.margin + rows, 1e6)
        flat["means"][:, at] = 0.0
        flat["runs"][:6, :, at] = 0.0
        flat["runs"][6, :, at], flat["runs"][7, :, at] = (a[:, None] for a in flat["line"][:2, at])
        flat["runs"][8, :, at] = flat["since"][at][:, None]
        return onset.change


@lru_cache(maxsize=8)
def _table(every: float) -> Moving:
    threshold = OFFSET + SLOPE * math.log(SHARE * every)
    return moving(SCALES, WAIT, [threshold] * len(SCALES), LONGEST, against_mean=False)
