"""A table read by a schema: the panel of its history, and of what is known ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.data.column import Codes, Floats, encode, numbers, say, stamps
from carrousel.data.frame import Frame, Table
from carrousel.data.frequency import Frequency
from carrousel.data.grid import fill, observed_span, sort
from carrousel.data.panel import Panel
from carrousel.data.role import require_category
from carrousel.errors import ColumnError, DataError, TimeError

if TYPE_CHECKING:
    from carrousel.data.schema import Schema

Notes = list[str] | None


def read(schema: Schema, frame: Frame, notes: Notes) -> Panel:
    """See ``Schema.read``."""
    table = _open(schema, frame, ("target", "past", "future", "static"))
    table.require_rows()
    codes, ids = _series(schema, table)
    ds = _stamps(schema, table, notes)
    targets = [numbers(table.column(name), notes) for name in schema.target]
    values = np.column_stack([*targets, *_covariates(schema, table, (*schema.past, *schema.future), notes)])
    static = _constant(schema, _covariates(schema, table, schema.static, notes), codes, ids)
    hint = "" if schema.id or schema.layout == "wide" else "; if these are several series, name the id column with id"
    codes, ds, values = sort(codes, ds, values, ids, notes, hint)
    if schema.layout == "wide" and not schema.joint:
        ids = schema.target
        codes, ds, values = _stack(ds, values, len(ids))
        static = np.empty((len(ids), 0))  # a wide table has no place for them
    width = len(schema.target_names)
    kept = observed_span(codes, ~np.all(np.isnan(values[:, :width]), axis=1), ids)
    if not np.all(kept) and schema.layout == "long":
        say(notes, f"{np.count_nonzero(~kept)} rows before the first or after the last observed target were left out")
    codes, ds, values = codes[kept], ds[kept], values[kept]
    origins = ds[np.searchsorted(codes, np.arange(len(ids)))]
    starts, ds, values = fill(codes, origins, ds, values, ids, schema.grid, notes)
    return _panel(schema, ids, starts, ds, values, static)


def read_future(schema: Schema, frame: Frame, history: Panel, notes: Notes) -> Panel:
    """See ``Schema.read_future``."""
    table = _open(schema, frame, ("future",))
    ds = _stamps(schema, table, notes)
    columns = _covariates(schema, table, schema.future, notes)
    values = np.column_stack(columns) if columns else np.empty((len(ds), 0))
    ids, series = history.ids, np.arange(len(history))
    if schema.layout == "wide":
        _, ds, values = sort(np.zeros(len(ds), np.int64), ds, values, ("future",), notes)
        codes = np.repeat(series, len(ds))
        ds, values = np.tile(ds, len(ids)), np.tile(values, (len(ids), 1))
    else:
        codes, found = _series(schema, table)
        known = {name: i for i, name in enumerate(ids)}
        strange = [name for name in found if name not in known]
        if strange:
            raise DataError(f"series {strange[0]!r}: not in the history; {nearest(strange[0], known)}")
        codes = np.array([known[name] for name in found], np.int64)[codes]
        codes, ds, values = sort(codes, ds, values, ids, notes)
    last = history.ds[history.starts[1:] - 1]
    later = ds > last[codes]
    # The last row of the history anchors the grid of each series, so that a gap right after it is one too.
    codes = np.concatenate([series, codes[later]])
    order = np.argsort(codes, kind="stable")
    ds = np.concatenate([last, ds[later]])[order]
    values = np.concatenate([np.full((len(ids), values.shape[1]), np.nan), values[later]])[order]
    starts, ds, values = fill(codes[order], last, ds, values, ids, schema.grid, notes)
    ds, values = np.delete(ds, starts[:-1]), np.delete(values, starts[:-1], axis=0)
    unknown = np.full((len(ds), len(schema.target_names) + len(schema.past_names)), np.nan)
    starts = starts - np.arange(len(starts))
    return _panel(schema, ids, starts, ds, np.column_stack([unknown, values]), history.static)


def find_frequency(schema: Schema, table: Table, named: str | int | None) -> Frequency:
    """The frequency of the stamps of a training table, or the named one after a look at them."""
    codes, ids = _series(schema, table)
    ds = stamps(table.column(schema.time))
    order = np.lexsort((ds.astype(np.int64), codes))
    codes, ds = codes[order], ds[order]
    new = (np.diff(codes, prepend=-1) != 0) | (np.diff(ds, prepend=ds[:1]).astype(np.int64) != 0)
    codes, ds = codes[new], ds[new]
    first = np.searchsorted(codes, np.arange(len(ids)))
    if named is None:
        return Frequency.infer(np.split(ds, first[1:]), ids)
    frequency = Frequency.parse(named)
    _require_clock(schema.time, ds, frequency)
    return frequency.anchored(ds[first])


def _open(schema: Schema, frame: Frame, roles: tuple[str, ...]) -> Table:
    """The table, if it has the columns of these roles."""
    table = Table(frame)
    if schema.id is not None:
        table.require(schema.id, "id")
    table.require(schema.time, "time")
    for role in roles:
        for name in getattr(schema, role):
            table.require(name, role)
    return table


def _series(schema: Schema, table: Table) -> tuple[Codes, tuple[str, ...]]:
    """Series of each row as an index (R,) into names (S,)."""
    if schema.id is None:
        return np.zeros(table.rows, np.int64), (schema.single_id,)
    # "NA" and the like are names here.
    codes, ids = encode(table.column(schema.id), missing=frozenset(("",)))
    if np.any(codes < 0):
        row = int(np.flatnonzero(codes < 0)[0])
        raise ColumnError(f"id column {schema.id!r}: expected the name of a series, got none in row {row + 1}")
    return codes, ids


def _stamps(schema: Schema, table: Table, notes: Notes) -> npt.NDArray[Any]:
    ds = stamps(table.column(schema.time), notes)
    _require_clock(schema.time, ds, schema.grid)
    return ds


def _require_clock(name: str, ds: npt.NDArray[Any], frequency: Frequency) -> None:
    """Dates go with a frequency of time, integers with one of steps."""
    if len(ds) and frequency.integer != (ds.dtype.kind != "M"):
        expected, got = ("whole numbers", "dates") if frequency.integer else ("dates", "whole numbers")
        raise TimeError(f"time column {name!r}: expected {expected} for frequency {frequency.alias!r}, got {got}")


def _covariates(schema: Schema, table: Table, names: tuple[str, ...], notes: Notes) -> list[Floats]:
    """The covariates as columns of numbers, each (R,); a category gives one for each label."""
    columns: list[Floats] = []
    for name in names:
        column, known = table.column(name), schema.categories.get(name)
        if known is None:
            columns.append(numbers(column, notes))
            continue
        codes, labels = encode(column)
        for code, label in enumerate(labels):
            if label not in known:
                require_category(name, label, known, int(np.flatnonzero(codes == code)[0]) + 1)
        for label in known:
            code = labels.index(label) if label in labels else None
            columns.append(np.where(codes < 0, np.nan, codes == code))
    return columns


def _constant(schema: Schema, columns: list[Floats], codes: Codes, ids: tuple[str, ...]) -> Floats:
    """Static covariates (S, Q): the one observed value that each series has."""
    static = np.full((len(ids), len(columns)), np.nan)
    for q, values in enumerate(columns):
        rows = np.flatnonzero(~np.isnan(values))
        static[codes[rows], q] = values[rows]
        differ = rows[values[rows] != static[codes[rows], q]]
        if len(differ):
            series = int(codes[differ[0]])
            raise ColumnError(
                f"static column {schema.static_names[q]!r}: expected one value for series {ids[series]!r}, got "
                f"{values[differ[0]]:g} in row {differ[0] + 1} and {static[series, q]:g} elsewhere; name it in past or "
                "future if it changes"
            )
    return static


def _stack(ds: npt.NDArray[Any], values: Floats, series: int) -> tuple[Codes, npt.NDArray[Any], Floats]:
    """A wide table as a long one: the first columns below each other, each beside the shared covariates."""
    codes = np.repeat(np.arange(series), len(ds))
    target = values[:, :series].T.reshape(-1, 1)  # (R, S) to (S·R, 1)
    return codes, np.tile(ds, series), np.column_stack([target, np.tile(values[:, series:], (series, 1))])


def _panel(
    schema: Schema,
    ids: tuple[str, ...],
    starts: npt.NDArray[np.int64],
    ds: npt.NDArray[Any],
    values: Floats,
    static: Floats,
) -> Panel:
    """The columns of (R, K + P + F) told apart."""
    k, p = len(schema.target_names), len(schema.past_names)
    return Panel(
        ids=ids,
        starts=starts,
        ds=ds,
        target=np.ascontiguousarray(values[:, :k]),
        past=np.ascontiguousarray(values[:, k : k + p]),
        future=np.ascontiguousarray(values[:, k + p :]),
        static=static,
        target_names=schema.target_names,
        past_names=schema.past_names,
        future_names=schema.future_names,
        static_names=schema.static_names,
    )
