"""The model card of a detector: what it is, what it promises, and the numbers that were measured on it."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

import numpy as np

from carrousel.tasks.detect_evaluate import Evaluation

if TYPE_CHECKING:
    from carrousel.tasks.detect import Detector


def row_latency_us(detector: Detector, repeats: int = 200) -> float:
    """Median time of one row of one stream on this machine, in microseconds, without reading it."""
    watch = detector.watch()
    values = np.random.default_rng(0).standard_normal((repeats, 1, len(detector.variables) + len(detector.covariates)))
    seconds: list[float] = []
    for row, value in enumerate(values):
        began = time.perf_counter()
        watch.step(value, np.array([60.0 * row]))
        seconds.append(time.perf_counter() - began)
    return 1e6 * float(np.median(seconds))


def detect_card(detector: Detector, evaluation: Evaluation | None = None) -> str:
    """README.md of the artifact, in Markdown.

    Parameters
    ----------
    detector : fitted, or one that needs no training
    evaluation : measured with it, on rows that it was not fitted on
    """
    names = ", ".join(detector.variables[:10]) + (" ..." if len(detector.variables) > 10 else "")
    told = ", ".join(f"{key}={value!r}" for key, value in vars(detector.settings).items() if value not in (None, ()))
    accepted = detector.settings.false_alarms or ("1/week" if detector.promise.per_second else "1/2000 rows")
    rule = f"; {accepted} false alarms are accepted"
    if detector.settings.beyond is not None:
        rule = f", {detector.settings.rule}"
    watch = detector.watch()
    state = sum(array.nbytes for array in watch.state.values())
    beside = f" It reads {', '.join(detector.covariates[:10])} beside them." if detector.covariates else ""
    lines = [
        "---", "library_name: carrousel", "pipeline_tag: time-series-forecasting", "tags: [anomaly-detection]", "---",
        "",
        "# Detector", "",
        f"Watches {names} row by row, and alarms once an incident{rule}.{beside}", "",
        "```python", "import carrousel", "",
        'stream = carrousel.load("path/to/this/folder").stream()', "event = stream.update(row)", "```", "",
        "## Measured", "",
        "| what | value |", "|---|---|",
        f"| parameters of the forecasting network | {detector.num_parameters:,} |",
        f"| one row of one stream, engine on {detector.engine.isa}, {platform.machine()} | "
        f"{row_latency_us(detector):.0f} µs |",
        f"| memory of a stream | {state / 1024:.1f} KiB |",
    ]  # fmt: skip
    if evaluation is not None:
        lines += ["", *_scores(evaluation)]
    lines += [
        "", "## How it was made", "",
        f"Members: {', '.join(watch.members)}. Settings: {told}.", "",
        *[f"- {note}" for note in detector.notes], "",
    ]  # fmt: skip
    return "\n".join(lines)


def _scores(evaluation: Evaluation) -> list[str]:
    accepted = f"{evaluation.promised:.3g} false alarms {evaluation.per}"
    promised = f"naive detectors set to {accepted}" if evaluation.rule else f"{accepted} promised"
    lines = [
        f"On {evaluation.watched:,} unlabelled rows, {promised}; events, never point-adjusted:", "",
        f"| detector | found | false {evaluation.per} | F1 | VUS-PR | NAB |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    return [
        *lines,
        *(
            f"| {name} | {score.found} of {score.labels} | {score.rate:.3g} | {score.f1:.3g} | {score.vus_pr:.3g} | "
            f"{score.nab:.3g} |"
            for name, score in evaluation.scores.items()
        ),
    ]
