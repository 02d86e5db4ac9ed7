"""One row of a live stream, read tolerantly: what was not observed counts as missing; what is no number is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from carrousel.data.column import LARGEST, MISSING, parse_number, parse_stamp
from carrousel.data.role import TIME_NAMES, require_category
from carrousel.data.row import refuse_misspelt
from carrousel.data.schema import Schema
from carrousel.errors import ColumnError, TimeError
from carrousel.stream.arrival import MOST
from carrousel.stream.source import Source, ends

Ints = npt.NDArray[np.int64]
Clock = Literal["time", "integer", "rows"]
SECOND = 1_000_000  # ticks of a clock of times; those of whole numbers are the numbers
EPOCH = datetime(1970, 1, 1)
LATEST = 4_000_000_000 * SECOND  # the year 2096, and as far before 1970: beyond, a stamp is a mistake


@dataclass(slots=True, eq=False)
class Record:
    """A row as the detector takes it.

    Parameters
    ----------
    tick : microseconds since 1970 in UTC, or the whole number; None where the row has no stamp
    values : of the K variables and the P covariates behind them, NaN where nothing was observed
    notes : what was mended
    """

    tick: int | None
    values: list[float]
    notes: list[str]


@dataclass(eq=False)
class Columns:
    """Where in a row the stamp, the name of the stream and the variables stand.

    Parameters
    ----------
    variables : what the detector watches, (K,)
    schema : of the training table; None for a detector that has none, whose variables are columns, and whose time and
        id columns have their usual names
    clock : what the stamps are; None until the first row says it
    """

    variables: tuple[str, ...]
    schema: Schema | None = None
    clock: Clock | None = None
    _wide: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        schema = self.schema
        self._labels: list[tuple[str, str, str]] = []
        if schema is None:
            self.time, self.id = None, "unique_id"
            return
        self.time, self.id = schema.time, schema.id
        self.clock = "integer" if schema.grid.integer else "time"
        self._wide = schema.layout == "wide" and not schema.joint and len(schema.target) > 1
        for name, labels in schema.categories.items():
            self._labels += [(f"{name}={label}", name, label) for label in labels]

    @classmethod
    def of(cls, detector: Source, clock: Clock | None = None) -> Columns:
        """Those of a detector; one without schema says itself, in its settings, what its columns are called."""
        made = cls(tuple(detector.variables), detector.schema, clock)
        settings = getattr(detector, "settings", None)
        if made.schema is None:
            made.clock = "time" if clock is None and ends(detector) else clock  # fitted on rows as they came
            made.id = getattr(settings, "id", None) or made.id
            made.time = getattr(settings, "time", None)
        return made

    @property
    def ids(self) -> tuple[str, ...]:
        """The streams that every row belongs to: those of a wide table; empty where a row has one."""
        return self.schema.target if self._wide and self.schema is not None else ()

    def sources(self, id: str) -> list[tuple[str, str | None]]:
        """The column of each variable, then of each covariate, and, of an indicator of a category, its label."""
        labels = {name: (column, label) for name, column, label in self._labels}
        found: list[tuple[str, str | None]] = []
        for name in self.variables:
            if self.schema is not None and name in self.schema.target_names and name not in self.schema.target:
                found.append((id if id in self.schema.target else self.schema.target[0], None))
            else:
                found.append(labels.get(name, (name, None)))
        return found + [labels.get(name, (name, None)) for name in self.covariates]

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that are read but not watched, (P,); their values stand behind those of the variables."""
        names = () if self.schema is None else self.schema.past_names
        return tuple(name for name in names if name not in self.variables)

    @property
    def width(self) -> int:
        """K + P."""
        return len(self.variables) + len(self.covariates)

    def id_of(self, row: Mapping[str, object]) -> str | None:
        """The name of the stream that a row says, if it says one."""
        named = None if self.id is None else row.get(self.id)
        if named is None or _absent(named):
            return None
        return str(named).strip() or None

    def default_id(self) -> str:
        """The name of a stream that has none."""
        return "series" if self.schema is None else self.schema.single_id

    def read(self, row: Mapping[str, object], sources: list[tuple[str, str | None]]) -> Record:
        """Read one row.

        Parameters
        ----------
        row : values by column name; what is absent, None or NaN was not observed
        sources : as ``sources`` gave them for its stream

        Raises
        ------
        ColumnError : a text that is no number, an unknown category, or a misspelt name
        TimeError : no stamp where there must be one, or one that cannot be read
        """
        notes: list[str] = []
        values: list[float] = []
        for name, label in sources:
            value = row.get(name)
            if type(value) is float and -LARGEST <= value <= LARGEST:
                values.append(value)
            elif label is None:
                values.append(_number(name, value, notes))
            else:
                values.append(self._indicator(name, label, value))
        count = len(self.variables)
        if all(value != value for value in values[:count]):
            notes.append("nothing was observed")
        if len(values) > count and (
            missing := [s for s, v in zip(sources[count:], values[count:], strict=True) if v != v]
        ):
            named = ", ".join(dict.fromkeys(name for name, _ in missing))
            notes.append(f"{named}: missing, so taken as it was last")
        if len(row) <= len(sources) or any(name not in row for name, _ in sources):
            wanted = [*dict.fromkeys(name for name, _ in sources), *([] if self.time is None else [self.time])]
            known: tuple[str | None, ...] = (self.time, self.id, *wanted)
            if self.schema is not None:
                s = self.schema
                known = (*known, *s.target, *s.past, *s.future, *s.static)
            refuse_misspelt(row, wanted, known)
        return Record(self._tick(row), values, notes)

    def _indicator(self, name: str, label: str, value: Any) -> float:
        if value is None or value != value or str(value).strip().lower() in MISSING:
            return math.nan
        assert self.schema is not None
        text = str(value).strip()
        require_category(name, text, self.schema.categories[name], 1)
        return float(text == label)

    def _tick(self, row: Mapping[str, object]) -> int | None:
        if self.clock is None:
            return self._first_tick(row)
        if self.clock == "rows":
            return None
        if self.time not in row:
            got = ", ".join(str(name) for name in row) or "none"
            raise TimeError(f"time column {self.time!r}: expected it in every row, got the columns {got}")
        return self.tick_of(row.get(str(self.time)))

    def _first_tick(self, row: Mapping[str, object]) -> int | None:
        """Learn from the first row what stamps are; one that is refused teaches nothing."""
        before, time = self.time, self.time
        if time is None:
            time = next((name for name in row if str(name).lower() in TIME_NAMES), None)
        whole = time is not None and _whole(row.get(time)) is not None
        self.time, self.clock = time, "rows" if time is None else "integer" if whole else "time"
        try:
            return self._tick(row)
        except TimeError:
            self.time, self.clock = before, None
            raise

    def tick_of(self, value: Any) -> int:
        """The tick of a stamp.

        Raises
        ------
        TimeError : not one of the clock at hand
        """
        name = str(self.time)
        if self.clock == "integer":
            tick = _whole(value)
            if tick is None or abs(tick) > MOST:
                raise TimeError(f"time column {name!r}: expected a whole number up to 2**62, got {value!r}")
            return tick
        return ticks_of(name, value)

    @property
    def second(self) -> float:
        """What a tick is in seconds: 0 for whole numbers, which have no time of day."""
        return 1 / SECOND if self.clock == "time" else 0.0

    def ds(self, tick: int) -> Any:
        """The stamp of a tick: datetime64, in whole seconds where it is one, or int."""
        if self.clock != "time":
            return tick
        seconds, rest = divmod(tick, SECOND)
        return np.datetime64(tick, "us") if rest else np.datetime64(seconds, "s")

    def stamps(self, ticks: Ints) -> npt.NDArray[Any]:
        """The stamps of ticks (n,): datetime64[s], [us] where some are no whole seconds, or int64."""
        if self.clock != "time":
            return ticks
        whole = not np.any(ticks % SECOND)
        return (ticks // SECOND).astype("datetime64[s]") if whole else ticks.astype("datetime64[us]")


def ticks_of(name: str, value: Any) -> int:
    """Microseconds since 1970, in UTC, of a date, a datetime, a datetime64 or an ISO 8601 text.

    Raises
    ------
    TimeError : no stamp, one that cannot be read, or one before 1844 or after 2096
    """
    stamp: Any = parse_stamp(name, value.strip()) if isinstance(value, str) else value
    if isinstance(stamp, datetime) and stamp.tzinfo is not None:
        stamp = stamp.astimezone(UTC).replace(tzinfo=None)
    if type(stamp) is datetime:
        since = stamp - EPOCH
        tick = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds
    else:
        # pandas' NaT is a date too, and unequal to itself.
        known = isinstance(stamp, (date, np.datetime64)) and stamp == stamp
        exact = np.array([stamp if known else "NaT"], "datetime64[us]")[0]
        if np.isnat(exact):
            raise TimeError(f"time column {name!r}: expected a date, got {value!r}; send the time of every row")
        tick = int(exact.astype(np.int64))
    if abs(tick) > LATEST:
        raise TimeError(f"time column {name!r}: expected a date from 1844 to 2096, got {value!r}; correct the clock")
    return tick


def _whole(value: Any) -> int | None:
    """The whole number that a value or a text of digits says."""
    if isinstance(value, (bool, np.bool_)):
        return None  # int would make 1 of it
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.removeprefix("-").isdecimal() and len(text) < 25 else None
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and value == math.floor(value):
        return int(value)
    return None


def _absent(value: Any) -> bool:
    """Whether a value is NaN, or what pandas has for it."""
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


def _number(name: str, value: Any, notes: list[str]) -> float:
    if value is None:
        return math.nan
    try:
        number = parse_number(value.strip()) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan if _absent(value) else None
    except OverflowError:  # an integer beyond the range of float
        number = math.inf
    if number is None:
        raise ColumnError(f"column {name!r}: expected a number, got {value!r}; leave it out if nothing was observed")
    if abs(number) > LARGEST:
        notes.append(f"{name}: {number:g} counts as not observed, as all beyond {LARGEST:g} does")
        return math.nan
    return number
