"""``carrousel predict``, of a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carrousel.cli._option import Run, model
from carrousel.cli._output import print_frame, remark, show_notes

EXAMPLES = ("carrousel predict runs/mail mail.csv -o classes.csv",)

Unlabelled = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A table, .ts file or folder as in training; it needs no classes. Or a text."),
]


def command(
    run: Run,
    data: Unlabelled,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A .csv or .parquet file. Default: print the classes."),
    ] = None,
) -> None:
    """Say what sequences are, with the probability of every class.

    Without -o the answers go to stdout: a table on a terminal, CSV into a pipe.
    """
    from carrousel.data.table import write_table

    show_notes()
    frame = model(run).predict(data).frame()
    if output is None:
        print_frame(frame)
    else:
        write_table(frame, output)
        remark(f"wrote {output}")
