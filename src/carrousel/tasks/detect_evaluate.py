"""How good a detector is where the anomalies are known: events instead of rows, beside naive detectors.

Never point-adjusted F1: see ``carrousel.metrics.event``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.data.frame import Frame
from carrousel.errors import DataError, HistoryError
from carrousel.metrics import nab
from carrousel.metrics.event import EventCounts, alarm_delay, event_counts
from carrousel.metrics.nab import probation
from carrousel.metrics.vus import buffer_length, volume
from carrousel.metrics.window import Ints, flags
from carrousel.stream.record import Columns
from carrousel.stream.rows import read_rows
from carrousel.tasks import detect_baseline as naive
from carrousel.tasks.detect_label import read_labels
from carrousel.tasks.detect_setting import SECONDS
from carrousel.tasks.detect_table import Judged, judge

if TYPE_CHECKING:
    from carrousel.tasks.detect import Detector

Floats = npt.NDArray[np.float64]
OWN = "Carrousel"
LEVELS = (0.5, 0.1, 0.05, 0.01, 0.001)  # p-values at which their calibration is read


@dataclass(frozen=True, kw_only=True)
class DetectScore:
    """What one detector did.

    Parameters
    ----------
    labels, found : labelled spans, and those that an incident touched
    false_alarms : incidents that touch no label
    precision, recall, f1 : of events; NaN where they are not defined
    delay_rows, delay_s : from the start of a label to the first row of an incident in it, the mean over those found
    rate, rate_low, rate_high : false alarms in a unit of time, and the 95 % interval of a Poisson count
    vus_pr, vus_roc : of the scores, the mean over the series that have labels; NaN without any
    nab : score of the Numenta Anomaly Benchmark (standard profile) of the alarms as they came; NaN without labels
    nab_best : the same at the best of all thresholds, which nobody knows beforehand
    """

    labels: int
    found: int
    false_alarms: int
    precision: float
    recall: float
    f1: float
    delay_rows: float
    delay_s: float
    rate: float
    rate_low: float
    rate_high: float
    vus_pr: float
    vus_roc: float
    nab: float
    nab_best: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A detector on a table whose anomalies are known.

    Parameters
    ----------
    judged : every row
    first : int64 (S,), rows of each series that do not count, at its start
    labels : labelled rows of each series, int64 (W, 2), start:stop from its first row
    found : model -> its incidents of each series, in the same form
    thresholds : of the naive detectors
    scores : model -> what it did; "Carrousel" first
    unit, rows_per_unit : of the rates
    promised : false alarms a unit that were accepted: what the naive detectors are set for, and the detector unless it
        goes by another rule
    rule : that other rule in words, "" without one
    watched : unlabelled rows that count
    calibration : (p, share of those rows whose p-value is at most that)
    p_values : float64, the p-values of those rows
    notes : what was mended and chosen
    """

    judged: Judged
    first: Ints
    labels: list[Ints]
    found: Mapping[str, list[Ints]]
    thresholds: Mapping[str, float]
    scores: Mapping[str, DetectScore]
    unit: str
    rows_per_unit: float
    promised: float
    rule: str
    watched: int
    calibration: tuple[tuple[float, float], ...]
    p_values: Floats
    notes: tuple[str, ...]

    @property
    def per(self) -> str:
        """The unit with its article: "a week", "an hour"."""
        return f"{'an' if self.unit == 'hour' else 'a'} {self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """The numbers as plain data, ready for JSON: what is not defined is None."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {
            "scores": {model: {k: plain(v) for k, v in asdict(score).items()} for model, score in self.scores.items()},
            "unit": self.unit,
            "promised": None if self.rule else plain(self.promised),
            "rule": self.rule or None,
            "watched_rows": self.watched,
            "calibration": [{"p": p, "observed": plain(share)} for p, share in self.calibration],
            "incidents": [incident.to_dict() for incident in self.judged.incidents],
            "notes": list(self.notes),
        }


