"""Rows from stdin, answered one by one on stdout."""

from __future__ import annotations

import csv
import json
import os
import select
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, BinaryIO

import typer

from carrousel.errors import CarrouselError, DataError

SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Report a row that cannot be used and go on, instead of stopping.")
]

PAUSE_S = 1.0  # without a row, after which somebody may want to say so


def answer_lines(
    answer: Callable[[dict[str, Any]], Iterable[str]],
    *,
    skip_bad: bool,
    whole: Callable[[], AbstractContextManager[None]] = nullcontext,
    given: Callable[[], None] = lambda: None,
    idle: Callable[[], Iterable[str]] | None = None,
) -> None:
    """Answer every row of stdin before the next one is read; a row that cannot be used is named on stderr.

    Parameters
    ----------
    answer : from a row to the lines to print
    skip_bad : go on after a row that cannot be used, instead of ending with exit code 2
    whole : within it a row is judged and its answer printed
    given : called behind each row whose answer was printed, or that has none
    idle : to the lines to print when no row has come for a second, asked every second; None: nothing to say then

    Raises
    ------
    OSError : an answer could not be printed
    """
    reader, number = Reader(), 0
    for line in sys.stdin.buffer if idle is None else _lines_or_pauses(sys.stdin.buffer):
        if line is None:
            with whole():
                if answers := list(idle() if idle else ()):
                    print(*answers, sep="\n", flush=True)
            continue
        number += 1
        with whole():
            try:
                row = reader.read(line)
                answers = [] if row is None else list(answer(row))
            except CarrouselError as error:
                print(f"error: line {number}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
                if not skip_bad:
                    raise typer.Exit(2) from None
                continue
            if answers:
                print(*answers, sep="\n", flush=True)
            if row is not None:
                given()


def _lines_or_pauses(source: BinaryIO) -> Generator[bytes | None]:
    """The lines of a pipe, and None after each second in which none came; those of what is no file without that."""
    try:
        pipe = source.fileno()
    except OSError:
        yield from source
        return
    rest = b""
    while True:
        if not select.select([pipe], [], [], PAUSE_S)[0]:
            yield None
            continue
        if not (chunk := os.read(pipe, 65_536)):
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


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
