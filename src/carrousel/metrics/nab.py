"""The score of the Numenta Anomaly Benchmark: detections are worth more the earlier they come, false alarms cost.

A *file* is what a detector said about one series, ``(scores, windows)``: scores is float (T,), higher is more
anomalous; windows are the labelled rows, int (W, 2), each ``start:stop``. A row is detected where its score is at least
the threshold. Four rules make the number:

* S(r) = 2σ(−5r) − 1 is what a detected row is worth at its position r. In a window of n rows r = (i − last − 1) / n,
  from −1 to −1/n, and only the first detection counts, with S(r) / S(−1): 1 on the first row, near 0 on the last.
  Behind a window r = (i − last) / (n − 1), so that an alarm just after it costs little; from r = 3 on, and before any
  window, S = −1. Rows in windows are weighed by the profile's ``tp``, all others by its ``fp``; a window that is never
  detected costs its ``fn``.
* The first 15 % of a file, at most 750 rows, are probation: nothing there counts.
* One threshold serves all files: of all scores that occur, the one with the highest sum.
* The sum is put on a scale on which 0 is a detector that says nothing and 100 one that is right at once, everywhere.

The threshold is thus chosen on the very files that are scored: the number says how good a threshold there is, not that
one would have found it. ``score`` takes a threshold from elsewhere.

References
----------
Lavin & Ahmad 2015, Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark, § II. Where the
paper leaves a choice, version 1.1 of the benchmark decides: the widths n and n − 1 above, S(−1), the 750 rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.errors import SettingError, ShapeError
from carrousel.metrics.window import Floats, Ints, check

File = tuple[npt.ArrayLike, npt.ArrayLike]

_FAR = 3.0  # widths of a window behind its last row from which on a false alarm costs its full weight


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a user of the detector values.

    Parameters
    ----------
    tp : worth of a window detected on its first row
    fp : cost of an alarm far from any window
    fn : cost of a window that is never detected
    """

    tp: float = 1.0
    fp: float = 0.11
    fn: float = 1.0


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(),
    "reward_low_FP_rate": Profile(fp=0.22),
    "reward_low_FN_rate": Profile(fn=2.0),
}


