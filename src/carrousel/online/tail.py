"""How rare a statistic is in its own stream: causal p-values from a histogram of what came before, and beyond it.

Every member of a detector gives a statistic y that grows with the surprise. Its past is kept as counts in ``BINS``
equal bins from 0 to ``top``. Up to the upper ``TAIL`` of the past the p-value is the share that was as large,
interpolated in the bin. Beyond the edge u of that tail the excesses are taken as exponential with an unknown mean; with
a gamma prior (``PRIOR`` excesses of mean ``EXCESS``) the predictive survival function is Lomax,

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
Counts = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

BINS = 96
TAIL = 0.03  # the share of the past beyond which it is extrapolated
PRIOR, EXCESS = 1.0, 0.05  # of the excesses; the mean as a share of `top`
MEMORY = 6000.0  # rows after which the past counts 1 / e
YOUNG = 5  # rows without which nothing is rare
LARGEST = np.float32(1e6)  # of a weight, before the counts are scaled down


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
                "counts": Field((variables, len(self.top), BINS), "float32"),
                "weight": Field((variables,), "float32", 1),
                "seen": Field((variables,)),
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
        flat[place] += self.weight[rows, None]
        self.seen += ok
        self.weight[rows] *= np.float32(1 + 1 / MEMORY)
        if (self.weight > LARGEST).any():
            full = self.weight > LARGEST
            self.counts[full] /= LARGEST
            self.weight[full] /= LARGEST


def tail_p_values(counts: Counts, share: Floats, seen: Floats, excesses: float = np.inf) -> Floats:
    """The p-values of the head of this file.

    Parameters
    ----------
    counts : float32 (R, M, BINS)
    share : float64 (R, M), y / top, from 0 to 1
    seen : float64 (R,), rows observed
    excesses : as for ``Tail``

    Returns
    -------
    float64 (R, M), above 0, at most 1
    """
    # Sums from the top, one after the other: exact where it matters, and the same for any number of rows.
    above = np.add.accumulate(counts[..., ::-1], axis=2)[..., ::-1]
    # The sums of those sums: of a bin k it is Σ (j − k + 1) counts_j over j ≥ k, which gives the mean excess.
    ladder = np.add.accumulate(above[..., ::-1], axis=2)[..., ::-1]
    total = np.maximum(above[..., 0], np.float32(1e-12))
    rows = np.minimum(seen, MEMORY)[:, None]  # effective number in the past
    tail = np.minimum(excesses / np.maximum(rows, 1), TAIL).astype(np.float32)
    edge = np.minimum((above > (tail * total)[..., None]).sum(2), BINS - 1)
    place = np.minimum((share * BINS).astype(np.int64), BINS - 1)

    def at(sums: Counts, k: npt.NDArray[np.int64]) -> Floats:
        return np.take_along_axis(sums, k[..., None], 2)[..., 0].astype(np.float64)

    total = total.astype(np.float64)
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
