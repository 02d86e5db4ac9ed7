"""The figures of the report about a detector, as plain data that the page's script draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.metrics.window import flags
from carrousel.stream.event import Incident, in_words
from carrousel.tasks.detect_evaluate import OWN, Evaluation
from carrousel.tasks.detect_table import Judged

from .evidence import percent
from .figure import Spec, numbers, seconds

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BUCKETS = 600  # of rows in an overview: of each the lowest and the highest value are drawn
AROUND = 60  # rows on both sides of an incident that is drawn by itself
LEFT = 63  # pixels beside the figures of one series, so that their times stand below each other
LONGEST = 600  # rows of it that are drawn
STYLES = {OWN: "s-carrousel", "rolling deviation": "s-1", "last value": "s-2", "range": "s-3"}


def thinned(judged: Judged, rows: Ints, k: int) -> Ints:
    """Rows to draw of one variable: few enough for a screen, none of the extremes or alarms left out."""
    if len(rows) <= 2 * BUCKETS:
        return rows
    kept = [rows[judged.alarm[rows]], rows[[0, -1]]]
    for bucket in np.array_split(rows, BUCKETS):
        for values in (judged.values[bucket, k], judged.residual[bucket, k]):
            known = bucket[~np.isnan(values)]
            size = values[~np.isnan(values)]
            if len(known):
                kept.append(known[[np.argmin(size), np.argmax(size)]])
    return np.unique(np.concatenate(kept))


class Line:
    """Rows of a series as points of a line, which breaks where as many rows, or half as many observations, are missing.

    Parameters
    ----------
    judged : the series
    rows : to draw, ascending
    k : the variable whose missing observations break it; None where only missing rows do
    """

    def __init__(self, judged: Judged, rows: Ints, k: int | None = None) -> None:
        apart = np.diff(rows)
        broken = np.diff(np.cumsum(judged.skipped)[rows]) >= apart
        if k is not None:
            gone = np.cumsum(np.isnan(judged.values[:, k]))
            broken |= 2 * np.diff(gone[rows]) >= apart
        self._rows = rows
        self._breaks = np.flatnonzero(broken) + 1
        x = np.array(seconds(judged.ds[rows]), np.int64)
        self.x: list[int] = np.insert(x, self._breaks, x[self._breaks - 1] + 1 if len(self._breaks) else x[:0]).tolist()

    def y(self, values: Floats, spread: float | None = None) -> list[Any]:
        """Values of the rows (n,) with nothing at the breaks."""
        return numbers(np.insert(values.astype(np.float64), self._breaks, np.nan), spread)


def rows_of(judged: Judged, series: int) -> Ints:
    """All rows of a series."""
    return np.arange(judged.starts[series], judged.starts[series + 1])


def axis(judged: Judged) -> Spec:
    return {"kind": "time" if judged.ds.dtype.kind == "M" else "linear", "label": ""}


def spans(judged: Judged, base: int, windows: Ints, rows: Ints, name: str, style: str, tips: list[str]) -> Spec | None:
    """Windows of rows, counted from `base`, as upright areas, as far as they lie among the rows that are drawn."""
    kept = [i for i, (a, b) in enumerate(windows.tolist()) if base + b > rows[0] and base + a <= rows[-1]]
    if not kept:
        return None
    x = np.array(seconds(judged.ds))
    return {
        "kind": "spans",
        "name": name,
        "style": style,
        "x0": x[np.maximum(base + windows[kept, 0], rows[0])].tolist(),
        "x1": x[np.minimum(base + windows[kept, 1] - 1, rows[-1])].tolist(),
        "tips": [tips[i] for i in kept],
        "rank": 2,
    }


def shades(evaluation: Evaluation | None, judged: Judged, series: int, rows: Ints) -> list[Spec]:
    """Labels and incidents behind a figure."""
    base = int(judged.starts[series])
    marks: list[Spec | None] = []
    if evaluation is not None:
        labels = evaluation.labels[series]
        marks.append(spans(judged, base, labels, rows, "Labelled", "s-label", ["labelled"] * len(labels)))
    own = [incident for incident in judged.incidents if incident.unique_id == judged.ids[series]]
    tips = [
        f"incident {incident.number}: {in_words(incident.causes, alone=len(judged.variables) == 1)}" for incident in own
    ]
    marks.append(spans(judged, base, windows_of(judged, series), rows, "Incident", "s-incident", tips))
    return [mark for mark in marks if mark is not None]


def windows_of(judged: Judged, series: int) -> Ints:
    """The rows of every incident of a series, from its first row."""
    number = judged.incident[judged.rows(series)]
    each = [np.flatnonzero(number == n) for n in np.unique(number[number > 0])]
    return np.array([(rows[0], rows[-1] + 1) for rows in each], np.int64).reshape(-1, 2)


def overview(evaluation: Evaluation | None, judged: Judged, series: int, k: int, rows: Ints) -> Spec:
    """One variable with its band, its level, labels, incidents and alarms."""
    drawn = thinned(judged, rows, k)
    line = Line(judged, drawn, k)
    value = judged.values[drawn, k]
    known = value[~np.isnan(value)]
    spread = float(np.ptp(known)) or 1.0 if len(known) else 1.0
    # A band far wider than the values, while the detector is young, would flatten them.
    low, high = (known.min() - spread, known.max() + spread) if len(known) else (-1.0, 1.0)

    def within(values: Floats) -> list[Any]:
        return line.y(np.clip(values, low, high), spread)

    alarms = drawn[judged.alarm[drawn] & ~np.isnan(judged.values[drawn, k])]
    marks = [
        *shades(evaluation, judged, series, rows),
        {
            "kind": "band",
            "name": "90% band",
            "style": "s-carrousel b0",
            "x": line.x,
            "lo": within(judged.lower[drawn, k]),
            "hi": within(judged.upper[drawn, k]),
            "rank": 1.5,
        },
        {
            "kind": "line",
            "name": judged.variables[k],
            "style": "s-truth",
            "x": line.x,
            "y": line.y(value, spread),
            "rank": 0,
        },
    ]
    if not np.isnan(judged.level[drawn, k]).all():
        level = within(judged.level[drawn, k])
        marks.append({"kind": "line", "name": "Level", "style": "s-level", "x": line.x, "y": level, "rank": 1.6})
    marks.append(
        {
            "kind": "dots",
            "name": "Alarm",
            "style": "s-incident",
            "shape": "triangle",
            "radius": 6,
            "x": seconds(judged.ds[alarms]),
            "y": numbers(judged.values[alarms, k], spread),
            "rank": 1,
        }
    )
    return {
        "label": f"{judged.variables[k]} of {judged.ids[series]} with its band, incidents and alarms",
        "height": 320,
        "x": axis(judged),
        "y": {"label": judged.variables[k], "left": LEFT},
        "marks": marks,
    }


def residuals(evaluation: Evaluation | None, judged: Judged, series: int, k: int) -> Spec:
    """Observed minus expected."""
    rows = rows_of(judged, series)
    drawn = thinned(judged, rows, k)
    line = Line(judged, drawn, k)
    rest = judged.residual[drawn, k]
    known = np.abs(rest[~np.isnan(rest)])
    limit = 1.2 * float(known.max(initial=0)) or 1.0
    return {
        "label": f"Residuals of {judged.variables[k]} of {judged.ids[series]}",
        "height": 190,
        "legend": False,
        "x": axis(judged),
        "y": {
            "label": f"{judged.variables[k]}, observed minus expected",
            "left": LEFT,
            "min": -limit,
            "max": limit,
            "ticks": ticks(-limit, limit),
        },
        "marks": [
            *shades(evaluation, judged, series, rows),
            {
                "kind": "line",
                "name": "residual",
                "style": "s-truth fine",
                "x": line.x,
                "y": line.y(rest),
            },
        ],
    }


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Multiples of the largest 1, 2 or 5 · 10ⁿ that has two at least between low and high, with their texts."""
    power = int(np.floor(np.log10(high - low)))
    for n in range(power, power - 3, -1):
        for m in (5, 2, 1):
            step = m * 10.0**n
            first, last = int(np.ceil(low / step)), int(np.floor(high / step))
            if last > first:
                places = max(0, -n)
                return [(i * step, f"{i * step:.{places}f}".replace("-", "−")) for i in range(first, last + 1)]
    return []


