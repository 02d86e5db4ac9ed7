"""A table of rows as a stream takes them: sorted into streams, every value a number, every stamp a tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.data.column import LARGEST, encode, numbers, say, stamps
from carrousel.data.frame import Column, Frame, Table
from carrousel.data.role import TIME_NAMES, require_category
from carrousel.errors import ColumnError, DataError, TimeError
from carrousel.stream.record import Columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """R rows of S streams, in the order of the table.

    Parameters
    ----------
    ids : names of the streams, (S,)
    codes : int64 (R,), the stream of each row
    ticks : int64 (R,), stamps as the columns count them
    values : float64 (R, K + P), variables and the covariates behind them, NaN where nothing was observed
    source : int64 (R,), the row of the table, from which a wide one makes several
    """

    ids: tuple[str, ...]
    codes: Ints
    ticks: Ints
    values: Floats
    source: Ints


def read_rows(columns: Columns, frame: Frame, *, notes: list[str] | None = None) -> Rows:
    """Read a table as tolerantly as single rows are read.

    Parameters
    ----------
    columns : of the detector; of one without schema, they learn the time column and what its stamps are
    frame : pandas, polars or pyarrow frame, or dict of columns; rows in any order
    notes : takes a sentence on each thing mended

    Raises
    ------
    ColumnError : a column that is missing, holds no numbers, or an unknown category
    TimeError : a stamp that is missing or cannot be read
    HistoryError : no rows
    """
    table = Table(frame)
    table.require_rows()
    ticks = _ticks(columns, table, notes)
    every = np.arange(table.rows)
    if columns.ids:
        values = [_values(columns, table, name, notes) for name in columns.ids]
        count = len(columns.ids)
        return Rows(
            ids=columns.ids,
            codes=np.repeat(np.arange(count), table.rows),
            ticks=np.tile(ticks, count),
            values=np.concatenate(values),
            source=np.tile(every, count),
        )
    codes, ids = _series(columns, table)
    if columns.clock == "rows":
        ticks = _numbered(codes)
    return Rows(ids=ids, codes=codes, ticks=ticks, values=_values(columns, table, ids[0], notes), source=every)


def _numbered(codes: Ints) -> Ints:
    """The number of each row within its stream, from 0 on."""
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], codes[order])
    ticks = np.empty(len(codes), np.int64)
    ticks[order] = np.arange(len(codes)) - first
    return ticks


def _series(columns: Columns, table: Table) -> tuple[Ints, tuple[str, ...]]:
    if columns.id is None or (columns.schema is None and columns.id not in table.names):
        return np.zeros(table.rows, np.int64), (columns.default_id(),)
    table.require(columns.id, "id")
    codes, ids = encode(table.column(columns.id), missing=frozenset(("",)))
    if np.any(codes < 0):
        row = int(np.flatnonzero(codes < 0)[0])
        raise ColumnError(f"id column {columns.id!r}: expected the name of a stream, got none in row {row + 1}")
    return codes, ids


def _ticks(columns: Columns, table: Table, notes: list[str] | None) -> Ints:
    if columns.time is None and columns.clock is None:
        usual = {name.lower(): name for name in reversed(table.names)}
        columns.time = next((usual[name] for name in TIME_NAMES if name in usual), None)
        columns.clock = "rows" if columns.time is None else None
    if columns.clock == "rows":
        return np.arange(table.rows)
    name = str(columns.time)
    table.require(name, "time")
    column = table.column(name)
    ds = stamps(column, notes, exact=True)
    clock = "time" if ds.dtype.kind == "M" else "integer"
    if columns.clock is None:
        columns.clock = clock
    if clock != columns.clock:
        expected, got = ("dates", "whole numbers") if columns.clock == "time" else ("whole numbers", "dates")
        raise TimeError(f"time column {name!r}: expected {expected} as before, got {got}")
    return ds.astype("datetime64[us]").astype(np.int64) if clock == "time" else ds.astype(np.int64)


def _values(columns: Columns, table: Table, id: str, notes: list[str] | None) -> Floats:
    """The variables and covariates of one stream, float64 (R, K + P)."""
    found: list[Floats] = []
    gone: dict[str, int] = {}
    for place, (name, label) in enumerate(columns.sources(id)):
        table.require(name, "variable" if place < len(columns.variables) else "past")
        column = table.column(name)
        if label is None:
            found.append(numbers(_small(column, notes), notes))
            if place >= len(columns.variables):
                gone[name] = int(np.isnan(found[-1]).sum())
            continue
        codes, labels = encode(column)
        assert columns.schema is not None
        for code, known in enumerate(labels):
            if known not in columns.schema.categories[name]:
                row = int(np.flatnonzero(codes == code)[0]) + 1
                require_category(name, known, columns.schema.categories[name], row)
        gone[name] = int((codes < 0).sum())
        code = labels.index(label) if label in labels else None
        found.append(np.where(codes < 0, np.nan, codes == code))
    for name, count in gone.items():
        if count:
            say(notes, f"column {name!r}: {count} missing value{'s' * (count > 1)}, taken as the column was last")
    return np.column_stack(found)


def _small(column: Column, notes: list[str] | None) -> Column:
    """A column whose monstrous numbers count as not observed."""
    if column.kind not in ("integer", "number", "boolean"):
        return column
    values = column.values.astype(np.float64)
    huge = np.isfinite(values) & (np.abs(values) > LARGEST)
    if not huge.any():
        return column
    say(notes, f"column {column.name!r}: {huge.sum()} values beyond {LARGEST:g} count as not observed")
    values[huge] = np.nan
    return Column(column.name, "number", values, column.zone)


def one_each(rows: Rows, place: Mapping[str, int]) -> Ints:
    """For a table of at most one row a stream: the place of the stream that each row belongs to, int64 (R,).

    Raises
    ------
    DataError : two rows of one stream, or a stream that is not among them
    """
    strange = next((name for name in rows.ids if name not in place), None)
    if strange is not None:
        raise DataError(
            f"stream {strange!r}: not among these {len(place)}, such as {next(iter(place))!r}; add it to them first"
        )
    index = np.array([place[name] for name in rows.ids], np.int64)[rows.codes]
    count = np.bincount(rows.codes, minlength=len(rows.ids))
    if count.max() > 1:
        name = rows.ids[int(np.argmax(count))]
        raise DataError(f"stream {name!r}: expected one row of each stream at a time, got {count.max()}")
    return index
