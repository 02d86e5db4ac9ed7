"""``carrousel data get``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carrousel.cli._option import table
from carrousel.cli._output import download, remark

EXAMPLES = ("carrousel data get weather -o weather.csv",)


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of data list.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Also write it as a .csv or .parquet table."),
    ] = None,
) -> None:
    """Fetch a public data set and print where its files lie."""
    from carrousel.data.public import find, paths
    from carrousel.data.table import write_table

    chosen = find(name)
    with download() as progress:
        files = paths(name, progress=progress)
    if output is None:
        print(*files, sep="\n")
    else:
        write_table(table(name), output)
        print(output)
    remark(f"{chosen.title}. Licence: {chosen.licence}. Source: {chosen.source}")