def surprise(evaluation: Evaluation | None, judged: Judged, series: int) -> Spec:
    """The score of every row, with the alarms."""
    rows = rows_of(judged, series)
    score = np.where(judged.warming[rows], np.nan, judged.score[rows])
    kept = [rows[judged.alarm[rows]]]
    for bucket in np.array_split(np.arange(len(rows)), min(2 * BUCKETS, len(rows))):
        known = bucket[~np.isnan(score[bucket])]
        kept.append(rows[known[[np.argmax(score[known])]]] if len(known) else rows[bucket[:1]])
    drawn = np.unique(np.concatenate(kept))
    line = Line(judged, drawn)
    alarms = drawn[judged.alarm[drawn]]
    return {
        "label": f"Score of every row of {judged.ids[series]}",
        "height": 190,
        "legend": False,
        "x": axis(judged),
        "y": {"label": "score", "left": LEFT, "min": 0},
        "marks": [
            *shades(evaluation, judged, series, rows),
            {
                "kind": "line",
                "name": "score",
                "style": "s-carrousel fine",
                "x": line.x,
                "y": line.y(score[drawn - rows[0]]),
            },
            {
                "kind": "dots",
                "name": "alarm",
                "style": "s-incident",
                "shape": "triangle",
                "radius": 5,
                "x": seconds(judged.ds[alarms]),
                "y": numbers(judged.score[alarms]),
            },
        ],
    }


