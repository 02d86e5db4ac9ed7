"""The sections of the report about a detector, in the order in which a reader wants them."""

from __future__ import annotations

import dataclasses
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carrousel.metrics.window import flags
from carrousel.stream.event import Incident, in_words
from carrousel.tasks.detect_evaluate import OWN, Evaluation, median_interval
from carrousel.tasks.detect_setting import SECONDS
from carrousel.tasks.detect_table import Judged

from . import detect_figure as figure
from . import detect_trend as trend
from . import fact
from .evidence import digits, percent
from .figure import when
from .page import Figures, bullets, chart, details, facts, section, table

if TYPE_CHECKING:
    from carrousel.tasks.detect import Detector

SERIES = 6  # drawn
VARIABLES = 3  # of each
CLOSEUPS = 8
LISTED = 300


def verdict(judged: Judged, evaluation: Evaluation | None) -> str:
    """The headline: what was found, at what price, and whether that is better than naive."""
    if evaluation is None:
        count = len(judged.incidents)
        lead = f"{count} incident{'s' * (count != 1)} in {len(judged.ds):,} rows."
        rest = "There are no labels to say which of them are right."
        return f'<div class="verdict"><p class="lead">{escape(lead)}</p><p>{escape(rest)}</p></div>'
    own = evaluation.scores[OWN]
    promised = "" if evaluation.rule else f"; {digits(evaluation.promised)} were promised"
    rate = f"{digits(own.rate)} false alarms {evaluation.per}{promised}."
    lead = f"Found {own.found} of {own.labels} labelled anomalies, with {rate}"
    if not own.labels:
        lead = f"{rate} None is labelled."
    sentences = [_kept(evaluation)]
    bad = own.rate_low > evaluation.promised and not evaluation.rule
    if own.labels:
        beside, worse = _beside(evaluation)
        sentences += beside
        bad = bad or worse
    rest = " ".join(escape(sentence) for sentence in sentences)
    return f'<div class="verdict{" bad" if bad else ""}"><p class="lead">{escape(lead)}</p><p>{rest}</p></div>'


def _beside(evaluation: Evaluation) -> tuple[list[str], bool]:
    """How the naive detectors did at the same promise; and whether one of them found more."""
    own = evaluation.scores[OWN]
    rivals = {name: score for name, score in evaluation.scores.items() if name != OWN}
    keepers = {name: score for name, score in rivals.items() if score.rate_low <= evaluation.promised}
    sentences: list[str] = []
    worse = False
    if keepers:
        best = max(keepers, key=lambda name: (keepers[name].found, -keepers[name].false_alarms))
        other = keepers[best]
        worse = other.found > own.found
        keeps = f"alarms at most {digits(evaluation.promised)} times {evaluation.per}"
        keeps = keeps if evaluation.rule else "keeps the promise"
        beginning = f"The best naive detector that {keeps}" if not worse else "A naive detector does better here:"
        found = f"{best}, finds {other.found} with {digits(other.rate)} false alarms {evaluation.per}"
        sentences.append(f"{beginning}{'' if worse else ','} {found}.")
    higher = {
        name: score.f1 for name, score in rivals.items() if score.f1 > own.f1 or (np.isnan(own.f1) and score.f1 > 0)
    }
    if higher:
        name = max(higher, key=lambda rival: higher[rival])
        few = f" It finds {rivals[name].found} and raises {rivals[name].false_alarms} false alarms."
        sentences.append(f"By F1 of events {name} is ahead, {digits(rivals[name].f1)} against {digits(own.f1)}.{few}")
    return sentences, worse


def _kept(evaluation: Evaluation) -> str:
    """Whether the promise is kept, as far as so few events can tell."""
    own, promised = evaluation.scores[OWN], evaluation.promised
    span = f"{digits(own.rate_low)} to {digits(own.rate_high)}"
    watched = digits(evaluation.watched / evaluation.rows_per_unit)
    units = f"{evaluation.unit}s" if evaluation.unit in SECONDS else f"× {evaluation.unit}"
    counted = f"{own.false_alarms} in {watched} {units} without labels"
    if evaluation.rule:
        return f"It alarms {evaluation.rule}, not at a promised rate ({counted}; 95% interval {span})."
    if own.rate_low > promised:
        return f"That is more than promised ({counted}; 95% interval {span})."
    if own.rate_high < promised:
        return f"That is less than promised ({counted}; 95% interval {span}): the threshold could be lower."
    return f"That agrees with the promise ({counted}; 95% interval {span})."


