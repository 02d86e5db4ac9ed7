"""A table whose rows come at no regular interval, or several a second: watched row by row, as its streams will be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.column import say
from carrousel.data.frame import Frame, Table
from carrousel.data.role import find_targets, find_time
from carrousel.errors import SettingError, TimeError
from carrousel.online.watch import Watch
from carrousel.stream.record import SECOND, Columns
from carrousel.stream.rows import Rows, read_rows
from carrousel.tasks.detect_setting import DetectSettings

Arrays = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]


def find_columns(settings: DetectSettings, frame: Frame, notes: list[str]) -> DetectSettings:
    """The settings with the columns that were found, as in a regular table.

    Raises
    ------
    SettingError : a setting that needs regular rows
    ColumnError : a column that is missing, or no numbers to watch
    """
    for name, value, instead in (
        ("past", settings.past, "leave them out, or make the rows regular"),
        ("joint", not settings.joint, "name the column to watch as target, or bring a table with an id column"),
    ):
        if value:
            said = ", ".join(settings.past) if name == "past" else "False"
            raise SettingError(f"{name}: expected none with frequency='none', got {said}; {instead}")
    table = Table(frame)
    table.require_rows()
    for role, names in (("target", settings.target or ()), ("id", (settings.id,)), ("time", (settings.time,))):
        for name in names:
            if name is not None:
                table.require(name, role)
    id = settings.id or ("unique_id" if "unique_id" in table.names else None)
    taken = {*(settings.target or ()), *([] if id is None else [id])}
    time = settings.time or find_time(table, taken, notes)
    target = settings.target or (("y",) if "y" in table.names else find_targets(table, {*taken, time}))
    if len(target) > 1:
        say(notes, f"targets: {', '.join(target)} (one series of several targets)")
    return replace(settings, id=id, time=time, target=target)


def rows_in_order(settings: DetectSettings, frame: Frame, notes: list[str]) -> Rows:
    """The rows by series and time, of each stamp the first.

    Raises
    ------
    DataError : a table that cannot be used; the message says which column or row
    """
    columns = Columns(settings.target or ())
    columns.id, columns.time = settings.id or columns.id, settings.time
    rows = read_rows(columns, frame, notes=notes)
    if columns.clock != "time":
        raise TimeError(
            f"time column {settings.time!r}: expected dates with frequency='none', got whole numbers, which count "
            "rows; leave the frequency out"
        )
    order = np.lexsort((np.arange(len(rows.ticks)), rows.ticks, rows.codes))
    codes, ticks = rows.codes[order], rows.ticks[order]
    order = order[(np.diff(codes, prepend=-1) != 0) | (np.diff(ticks, prepend=ticks[:1]) != 0)]
    if again := len(codes) - len(order):
        say(notes, f"{again} row{'s' * (again > 1)} repeat a stamp of their series; the first one counts")
    return Rows(rows.ids, rows.codes[order], rows.ticks[order], rows.values[order], rows.source[order])


def median_interval_s(rows: Rows) -> float:
    """Seconds from row to row of a series, the median; 0 where no series has two rows."""
    steps = np.diff(rows.ticks)[np.diff(rows.codes) == 0]
    return float(np.median(steps)) / SECOND if len(steps) else 0.0


def ends_of_rows(rows: Rows) -> dict[str, Any]:
    """The last stamp of every series."""
    last = np.searchsorted(rows.codes, np.arange(len(rows.ids)), side="right") - 1
    columns = Columns((), None, "time")
    return {name: columns.ds(int(rows.ticks[row])) for name, row in zip(rows.ids, last, strict=True)}


def replay_rows(make: Callable[[int], Watch], rows: Rows) -> tuple[dict[str, Arrays], list[Floats]]:
    """``detect_replay.replay`` of rows that lie on no grid.

    Returns
    -------
    by series the state of its stream after the last row; and the rarities of onsets in the second half of each
    """
    states: dict[str, Arrays] = {}
    rarities: list[Floats] = []
    edges = np.searchsorted(rows.codes, np.arange(len(rows.ids) + 1))
    seconds = rows.ticks / SECOND
    for place, name in enumerate(rows.ids):
        part = range(edges[place], edges[place + 1])
        watch = make(1)
        if watch.beyond is not None:
            watch.beyond.open()
        rarity = np.ones(len(part))
        for t, row in enumerate(part):
            readings = watch.step(rows.values[row : row + 1], seconds[row : row + 1])
            if not readings.warming[0]:
                rarity[t] = readings.rarity[0]
        if watch.beyond is not None:
            watch.beyond.close()
        states[name] = {key: array[0].copy() for key, array in watch.state.items()}
        rarities.append(rarity[len(part) // 2 :])
    return states, rarities
