"""The sections of the report, in the order in which a reader wants them: verdict, forecasts, scores, method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from . import figure
from .evidence import COLUMNS, NAIVE, Evidence, digits, duration, percent

Figures = dict[str, dict[str, Any]]
ROWS = 500  # in a table of series
LEVEL = 0.01  # errors nearer to each other than this share are called equal
REPEATS = {"naive": "the last value", "seasonal_naive": "the last season"}


def chart(name: str, spec: dict[str, Any], caption: str, figures: Figures, heading: str = "") -> str:
    """A place for a figure, which the script draws, with what to look for below it."""
    figures[name] = spec
    title = f"<h3>{escape(heading)}</h3>" if heading else ""
    return f'<figure>{title}<div class="chart" id="{name}"></div><figcaption>{caption}</figcaption></figure>'


def section(heading: str, look: str, *content: str) -> str:
    lead = f'<p class="look">{look}</p>' if look else ""
    return f"<section><h2>{escape(heading)}</h2>{lead}{''.join(content)}</section>"


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], *, classes: Iterable[str] = (), tall: bool = False
) -> str:
    """A table of HTML cells; its first column names the row."""
    marks = list(classes)
    lines = [
        "<tr>"
        + "".join(cell if cell.startswith("<th") else f'<th scope="col">{cell}</th>' for cell in head)
        + "</tr></thead><tbody>"
    ]
    for i, row in enumerate(rows):
        first, *rest = row
        cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in rest)
        mark = f' class="{marks[i]}"' if i < len(marks) and marks[i] else ""
        lines.append(f'<tr{mark}><th scope="row">{first}</th>{cells}</tr>')
    return f'<div class="wide{" tall" if tall else ""}"><table><thead>{"".join(lines)}</tbody></table></div>'


def details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def signed(value: float, places: int, unit: str = "") -> str:
    """A difference with its sign, none where it rounds to zero."""
    if not np.isfinite(value):
        return "–"
    rounded = round(value, places) + 0.0
    return f"{rounded:{'+' if rounded else ''}.{places}f}{unit}".replace("-", "−")


def facts(items: Mapping[str, str]) -> str:
    """Names and values, both plain text."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in items.items()) + "</dl>"


