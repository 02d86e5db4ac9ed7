"""What several commands read from their options: tables, models, and lists in one word."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.errors import ArtifactError, DataError, SettingError

Frame = Any

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A .csv, .tsv or .parquet file, or the name of a public set (data list)."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained model.")]


def words(values: Iterable[str] | None, option: str) -> tuple[str, ...]:
    """Column names given one by one or with commas between them; double quotes keep a comma inside a name."""
    found: list[str] = []
    for value in values or ():
        found += next(csv.reader([value], skipinitialspace=True)) or [""]
    if "" in (stripped := [word.strip() for word in found]):
        raise SettingError(f"{option}: expected column names with commas between them, got {list(values or ())}")
    return tuple(stripped)


def numbers(value: str, option: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError:
        raise SettingError(f"{option}: expected numbers with commas between them, got {value!r}") from None


def model(run: Path) -> Any:
    """The trained model of a folder.

    Raises
    ------
    ArtifactError : there is none, or it is damaged
    """
    import carrousel

    _check_folder(run)
    return carrousel.load(run)


def task(run: Path) -> str:
    """The task of the trained model of a folder.

    Raises
    ------
    ArtifactError : there is none, or it is damaged
    """
    from carrousel.artifact import task_of

    _check_folder(run)
    return task_of(run)


def _check_folder(run: Path) -> None:
    if not run.is_dir():
        raise ArtifactError(f"RUN: expected the folder of a trained model, got {str(run)!r}, which is no folder")


def is_public(data: str) -> bool:
    """Whether DATA names a public set; a file of that name goes first."""
    from carrousel.data.public import SETS

    return data in SETS and not Path(data).exists()


def table(data: str) -> Frame:
    """The whole table of a file or of a public set, its parts one below the other.

    Raises
    ------
    DataError : neither the one nor the other
    """
    import narwhals as nw

    from carrousel.data.public import SETS
    from carrousel.data.table import read_table

    if is_public(data):
        first, *others = public_set(data)
        return nw.concat([nw.from_native(part) for part in (first, *others)]).to_native() if others else first
    if not Path(data).exists():
        raise DataError(f"DATA: expected a file or one of the public sets {', '.join(SETS)}, got {data!r}")
    return read_table(data)


def public_set(name: str) -> tuple[Frame, ...]:
    """The tables of a public set: one, or its training and its test part."""
    from carrousel.cli._output import download
    from carrousel.data.public import get

    with download() as progress:
        found = get(name, progress=progress)
    return found if isinstance(found, tuple) else (found,)