def evaluate(
    detector: Detector, frame: Frame, labels: Frame | str | None = None, *, train: Frame | None = None
) -> Evaluation:
    """Judge a table row by row, and compare the incidents with the labels, beside naive detectors.

    Parameters
    ----------
    detector : a trained one, or one that needs no training
    frame : the rows to judge
    labels : see ``carrousel.tasks.detect_label.read_labels``; without any every incident is false
    train : the rows before, of the same series, on which the naive detectors set their thresholds. Without them they do
        so on the first 15 % of each series, at most 750 rows, which then count for nobody

    Raises
    ------
    DataError : a table or labels that cannot be used
    HistoryError : no row is left to count
    """
    notes: list[str] = []
    judged = judge(detector, frame, notes=notes)
    spans = read_labels(judged, frame, labels, notes=notes)
    lengths = np.diff(judged.starts)
    before = _before(judged, detector, train, notes)
    if train is None:
        first = np.array([probation(int(n)) for n in lengths], np.int64)
        notes.append(f"the first {first.sum():,} rows set the thresholds of the naive detectors and count for nobody")
    else:
        first = np.zeros(len(lengths), np.int64)
    if labels is None:
        notes.append("no labels were given, so that every incident counts as false")
    if not (lengths > first).any():
        raise HistoryError(f"evaluate: expected rows behind the first {first.max()}, got none; give more rows")
    unit, rows_per_unit, promised = _promise(detector, judged)
    found: dict[str, list[Ints]] = {OWN: [_incidents(judged, s) for s in range(len(lengths))]}
    scores: dict[str, list[Floats]] = {OWN: [_own_score(judged, s) for s in range(len(lengths))]}
    thresholds: dict[str, float] = {}
    for name, rule in naive.BASELINES.items():
        whole = [rule(np.concatenate([before[s], judged.values[judged.rows(s)]])) for s in range(len(lengths))]
        test = [score[len(before[s]) :] for s, score in enumerate(whole)]
        quiet = [score[: len(before[s]) + first[s]] for s, score in enumerate(whole)]
        thresholds[name] = naive.threshold(quiet, promised / rows_per_unit)
        scores[name] = test
        found[name] = [naive.incidents(score, thresholds[name]) for score in test]
    watched, p_values = _watched(judged, spans, first)
    return Evaluation(
        judged=judged,
        first=first,
        labels=spans,
        found=found,
        thresholds=thresholds,
        scores={
            name: _score(judged, spans, first, found[name], scores[name], int(watched.sum()), rows_per_unit)
            for name in found
        },
        unit=unit,
        rows_per_unit=rows_per_unit,
        promised=promised,
        rule="" if detector.settings.beyond is None else detector.settings.rule,
        watched=int(watched.sum()),
        calibration=tuple((p, float((p_values <= p).mean()) if len(p_values) else math.nan) for p in LEVELS),
        p_values=p_values,
        notes=tuple(notes),
    )


def _before(judged: Judged, detector: Detector, train: Frame | None, notes: list[str]) -> list[Floats]:
    """The values of each series before the table, (R, K), in time order.

    Raises
    ------
    DataError : the table of them has none of the series
    """
    nothing = np.empty((0, len(judged.variables)))
    if train is None:
        return [nothing for _ in judged.ids]
    rows = read_rows(Columns.of(detector, judged.columns.clock), train)
    order = np.lexsort((rows.ticks, rows.codes))
    values = rows.values[:, : len(judged.variables)]  # the naive ones read no covariates
    found = {name: values[order][rows.codes[order] == s] for s, name in enumerate(rows.ids)}
    missing = [name for name in judged.ids if name not in found]
    if len(missing) == len(judged.ids):
        raise DataError(
            f"train: expected rows of the same series, such as {missing[0]!r}, got {', '.join(rows.ids[:5])}"
        )
    if missing:
        notes.append(f"train: no rows of {len(missing)} of {len(judged.ids)} series, such as {missing[0]!r}")
    ends = {name: judged.columns.stamps(rows.ticks[rows.codes == s]).max() for s, name in enumerate(rows.ids)}
    late = [name for s, name in enumerate(judged.ids) if name in ends and ends[name] >= judged.ds[judged.rows(s)][0]]
    if late:
        notes.append(
            f"train: its rows of {len(late)} of {len(judged.ids)} series, such as {late[0]!r}, are not before those "
            "that are judged; the naive detectors may know them beforehand"
        )
    return [found.get(name, nothing) for name in judged.ids]


def _promise(detector: Detector, judged: Judged) -> tuple[str, float, float]:
    """The unit of the rates, how many rows it has, and how many false alarms it may have."""
    promise = detector.settings.promise(dated=judged.ds.dtype.kind == "M")
    if not promise.per_second:
        return "1,000 rows", 1000.0, 1000 * promise.rate
    interval = median_interval(judged)
    said = (detector.settings.false_alarms or "1/week").rpartition("/")[2].strip(" 0123456789.").lower()
    unit = said.removesuffix("s")
    return unit, SECONDS[unit] / interval, promise.rate * SECONDS[unit]


