"""Where a table is known to be anomalous: spans of time, or a column of 0 and 1, as rows of every series."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.data.column import encode, numbers, say, stamps
from carrousel.data.frame import Column, Frame, Table
from carrousel.errors import ColumnError, TimeError
from carrousel.metrics.window import Ints, flags, windows
from carrousel.tasks.detect_table import Judged

NAMES = ("label", "anomaly", "is_anomaly", "labels", "anomalous")


def read_labels(judged: Judged, frame: Frame, labels: Frame | str, *, notes: list[str] | None = None) -> list[Ints]:
    """The labelled rows of every series, start:stop counted from its first row, int64 (W, 2) each.

    Parameters
    ----------
    judged : the series
    frame : the table that they came from
    labels : a table with ``start`` and ``end`` (both inclusive) and, of several series, their id column; or one with
        the time column, the id column and a column of 0 and 1; or the name of such a column of `frame`
    notes : takes a sentence on labels that no row has

    Raises
    ------
    ColumnError : a column that is missing or holds something else
    TimeError : stamps that cannot be read, or a span that ends before it starts
    """
    if isinstance(labels, str):
        table = Table(frame)
        table.require(labels, "label")
        return _runs(judged, _flags(table.column(labels))[judged.source])
    table = Table(labels, where="labels")
    if "start" in table.names and "end" in table.names:
        return _spans(judged, table, notes)
    return _rows(judged, table, notes)


def _flags(column: Column) -> npt.NDArray[np.bool_]:
    values = numbers(column)
    strange = ~np.isnan(values) & (values != 0) & (values != 1)
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        raise ColumnError(f"label column {column.name!r}: expected 0 or 1, got {values[row]:g} in row {row + 1}")
    return values == 1


def _runs(judged: Judged, flagged: npt.NDArray[np.bool_]) -> list[Ints]:
    return [windows(flagged[judged.rows(s)]) for s in range(len(judged.ids))]


def _spans(judged: Judged, table: Table, notes: list[str] | None) -> list[Ints]:
    start, end = (_stamps(judged, table.column(name)) for name in ("start", "end"))
    if np.any(end < start):
        row = int(np.flatnonzero(end < start)[0])
        raise TimeError(f"labels: expected spans that end after their start, got {start[row]} to {end[row]}")
    which = _series(judged, table)
    flagged = [np.zeros(int(n), bool) for n in np.diff(judged.starts)]
    empty = 0
    for first, last, series in zip(start, end, which, strict=True):
        for s in range(len(judged.ids)) if series is None else (series,):
            ds = judged.ds[judged.rows(s)]
            inside = (first <= ds) & (ds <= last)
            empty += not inside.any()
            flagged[s] |= inside
    if empty:
        say(notes, f"labels: {empty} spans hold no row of their series and were left out")
    return [windows(part) for part in flagged]


def _rows(judged: Judged, table: Table, notes: list[str] | None) -> list[Ints]:
    time, id = judged.columns.time or "ds", judged.columns.id
    table.require(time, "time")
    rest = [name for name in table.names if name not in (time, id)]
    named = [name for name in rest if name.lower() in NAMES] or rest
    if len(named) != 1:
        raise ColumnError(
            "labels: expected columns 'start' and 'end', or the time column and one of 0 and 1 called 'label', got "
            f"{', '.join(table.names)}; {nearest('label', table.names)}"
        )
    ds, flagged, which = _stamps(judged, table.column(time)), _flags(table.column(named[0])), _series(judged, table)
    marked = np.zeros(len(judged.ds), bool)
    unknown = 0
    for stamp, series in zip(ds[flagged], np.array(which, object)[flagged], strict=True):
        for s in range(len(judged.ids)) if series is None else (int(series),):
            rows = judged.rows(s)
            at = np.flatnonzero(judged.ds[rows] == stamp)
            unknown += not len(at)
            marked[rows.start + at] = True
    if unknown:
        say(notes, f"labels: {unknown} marked rows are no row of their series and were left out")
    return _runs(judged, marked)


def _series(judged: Judged, table: Table) -> list[int | None]:
    """The series of every label; None for one that holds for all of them."""
    name = judged.columns.id
    if name is None or name not in table.names:
        return [None] * table.rows
    codes, ids = encode(table.column(name), missing=frozenset(("",)))
    place = {known: s for s, known in enumerate(judged.ids)}
    return [None if code < 0 else place.get(ids[code], -1) for code in codes.tolist()]


def _stamps(judged: Judged, column: Column) -> npt.NDArray[Any]:
    found = stamps(column)
    if (found.dtype.kind == "M") != (judged.ds.dtype.kind == "M"):
        raise TimeError(f"labels, column {column.name!r}: expected stamps as in the table, got {found[:1]}")
    return found


def merged(spans: Ints, apart: int, rows: int) -> Ints:
    """Windows with those joined that fewer than so many rows part."""
    if len(spans) < 2:
        return spans
    keep = spans[1:, 0] - spans[:-1, 1] >= apart
    starts = spans[np.concatenate([[True], keep]), 0]
    stops = spans[np.concatenate([keep, [True]]), 1]
    return windows(flags(np.column_stack([starts, stops]), rows))
