"""Frames as they come and go: pandas, polars, pyarrow (through narwhals) or a plain dict of columns.

No frame library is imported unless the caller hands one of its frames over.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.errors import ColumnError, DataError, HistoryError, MissingExtraError

Frame = Any
Kind = Literal["integer", "number", "boolean", "time", "text", "category", "other"]


@dataclass(frozen=True, eq=False)
class Column:
    """One column in NumPy's terms.

    Parameters
    ----------
    name : of the column
    kind : what the frame declares it to be
    values : int64, float64 (number; boolean as 0 and 1), datetime64[us] in UTC (time), or object: str, None for missing
        (text and category); (R,)
    zone : time zone that the stamps came in, if any
    """

    name: str
    kind: Kind
    values: npt.NDArray[Any]
    zone: str | None = None


class Table:
    """A frame opened for reading, column by column.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or a mapping from column names to sequences of equal length
    where : what messages call it; the path, if it came from a file

    Raises
    ------
    DataError : something else, or no column at all
    ColumnError : columns of the same name, or of unequal length
    """

    def __init__(self, frame: Frame, *, where: str = "table") -> None:
        self._where = where
        self._columns: dict[str, Any]
        if isinstance(frame, Mapping):
            self._columns = {str(name): _array(str(name), values) for name, values in frame.items()}
            lengths = {name: len(values) for name, values in self._columns.items()}
            if len(set(lengths.values())) > 1:
                short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
                raise ColumnError(
                    f"column {short!r}: expected {lengths[long]} values as in column {long!r}, got {lengths[short]}"
                )
        else:
            opened = _open(frame)
            self._columns = {str(name): opened.get_column(name) for name in opened.columns}
        if not self._columns:
            raise DataError(f"{where}: expected a time column and at least one series, got no column at all")
        self.names: tuple[str, ...] = tuple(self._columns)
        self.rows: int = len(next(iter(self._columns.values())))

    def require_rows(self) -> None:
        """Raise HistoryError if there is none."""
        if self.rows == 0:
            raise HistoryError(
                f"{self._where}: expected rows, got none (columns {', '.join(self.names)}); look at what made the table"
            )

    def require(self, name: str, role: str) -> None:
        """Raise ColumnError, with the nearest name, if there is no such column."""
        if name not in self._columns:
            raise ColumnError(f"{role} column {name!r}: not in the table; {nearest(name, self.names)}")

    def column(self, name: str) -> Column:
        """One column, converted."""
        values = self._columns[name]
        return _from_numpy(name, values) if isinstance(values, np.ndarray) else _from_series(name, values)


def frame_like(original: Frame, columns: Mapping[str, npt.NDArray[Any]]) -> Frame:
    """A frame of the same kind as ``original``: pandas to pandas, polars to polars, dict to dict of arrays.

    Time stamps and texts of a column that ``original`` has too take its type and time zone, so that the two join.

    Parameters
    ----------
    original : the frame that came in
    columns : arrays of one length, (R,)
    """
    if isinstance(original, Mapping):
        return dict(columns)
    import narwhals as nw

    source = _open(original)
    frame = nw.from_dict(_portable(columns), backend=source.implementation)
    types: dict[str, Any] = {str(name): dtype for name, dtype in source.schema.items()}
    named: tuple[Any, ...] = (nw.Categorical, nw.Enum, nw.Int64, nw.Int32, nw.Int16, nw.Int8)
    for name, values in columns.items():
        dtype: Any = types.get(name)
        made = nw.col(name)
        if values.dtype.kind == "M" and isinstance(dtype, nw.Datetime):
            if dtype.time_zone:
                made = made.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
            frame = frame.with_columns(made.cast(dtype))
        elif values.dtype.kind == "M" and dtype == nw.Date and np.all(values == values.astype("datetime64[D]")):
            frame = frame.with_columns(made.cast(nw.Date))
        elif values.dtype.kind in "UO" and dtype in named:
            frame = frame.with_columns(made.cast(types[name]))
    return frame.to_native()


def new_frame(columns: Mapping[str, npt.NDArray[Any]]) -> Frame:
    """A frame of the first kind that is installed: pyarrow, polars, pandas, else a dict of arrays."""
    for backend in ("pyarrow", "polars", "pandas"):
        if importlib.util.find_spec(backend):
            import narwhals as nw

            return nw.from_dict(_portable(columns), backend=backend).to_native()
    return dict(columns)


def _portable(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Arrays as every frame library takes them: polars knows no seconds, pyarrow no fixed-width text."""
    portable: dict[str, Any] = {}
    for name, values in columns.items():
        kind = values.dtype.kind
        portable[name] = values.astype("datetime64[us]") if kind == "M" else values.tolist() if kind in "UO" else values
    return portable


