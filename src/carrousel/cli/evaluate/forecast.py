"""``carrousel evaluate``, of a forecaster."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.cli._option import Data, Run, model, table
from carrousel.cli._output import print_scores, remark, show_notes

EXAMPLES = ("carrousel evaluate runs/weather weather --windows 20 --report report.html",)


def command(
    run: Run,
    data: Data,
    windows: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Forecasts of each series. Default: as many as fit.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(metavar="S", min=1, help="Rows between two forecasts. Default: the horizon.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a self-contained HTML page of forecasts and errors.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Forecast the last part of a table again and again, and score it beside the naive baselines.

    Every forecast sees only the rows before it; the model itself is not trained again.
    """
    show_notes()
    forecaster = model(run)
    backtest = forecaster.backtest(table(data), windows=windows, step=step)
    scores = backtest.table()
    show_notes(backtest.notes)
    if as_json:
        print(json.dumps(_plain(scores), indent=2, allow_nan=False))
    else:
        print_scores(scores)
    if report is not None:
        from carrousel.report import write_report

        write_report(report, forecaster=forecaster, backtest=backtest, title=f"Forecasts of {data}", artifact=run)
        remark(f"wrote {report}")


def _plain(scores: Any) -> dict[str, Any]:
    """A score table as JSON: what could not be computed is null."""
    rows = {
        model: {name: None if math.isnan(score) else score for name, score in row.items()}
        for model, row in scores.rows.items()
    }
    return {"windows": scores.windows, "windows_given": scores.windows_given, "missing": scores.missing, "scores": rows}
