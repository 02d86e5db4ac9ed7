"""``carrousel evaluate``, of a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrousel.cli._option import Data, Run, model, table
from carrousel.cli._output import print_rows, remark, show_notes
from carrousel.errors import DataError

if TYPE_CHECKING:
    from carrousel.tasks.detect_evaluate import DetectScore, Evaluation

EXAMPLES = (
    "printf 'start,end\\n2013-04-08,2013-04-10\\n' > labels.csv   # the first warm days\n"
    "carrousel evaluate runs/watch weather --labels labels.csv --report watch.html",
)


def command(
    run: Run,
    data: Data,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="L",
            help="A table of start and end, or of times, with 0 or 1 or without; or a column of DATA. Default: none, "
            "so that every incident counts as false.",
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="The rows before, for the naive detectors' thresholds. Default: the first of DATA."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a self-contained HTML page of incidents and causes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers and incidents as JSON.")] = False,
) -> None:
    """Judge a table whose anomalies are known, and count events: found, missed, false; beside naive detectors.

    An incident that touches a label finds it, one that touches none is false, however many rows each has. The naive
    detectors are streamed by the same rules and set to the same promise on the same earlier rows.
    """
    show_notes()
    detector, frame = model(run), table(data)
    known = None if labels is None else _labels(labels, frame)
    evaluation = detector.evaluate(frame, known, train=None if train is None else table(train))
    show_notes(evaluation.notes)
    if as_json:
        print(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        print_evaluation(evaluation)
    if report is not None:
        from carrousel.report.detect import write_detect_report

        write_detect_report(
            report, detector=detector, evaluation=evaluation, title=f"Anomalies in {data}", artifact=run
        )
        remark(f"wrote {report}")


def print_evaluation(evaluation: Evaluation) -> None:
    """What every detector did, a line each."""
    from carrousel.report.evidence import digits, percent

    def row(name: str, score: DetectScore) -> list[str]:
        return [
            name,
            f"{score.found} of {score.labels}",
            percent(score.precision),
            percent(score.recall),
            digits(score.f1),
            digits(score.delay_rows),
            f"{digits(score.rate)} ({digits(score.rate_low)}–{digits(score.rate_high)})",
            digits(score.vus_pr),
            digits(score.nab),
        ]

    head = (
        "detector",
        "found",
        "precision",
        "recall",
        "F1",
        "delay, rows",
        f"false/{evaluation.unit}",
        "VUS-PR",
        "NAB",
    )
    print_rows(head, [row(name, score) for name, score in evaluation.scores.items()])
    accepted = f"{digits(evaluation.promised)} {evaluation.per}"
    if evaluation.rule:
        print(f"Carrousel alarms {evaluation.rule}; no rate of false alarms is promised")
        print(f"naive detectors: {accepted} accepted; {evaluation.watched:,} unlabelled rows were watched")
        return
    print(f"false alarms: {accepted} promised; {evaluation.watched:,} unlabelled rows were watched")


def _labels(labels: str, frame: Any) -> Any:
    """The table of a file, or the name of a column."""
    from carrousel.cli._output import frame_columns

    if Path(labels).exists():
        return table(labels)
    names = list(frame_columns(frame))
    if labels not in names:
        raise DataError(f"--labels: expected a file or a column of DATA ({', '.join(names)}), got {labels!r}")
    return labels