def tile_items(judged: Judged, evaluation: Evaluation | None) -> list[tuple[str, str]]:
    if evaluation is None:
        share = float((judged.incident > 0).mean())
        return [
            (f"{len(judged.incidents):,}", "incidents"),
            (percent(share), "of the rows belong to one"),
            (f"{int(judged.skipped.sum()):,}", "rows missing between others"),
        ]
    own = evaluation.scores[OWN]
    late = _lasting(own.delay_s) if not np.isnan(own.delay_s) else f"{digits(own.delay_rows)} rows"
    return [
        (f"{own.found} of {own.labels}", "labelled anomalies touched by an incident"),
        (
            digits(own.rate),
            f"false alarms {evaluation.per}; "
            + ("none promised" if evaluation.rule else f"{digits(evaluation.promised)} promised"),
        ),
        (percent(own.precision), "of what was reported is labelled"),
        (late, "from the start of a label to its incident, on average"),
    ]


def _lasting(seconds: float) -> str:
    """A time for reading."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{digits(seconds / size, 2)} {unit}"
    return f"{digits(seconds, 2)} s"


def _drawn(judged: Judged) -> list[int]:
    """The series that are drawn: those with the highest scores, in their order."""
    peak = [np.nanmax(np.append(judged.score[judged.rows(s)], -1)) for s in range(len(judged.ids))]
    return sorted(np.argsort(peak, kind="stable")[::-1][:SERIES].tolist())


def _most_surprising(judged: Judged, series: int) -> list[int]:
    """The variables that are drawn: those that caused most in incidents, then the first ones."""
    weight = np.zeros(len(judged.variables))
    for incident in judged.incidents:
        if incident.unique_id == judged.ids[series]:
            for cause in incident.causes:
                k = judged.variables.index(cause.variable)
                weight[k] = max(weight[k], cause.surprise)
    return sorted(np.argsort(-weight, kind="stable")[:VARIABLES].tolist())


def series_section(judged: Judged, evaluation: Evaluation | None, figures: Figures) -> str:
    parts: list[str] = []
    chosen = _drawn(judged)
    several = len(judged.variables) > 1 or len(judged.ids) > 1
    for s in chosen:
        for k in _most_surprising(judged, s):
            name = " · ".join(part for part in (judged.ids[s], judged.variables[k]) if several)
            base = f"s{s}-{k}"
            parts.append(
                chart(base, figure.overview(evaluation, judged, s, k, figure.rows_of(judged, s)), "", figures, name)
            )
            rest = [chart(f"{base}-r", figure.residuals(evaluation, judged, s, k), "", figures)]
            for place, draw, caption in (
                ("l", trend.level, _LEVEL),
                ("t", trend.slope, ""),
                ("s", trend.season, _SEASON),
            ):
                spec = draw(judged, s, k)
                if spec is not None:
                    rest.append(chart(f"{base}-{place}", spec, caption or _changes(judged, s, k), figures))
            parts.append("".join(rest))
        parts.append(chart(f"s{s}-score", figure.surprise(evaluation, judged, s), "", figures))
    some = f" {len(chosen)} of {len(judged.ids):,} series are drawn, those with the highest scores." * (
        len(chosen) < len(judged.ids)
    )
    more = f" Of {len(judged.variables)} variables those that caused most are drawn." * (
        len(judged.variables) > VARIABLES
    )
    look = (
        "The band is where nine in ten rows were expected one row before they came; a triangle is an alarm, one for "
        "each incident. Below: what was observed minus what was expected, and the score, in which all members of the "
        f"detector come together. Long series are thinned; their highest and lowest rows are always drawn.{some}{more}"
    )
    return section("The series", escape(look), *parts, "<noscript><p>The figures need their script.</p></noscript>")


_LEVEL = "The level underneath, without the season."
_SEASON = "The season: what each part of the cycle adds to the level, in the last rows."


def _changes(judged: Judged, series: int, k: int) -> str:
    change = judged.change[judged.rows(series), k]
    return escape(
        f"Its rise from row to row: {int((change == 1).sum())} changes of level and {int((change == 2).sum())} of "
        "slope were read. A band that holds 0 says nothing about the direction."
    )


_BESIDE = (
    "; residual and sustained (the distance from what the covariates of the row let expect, of this row and over the "
    "last 64)"
)


def incidents(judged: Judged, evaluation: Evaluation | None, figures: Figures) -> str:
    every = judged.incidents
    if not every:
        return section("Incidents", "There was none.")
    ranked = sorted(every, key=lambda incident: -incident.peak)
    rows = [_row(judged, evaluation, incident) for incident in every[:LISTED]]
    head = [
        *(["Series"] if len(judged.ids) > 1 else []),
        "No.",
        "From",
        "To",
        "Score",
        '<th scope="col" class="words">Because of</th>',
        *(["Labelled"] if evaluation else []),
    ]
    look = (
        "An incident begins with an alarm and lasts until the rows are ordinary again. Its causes are the variables, "
        "and the members of the detector that saw them: forecast and horizon (the value against what was forecast one "
        "row and several rows before), range (never so high or low), level, variance, shape (a stretch unlike any "
        "before)" + _BESIDE * ("residual" in judged.members) + "."
    )
    some = f" The first {LISTED} of {len(every):,} are listed." * (len(every) > LISTED)
    parts = [table(head, rows, tall=len(rows) > 14)]
    shown = ranked[:CLOSEUPS]
    parts.append(f"<h3>The {len(shown)} with the highest scores</h3>" if len(shown) > 1 else "")
    parts.append('<div class="pair">')
    for n, incident in enumerate(shown):
        name = f"{incident.unique_id}, {incident.number}" if len(judged.ids) > 1 else f"Incident {incident.number}"
        spec = figure.closeup(evaluation, judged, incident)
        caption = escape(f"From {when(incident.start)}: {in_words(incident.causes, alone=len(judged.variables) == 1)}.")
        parts.append(chart(f"incident-{n}", spec, caption, figures, name))
    parts.append("</div>")
    return section("Incidents and their causes", escape(look + some), *parts)


def _row(judged: Judged, evaluation: Evaluation | None, incident: Incident) -> list[str]:
    cells = [
        *([escape(incident.unique_id)] if len(judged.ids) > 1 else []),
        str(incident.number),
        escape(when(incident.start)),
        "still running" if incident.end is None else escape(when(incident.end)),
        digits(incident.peak),
        f'<td class="words">{escape(in_words(incident.causes, alone=len(judged.variables) == 1))}</td>',
    ]
    if evaluation is not None:
        s = judged.ids.index(incident.unique_id)
        inside = np.flatnonzero(judged.incident[judged.rows(s)] == incident.number)
        labelled = flags(evaluation.labels[s], int(judged.starts[s + 1] - judged.starts[s]))
        early = inside[-1] < evaluation.first[s]
        cells.append("does not count" if early else "yes" if labelled[inside].any() else "no")
    return cells


def scores(evaluation: Evaluation) -> str:
    rows: list[list[str]] = []
    for name, score in evaluation.scores.items():
        rows.append(
            [
                escape(name),
                f"{score.found} of {score.labels}",
                str(score.false_alarms),
                percent(score.precision),
                percent(score.recall),
                digits(score.f1),
                digits(score.delay_rows),
                digits(score.vus_pr),
                digits(score.nab),
                digits(score.nab_best),
            ]
        )
    kept = "the accepted rate" if evaluation.rule else "the same promise"
    head = ["Detector", "Found", "False", "Precision", "Recall", "F1", "Delay, rows", "VUS-PR", "NAB", "NAB, best"]
    notes = (
        "Events, not rows: a label is found if an incident touches it, an incident is false if it touches no label. "
        "VUS-PR asks how well the scores rank rows, whatever the threshold. NAB is the standard profile of that "
        "benchmark for the alarms as they came, “best” for the best of all thresholds of the bare scores, which nobody "
        "knows beforehand; "
        "it leaves out the first 15% of each series. The naive detectors are: the deviation from the last 200 rows in "
        "their standard deviations, the difference from the last value, and how far a row lies outside all before; "
        f"each with the threshold that keeps {kept} on the rows before."
    )
    return section(
        "Scores beside naive detectors",
        "What anybody can have for nothing, streamed by the same rules on the same rows.",
        table(head, rows, classes=["own"]),
        f"<figcaption>{escape(notes)}</figcaption>",
    )


def promise(evaluation: Evaluation, figures: Figures) -> str:
    rows = [
        [
            escape(name),
            str(score.false_alarms),
            digits(score.rate),
            f"{digits(score.rate_low)} to {digits(score.rate_high)}",
            digits(score.rate / evaluation.promised) if evaluation.promised else "–",
        ]
        for name, score in evaluation.scores.items()
    ]
    word = "accepted rate" if evaluation.rule else "promise"
    head = ["Detector", "False alarms", evaluation.per, "95% interval", f"× the {word}"]
    whom = " from the naive detectors" * bool(evaluation.rule)
    look = (
        f"{digits(evaluation.promised)} false alarms {evaluation.per} were accepted{whom} for each series. Counted "
        f"on the {evaluation.watched:,} rows without a label, warming up left out. {_kept(evaluation)}"
    )
    caption = f"Each step is a false alarm. The dotted line is the {word}; a staircase in one place is one bad time."
    return section(
        "False alarms" if evaluation.rule else "False alarms: promised and met",
        escape(look),
        chart("false-alarms", figure.false_alarms(evaluation), caption, figures),
        table(head, rows, classes=["own"]),
    )


def calibrated(evaluation: Evaluation, figures: Figures) -> str:
    if not len(evaluation.p_values):
        return ""
    rows = [[f"{p:g}", percent(share), digits(share / p)] for p, share in evaluation.calibration]
    diagonal = "On the dashed line a p-value is what it says. Above it: small p-values come more often than they say."
    flat = "Flat along the dashed line is ideal. High at the left: the detector is surprised too often."
    return section(
        "Can the p-values be trusted?",
        f"On the {len(evaluation.p_values):,} unlabelled rows that were judged, a p-value of 0.01 or less should come "
        "once in a hundred rows. Anomalies that nobody labelled count against it.",
        '<div class="triple">',
        chart("calibration", figure.calibration(evaluation), diagonal, figures, "Small p-values"),
        chart("p-values", figure.histogram(evaluation), flat, figures, "All p-values"),
        "<div>",
        table(["p at most", "Rows", "× promised"], rows),
        "</div></div>",
    )


def about(
    detector: Detector, judged: Judged, evaluation: Evaluation | None, folder: Path | None, more: dict[str, str]
) -> str:
    model = {
        "Parameters": f"{detector.num_parameters:,} in the forecasting network",
        "Members": ", ".join(judged.members),
        "False alarms accepted": detector.settings.false_alarms or "one a week, or in 2,000 rows without dates",
    }
    if detector.settings.beyond is not None:
        model.pop("False alarms accepted")
        model["Alarms"] = f"{detector.settings.rule}; no rate is promised"
    if folder is not None:
        on_disk = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        model["On disk"] = f"{fact.size(on_disk)} in the folder {folder.name}"
    settings = {
        field.name: "from the data" if (value := getattr(detector.settings, field.name)) is None else str(value)
        for field in dataclasses.fields(detector.settings)
    }
    interval = median_interval(judged)
    data = {
        "Series": ", ".join(judged.ids) if len(judged.ids) <= 5 else f"{len(judged.ids):,}",
        "Variables": ", ".join(judged.variables[:20])
        + (f" and {len(judged.variables) - 20} more" if len(judged.variables) > 20 else ""),
        "Rows": f"{len(judged.ds):,}" + (f", one each {_lasting(interval)}" if judged.ds.dtype.kind == "M" else ""),
        "Missing values": percent(float(np.isnan(judged.values).mean())) if np.isnan(judged.values).any() else "none",
        "Skipped rows": f"{int(judged.skipped.sum()):,}",
        "Second rows of a stamp": f"{int((judged.kind > 0).sum()):,}",
        "Sticking": f"{int(judged.stuck.any(axis=1).sum()):,} rows with a variable that sticks",
        "Drift": f"{int(judged.drift.sum()):,} times that a variable was found to be distributed otherwise",
    }
    notes = list(dict.fromkeys([*detector.notes, *(evaluation.notes if evaluation else ())]))
    method = [
        "Every row is judged when only those before it are known; nothing is judged again afterwards.",
        "Rows that were skipped are fed as missing ones. While a series warms up there is no alarm.",
    ]
    if evaluation is not None:
        left = int(evaluation.first.sum())
        method.append(
            f"The first {left:,} rows set the thresholds of the naive detectors and count for nobody."
            if left
            else "The naive detectors set their thresholds on the rows before these."
        )
        method.append("There is no point-adjusted F1: it turns one lucky row into hundreds of true ones.")
    mended = f"<h3>What was inferred and mended</h3>{bullets(notes)}" if notes else ""
    return "".join(
        [
            '<div class="pair"><div>',
            section("The detector", "", facts(model), details("All settings", facts(settings))),
            section("How these numbers were made", "", bullets(method)),
            "</div>",
            section("The data", "", facts(data | more), mended),
            "</div>",
        ]
    )
