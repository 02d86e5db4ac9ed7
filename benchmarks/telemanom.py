"""Telemanom's thresholds: what of the errors of forecasts is an event.

Written from the paper (Hundman, Constantinou, Laporte, Colwell & Soderstrom 2018, Detecting Spacecraft Anomalies Using
LSTMs and Nonparametric Dynamic Thresholding, KDD) and, for all that it leaves open, from what its program does
(github.com/khundman/telemanom, with the settings of its config.yaml), which was read and not copied.

The procedure is not causal. A window of 2,100 smoothed errors, most of a test part of the rover, is judged as a whole,
and what is found is extended by 100 rows to both sides. ``detect`` and ``detect_causal`` can leave these out, to say
what they are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from carrousel.metrics.window import windows

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

LOOK_BACK, AHEAD = 250, 10  # rows that a forecast is made from, and rows that it is made for
BATCH, WINDOW, BUFFER = 70, 30, 100  # rows judged at a time; batches in a window; rows joined to what is found
SMOOTHING, PRUNE = 0.05, 0.13  # of a window; of an error above the next smaller one
LEAST = 0.05  # of the values' range or deviation, and as such: where all errors are less, none counts
THRESHOLDS, NO_THRESHOLD = np.arange(2.5, 12, 0.5), 12.0  # in deviations above the mean
EVENTS, SHARE = 5, 0.5  # a threshold that makes more events, or more of a window an event, is none
FEW, FEWER = 2500, 1800  # rows of a test part: fewer of its first ones are ignored


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What was forecast for n rows, from row 250 of a part on to the eleventh last.

    Parameters
    ----------
    expected : float64 (n,), of each row from those before it
    ahead : float64 (n, 10), what these and the nine rows after each turned out to be
    """

    expected: Floats
    ahead: Floats

    @classmethod
    def of(cls, expected: Floats, values: Floats) -> Forecasts:
        """Of a part's telemetry, float64 (T,)."""
        ahead = np.lib.stride_tricks.sliding_window_view(values[LOOK_BACK:], AHEAD)
        return cls(expected, ahead[: len(expected)])

    @property
    def error(self) -> Floats:
        """float64 (n,)"""
        return np.abs(self.expected - self.ahead[:, 0])


def smoothed(error: Floats, *, settled: bool = False) -> Floats:
    """The exponentially weighted mean of errors, float64 (T,), weights of the first rows adding up to 1.

    Where it is settled, the mean of the first 500 stands for each of the first 250.
    """
    keep = 1 - 2 / (int(BATCH * WINDOW * SMOOTHING) + 1)
    total = weight = 0.0
    found = np.empty(len(error))
    for row, value in enumerate(error.tolist()):
        total, weight = keep * total + value, keep * weight + 1
        found[row] = total / weight
    if settled:
        found[:LOOK_BACK] = found[: 2 * LOOK_BACK].mean()
    return found


