"""The members of a detector: statistics of one variable, each of which grows with one kind of surprise.

=========  ===========================================================================================================
forecast   the value beyond the quantiles forecast one row before
horizon    the value beyond the quantiles forecast several rows before
range      the value beyond everything seen so far, in units of the range seen
level      the mean of the last rows away from the best of mean, day and week
variance   the size of the last changes against the usual one: more, or less, as in a sensor that sticks
shape      the distance of the last ``SPAN`` rows from the nearest of the stretches kept from the past
=========  ===========================================================================================================

All are logarithms log(1 + ratio), so that their exponential tails are power laws in the ratio.

References
----------
Nearest stretches as a conformal anomaly score: Burnaev & Ishimtsev 2016, Conformalized density- and distance-based
anomaly detection in time-series data (KNN-CAD). Keeping a sample of the past that forgets: Aggarwal 2006, On biased
reservoir sampling in the presence of stream evolution.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.online.baseline import SETTLED, Baseline
from carrousel.online.state import Field, Online

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MEMBERS = ("forecast", "horizon", "range", "level", "variance", "shape")
TOPS = (5.0, 5.0, 3.0, 4.0, 4.0, 3.0)
"""Where the bins of each member's statistic end: what is beyond is as rare as can be."""
LEVEL_ROWS, VARIANCE_ROWS = 8, 8
SPAN, KEPT, EVERY = 24, 64, 8  # rows of a stretch, stretches kept, rows between two of them
SEASONED = 300  # rows before the habits of day and week are believed


class Members(Online):
    """Statistics of range, level, variance and shape of N streams of K variables."""

    def __init__(self, batch: int, variables: int) -> None:
        self.variables = variables
        each = (variables,)
        super().__init__(
            batch,
            {
                "low": Field(each, start=np.inf),
                "high": Field(each, start=-np.inf),
                "level": Field(each),
                "change": Field(each),
                "usual_change": Field(each),
                "stretch": Field((variables, SPAN), "float32"),
                "kept": Field((variables, KEPT, SPAN), "float32"),
                "rows": Field((), "int64"),
            },
        )

    def bind(self) -> None:
        rows = self.batch * self.variables
        flat = {name: array.reshape(-1) for name, array in self.arrays.items()}
        self.low, self.high, self.level = flat["low"], flat["high"], flat["level"]
        self.change, self.usual_change = flat["change"], flat["usual_change"]
        self.stretch = self.arrays["stretch"].reshape(rows, SPAN)
        self.kept = self.arrays["kept"].reshape(rows, KEPT, SPAN)
        self.rows = flat["rows"]

    def update(self, baseline: Baseline, ok: Flags, out: Floats) -> None:
        """The statistics of a row that `baseline` has just taken in, into `out` float64 (R, 4), and learn from it."""
        x, scale, count = baseline.value, baseline.scale, baseline.count
        grain = 0.02 * scale
        old = count > SETTLED
        span = np.where(self.high >= self.low, self.high - self.low, 0)
        beyond = np.maximum(np.maximum(x - self.high, self.low - x), 0)
        out[:, 0] = np.where(count > 20, np.log1p(beyond / np.maximum(span, 1e-3 * scale)), 0)
        np.minimum(self.low, x, out=self.low, where=ok)
        np.maximum(self.high, x, out=self.high, where=ok)

        slow = baseline.usual[:, 1:].copy()
        slow[count <= SEASONED, 1:] = np.inf
        best = 1 + slow.argmin(1)
        row = np.arange(len(x))
        off = (x - baseline.predicted[row, best]) / np.maximum(baseline.usual[row, best], grain)
        self.level += np.where(ok, (np.clip(off, -8, 8) - self.level) / LEVEL_ROWS, 0)
        out[:, 1] = np.log1p(np.abs(self.level))

        step = np.abs(x - baseline.predicted[:, 0])
        ratio = np.minimum(step / np.maximum(self.usual_change, grain), 8)
        self.change += np.where(ok, (ratio - self.change) / VARIANCE_ROWS, 0)
        out[:, 2] = np.abs(np.log((self.change + 0.02) / 1.02))
        rate = np.maximum(1 / np.maximum(count - 1, 1), 1 / 500) * (ok & (count > 1))
        reach = np.where(old, 10 * self.usual_change + 0.05 * scale, np.inf)
        self.usual_change += rate * (np.minimum(step, reach) - self.usual_change)

        self._shape(baseline, out[:, 3])

    def _shape(self, baseline: Baseline, out: Floats) -> None:
        stretch = self.stretch
        stretch[:, :-1] = stretch[:, 1:]
        stretch[:, -1] = np.clip((baseline.value - baseline.mean) / baseline.scale, -6, 6)
        filled = np.minimum(self.rows // EVERY, KEPT)
        filled = baseline.each(filled)
        out[...] = np.where(filled > 8, np.log1p(nearest(self.kept, stretch, filled)), 0)
        self.rows += 1
        due = self.rows % EVERY == 0
        if due.any():
            rows = np.flatnonzero(baseline.each(due))
            self.kept[rows, _slot(baseline.each(self.rows)[rows] // EVERY - 1)] = stretch[rows]


def _slot(number: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where the stretch of a number is kept: the first ones in order, then at random, the same for the same number."""
    mixed = (number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    return np.where(number < KEPT, number, (mixed % np.uint64(KEPT)).astype(np.int64))


def nearest(kept: npt.NDArray[np.float32], stretch: npt.NDArray[np.float32], filled: npt.NDArray[np.int64]) -> Floats:
    """The root of the mean squared distance from the two nearest kept stretches, a value.

    Parameters
    ----------
    kept : float32 (R, KEPT, SPAN)
    stretch : float32 (R, SPAN)
    filled : int64 (R,), how many are kept, at least two where it matters

    Returns
    -------
    float64 (R,)
    """
    total = np.zeros(kept.shape[:2], np.float32)
    for place in range(kept.shape[2]):
        off = kept[:, :, place] - stretch[:, place, None]
        off *= off
        total += off
    total[np.arange(kept.shape[1]) >= filled[:, None]] = np.inf
    two = np.partition(total, 1, axis=1)[:, :2]
    with np.errstate(invalid="ignore"):
        return np.sqrt((two[:, 0].astype(np.float64) + two[:, 1]) / (2 * kept.shape[2]))