def bullets(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>"


def verdict(evidence: Evidence, seen: int) -> str:
    """The headline: how much better than the best naive baseline, or that it is not; `seen` windows are unfair."""
    windows, horizon = len(evidence.used), evidence.y.shape[1]
    steps = f"{horizon} step{'s' if horizon > 1 else ''} ({evidence.backtest.frequency.describe()})"
    naive, own = evidence.best_naive, evidence.own
    error = evidence.error(own) if windows else np.nan
    bad = ""
    if not np.isfinite(error):
        lead, bad = "Nothing to compare: no test window holds both a forecast and a truth.", " bad"
    elif naive is None:
        lead = (
            f"{own}’s forecasts miss by {digits(error)} on average ({evidence.metric_name}); no naive baseline was run."
        )
    else:
        other, name = evidence.error(naive), REPEATS[naive]
        gain = 1 - error / other if other > 0 else np.nan
        pair = f"{evidence.metric_name} {digits(error)} against {digits(other)}"
        if not abs(gain) >= LEVEL:
            lead, bad = f"{own} is no better than the best naive baseline, which repeats {name}: {pair}.", " bad"
        elif gain > 0:
            lead = f"{own}’s forecasts miss by {100 * gain:.0f}% less than the best naive baseline, which repeats "
            lead += f"{name}: {pair}."
        else:
            lead = f"A naive baseline wins: repeating {name} misses by less than {own}, {pair}."
            bad = " bad"
    more = [f"Measured on {windows:,} test window{'s' if windows != 1 else ''}, each forecasting {steps}."]
    if windows and np.isfinite(error):
        more.append(_beside_the_rest(evidence))
        more.append(_on_all_windows(evidence))
    more.append(bands_sentence(evidence))
    if seen:
        more.append(f"Caution: {seen:,} windows hold rows that the model had seen, which flatters it.")
        bad = " bad"
    rest = " ".join(escape(sentence) for sentence in more if sentence)
    return f'<div class="verdict{bad}"><p class="lead">{escape(lead)}</p><p>{rest}</p></div>'


def _beside_the_rest(evidence: Evidence) -> str:
    """How the other baselines stand, which can beat a model that beats naive."""
    rest = tuple(m for m in evidence.baselines if m not in NAIVE)
    best = evidence.best(rest)
    if best is None:
        return ""
    name, own, other = evidence.name(best), evidence.error(evidence.own), evidence.error(best)
    if abs(own - other) < LEVEL * other:
        return f"The strongest other baseline, {name}, is level with it ({digits(other)})."
    if own < other:
        return f"The strongest other baseline is {name} with {digits(other)}."
    return f"Another baseline does better than {evidence.own}: {name} with {digits(other)}. On these data, prefer it."


def _on_all_windows(evidence: Evidence) -> str:
    """The comparison with naive on every window, where the slower baselines ran on some of them only."""
    models = [m for m in (evidence.own, evidence.best_naive) if m]
    full = np.all([~np.isnan(evidence.forecasts[m]).any(axis=(1, 2)) for m in models], axis=0)
    rows = np.flatnonzero(full)
    if len(models) < 2 or len(rows) == len(evidence.used):
        return ""
    own, other = (evidence.error(m, rows) for m in models)
    return (
        f"The slower baselines ran on these windows only; on all {len(rows):,} windows it is {digits(own)} against "
        f"{digits(other)}."
    )


def bands_sentence(evidence: Evidence) -> str:
    """How many truths the bands held, beside what they promise."""
    parts: list[str] = []
    for level in reversed(evidence.levels):
        share = evidence.coverage(level)
        if np.isfinite(share):
            parts.append(
                f"the {level:g}% band held {percent(share)} of the truths"
                if not parts
                else f"the {level:g}% band {percent(share)}"
            )
    return f"{', '.join(parts)}.".capitalize() if parts else ""


def tiles(items: Iterable[tuple[str, str]]) -> str:
    """The four numbers that people quote, with what they are."""
    cells = (f'<div class="tile"><b>{escape(big)}</b><small>{escape(small)}</small></div>' for big, small in items)
    return f'<div class="tiles">{"".join(cells)}</div>'


def forecasts(evidence: Evidence, view: dict[str, Any] | None) -> str:
    """The viewer of single windows."""
    if view is None:
        return ""
    shown, lines = len(view["lines"]), len(evidence.lines)
    some = f" {shown} of {lines} series are drawn: evenly spread from the one forecast best to the one forecast worst."
    windows = sum(len(line["windows"]) for line in view["lines"])
    total = len(evidence.own_used) * evidence.y.shape[2]
    look = (
        "The thin line is what happened, the thick one what was forecast at the dashed line without seeing it. A good "
        "band holds the thin line as often as it promises and is no wider than it must be. The typical window comes "
        f"first: half of this series’ windows were forecast better, half worse. {windows:,} of {total:,} are drawn."
    )
    part = 'data-part="'
    buttons = "".join(
        f'<button type="button" {part}{name}">{name.title()}</button>' for name in ("typical", "best", "worst")
    )
    return section(
        "Forecasts and what happened",
        escape(look + (some if shown < lines else "")),
        '<div id="viewer"><div class="controls">'
        f'<label {part}chooser">Series <select {part}series"></select></label>'
        f'<div><span class="at">Made at</span> <button type="button" {part}earlier" aria-label="earlier">◀</button>'
        f'<input type="range" min="0" step="1" {part}origin" aria-label="origin of the forecast">'
        f'<button type="button" {part}later" aria-label="later">▶</button> <span class="when" {part}when"></span></div>'
        f'<div class="picks">{buttons}</div></div>'
        f'<div class="chart" {part}chart"></div><p {part}window" aria-live="polite"></p></div>'
        "<noscript><p>The figures are drawn by a script inside this file; the tables below need none.</p></noscript>",
    )


def scores(evidence: Evidence) -> str:
    """Every model's scores on the same windows, the best of each column marked."""
    board = evidence.table
    order = sorted(board, key=lambda m: (np.isnan(board[m][evidence.metric]), board[m][evidence.metric]))
    reference = evidence.error(evidence.best_naive) if evidence.best_naive else np.nan
    winners = {column: evidence.winners(column) for column in COLUMNS}
    rows: list[list[str]] = []
    for model in order:
        cells = [escape(evidence.name(model))]
        for column, score in board[model].items():
            text = digits(score) + ("%" if column == "smape" and np.isfinite(score) else "")
            cells.append(f'<td class="win">{text}</td>' if model in winners[column] else text)
        change = 100 * (board[model][evidence.metric] / reference - 1) if reference > 0 else np.nan
        cells.append(signed(change, 0, "%"))
        rows.append(cells)
    missing = int(np.isnan(evidence.y[evidence.used]).sum())
    notes = (
        "★ marks the best of each column; lower is better in all. MAE and RMSE are in the unit of the data, MASE is "
        "relative to the usual change from one season to the next, sMAPE is in per cent. Pinball scores the whole "
        "distribution; a method without bands is scored as if certain of its value. The last column is "
        f"{evidence.metric_name} beside the best naive baseline."
    )
    if missing:
        notes += f" {missing:,} truth{'s were' if missing > 1 else ' was'} never observed and left out."
    head = ["Model", *COLUMNS.values(), "vs naive"]
    classes = ["own" if model == evidence.own else "" for model in order]
    return section(
        "Scores beside the baselines",
        f"All models on the same {len(evidence.used):,} windows. A model that cannot beat these is not worth its keep.",
        table(head, rows, classes=classes),
        f"<figcaption>{escape(notes)}</figcaption>",
    )


def errors(evidence: Evidence, figures: Figures) -> str:
    """Where the error sits: in which series, and how far ahead."""
    models = [evidence.own, *evidence.baselines]
    names = [escape(evidence.name(m)) for m in models]
    drawn, lines = min(len(evidence.lines), figure.LINES_IN_ERRORS), len(evidence.lines)
    ratios = np.array([ratio for _, ratio in evidence.ranked])
    better, known = int((ratios < 1).sum()), int(np.isfinite(ratios).sum())
    caption = "The large dot is Carrousel; the further left, the better."
    if evidence.best_naive:
        caption += f" It beats {evidence.inside(evidence.best_naive)} on {better:,} of {known:,} series."
    if drawn < lines:
        caption += f" {drawn} of {lines:,} are drawn, evenly spread from best to worst; the table has more."
    if evidence.metric == "mase":
        caption += " In MASE, because errors of series of different size cannot be laid side by side in their own unit."
    per_series = [
        [escape(line.name), *(digits(evidence.line_error(m, line)) for m in models)]
        for line, _ in evidence.ranked[:ROWS]
    ]
    by_step = {m: np.asarray(evidence.error(m, axis=(0, 2))) for m in models}
    own = by_step[evidence.own]
    ahead = "One step ahead is all that this model forecasts."
    if len(own) > 1:
        ahead = (
            f"Carrousel’s error is {digits(own[0])} at the first step and {digits(own[-1])} at step {len(own)}. Where "
            "a baseline’s line runs below the thick one, it is the better choice there."
        )
    steps = [[str(h + 1), *(digits(by_step[m][h]) for m in models)] for h in range(len(own))]
    return section(
        "Where the errors are",
        f"{evidence.metric_name} of every model, on the same {len(evidence.used):,} windows.",
        '<div class="pair">',
        chart("by-series", figure.errors_by_series(evidence), escape(caption), figures, "By series"),
        chart("by-step", figure.errors_by_step(evidence), escape(ahead), figures, "By step ahead"),
        "</div>",
        details("The numbers by series, best beside naive first", table(["Series", *names], per_series, tall=True)),
        details("The numbers by step ahead", table(["Step", *names], steps, tall=True)),
    )


def calibrated(evidence: Evidence, figures: Figures, seen: int) -> str:
    """Whether the bands hold what they promise."""
    windows = len(evidence.own_used)
    if not windows or np.isnan(evidence.y[evidence.own_used]).all():
        return ""
    spec, pairs = figure.reliability(evidence)
    words = [f"The {level:g}% band {_held(evidence.coverage(level), level)}." for level in reversed(evidence.levels)]
    words.append(f"Measured on {windows:,} windows{'' if seen else ', none of which the bands were calibrated on'}.")
    widest = evidence.levels[-1]
    by_step = 100 * np.asarray(evidence.coverage(widest, axis=(0, 2)))
    near = "Each line should stay near its dashed promise."
    if len(by_step) > 1:
        near += f" The {widest:g}% band held between {np.nanmin(by_step):.0f}% and {np.nanmax(by_step):.0f}%."
    diagonal = (
        "On the dashed line a quantile is what it says. A point below it: that quantile is forecast too low; above it: "
        "too high."
    )
    flat = (
        "Flat along the dashed line is ideal. High ends: bands too narrow. A hump: too wide. A slope: forecasts too "
        "low (rising) or too high (falling)."
    )
    rows = [[f"{100 * q:g}%", percent(share), signed(100 * (share - q), 1)] for q, share in pairs]
    return section(
        "Can the bands be trusted?",
        escape(" ".join(words)),
        '<div class="triple">',
        chart("reliability", spec, diagonal, figures, "Quantiles"),
        chart("coverage", figure.coverage_by_step(evidence), escape(near), figures, "Coverage by step ahead"),
        chart("pit", figure.pit(evidence), flat, figures, "Where the truths fell"),
        "</div>",
        details("The numbers", table(["Quantile", "Observed below", "Points off"], rows)),
    )


def _held(share: float, level: float) -> str:
    off = 100 * share - level
    held = f"held {percent(share)}"
    if abs(off) <= 2:
        return f"{held}: as promised"
    size = "slightly " if abs(off) <= 5 else ""
    return f"{held}: {size}too {'narrow' if off < 0 else 'wide'}"


ENDS = {
    "patience": "the validation loss had stopped falling",
    "max_steps": "the number of steps allowed was done",
    "max_epochs": "the number of epochs allowed was done",
    "minutes": "the time allowed was over",
}


def training(history: Any, figures: Figures, members: int) -> str:
    """Training curves, or that there are none."""
    if history is None or not history.rows:
        return section("Training", "This model was loaded from a file, which keeps no training curves.")
    last, specs = history.rows[-1], figure.training(history)
    why = ENDS.get(history.stopped, "it was interrupted")
    look = f"{last.step:,} steps, {last.epoch:.3g} epochs; it ended because {why}."
    if members > 1:
        look += f" The first of {members} networks is shown."
    caption = (
        "Both should fall and flatten. Validation rising while training falls is over-fitting, which is why the "
        "weights of the best validation are kept, not the last ones."
    )
    step = "Step size of the optimiser, on a schedule set beforehand."
    return section(
        "Training",
        escape(look),
        '<div class="pair">',
        chart("loss", specs["loss"], caption, figures, "Loss"),
        chart("rate", specs["rate"], step, figures, "Learning rate"),
        "</div>",
    )


def latency(latency_us: npt.NDArray[np.float64], figures: Figures) -> str:
    """Time of one streaming update."""
    if not len(latency_us):
        return ""
    median, p99 = np.percentile(latency_us, [50, 99])
    look = (
        f"A new row comes in, a new forecast with its bands goes out: {duration(median)} in the median, 99% within "
        f"{duration(p99)}, over {len(latency_us):,} rows one after another, without PyTorch."
    )
    caption = "A narrow hump is what a service wants; a second hump or a long tail means pauses."
    return section(
        "Answering one new row", escape(look), chart("latency", figure.latency(latency_us), caption, figures)
    )


def about(
    model: Mapping[str, str], settings: Mapping[str, str], data: Mapping[str, str], notes: list[str], method: list[str]
) -> str:
    """The model and the way to its numbers, beside the data."""
    mended = f"<h3>What was inferred and mended</h3>{bullets(notes)}" if notes else ""
    return "".join(
        [
            '<div class="pair"><div>',
            section("The model", "", facts(model), details("All settings", facts(settings))),
            section("How these numbers were made", "", bullets(method)),
            "</div>",
            section("The data", "", facts(data), mended),
            "</div>",
        ]
    )