def detect(part: Forecasts, *, settled: bool = True, before: int = BUFFER) -> Ints:
    """The events of a test part as the program finds them, rows start:stop, int64 (W, 2).

    Parameters
    ----------
    part : forecasts of the test part
    settled : as for ``smoothed``: so in the program with every channel but C-2, which it names
    before : rows that an event has before the first error that makes it one
    """
    error, rows, length = smoothed(part.error, settled=settled), len(part.expected), BATCH * WINDOW
    ignored = _ignored(rows)
    found = np.zeros(rows, bool)
    last = max((rows - length) // BATCH, 0)
    for number in range(last + 1):
        start, stop = number * BATCH, rows if number == last else number * BATCH + length
        new = np.arange(start, stop) >= (ignored if number == 0 else stop - BATCH)
        found[start:stop] |= _judge(error[start:stop], part.ahead[start:stop], new, found[start:stop], before)
    return windows(found) + LOOK_BACK


def detect_causal(part: Forecasts, past: Forecasts | None = None, *, batch: int = BATCH) -> Ints:
    """The same thresholds without knowledge of what comes later than the batch of rows that is judged.

    A window of 2,100 rows, or of all that there are, ends with the batch, and nothing is joined to what is found that
    came before it.

    Parameters
    ----------
    part : forecasts of the test part
    past : forecasts of the training part, whose last errors fill the first windows, so that no row is ignored; without
        them windows begin small, and as many rows are ignored as by the program
    batch : rows judged at a time. With very few of them an event is pruned against its own first rows, and never begins
    """
    error, ahead, ignored = part.error, part.ahead, _ignored(len(part.expected))
    if past is not None:
        error, ahead = np.concatenate([past.error, error]), np.concatenate([past.ahead, ahead])
        ignored = len(past.expected)
    error, found = smoothed(error), np.zeros(len(error), bool)
    for stop in [*range(ignored + batch, len(error), batch), len(error)]:
        start = max(stop - BATCH * WINDOW, 0)
        new = np.arange(start, stop) >= max(stop - batch, ignored)
        found[start:stop] |= _judge(error[start:stop], ahead[start:stop], new, found[start:stop], 0)
    return windows(found[len(error) - len(part.expected) :]) + LOOK_BACK


def _ignored(rows: int) -> int:
    """How many of the first rows of a test part are not judged."""
    return 2 * LOOK_BACK if rows >= FEW else LOOK_BACK if rows >= FEWER else 0


def _judge(error: Floats, ahead: Floats, new: Flags, known: Flags, before: int) -> Flags:
    """Which of a window's new rows belong to an event, bool (n,); those that are known to do so already are no norm."""
    found = np.zeros(len(error), bool)
    reach = float(np.subtract(*np.percentile(ahead, [95, 5])))
    if error.max() <= LEAST or (error.std() <= LEAST * ahead.std() and error.max() <= LEAST * reach):
        return found
    for side in (error, 2 * error.mean() - error):  # errors that are too large, and too small
        above = (side >= _threshold(side)) & (side > LEAST * reach)
        inside = _joined(above, BUFFER, BUFFER) & new
        spans = [(start, stop) for start, stop in windows(inside).tolist() if stop - start > 1]
        ranked = sorted(spans, key=lambda span: -side[span[0] : span[1]].max())
        rest = side[~(inside | known)]
        peaks = [float(side[start:stop].max()) for start, stop in ranked] + [float(rest.max(initial=-np.inf))]
        drops = [peak - lower >= PRUNE * peak for peak, lower in pairwise(peaks)]
        kept = max((place + 1 for place, drop in enumerate(drops) if drop), default=0)
        for start, stop in ranked[:kept]:
            begun = np.flatnonzero(_joined(above, before, BUFFER)[start:stop])
            found[start + int(begun[0]) if len(begun) else stop : stop] = True
    return found


def _joined(rows: Flags, before: int, after: int) -> Flags:
    """Rows, and those that lie so close before or after one of them."""
    count = np.append(0, np.cumsum(rows))
    place = np.arange(len(rows))
    return count[np.minimum(place + before + 1, len(rows))] > count[np.maximum(place - after, 0)]


def _threshold(error: Floats) -> float:
    """The threshold above the mean that takes most of mean and deviation away with the fewest rows."""
    mean, deviation = error.mean(), error.std()
    best, found = -np.inf, mean + NO_THRESHOLD * deviation
    for level in mean + THRESHOLDS * deviation:
        below, above = error[error < level], _joined(error >= level, BUFFER - 1, BUFFER - 1)
        if not above.any() or not len(below):
            continue
        events = len(windows(above))
        worth = ((mean - below.mean()) / mean + (deviation - below.std()) / deviation) / (events**2 + above.sum())
        if worth >= best and events <= EVENTS and above.mean() < SHARE:
            best, found = worth, level
    return float(found)
