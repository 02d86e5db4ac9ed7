"""What anybody can have for nothing: three naive detectors, streamed by the same rules as the real one.

Each gives every row a score from the rows before it; the score of several variables is the largest. A threshold is set
on the part before the test so that at most as many alarms come there as are promised; an incident lasts until ``CALM``
rows in a row are below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from carrousel.metrics.window import Ints
from carrousel.online.alarm import CALM, HOLD

Floats = npt.NDArray[np.float64]

WINDOW = 200  # rows of the rolling mean and deviation
TINY = 1e-12  # of the size of the values: less is no deviation


def deviation(values: Floats) -> Floats:
    """Distance from the mean of the last ``WINDOW`` rows, in their standard deviations; float64 (T,)."""
    known = ~np.isnan(values)
    first = values[np.argmax(known, axis=0), np.arange(values.shape[1])]  # so that squares of a high level lose nothing
    x = np.where(known, values - first, 0.0)
    total, square, count = (_before(part, WINDOW) for part in (x, x * x, known.astype(np.float64)))
    mean = total / np.maximum(count, 1)
    spread = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0))
    score = np.abs(x - mean) / np.maximum(spread, _least(values))
    return _largest(np.where(known & (count >= 10), score, np.nan))


def jump(values: Floats) -> Floats:
    """Difference from the last value, in the mean of such differences so far; float64 (T,)."""
    change = np.abs(np.diff(values, axis=0, prepend=np.full((1, values.shape[1]), np.nan)))
    known = ~np.isnan(change)
    size, count = np.where(known, change, 0), known.astype(np.float64)
    total, seen = np.cumsum(size, axis=0) - size, np.cumsum(count, axis=0) - count
    usual = total / np.maximum(seen, 1)
    return _largest(np.where(known & (seen >= 10), change / np.maximum(usual, _least(values)), np.nan))


def beyond(values: Floats) -> Floats:
    """How far outside the range of all rows before, in widths of that range; float64 (T,)."""
    low = np.fmin.accumulate(values, axis=0)
    high = np.fmax.accumulate(values, axis=0)
    nothing = np.full((1, values.shape[1]), np.nan)
    low, high = (np.concatenate([nothing, part[:-1]]) for part in (low, high))
    seen = np.cumsum(~np.isnan(values), axis=0) - ~np.isnan(values)
    outside = np.maximum(np.maximum(low - values, values - high), 0)
    return _largest(np.where(seen >= 10, outside / np.maximum(high - low, _least(values)), np.nan))


BASELINES: Mapping[str, Callable[[Floats], Floats]] = {
    "rolling deviation": deviation,
    "last value": jump,
    "range": beyond,
}


def _before(values: Floats, window: int) -> Floats:
    """The sum of the last so many rows before each row."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    row = np.arange(len(values))
    return total[row] - total[np.maximum(row - window, 0)]


def _least(values: Floats) -> Floats:
    """The size below which a deviation is rounding, of what was seen so far."""
    return TINY * (1 + np.fmax.accumulate(np.abs(np.where(np.isnan(values), 0, values)), axis=0))


def _largest(score: Floats) -> Floats:
    return np.max(np.where(np.isnan(score), 0.0, score), axis=1, initial=0.0)


def threshold(scores: Sequence[Floats], promised: float) -> float:
    """The lowest threshold that alarms no more often on these rows than promised; above all scores where that is never.

    Parameters
    ----------
    scores : float64 (T,) of each series
    promised : alarms a row
    """
    rows = sum(len(part) for part in scores)
    accepted = int(promised * rows)
    levels = np.unique(np.concatenate([np.empty(0), *scores]))[::-1]
    levels = levels[levels > 0]
    best = float(np.nextafter(levels[0], np.inf)) if len(levels) else np.inf
    for level in levels.tolist():
        spans = [incidents(part, level) for part in scores]
        # One that goes on and on is many that a lower threshold has joined.
        if sum(len(part) + int(((part[:, 1] - part[:, 0]) // HOLD).sum()) for part in spans) > accepted:
            return best
        best = level
    return best


def incidents(score: Floats, level: float) -> Ints:
    """The incidents of one series, rows start:stop from the first to the last row at or above the threshold."""
    rows = np.flatnonzero(score >= level)
    if not len(rows):
        return np.empty((0, 2), np.int64)
    apart = np.diff(rows) > CALM
    starts = rows[np.concatenate([[True], apart])]
    stops = rows[np.concatenate([apart, [True]])] + 1
    return np.column_stack([starts, stops]).astype(np.int64)
