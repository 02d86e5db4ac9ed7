"""How rare a statistic is in its own stream: causal p-values from a histogram of what came before, and beyond it.

Every member of a detector gives a statistic y that grows with the surprise. Its past is kept as whole numbers in
``BINS`` equal bins from 0 to ``top``: a row adds a weight that grows, and where a bin is full all are halved, and the
weight with them, so that what is old counts less and no sum is ever rounded. Up to the upper ``TAIL`` of the past the
p-value is the share that was as large, interpolated in the bin. Beyond the edge u of that tail the excesses are taken
as exponential with an unknown mean; with a gamma prior (``PRIOR`` excesses of mean ``EXCESS``) the predictive survival
function is Lomax,

    p(y) = share(u) (1 + (y − u) / S)^(−a),   a = PRIOR + excesses,  S = PRIOR · EXCESS + sum of the excesses,

so that few observations give a heavy tail, and many the exponential one. Statistics are logarithms of ratios, so an
exponential tail is a power law in the units of the series.

References
----------
Peaks over a threshold: Davison & Smith 1990, Models for Exceedances over High Thresholds, JRSS B 52; the exponential is
the generalised Pareto distribution of shape 0. Lomax as the predictive distribution: Bernardo & Smith 1994, Bayesian
Theory, § 3.2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.online.state import Field, Online

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint16]
Sums = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

BINS = 48
TAIL = 0.03  # the share of the past beyond which it is extrapolated
PRIOR, EXCESS = 1.0, 0.05  # of the excesses; the mean as a share of `top`
MEMORY = 6000.0  # rows after which the past counts 1 / e
YOUNG = 5  # rows without which nothing is rare
FIRST = 8.0  # weight of the first row
FULL = 65535  # of a bin, before all are halved; with it a row among 6,000 weighs 5 to 11


class Tail(Online):
    """Past and p-values of M statistics of N streams of K variables.

    Parameters
    ----------
    batch, variables : N, K
    top : float64 (M,), where the bins of each statistic end; what is above counts as `top`
    excesses : how many of the past the tail holds; by default the upper ``TAIL`` of them, which is the most. Few lie
        far out, and say more of what is rare where the tail is not exponential
    """

    def __init__(self, batch: int, variables: int, top: npt.ArrayLike, *, excesses: float = np.inf) -> None:
        self.variables, self.excesses = variables, excesses
        self.top = np.asarray(top, np.float64)
        super().__init__(
            batch,
            {
                "counts": Field((variables, len(self.top), BINS), "uint16"),
                "weight": Field((variables,), "float32", FIRST),
                "seen": Field((variables,), "float32"),  # no more than 2²⁴
            },
        )

    def bind(self) -> None:
        rows, members = self.batch * self.variables, len(self.top)
        self.counts = self.arrays["counts"].reshape(rows, members, BINS)
        self.weight, self.seen = self.arrays["weight"].reshape(-1), self.arrays["seen"].reshape(-1)
        self._place = np.arange(rows * members).reshape(rows, members) * BINS
        self._bin = np.empty((rows, members), np.int64)

    def p_values(self, y: Floats) -> Floats:
        """How likely a value as large as y (R, M) was, float64 (R, M), by the rows before; for ``learn`` afterwards."""
        share = np.clip(y / self.top, 0, 1)
        np.minimum((share * BINS).astype(np.int64), BINS - 1, out=self._bin)
        return tail_p_values(self.counts, share, self.seen, self.excesses)

    def learn(self, ok: Flags) -> None:
        """Add the statistics that ``p_values`` was asked about to the past, where they were observed, bool (R,)."""
        flat, rows = self.counts.reshape(-1), slice(None) if ok.all() else ok
        place = self._place[rows] + self._bin[rows]
        full = np.zeros(len(ok), bool)
        full[rows] = (flat[place] > FULL - self._whole_weight()[rows, None]).any(axis=1)
        if full.any():
            self.counts[full] = halved(self.counts[full])
            self.weight[full] *= np.float32(0.5)
        flat[place] += self._whole_weight()[rows, None]
        self.seen += ok
        self.weight[rows] *= np.float32(1 + 1 / MEMORY)

    def _whole_weight(self) -> Counts:
        return np.fmin(np.fmax(np.rint(self.weight), 1), FULL // 2).astype(np.uint16)


def halved(counts: Counts) -> Counts:
    """Half of each, rounded to the nearest even number where it lies between two."""
    return (counts >> 1) + ((counts & 3) == 3)


def tail_p_values(counts: Counts, share: Floats, seen: npt.NDArray[np.float32], excesses: float = np.inf) -> Floats:
    """The p-values of the head of this file.

    Parameters
    ----------
    counts : uint16 (R, M, BINS)
    share : float64 (R, M), y / top, from 0 to 1
    seen : float32 (R,), rows observed
    excesses : as for ``Tail``

    Returns
    -------
    float64 (R, M), above 0, at most 1
    """
    above = np.add.accumulate(counts[..., ::-1], axis=2, dtype=np.int32)[..., ::-1]
    # The sums of those sums: of a bin k it is Σ (j − k + 1) counts_j over j ≥ k, which gives the mean excess.
    ladder = np.add.accumulate(above[..., ::-1], axis=2)[..., ::-1]
    total = np.maximum(above[..., 0], 1).astype(np.float64)
    rows = np.minimum(seen.astype(np.float64), MEMORY)[:, None]  # effective number in the past
    tail = np.minimum(excesses / np.maximum(rows, 1), TAIL)
    edge = np.minimum((above > (tail * total)[..., None]).sum(2), BINS - 1)
    place = np.minimum((share * BINS).astype(np.int64), BINS - 1)

    def at(sums: Sums, k: npt.NDArray[np.int64]) -> Floats:
        return np.take_along_axis(sums, k[..., None], 2)[..., 0].astype(np.float64)

    here = at(above, place)
    after = np.where(place < BINS - 1, at(above, np.minimum(place + 1, BINS - 1)), 0)
    inner = (here + (after - here) * (share * BINS - place)) / total
    beyond = at(above, edge)
    a = PRIOR + beyond / total * rows
    mean = np.maximum(at(ladder, edge) / np.maximum(beyond, 1e-12) - 0.5, 0) / BINS
    s = PRIOR * EXCESS + (a - PRIOR) * mean
    excess = share - edge / BINS
    rate = np.maximum(beyond / total, 0.5 / (rows + 1))
    outer = rate * (1 + np.maximum(excess, 0) / s) ** -a
    p = np.where(excess > 0, outer, np.maximum(inner, rate))
    return np.where((seen > YOUNG)[:, None], np.clip(p, 1e-30, 1), 1)