def median_interval(judged: Judged) -> float:
    """Seconds from row to row, the median; 1 where stamps are whole numbers."""
    if judged.ds.dtype.kind != "M":
        return 1.0
    ds = judged.ds.astype("datetime64[us]").astype(np.int64)
    steps = np.concatenate([np.diff(ds[judged.rows(s)]) for s in range(len(judged.ids))])
    steps = steps[steps > 0]
    return float(np.median(steps)) / 1e6 if len(steps) else 1.0


def _incidents(judged: Judged, series: int) -> Ints:
    """The incidents of one series as rows; two that touch remain two."""
    number = judged.incident[judged.rows(series)]
    edges = np.flatnonzero(np.diff(number, prepend=0, append=0))
    return np.array([(a, b) for a, b in pairwise(edges) if number[a]], np.int64).reshape(-1, 2)


def _own_score(judged: Judged, series: int) -> Floats:
    score = judged.score[judged.rows(series)]
    return np.where(np.isnan(score) | judged.warming[judged.rows(series)], 0.0, score)


def _watched(judged: Judged, spans: list[Ints], first: Ints) -> tuple[npt.NDArray[np.bool_], Floats]:
    """The unlabelled rows that count, bool (R,); and the p-values of those that were judged."""
    watched = np.zeros(len(judged.ds), bool)
    for s, labelled in enumerate(spans):
        rows = judged.rows(s)
        quiet = ~flags(labelled, rows.stop - rows.start)
        quiet[: first[s]] = False
        watched[rows] = quiet
    watched &= ~judged.warming
    observed = watched & (judged.kind == 0) & ~np.isnan(judged.values).all(axis=1) & ~np.isnan(judged.p_value)
    return watched, judged.p_value[observed]


def _score(
    judged: Judged, labels: list[Ints], first: Ints, found: list[Ints], score: list[Floats], watched: int, unit: float
) -> DetectScore:
    counts, rows_late, seconds_late = EventCounts(), [], []
    areas: list[Any] = []
    files: list[tuple[Any, Any]] = []
    alarms: list[tuple[Any, Any]] = []
    ds = judged.ds.astype("datetime64[us]").astype(np.int64) / 1e6 if judged.ds.dtype.kind == "M" else judged.ds * 1.0
    for s in range(len(labels)):
        rows = judged.rows(s)
        length, skip = rows.stop - rows.start, int(first[s])
        label, hit = _from(labels[s], skip), _from(found[s], skip)
        counts += event_counts(hit, label)
        rows_late.append(alarm_delay(hit, label))
        seconds_late.append(alarm_delay(hit, label, ds[rows][skip:]))
        if len(label) and length > skip:
            values = judged.values[rows, 0][skip:]
            known = np.where(np.isnan(values), np.nanmean(values) if not np.isnan(values).all() else 0.0, values)
            areas.append(volume(score[s][skip:], label, buffer_length(known)))
        if len(labels[s]):
            began = np.zeros(length)
            began[found[s][:, 0]] = 1
            alarms.append((began, labels[s]))
            files.append((score[s], labels[s]))
    low, high = poisson_interval(counts.false_positives)
    return DetectScore(
        labels=counts.true_positives + counts.false_negatives,
        found=counts.true_positives,
        false_alarms=counts.false_positives,
        precision=counts.precision,
        recall=counts.recall,
        f1=counts.f1,
        delay_rows=_mean(np.concatenate(rows_late)),
        delay_s=_mean(np.concatenate(seconds_late)) if judged.ds.dtype.kind == "M" else math.nan,
        rate=counts.false_positives * unit / watched if watched else math.nan,
        rate_low=low * unit / watched if watched else math.nan,
        rate_high=high * unit / watched if watched else math.nan,
        vus_pr=_mean(np.array([area.pr for area in areas])),
        vus_roc=_mean(np.array([area.roc for area in areas])),
        nab=nab.score(alarms, 0.5).score if alarms else math.nan,
        nab_best=nab.best(files).score if files else math.nan,
    )


def _from(spans: Ints, first: int) -> Ints:
    """Windows counted from a later row; what lies before it is cut off."""
    later = spans[spans[:, 1] > first] - first
    return np.maximum(later, 0)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def poisson_interval(count: int) -> tuple[float, float]:
    """The exact 95 % interval of the mean of a Poisson count, to a tenth or so (Wilson & Hilferty 1931).

    Returns
    -------
    (low, high)
    """
    z = 1.959964
    low = count * (1 - 1 / (9 * count) - z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    return low, more * (1 - 1 / (9 * more) + z / (3 * math.sqrt(more))) ** 3