def closeup(evaluation: Evaluation | None, judged: Judged, incident: Incident) -> Spec:
    """One incident with the rows around it, of the variable that surprised most."""
    series = judged.ids.index(incident.unique_id)
    inside = judged.starts[series] + np.flatnonzero(judged.incident[judged.rows(series)] == incident.number)
    first, last = max(int(inside[0]) - AROUND, int(judged.starts[series])), int(inside[-1]) + AROUND
    rows = np.arange(first, min(last, first + LONGEST, int(judged.starts[series + 1])))
    k = judged.variables.index(incident.causes[0].variable) if incident.causes else 0
    return overview(evaluation, judged, series, k, rows) | {"height": 240}


def calibration(evaluation: Evaluation) -> Spec:
    """How often p-values were at most so small, on unlabelled rows, against how often they should be."""
    p = np.sort(evaluation.p_values)
    least = max(1e-5, 1 / max(len(p), 1))
    at = np.geomspace(least, 1, 60)
    share = np.searchsorted(p, at, side="right") / max(len(p), 1)
    share = np.where(share > 0, share, np.nan)
    ticks = [[v, percent(v) if v >= 0.001 else f"{100 * v:g}%"] for v in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1) if v >= least]
    return {
        "label": "Share of unlabelled rows with at most a p-value, against that p-value",
        "height": 320,
        "legend": False,
        "x": {"kind": "log", "label": "p-value", "min": least, "max": 1, "ticks": ticks},
        "y": {"kind": "log", "label": "rows with at most that", "min": least, "max": 1, "ticks": ticks},
        "marks": [
            {"kind": "diagonal", "style": "", "from": least, "to": 1},
            {
                "kind": "line",
                "name": "observed",
                "style": "s-carrousel",
                "x": [float(f"{v:.3g}") for v in at],
                "y": [None if np.isnan(v) else float(f"{v:.3g}") for v in share],
            },
        ],
    }


def histogram(evaluation: Evaluation) -> Spec:
    """Where the p-values of unlabelled rows lie: flat is ideal."""
    edges = np.linspace(0, 1, 21)
    counts, _ = np.histogram(evaluation.p_values, edges)
    relative = 20 * counts / max(len(evaluation.p_values), 1)
    return {
        "label": "Histogram of the p-values of unlabelled rows; flat at 1 is ideal",
        "height": 320,
        "legend": False,
        "bins": True,
        "x": {"label": "p-value", "min": 0, "max": 1},
        "y": {"label": "rows, relative to the promise", "min": 0, "max": float(max(2.0, 1.05 * relative.max()))},
        "marks": [
            {
                "kind": "bars",
                "name": "rows here",
                "style": "s-carrousel",
                "x0": edges[:-1].tolist(),
                "x1": edges[1:].tolist(),
                "y": numbers(relative),
                "tips": [f"{percent(c / max(len(evaluation.p_values), 1))}, promised 5%" for c in counts],
            },
            {"kind": "rule", "style": "", "y": 1},
        ],
    }


def false_alarms(evaluation: Evaluation) -> Spec:
    """False alarms so far, of every detector, against the promise, over the unlabelled rows that were watched."""
    total = evaluation.watched / evaluation.rows_per_unit
    marks: list[Spec] = []
    for name in (*[name for name in evaluation.found if name != OWN], OWN):
        times = false_times(evaluation, name) / evaluation.rows_per_unit
        x = [0.0, *np.repeat(times, 2).tolist(), total]
        y = [0, *[v for n in range(len(times)) for v in (n, n + 1)], len(times)]
        marks.append(
            {
                "kind": "line",
                "name": name,
                "style": STYLES.get(name, "s-4"),
                "x": [float(f"{v:.4g}") for v in x],
                "y": y,
                "rank": 0 if name == OWN else 1,
            }
        )
    promise = [0, evaluation.promised * total]
    word = "accepted" if evaluation.rule else "promised"
    promised = {"kind": "line", "name": word, "style": "s-0", "x": [0, total], "y": promise, "rank": 0.5}
    return {
        "label": f"False alarms so far against those {word}",
        "height": 300,
        "x": {"label": f"unlabelled time watched, in units of {evaluation.unit}", "min": 0},
        "y": {"label": "false alarms so far", "min": 0},
        "marks": [promised, *marks],
    }


def false_times(evaluation: Evaluation, model: str) -> Floats:
    """When false alarms of a model came, in unlabelled rows watched until then, over all series one after the other."""
    judged, before, found = evaluation.judged, 0, []
    for s, spans_ in enumerate(evaluation.found[model]):
        rows = judged.rows(s)
        length = rows.stop - rows.start
        labelled = flags(evaluation.labels[s], length)
        quiet = ~labelled & ~judged.warming[rows]
        quiet[: evaluation.first[s]] = False
        clock = np.cumsum(quiet)
        for start, stop in spans_.tolist():
            if stop > evaluation.first[s] and not labelled[max(start, int(evaluation.first[s])) : stop].any():
                found.append(before + int(clock[start]))
        before += int(quiet.sum())
    return np.array(found, np.float64)
