"""Which part a column of a training table can play: the time, a target, a category."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from carrousel.config import nearest
from carrousel.data.column import encode, numbers, numeric, say
from carrousel.data.frame import Column, Table
from carrousel.errors import ColumnError

# In order of preference, whatever their case.
TIME_NAMES = ("ds", "timestamp", "time_stamp", "datetime", "date_time", "time_hour", "time", "date")
_MOST_CATEGORIES = 100


def names(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several as a tuple."""
    return (given,) if isinstance(given, str) else tuple(given)


def find_time(table: Table, taken: Collection[str], notes: list[str] | None) -> str:
    """The time column: one with a usual name, else the only column of dates.

    Raises
    ------
    ColumnError : none, or several
    """
    free = [name for name in table.names if name not in taken]
    usual = {name.lower(): name for name in reversed(free)}
    dates = [usual[name] for name in TIME_NAMES if name in usual]
    dates = dates or [name for name in free if table.column(name).kind == "time"]
    if not dates or (len(dates) > 1 and dates[0].lower() not in TIME_NAMES):
        raise ColumnError(
            f"time column 'ds': not in the table, and {' and '.join(dates) or 'no other column'} "
            f"{'hold' if dates else 'holds'} dates; name the time column with time, one of {', '.join(free)}"
        )
    if dates[0] != "ds":
        say(notes, f"time column: {dates[0]}")
    return dates[0]


def find_targets(table: Table, taken: Collection[str]) -> tuple[str, ...]:
    """Columns of numbers that have no other part.

    Raises
    ------
    ColumnError : there is none
    """
    free = [table.column(name) for name in table.names if name not in taken]
    found = tuple(column.name for column in free if column.kind != "boolean" and numeric(column))
    if not found:
        raise ColumnError(f"target: expected a column of numbers, got none among {', '.join(table.names)}")
    return found


def find_categories(column: Column, notes: list[str] | None) -> tuple[str, ...]:
    """The categories of a covariate of texts; none if it holds numbers.

    Raises
    ------
    ColumnError : dates or other values, texts among numbers, or more than a hundred categories
    """
    if column.kind not in ("text", "category"):
        numbers(column)
        return ()
    if numeric(column):
        return ()
    labels = encode(column)[1]
    if len(labels) > _MOST_CATEGORIES:
        raise ColumnError(
            f"column {column.name!r}: expected numbers or at most {_MOST_CATEGORIES} categories, got {len(labels)} "
            f"different texts such as {labels[0]!r}; group them or leave the column out"
        )
    say(notes, f"column {column.name!r}: {len(labels)} categories ({', '.join(labels)})")
    return labels


def require_category(name: str, label: str, known: Sequence[str], row: int) -> None:
    """Refuse a category that the training table did not have.

    Raises
    ------
    ColumnError : an unknown one
    """
    if label not in known:
        raise ColumnError(
            f"column {name!r}: unknown category {label!r} in row {row} ({nearest(label, known)}); leave the cell empty "
            "if nothing was observed, or train on a table that has it"
        )
