"""``carrousel evaluate``, of a classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from carrousel.cli._option import Run, model
from carrousel.cli._output import print_rows, remark, show_notes
from carrousel.cli.train.classify import Labelled

EXAMPLES = ("carrousel evaluate runs/mail mail.csv --report mail.html",)


def command(
    run: Run,
    data: Labelled,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a self-contained HTML page of classes and errors.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score a classifier on sequences whose classes are known, beside baselines that learnt from the same examples.

    Baselines are naive Bayes over words and pairs of words, or the nearest neighbour, and the shares of the classes.
    """
    show_notes()
    classifier = model(run)
    evaluation = classifier.evaluate(data)
    if as_json:
        print(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        print_rows(
            ("model", "accuracy", "macro-F1", "log loss", "Brier", "calibration error"),
            [(name, *(f"{value:.4f}" for value in vars(score).values())) for name, score in evaluation.scores.items()],
        )
        print(
            f"{len(evaluation.truth):,} examples of {len(evaluation.classes)} classes; calibration error without the "
            f"temperature {evaluation.uncalibrated:.4f}"
        )
    if report is not None:
        from carrousel.report.classify import write_classify_report

        write_classify_report(
            report, classifier=classifier, evaluation=evaluation, title=f"Classes of {data}", artifact=run
        )
        remark(f"wrote {report}")
