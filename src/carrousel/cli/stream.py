"""``carrousel stream``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from carrousel.cli._option import Run, model
from carrousel.errors import CarrouselError, DataError

EXAMPLES = (
    """echo '{"origin": "JFK", "time_hour": "2014-01-01 00:00", "temp": 30}' |\ncarrousel stream runs/weather""",
)


def command(
    run: Run,
    id: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which series the rows belong to, where they do not say it.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Report a row that cannot be used and go on, instead of stopping.")
    ] = False,
) -> None:
    """Read rows from stdin and answer each at once with one line of JSON: the forecast after that row.

    Rows are JSON objects, one a line, or CSV below a header; several series may be mixed. A JSON row may carry
    "future": a list of rows ahead, with their time stamps and the covariates that are known. A row that cannot be used
    is named on stderr with its line number. A new series is answered without a forecast ("ds" is empty) until it has
    rows enough.
    """
    forecaster = model(run)
    streams: dict[str, Any] = {}
    reader = Reader()
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            row = reader.read(line)
            if row is None:
                continue
            ahead = _pop_future(row)
            answers: list[str] = []
            for name in (id,) if id is not None else _ids(forecaster.schema, row):
                if name not in streams:
                    streams[name] = forecaster.stream(name)
                answers.append(_answer(streams[name], row, ahead))
        except CarrouselError as error:
            print(f"error: line {number}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
            if not skip_bad:
                raise typer.Exit(2) from None
            continue
        print(*answers, sep="\n", flush=True)


def _answer(stream: Any, row: Mapping[str, Any], ahead: Sequence[Mapping[str, Any]]) -> str:
    forecast = stream.update(row, future=ahead)
    if forecast is None:
        return json.dumps({"unique_id": stream.unique_id, "cutoff": str(stream.cutoff), "ds": []})
    return json.dumps(forecast.to_dict(), allow_nan=False)


def _pop_future(row: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The rows ahead that a row carries; a single value is a column of that name."""
    if not isinstance(row.get("future"), list):
        return ()
    ahead = row.pop("future")
    if wrong := [later for later in ahead if not isinstance(later, Mapping)]:
        raise DataError(f"future: expected JSON objects, one a row ahead, got {str(wrong[0])[:40]!r}")
    return ahead


def _ids(schema: Any, row: Mapping[str, Any]) -> Sequence[str]:
    """The series that a row belongs to; a row of a wide table has a value for each of them."""
    if schema.layout == "wide" and not schema.joint and len(schema.target) > 1:
        return schema.target
    return (schema.read_row(row).id,)


class Reader:
    """Rows out of lines: JSON objects or CSV, whichever the first line is."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._header: list[str] = []
        self._delimiter = ","

    def read(self, line: bytes) -> dict[str, Any] | None:
        """The row of one line; None where it has none: blank, or the header.

        Raises
        ------
        DataError : not UTF-8, not a JSON object, or not as many cells as the header names
        """
        try:
            text = line.decode("utf-8-sig").strip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"expected UTF-8 text, got the byte 0x{line[error.start]:02x}") from None
        if not text.strip():
            return None
        if self._kind is None:
            self._kind = "json" if text.lstrip().startswith("{") else "csv"
            if self._kind == "csv":
                self._delimiter = max(",;\t", key=text.count)
                self._header = [cell.strip() for cell in self._cells(text)]
                return None
        return _object(text) if self._kind == "json" else self._record(text)

    def _record(self, text: str) -> dict[str, Any]:
        cells = self._cells(text)
        if len(cells) != len(self._header):
            raise DataError(f"expected {len(self._header)} cells as in the header, got {len(cells)}")
        return {name: cell if cell.strip() else None for name, cell in zip(self._header, cells, strict=True)}

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise DataError(f"expected cells separated by {self._delimiter!r}, got {text[:40]!r}: {error}") from None


def _object(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected a JSON object, got {text[:40]!r}: {error}") from None
    if not isinstance(row, Mapping):
        raise DataError(f"expected a JSON object, got {text[:40]!r}")
    return dict(row)
