"""``carrousel predict``, of a forecaster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carrousel.cli._option import Run, model, table
from carrousel.cli._output import print_frame, remark, show_notes

EXAMPLES = ("carrousel predict runs/weather -o forecast.csv",)


def command(
    run: Run,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="History to forecast from. Default: the data that the model was trained on."
        ),
    ] = None,
    future: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Covariates known ahead: the rows after the history, without the target."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A .csv or .parquet file. Default: print the forecast."),
    ] = None,
) -> None:
    """Forecast what comes after the last row of every series, with intervals.

    Without -o the forecast goes to stdout: a table on a terminal, CSV into a pipe.
    """
    from carrousel.data.table import read_table, write_table

    show_notes()
    forecaster = model(run)
    history = None if data is None else table(data)
    forecast = forecaster.predict(history, future=None if future is None else read_table(future))
    if output is None:
        print_frame(forecast)
    else:
        write_table(forecast, output)
        remark(f"wrote {output}")
