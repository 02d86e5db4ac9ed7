"""Which column plays which part, learned once from the training table; every later table is read by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from carrousel import config
from carrousel.data import reader
from carrousel.data.column import say
from carrousel.data.frame import Frame, Table
from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.data.role import find_categories, find_targets, find_time, names
from carrousel.data.row import Row, read_row
from carrousel.errors import ColumnError, SettingError


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The parts that columns play, the categories of text covariates, and the frequency.

    Parameters
    ----------
    time : the time column
    target : the target columns; in a wide table that is not joint, each is a series of its own
    frequency : pandas alias, or the step of integers in digits
    id : the column that tells series apart; None: one series, or a wide table
    past : covariates known up to now
    future : covariates known ahead
    static : covariates that are constant in each series
    layout : "long": one row a series and stamp; "wide": one row a stamp
    joint : several targets are forecast together
    categories : text covariate: its categories; each becomes a column ``name=category`` of 0 and 1

    Raises
    ------
    SettingError : a column in two parts, or parts that do not go together
    """

    time: str
    target: tuple[str, ...]
    frequency: str
    id: str | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    layout: Literal["long", "wide"] = "long"
    joint: bool = False
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config.check(self, where="schema")
        Frequency.parse(self.frequency)
        covariates = (*self.past, *self.future, *self.static)
        columns = [self.time, *([] if self.id is None else [self.id]), *self.target, *covariates]
        name, parts = Counter(columns).most_common(1)[0]
        if parts > 1:
            raise SettingError(
                f"column {name!r}: expected one part (time, id, target, past, future, static), got {parts}"
            )
        if not self.target:
            raise SettingError("target: expected at least one column, got none")
        if self.static and self.id is None:
            raise SettingError(
                f"static: expected a table with an id column, got {', '.join(self.static)} without one; name it with id"
            )
        if self.layout == "wide" and self.id is not None:
            raise SettingError(f"layout: expected 'long' with an id column, got 'wide' with id={self.id!r}")
        if self.layout == "long" and len(self.target) > 1 and not self.joint:
            raise SettingError(
                f"target: expected one column in a long table, got {', '.join(self.target)}; pass joint=True to "
                "forecast them together"
            )
        strange = set(self.categories) - set(covariates)
        if strange:
            raise SettingError(
                f"categories: {min(strange)!r} is not a covariate; {config.nearest(min(strange), covariates)}"
            )

    @classmethod
    def infer(
        cls,
        frame: Frame,
        *,
        target: str | Sequence[str] | None = None,
        past: str | Sequence[str] = (),
        future: str | Sequence[str] = (),
        static: str | Sequence[str] = (),
        id: str | None = None,
        time: str | None = None,
        frequency: str | int | None = None,
        joint: bool = False,
        notes: list[str] | None = None,
    ) -> Schema:
        """Learn the schema of a training table; what is not named is found, and said.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame, or dict of columns
        target : None: ``y`` in a long table; all numeric columns without another part in a wide one
        past, future, static : names of covariates
        id : None: ``unique_id`` if there is such a column
        time : None: ``ds``, or a column called date, datetime, time, timestamp and the like, or the only one of dates
        frequency : None: inferred from the stamps
        joint : forecast several targets together
        notes : takes a sentence on each thing found

        Raises
        ------
        ColumnError : a column that is missing or cannot play its part
        TimeError : no time column, or stamps on no regular grid
        HistoryError : too few rows to infer the frequency
        """
        table = Table(frame)
        table.require_rows()
        parts = {"past": names(past), "future": names(future), "static": names(static)}
        wanted = None if target is None else names(target)
        for role, columns in (("target", wanted or ()), *parts.items()):
            for name in columns:
                table.require(name, role)
        for role, name in (("id", id), ("time", time)):
            if name is not None:
                table.require(name, role)
        id = "unique_id" if id is None and "unique_id" in table.names else id
        covariates = [name for columns in parts.values() for name in columns]
        taken = {*covariates, *(wanted or ()), *([] if id is None else [id])}
        time = find_time(table, taken, notes) if time is None else time
        long = id is not None or (wanted is None and "y" in table.names)
        if wanted is None:
            wanted = ("y",) if long else find_targets(table, {*taken, time})
            if long and "y" not in table.names:
                others = ", ".join(find_targets(table, {*taken, time}))
                raise ColumnError(f"target column 'y': not in the table; name it with target, one of {others}")
            if not long:
                what = "one series of several targets" if joint else "each a series"
                say(notes, f"targets: {', '.join(wanted)} ({what})")
        rest = [name for name in table.names if name not in {*taken, *wanted, time}]
        if rest:
            say(notes, f"columns not used: {', '.join(rest)}; to use one, name it as past, future or static")
        schema = cls(
            time=time,
            target=wanted,
            frequency="1" if frequency is None else str(frequency),
            id=id,
            **parts,
            layout="long" if long else "wide",
            joint=joint,
            categories={name: labels for name in covariates if (labels := find_categories(table.column(name), notes))},
        )
        found = reader.find_frequency(schema, table, frequency)
        if frequency is None:
            say(notes, f"frequency: {found.describe()} ({found.alias!r})")
        return replace(schema, frequency=found.alias)

    def read(self, frame: Frame, *, notes: list[str] | None = None) -> Panel:
        """The history in a table: each series from its first to its last row with an observed target.

        Rows without any target before or after that are left out; those that follow may carry future covariates, which
        ``read_future`` reads. Rows may come in any order; repeated ones are dropped; stamps without a row become NaN.

        Parameters
        ----------
        frame : the same columns as the training table's, in any order
        notes : takes a sentence on each thing mended

        Raises
        ------
        ColumnError : a column that is missing, of the wrong type, or with an unknown category
        TimeError : stamps beside the grid, or two rows of one series and stamp that differ
        HistoryError : no rows, or a series without any observed target
        """
        return reader.read(self, frame, notes)

    def read_future(self, frame: Frame, history: Panel, *, notes: list[str] | None = None) -> Panel:
        """The rows of a table that follow a history: future covariates, with target and past covariates NaN.

        Row k of a series is the stamp k + 1 steps after the last one of its history; a series may have no row.

        Parameters
        ----------
        frame : future covariates; target and past columns may be absent and are not read
        history : what ``read`` gave
        notes : takes a sentence on each thing mended

        Raises
        ------
        ColumnError : a column that is missing, of the wrong type, or with an unknown category
        TimeError : stamps beside the grid of the history
        DataError : a series that the history does not have
        """
        return reader.read_future(self, frame, history, notes)

    def read_row(self, row: Mapping[str, object], id: str | None = None) -> Row:
        """One streamed row; see ``carrousel.data.row.read_row``."""
        return read_row(self, row, id)

    def to_dict(self) -> dict[str, Any]:
        """JSON data that ``from_dict`` takes."""
        return config.to_dict(self)

    @classmethod
    def from_dict(cls, data: object) -> Schema:
        """The schema that ``to_dict`` wrote.

        Raises
        ------
        SettingError : keys that are unknown, missing or invalid
        """
        return config.from_dict(cls, data, where="schema", error=SettingError)

    @cached_property
    def grid(self) -> Frequency:
        """The frequency, parsed."""
        return Frequency.parse(self.frequency)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the K targets of one series."""
        return ("y",) if self.layout == "wide" and not self.joint else self.target

    @cached_property
    def past_names(self) -> tuple[str, ...]:
        """Names of the P past covariates, categories as ``name=category``."""
        return self._expanded(self.past)

    @cached_property
    def future_names(self) -> tuple[str, ...]:
        """Names of the F future covariates, categories as ``name=category``."""
        return self._expanded(self.future)

    @cached_property
    def static_names(self) -> tuple[str, ...]:
        """Names of the Q static covariates, categories as ``name=category``."""
        return self._expanded(self.static)

    @property
    def single_id(self) -> str:
        """Name of the one series of a table without id column."""
        return self.target[0] if len(self.target) == 1 else "series"

    def _expanded(self, names: tuple[str, ...]) -> tuple[str, ...]:
        expanded: list[str] = []
        for name in names:
            labels = self.categories.get(name)
            expanded.extend([name] if labels is None else [f"{name}={label}" for label in labels])
        return tuple(expanded)
