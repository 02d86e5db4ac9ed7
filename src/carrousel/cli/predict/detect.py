"""``carrousel predict``, of a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carrousel.cli._option import Data, Run, model, table
from carrousel.cli._output import print_frame, remark, show_notes

EXAMPLES = (
    "carrousel predict runs/watch weather --incidents",
    "carrousel predict runs/watch weather -o events.parquet",
)


def command(
    run: Run,
    data: Data,
    incidents: Annotated[
        bool, typer.Option("--incidents", help="One row an incident, with its causes, instead of one a row.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A .csv or .parquet file. Default: print the events."),
    ] = None,
) -> None:
    """Judge every row of a table as if it had come live: score, p-value, alarm, incident, band, trend.

    A series that the detector was fitted on goes on after that table, if all its rows here are later; any other starts
    cold. Without -o the events go to stdout: a table on a terminal, CSV into a pipe.
    """
    from carrousel.data.table import write_table
    from carrousel.tasks.detect_table import incident_frame

    show_notes()
    detector, frame = model(run), table(data)
    judged = detector.judge(frame)
    events = incident_frame(judged.incidents, frame, judged) if incidents else judged.frame(frame)
    if output is None:
        print_frame(events)
    else:
        write_table(events, output)
        remark(f"wrote {output}")
    count = len(judged.incidents)
    remark(f"{count} incident{'s' * (count != 1)} in {len(judged.ds):,} rows")
