"""The detector's demo: three series of the Numenta benchmark, fitted on their first rows, streamed over the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.labelled import LabelledSeries, nab
from carrousel.errors import require
from carrousel.metrics.window import flags
from carrousel.report.detect import write_detect_report
from carrousel.report.evidence import digits, duration
from carrousel.tasks.detect import Detector
from carrousel.tasks.detect_card import detect_card
from carrousel.tasks.detect_evaluate import OWN, Evaluation

SERIES = {
    "machine_temperature_system_failure": "Temperature of a machine that fails, in °F",
    "ambient_temperature_system_failure": "Temperature of an office, in °F",
    "nyc_taxi": "Taxi passengers of New York City, every half hour",
}
FALSE_ALARMS = "1/week"
MINUTES = 0.2  # of training, a series
SHARE, MOST = 0.15, 2000  # of its rows that a detector is fitted on, without their labels


def run_detect_demo(
    folder: str | Path,
    *,
    minutes: float | None = None,
    seed: int = 0,
    series: Sequence[str] = tuple(SERIES),
    progress: Callable[[Any], None] | None = None,
    echo: Callable[[str], None] = print,
) -> list[Path]:
    """Fit a detector to the first 15 % of each series, stream the rest into it, and report how well that went.

    Parameters
    ----------
    folder : gets a page and a model of each series; what an earlier demo left there is replaced
    minutes : budget of the training of each; None for 0.2, 0 for none, which needs no PyTorch
    seed : the same seed gives the same detectors, where the budget does not end the training
    series : of the set ``nab``
    progress : as in ``Detector.fit``
    echo : called with what there is to say, a line or a few at a time

    Returns
    -------
    the paths of the reports

    Raises
    ------
    MissingExtraError : minutes is above 0 and the packages of the extra ``train`` are not installed
    """
    budget = MINUTES if minutes is None else minutes
    if budget:
        require("torch", extra="all", purpose="the demo (minutes=0 needs none)")
    began = time.perf_counter()
    folder = Path(folder)
    known = {labelled.name: labelled for labelled in nab()}
    pages: list[Path] = []
    rows: list[str] = []  # of each series the first to watch, as a stream takes it
    for name in series:
        title = SERIES.get(name, name)
        before, after = _parts(known[name])
        echo(f"{title}: {len(before['y']):,} rows to fit to, {len(after['y']):,} to watch ...")
        detector = Detector(target="y", time="ds", false_alarms=FALSE_ALARMS, minutes=budget, seed=seed)
        detector.fit({k: before[k] for k in ("ds", "y")}, progress=progress)
        begun, latency_us = _stream(detector, after)
        evaluation = detector.evaluate(after, "label", train=before)
        model = detector.save(folder / name, overwrite=True, card=detect_card(detector, evaluation))
        page = write_detect_report(
            folder / f"{name}.html",
            detector=detector,
            evaluation=evaluation,
            title=title,
            artifact=model,
            facts={
                "Source": "Numenta Anomaly Benchmark, https://github.com/numenta/NAB, MIT",
                "Fitted on": f"the first {len(before['y']):,} rows, whose labels it was not told",
                "Answer to one new row": f"{duration(float(np.median(latency_us)))} in the median",
            },
        )
        pages.append(page)
        rows.append(json.dumps({"ds": str(after["ds"][0]), "y": float(after["y"][0])}))
        echo(_summary(evaluation, begun, latency_us))
    echo(f"The whole demo: {time.perf_counter() - began:.0f} s.\n\nNext:")
    echo(f"  echo '{rows[0]}' | carrousel stream {folder / series[0]}\n")
    echo("\n".join(f"Report  {page}" for page in pages))
    return pages


def _parts(series: LabelledSeries) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """The rows to fit to and those to watch, in time order, of each stamp the first: a clock set back repeats some."""
    label = flags(series.windows, len(series.values)).astype(np.int64)
    _, rows = np.unique(series.stamps, return_index=True)
    table = {"ds": series.stamps[rows], "y": series.values[rows, 0], "label": label[rows]}
    border = min(int(SHARE * len(rows)), MOST)
    before, after = ({k: column[part] for k, column in table.items()} for part in (slice(border), slice(border, None)))
    return before, after


def _stream(detector: Detector, rows: dict[str, npt.NDArray[Any]]) -> tuple[int, npt.NDArray[np.float64]]:
    """How many incidents begin when the rows come one by one, and how long each answer takes, in microseconds."""
    stream = detector.stream()
    times: list[int] = []
    begun = 0
    for ds, y in zip(rows["ds"], rows["y"].tolist(), strict=True):
        before = time.perf_counter_ns()
        event = stream.update({"ds": ds, "y": y})
        times.append(time.perf_counter_ns() - before)
        begun += event.alarm
    return begun, np.array(times) / 1e3


def _summary(evaluation: Evaluation, begun: int, latency_us: npt.NDArray[np.float64]) -> str:
    """A few lines, Carrousel first."""
    unit = evaluation.unit
    lines = [f"  {'':18}{'found':>8}{'false':>8}{f'a {unit}':>10}{'F1':>8}{'VUS-PR':>8}{'NAB':>8}"]
    for name, score in evaluation.scores.items():
        numbers = (digits(score.rate), digits(score.f1), digits(score.vus_pr), digits(score.nab))
        cells = (f"{score.found}/{score.labels}", str(score.false_alarms), *numbers)
        widths = (8, 8, 10, 8, 8, 8)
        lines.append(f"  {name:18}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    own = evaluation.scores[OWN]
    lines.append(
        f"  Promised {digits(evaluation.promised)} false alarms a {unit}, met {digits(own.rate)} "
        f"({digits(own.rate_low)} to {digits(own.rate_high)}). {begun} incidents, row by row as in the table; "
        f"{duration(float(np.median(latency_us)))} a row.\n"
    )
    return "\n".join(lines)