@dataclass(frozen=True, kw_only=True)
class NabScore:
    """The score of a detector at one threshold.

    Parameters
    ----------
    score : 0 for a detector that says nothing, 100 for the perfect one, negative for one that is worse than silence;
        NaN where there is no window, and with it no scale
    raw : the sum of what detections were worth and of what false alarms and missed windows cost
    threshold : rows with at least this score are detected; inf where silence is best
    windows, detected : how many windows were labelled, how many of them were detected
    false_alarms : rows detected outside all windows
    """

    score: float
    raw: float
    threshold: float
    windows: int
    detected: int
    false_alarms: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What every threshold gives.

    Parameters
    ----------
    threshold : float64 (K,), descending: inf, then every score that occurs after probation
    raw : float64 (K,)
    detected, false_alarms : int64 (K,), windows and rows
    windows : how many were labelled, but for those that lie in probation
    profile : by which raw was reckoned
    """

    threshold: Floats
    raw: Floats
    detected: Ints
    false_alarms: Ints
    windows: int
    profile: Profile

    def at(self, index: int) -> NabScore:
        """The score at the threshold of that index."""
        silent, perfect = -self.profile.fn * self.windows, self.profile.tp * self.windows
        raw = float(self.raw[index])
        return NabScore(
            score=100 * (raw - silent) / (perfect - silent) if self.windows else float("nan"),
            raw=raw,
            threshold=float(self.threshold[index]),
            windows=self.windows,
            detected=int(self.detected[index]),
            false_alarms=int(self.false_alarms[index]),
        )


def probation(rows: int) -> int:
    """Rows at the start of a file that do not count: 15 %, at most 750."""
    return min(int(0.15 * rows), 750)


def worth(rows: int, windows: npt.ArrayLike, profile: str | Profile = "standard") -> Floats:
    """What each row adds if it is the first one detected in its window, or detected outside all windows.

    Parameters
    ----------
    rows : T
    windows : int (W, 2), rows start:stop, ascending
    profile : the name of one of ``PROFILES``, or one's own

    Returns
    -------
    float64 (T,) : above 0 in windows, below 0 outside, 0 in probation

    Raises
    ------
    ShapeError : windows of another form, that overlap, or that reach beyond the rows
    SettingError : an unknown profile
    """
    spans, weight = check(windows, rows), _profile(profile)
    if not len(spans):
        alone = np.full(rows, -weight.fp)
        alone[: probation(rows)] = 0.0
        return alone
    row = np.arange(rows)
    begun = np.searchsorted(spans[:, 0], row, side="right")  # how many windows began until then
    start, stop = spans[np.maximum(begun - 1, 0)].T  # of the last one
    width = (stop - start).astype(np.float64)
    # A window of one row has no width to be near to.
    behind = np.divide(row - stop + 1, width - 1, out=np.full(rows, _FAR), where=(begun > 0) & (width > 1))
    outside = np.where(behind < _FAR, _sigmoid(behind), -1.0) * weight.fp
    inside = _sigmoid((row - stop) / width) * (weight.tp / _sigmoid(-1.0))
    value = np.where((begun > 0) & (row < stop), inside, outside)
    value[: probation(rows)] = 0.0
    return value


def _sigmoid(position: npt.ArrayLike) -> Floats:
    """S(r) = 2σ(−5r) − 1 = −tanh(5r / 2)."""
    return -np.tanh(2.5 * np.asarray(position, np.float64))


def curve(files: Iterable[File], profile: str | Profile = "standard") -> Curve:
    """What every threshold gives on these files together.

    Parameters
    ----------
    files : (scores, windows) each; scores float (T,), higher is more anomalous, windows as for ``worth``
    profile : as for ``worth``

    Raises
    ------
    ShapeError : scores that are not one number a row, or windows as for ``worth``
    SettingError : an unknown profile
    """
    weight = _profile(profile)
    parts = [_changes(scores, windows, weight, f"file {number}") for number, (scores, windows) in enumerate(files)]
    changes = np.concatenate([np.empty((5, 0)), *parts], axis=1)
    value, gain, first, false, windows = changes[:, np.argsort(-changes[0], kind="stable")]
    last = np.flatnonzero(np.append(value[1:] != value[:-1], True)[: len(value)])  # of equal scores
    count = int(windows.sum())
    return Curve(
        threshold=np.append(np.inf, value[last]),
        raw=np.append(0.0, np.cumsum(gain)[last]) - weight.fn * count,
        detected=np.append(0, np.cumsum(first)[last]).astype(np.int64),
        false_alarms=np.append(0, np.cumsum(false)[last]).astype(np.int64),
        windows=count,
        profile=weight,
    )


def _changes(scores: npt.ArrayLike, windows: npt.ArrayLike, weight: Profile, name: str) -> Floats:
    """What changes as the threshold sinks below each row after probation.

    It depends on the rows of the same window alone: the highest score of a window turns a miss into its worth, and a
    lower one adds what it is worth more, if it comes earlier.

    Returns
    -------
    float64 (5, T) : score; change of the raw score; windows detected by it; false alarms; windows (at their first row)
    """
    value = np.asarray(scores, np.float64)
    if value.ndim != 1 or np.isnan(value).any():
        raise ShapeError(
            f"scores of {name}: expected one number a row, got shape {value.shape} with {int(np.isnan(value).sum())} "
            "missing; give a row without a score the lowest one"
        )
    spans, start = check(windows, len(value), name=f"windows of {name}"), probation(len(value))
    gain = worth(len(value), spans, weight)
    first, false, window = np.zeros_like(gain), np.ones_like(gain), np.zeros_like(gain)
    for begin, stop in spans.tolist():
        false[begin:stop] = 0
        if stop <= start:
            continue
        begin = max(begin, start)
        order = begin + np.argsort(-value[begin:stop], kind="stable")
        gain[order] = np.diff(np.maximum.accumulate(gain[order]), prepend=-weight.fn)
        first[order[0]] = window[begin] = 1
    return np.stack([value, gain, first, false, window])[:, start:]


def best(files: Iterable[File], profile: str | Profile = "standard") -> NabScore:
    """The benchmark's number: the score at the best of all thresholds, the highest one if several are best.

    Raises
    ------
    ShapeError, SettingError : as ``curve``
    """
    found = curve(files, profile)
    return found.at(int(np.argmax(found.raw)))


def score(files: Iterable[File], threshold: float, profile: str | Profile = "standard") -> NabScore:
    """The score at a threshold chosen elsewhere.

    Raises
    ------
    ShapeError, SettingError : as ``curve``; a threshold that is NaN
    """
    if np.isnan(threshold):
        raise SettingError("threshold: expected a number, got NaN")
    found = curve(files, profile)
    # The last score that occurs and is not below the threshold: the same rows are detected there.
    reached = int(np.searchsorted(-found.threshold, -threshold, side="right")) - 1
    return replace(found.at(reached), threshold=float(threshold))


def _profile(profile: str | Profile) -> Profile:
    if isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise SettingError(f"profile {profile!r}: not known; {nearest(profile, PROFILES)}")
    return PROFILES[profile]