def _open(frame: Frame) -> Any:
    """The frame in narwhals' hands; a pandas index that carries time or names becomes columns."""
    try:
        import narwhals as nw
    except ImportError as error:
        raise MissingExtraError(
            "reading this table needs the package 'narwhals', which is not installed; pip install narwhals"
        ) from error
    index = getattr(frame, "index", None)
    if index is not None and hasattr(frame, "reset_index"):
        timed = type(index).__name__ in ("DatetimeIndex", "PeriodIndex")
        if type(index).__name__ == "PeriodIndex":
            frame = frame.set_axis(index.to_timestamp(), axis=0)
        if timed or any(name is not None for name in index.names):
            frame = frame.reset_index(names=["ds"] if timed and index.name is None else None)
    try:
        return nw.from_native(frame, eager_only=True)
    except nw.exceptions.DuplicateError as error:
        raise ColumnError(f"table: expected column names that differ, got {str(error).strip()}") from error
    except TypeError as error:
        lazy = "; call .collect() first" if hasattr(frame, "collect") else ""
        raise DataError(
            f"table: expected a pandas, polars or pyarrow frame or a dict of columns, got {type(frame).__name__}{lazy}"
        ) from error


def _from_series(name: str, series: Any) -> Column:
    import narwhals as nw

    dtype = series.dtype
    if dtype == nw.Datetime or dtype == nw.Date:
        zone = getattr(dtype, "time_zone", None)
        if zone:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return Column(name, "time", series.cast(nw.Datetime("us")).to_numpy().astype("datetime64[us]"), zone)
    if dtype.is_integer() and dtype != nw.UInt64 and not series.is_null().any():
        return Column(name, "integer", series.to_numpy().astype(np.int64))
    if dtype == nw.Boolean:
        return Column(name, "boolean", _float(series))
    if dtype.is_numeric():
        return Column(name, "number", _float(series))
    if dtype in (nw.Categorical, nw.Enum):
        return Column(name, "category", _texts(series.cast(nw.String).to_numpy()))
    if dtype == nw.String:
        return Column(name, "text", _texts(series.to_numpy()))
    return _from_numpy(name, np.asarray(series.to_list() if dtype.is_nested() else series.to_numpy(), object))


def _float(series: Any) -> npt.NDArray[np.float64]:
    import narwhals as nw

    return np.array(series.cast(nw.Float64).to_numpy(), np.float64)


def _texts(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """object (R,) of str, with None for whatever stands for missing."""
    values = values.astype(object)
    if set(map(type, values)) <= {str}:
        return values
    return np.array([value if isinstance(value, str) else None for value in values], object)


def _array(name: str, values: Any) -> npt.NDArray[Any]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise ColumnError(f"column {name!r}: expected a list or an array of values, got {type(values).__name__}")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ColumnError(f"column {name!r}: expected a flat list of values, got lists of unequal length") from error
    if array.ndim != 1:
        raise ColumnError(f"column {name!r}: expected one value per row, got an array of shape {array.shape}")
    if array.dtype.kind == "U" and isinstance(values, (list, tuple)):
        # NumPy turned any numbers among the texts into text as well; the objects say which was which.
        array = np.array(values, object)
    return array


def _from_numpy(name: str, values: npt.NDArray[Any]) -> Column:
    kind = values.dtype.kind
    if kind == "i" or (kind == "u" and values.dtype.itemsize < 8):
        return Column(name, "integer", values.astype(np.int64))
    if kind in "fub":
        return Column(name, "boolean" if kind == "b" else "number", values.astype(np.float64))
    if kind == "M":
        return Column(name, "time", values.astype("datetime64[us]"))
    if kind == "U":
        return Column(name, "text", values.astype(object))
    if kind == "O":
        return _from_objects(name, values)
    return Column(name, "other", values)


def _from_objects(name: str, values: npt.NDArray[Any]) -> Column:
    """A column of Python objects, by the types that occur in it."""
    types = {t for t in set(map(type, values)) if t.__name__ not in ("NoneType", "NAType", "NaTType")}
    absent = np.array([value is None or type(value).__name__ in ("NAType", "NaTType") for value in values], bool)
    if not types:
        return Column(name, "number", np.full(len(values), np.nan))
    if any(issubclass(t, (date, np.datetime64)) for t in types):
        # A float among dates is pandas' NaN.
        if not all(issubclass(t, (date, np.datetime64, float)) for t in types):
            return Column(name, "other", values)
        zones = {str(v.tzinfo) for v in values if isinstance(v, datetime) and v.tzinfo is not None}
        stamps = np.array([_naive(value) for value in values], "datetime64[us]")
        return Column(name, "time", stamps, zones.pop() if zones else None)
    if all(issubclass(t, (bool, np.bool_, int, float, np.number, Decimal)) for t in types):
        numbers = np.array([np.nan if gone else float(v) for v, gone in zip(values, absent, strict=True)], np.float64)
        if all(issubclass(t, (bool, np.bool_)) for t in types - {float}) and types - {float}:
            return Column(name, "boolean", numbers)
        return Column(name, "number", numbers)
    if all(issubclass(t, (str, bool, np.bool_, int, float, np.number)) for t in types):
        texts = [None if gone or v != v else str(v) for v, gone in zip(values, absent, strict=True)]
        return Column(name, "text", np.array(texts, object))
    return Column(name, "other", values)


def _naive(value: Any) -> Any:
    """A date without time zone, in UTC; NaT for what is no date."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
    return value if isinstance(value, (date, np.datetime64)) else np.datetime64("NaT")
