"""Where a table is known to be anomalous: spans of time, or a column of 0 and 1, as rows of every series."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.column import encode, numbers, say, stamps
from carrousel.data.frame import Column, Frame, Table
from carrousel.errors import ColumnError, TimeError
from carrousel.metrics.window import Ints, flags, windows
from carrousel.tasks.detect_table import Judged

NAMES = ("label", "anomaly", "is_anomaly", "labels", "anomalous")


FORMS = (
    "columns 'start' and 'end'; or the time column and one of 0 and 1 called 'label'; or the time column alone, whose "
    "stamps are then labelled; of several series with their id column"
)


def read_labels(
    judged: Judged, frame: Frame, labels: Frame | str | None, *, notes: list[str] | None = None
) -> list[Ints]:
    """The labelled rows of every series, start:stop counted from its first row, int64 (W, 2) each.

    Parameters
    ----------
    judged : the series
    frame : the table that they came from
    labels : a table with ``start`` and ``end`` (both inclusive) and, of several series, their id column; or one with
        the time column, the id column and a column of 0 and 1; or with the time column of what is labelled, and nothing
        but the id column; or the name of a column of `frame` of 0 and 1; or None, where nothing is labelled
    notes : takes a sentence on labels that no row has

    Raises
    ------
    ColumnError : a column that is missing or holds something else
    TimeError : stamps that cannot be read, or a span that ends before it starts
    """
    if labels is None:
        return _runs(judged, np.zeros(len(judged.ds), bool))
    if isinstance(labels, str):
        table = Table(frame)
        table.require(labels, "label")
        return _runs(judged, _flags(table.column(labels))[judged.source])
    table = Table(labels, where="labels")
    usual = {name.lower(): name for name in reversed(table.names)}
    if "start" in usual and "end" in usual:
        return _spans(judged, table, (usual["start"], usual["end"]), notes)
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


def _spans(judged: Judged, table: Table, names: tuple[str, str], notes: list[str] | None) -> list[Ints]:
    start, end = (_stamps(judged, table.column(name)) for name in names)
    if np.any(end < start):
        row = int(np.flatnonzero(end < start)[0])
        raise TimeError(f"labels: expected spans that end after their start, got {start[row]} to {end[row]}")
    flagged = np.zeros(len(judged.ds), bool)
    empty = 0
    for first, last, series in zip(start, end, _series(judged, table), strict=True):
        hit = False
        for s in series:
            rows = judged.rows(s)
            inside = (first <= judged.ds[rows]) & (judged.ds[rows] <= last)
            hit |= bool(inside.any())
            flagged[rows] |= inside
        empty += not hit
    _say_lost(empty, len(start), "span", notes)
    return _runs(judged, flagged)


def _rows(judged: Judged, table: Table, notes: list[str] | None) -> list[Ints]:
    time, id = judged.columns.time or "ds", judged.columns.id
    rest = [name for name in table.names if name not in (time, id)]
    named = [name for name in rest if name.lower() in NAMES] or rest
    if time not in table.names or len(named) > 1:
        raise ColumnError(
            f"labels: expected {FORMS}; the time column is {time!r}, got the columns {', '.join(table.names)}"
        )
    chosen = _flags(table.column(named[0])) if named else np.ones(table.rows, bool)
    ds, which = _stamps(judged, table.column(time)), _series(judged, table)
    marked = np.zeros(len(judged.ds), bool)
    unknown = 0
    for row in np.flatnonzero(chosen).tolist():
        hit = False
        for s in which[row]:
            rows = judged.rows(s)
            at = np.flatnonzero(judged.ds[rows] == ds[row])
            hit |= len(at) > 0
            marked[rows.start + at] = True
        unknown += not hit
    _say_lost(unknown, int(chosen.sum()), "marked row", notes)
    return _runs(judged, marked)


def _say_lost(lost: int, count: int, what: str, notes: list[str] | None) -> None:
    if lost:
        say(notes, f"labels: {lost} of {count} {what}{'s' * (count > 1)} left out, which no row of their series meets")


def _series(judged: Judged, table: Table) -> list[tuple[int, ...]]:
    """The series that every label holds for: all of them where it names none, none where it names an unknown one."""
    name, every = judged.columns.id, tuple(range(len(judged.ids)))
    if name is None or name not in table.names:
        return [every] * table.rows
    codes, ids = encode(table.column(name), missing=frozenset(("",)))
    place = {known: (s,) for s, known in enumerate(judged.ids)}
    return [every if code < 0 else place.get(ids[code], ()) for code in codes.tolist()]


def _stamps(judged: Judged, column: Column) -> npt.NDArray[Any]:
    if not len(column.values):
        return judged.ds[:0]
    found = stamps(column, exact=True)
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
