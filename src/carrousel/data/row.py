"""One row of a stream: as strict as a table, without the cost of one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from carrousel.data.column import LARGEST, MISSING, Floats, parse_number, parse_stamp
from carrousel.data.role import require_category
from carrousel.errors import ColumnError, SettingError, TimeError

if TYPE_CHECKING:
    from carrousel.data.schema import Schema


@dataclass(frozen=True, eq=False)
class Row:
    """One row of one series; NaN means "not observed".

    Parameters
    ----------
    id : of the series
    ds : datetime64[s] or int
    target, past, future : float64 (K,), (P,), (F,)
    """

    id: str
    ds: np.datetime64 | int
    target: Floats
    past: Floats
    future: Floats


def read_row(schema: Schema, row: Mapping[str, object], id: str | None = None) -> Row:
    """Read one row by the rules of a table; a value that is absent, None or NaN was not observed.

    Parameters
    ----------
    schema : of the training table
    row : values by column name
    id : the series; needed in a wide table of several series, else taken from the row

    Raises
    ------
    ColumnError : a value of the wrong type, an unknown category, or a misspelt name
    TimeError : no stamp, or one that cannot be read
    SettingError : which series is meant is not said
    """
    targets: tuple[str, ...] = schema.target
    if schema.id is not None:
        named = row.get(schema.id)
        if named is None and id is None:
            raise ColumnError(f"row: expected the series in {schema.id!r}, got columns {', '.join(row)}")
        name = str(named if id is None else id)
    elif schema.layout == "wide" and not schema.joint and len(targets) > 1:
        if id not in targets:
            raise SettingError(f"id: expected the series, one of {', '.join(targets)}, got {id!r}")
        name, targets = str(id), (str(id),)
    else:
        name = schema.single_id
    known = (schema.time, schema.id, *schema.target, *schema.past, *schema.future, *schema.static)
    refuse_misspelt(row, (schema.time, *targets, *schema.past, *schema.future), known)
    return Row(
        id=name,
        ds=_stamp(schema, row.get(schema.time)),
        target=np.array([_number(target, row.get(target)) for target in targets], np.float64),
        past=_values(schema, schema.past, row),
        future=_values(schema, schema.future, row),
    )


def refuse_misspelt(row: Mapping[str, object], wanted: Sequence[str], known: Collection[str | None]) -> None:
    """An absent column next to an unknown one of almost the same name is a mistake, not a missing value.

    Parameters
    ----------
    row : values by column name
    wanted : the columns that are read
    known : all columns that have a meaning

    Raises
    ------
    ColumnError : there is such a column
    """
    absent = [name for name in wanted if name not in row]
    if not absent:
        return
    for name in row:
        same = [wanted for wanted in absent if wanted.lower() == str(name).lower()]
        close = [] if name in known else same or difflib.get_close_matches(str(name), absent, n=1)
        if close:
            raise ColumnError(f"row: unknown column {name!r}, and no {close[0]!r}; did you mean {close[0]!r}?")


def _values(schema: Schema, names: tuple[str, ...], row: Mapping[str, object]) -> Floats:
    values: list[float] = []
    for name in names:
        value, labels = row.get(name), schema.categories.get(name)
        if labels is None:
            values.append(_number(name, value))
        elif value is None or value != value or str(value).strip().lower() in MISSING:
            values.extend([math.nan] * len(labels))
        else:
            label = str(value).strip()
            require_category(name, label, labels, 1)
            values.extend(float(label == known) for known in labels)
    return np.array(values, np.float64)


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    try:
        number = parse_number(value.strip()) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None or (abs(number) > LARGEST and not math.isinf(number)):
        raise ColumnError(f"column {name!r}: expected a number up to {LARGEST:g}, got {value!r}")
    return math.nan if math.isinf(number) else number


def _stamp(schema: Schema, value: Any) -> np.datetime64 | int:
    name = schema.time
    if schema.grid.integer:
        try:
            tick = int(value)
        except (TypeError, ValueError, OverflowError):
            tick = None
        # int would make 4 of 4.5, and 1 of True.
        if tick is None or isinstance(value, (bool, np.bool_)) or not (isinstance(value, str) or tick == value):
            raise TimeError(f"time column {name!r}: expected a whole number, got {value!r}")
        return tick
    stamp: Any = parse_stamp(name, value.strip()) if isinstance(value, str) else value
    if isinstance(stamp, datetime) and stamp.tzinfo is not None:
        stamp = stamp.astimezone(UTC).replace(tzinfo=None)
    # pandas' NaT is a date too, and unequal to itself.
    known = isinstance(stamp, (date, np.datetime64)) and stamp == stamp
    exact = np.array([stamp if known else "NaT"], "datetime64[us]")[0]
    if np.isnat(exact):
        raise TimeError(f"time column {name!r}: expected a date, got {value!r}")
    seconds = exact.astype("datetime64[s]")
    if seconds != exact:
        raise TimeError(f"time column {name!r}: expected whole seconds, got {value!r}")
    return seconds
