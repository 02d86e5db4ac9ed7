"""The members of a detector: statistics of one variable, each of which grows with one kind of surprise.

=========  ===========================================================================================================
forecast   the value beyond the quantiles forecast one row before
horizon    the value beyond the quantiles forecast several rows before
range      the value beyond everything seen so far, in units of the range seen
level      the mean of the last rows away from the best of mean, day and week
variance   the size of the last changes against the usual one: more, or less, as in a sensor that sticks
shape      the distance of the last ``SPAN`` rows from the nearest stretches of the rows before them
=========  ===========================================================================================================

All are logarithms log(1 + ratio), so that their exponential tails are power laws in the ratio.

References
----------
Nearest stretches as a conformal anomaly score: Burnaev & Ishimtsev 2016, Conformalized density- and distance-based
anomaly detection in time-series data (KNN-CAD).
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
SPAN, EVERY, KEPT = 24, 8, 48  # rows of a stretch, rows between two of them, and how many begin in the rows kept
FAR, STEPS = 6.0, 21  # spreads beyond which a kept row is clipped, steps in which one spread is kept: an int8 holds all
FEWEST = 9  # stretches without which none is strange
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
                "level": Field(each, "float32"),
                "change": Field(each, "float32"),
                "usual_change": Field(each),
                "kept": Field((variables, EVERY, KEPT), "int8"),  # row t at [t % EVERY, t // EVERY % KEPT]
                "rows": Field((), "int64"),
            },
        )

    def bind(self) -> None:
        rows = self.batch * self.variables
        flat = {name: array.reshape(-1) for name, array in self.arrays.items()}
        self.low, self.high, self.level = flat["low"], flat["high"], flat["level"]
        self.change, self.usual_change = flat["change"], flat["usual_change"]
        self.kept = self.arrays["kept"].reshape(rows, EVERY, KEPT)
        self.rows, self._row = flat["rows"], np.arange(rows)

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
        out[:, 1] = np.log1p(np.abs(self.level.astype(np.float64)))

        step = np.abs(x - baseline.predicted[:, 0])
        ratio = np.minimum(step / np.maximum(self.usual_change, grain), 8)
        self.change += np.where(ok, (ratio - self.change) / VARIANCE_ROWS, 0)
        out[:, 2] = np.abs(np.log((self.change.astype(np.float64) + 0.02) / 1.02))
        rate = np.maximum(1 / np.maximum(count - 1, 1), 1 / 500) * (ok & (count > 1))
        reach = np.where(old, 10 * self.usual_change + 0.05 * scale, np.inf)
        self.usual_change += rate * (np.minimum(step, reach) - self.usual_change)

        self._shape(baseline, out[:, 3])

    def _shape(self, baseline: Baseline, out: Floats) -> None:
        rows = baseline.each(self.rows)
        off = np.clip((baseline.value - baseline.mean) / baseline.scale, -FAR, FAR)
        self.kept[self._row, rows % EVERY, rows // EVERY % KEPT] = np.rint(STEPS * off)
        far, count = nearest(self.kept, rows)
        out[...] = np.where(count >= FEWEST, np.log1p(far), 0)
        self.rows += 1


def nearest(kept: npt.NDArray[np.int8], rows: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The root of the mean squared distance, a row, from the two nearest stretches that ended before this row.

    Sums of whole numbers, so that it does not matter in which order they are added.

    Parameters
    ----------
    kept : int8 (R, EVERY, KEPT), this row among them
    rows : int64 (R,), how many came before this one

    Returns
    -------
    float64 (R,), in spreads, which means nothing with fewer than two; how many stretches there were, int64 (R,)
    """
    _, every, columns = kept.shape
    row, total = np.arange(len(kept)), np.zeros((len(kept), columns), np.int32)
    for place in range(SPAN):
        now = rows - (SPAN - 1 - place)
        last = kept[row, now % every, now // every % columns].astype(np.int32)
        off = np.roll(kept[:, place % every], -(place // every), axis=1) - last[:, None]
        total += off * off
    newest = rows // every  # the stretch that begins in a column is the last one that did
    begun = newest[:, None] - (newest[:, None] - np.arange(columns)) % columns
    ended = (begun >= 0) & (begun <= ((rows - SPAN) // every)[:, None])
    total[~ended] = np.iinfo(np.int32).max
    two = np.partition(total, 1, axis=1)[:, :2].astype(np.int64).sum(axis=1)
    return np.sqrt(two / (2.0 * SPAN * STEPS * STEPS)), ended.sum(axis=1)
