"""Precision and recall of events instead of rows; how late an alarm is; how many false ones a unit of time has.

An event is a range of rows, labelled or detected, as in ``carrousel.metrics.window``. What makes one alarm out of
flagged rows is for the detector to say.

There is no point-adjusted F1 here. It takes every row of a labelled range for detected once a single one is, and then
counts rows, so that one lucky row in a long label becomes hundreds of true positives: random scores reach what is
published for the best methods (Kim, Choi, Choi, Lee & Yoon 2022, Towards a Rigorous Evaluation of Time-series Anomaly
Detection, AAAI). Here that row makes one true positive, and every alarm elsewhere one false one.

References
----------
Hundman, Constantinou, Laporte, Colwell & Soderstrom 2018, Detecting Spacecraft Anomalies Using LSTMs and Nonparametric
Dynamic Thresholding, KDD, the rules of its experiments ("Telemanom"). They are followed, not the program beside them,
in one point: a detection that touches several labels finds all of them, where the program credits the first alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics.point import ratio
from carrousel.metrics.window import Floats, Ints, check


@dataclass(frozen=True, kw_only=True)
class EventCounts:
    """Events by their outcome. The sum of those of several channels pools them, as the published figures are pooled.

    Parameters
    ----------
    true_positives : labels that a detection touches, however many do
    false_positives : detections that touch no label
    false_negatives : labels that no detection touches
    """

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def __add__(self, other: EventCounts) -> EventCounts:
        return EventCounts(
            true_positives=self.true_positives + other.true_positives,
            false_positives=self.false_positives + other.false_positives,
            false_negatives=self.false_negatives + other.false_negatives,
        )

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN where nothing was detected."""
        return ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); NaN where nothing was labelled."""
        return ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of the two; NaN where nothing was detected or labelled."""
        return ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


def event_counts(detected: npt.ArrayLike, labelled: npt.ArrayLike) -> EventCounts:
    """Count the events of one channel; one row in common is enough for a detection to touch a label.

    Parameters
    ----------
    detected, labelled : int (D, 2) and (W, 2), rows start:stop, each ascending and without overlap

    Raises
    ------
    ShapeError : ranges of another form

    Examples
    --------
    >>> counts = event_counts(detected=[[5, 9], [12, 13], [40, 41]], labelled=[[8, 20], [60, 70]])
    >>> (counts.true_positives, counts.false_positives, counts.false_negatives)
    (1, 1, 1)
    """
    found, label = check(detected, name="detected"), check(labelled, name="labelled")
    hits = int(_touched(label, found).sum())
    return EventCounts(
        true_positives=hits,
        false_positives=int((~_touched(found, label)).sum()),
        false_negatives=len(label) - hits,
    )


def alarm_delay(detected: npt.ArrayLike, labelled: npt.ArrayLike, times: npt.ArrayLike | None = None) -> Floats:
    """How long after the start of each label the first detected row in it comes.

    Parameters
    ----------
    detected, labelled : as for ``event_counts``
    times : float (T,), when each row came, in any unit; without it the delay is in rows

    Returns
    -------
    float64 (W,) : 0 where an alarm already ran when the label began, NaN where none came

    Raises
    ------
    ShapeError : ranges of another form, or a label beyond the times
    """
    found, label = check(detected, name="detected"), check(labelled, name="labelled")
    delay = np.full(len(label), np.nan)
    hit = _touched(label, found)
    begin = label[hit, 0]
    first = found[np.searchsorted(found[:, 1], begin, side="right"), 0] if len(begin) else begin
    first = np.maximum(first, begin)
    if times is None:
        delay[hit] = first - begin
        return delay
    clock = np.asarray(times, np.float64)
    if clock.ndim != 1 or (len(label) and label[-1, 1] > len(clock)):
        least = int(label[-1, 1]) if len(label) else 0
        raise ShapeError(f"times: expected one number a row, at least {least}, got {clock.shape}")
    delay[hit] = clock[first] - clock[begin]
    return delay


def false_alarm_rate(
    detected: npt.ArrayLike, labelled: npt.ArrayLike, rows: int, *, rows_per_unit: float = 1.0
) -> float:
    """False alarms in a unit of the time in which an alarm is false: the rows without a label.

    Parameters
    ----------
    detected, labelled : as for ``event_counts``
    rows : how many there were
    rows_per_unit : 168 for alarms a week on hourly rows

    Returns
    -------
    float : NaN where every row is labelled

    Raises
    ------
    ShapeError : ranges of another form, or beyond the rows
    SettingError : rows_per_unit is not above 0

    Notes
    -----
    Where rows come irregularly, divide the false positives of ``event_counts`` by the time that was watched.
    """
    if not rows_per_unit > 0:
        raise SettingError(f"rows_per_unit: expected a number above 0, got {rows_per_unit}")
    found, label = check(detected, rows, name="detected"), check(labelled, rows, name="labelled")
    quiet = rows - int((label[:, 1] - label[:, 0]).sum())
    return ratio(event_counts(found, label).false_positives * rows_per_unit, quiet)


def _touched(ranges: Ints, others: Ints) -> npt.NDArray[np.bool_]:
    """Whether each range has a row in common with one of the others: more of them began before its end than ended
    before its start."""
    began = np.searchsorted(others[:, 0], ranges[:, 1], side="left")
    ended = np.searchsorted(others[:, 1], ranges[:, 0], side="right")
    return began > ended
