"""The step between two time stamps: inferred from them, or read from a pandas alias; NumPy arithmetic only.

The phase of a grid (minutes past the hour, weekday, day of the month) is not part of a frequency: it is that of the
stamps, so that weekly series that fall on Mondays and others that fall on Wednesdays share one model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from carrousel.errors import HistoryError, SettingError, TimeError

Stamps = npt.NDArray[np.datetime64] | npt.NDArray[np.int64]
Unit = Literal["i", "s", "min", "h", "D", "W", "B", "M", "Q", "Y"]

_SECONDS: dict[str, int] = {"s": 1, "min": 60, "h": 3600, "D": 86_400, "W": 604_800}
_MONTHS: dict[str, int] = {"M": 1, "Q": 3, "Y": 12}
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
# alias: (unit, end of the period); pandas' names, old and new, and those of polars (d, w, mo, q, y, m)
_ALIASES: dict[str, tuple[Unit, bool]] = {
    **dict.fromkeys(("s", "S", "sec"), ("s", False)),
    **dict.fromkeys(("min", "T", "m"), ("min", False)),
    **dict.fromkeys(("h", "H"), ("h", False)),
    **dict.fromkeys(("D", "d"), ("D", False)),
    **dict.fromkeys(("W", "w"), ("W", False)),
    "B": ("B", False),
    **dict.fromkeys(("MS", "mo"), ("M", False)),
    **dict.fromkeys(("ME", "M"), ("M", True)),
    **dict.fromkeys(("QS", "q"), ("Q", False)),
    **dict.fromkeys(("QE", "Q"), ("Q", True)),
    **dict.fromkeys(("YS", "AS", "y"), ("Y", False)),
    **dict.fromkeys(("YE", "Y", "A"), ("Y", True)),
}
# unit: (one of it, a step of one)
_WORDS = {
    "i": ("step", "integer steps of 1"),
    "s": ("second", "every second"),
    "min": ("minute", "every minute"),
    "h": ("hour", "hourly"),
    "D": ("day", "daily"),
    "W": ("week", "weekly"),
    "B": ("working day", "every working day"),
    "M": ("month", "monthly"),
    "Q": ("quarter", "quarterly"),
    "Y": ("year", "yearly"),
}
# Every month has this many days, so a day of the month before it exists in all of them.
_SAFE_DAYS = np.timedelta64(28, "D")


@dataclass(frozen=True)
class Frequency:
    """``n`` units from one stamp to the next.

    Parameters
    ----------
    unit : "i" (integers), "s", "min", "h", "D", "W", "B" (Monday to Friday), "M", "Q", "Y"
    n : units in a step, at least 1
    end : counted from the end of the month, quarter or year
    anchor : weekday (0 is Monday) for "W", month of the quarter or year (0 is the first) for "Q" and "Y"; None: any
    """

    unit: Unit
    n: int = 1
    end: bool = False
    anchor: int | None = None

    @classmethod
    def parse(cls, alias: str | int) -> Frequency:
        """Read a pandas, polars or Nixtla alias (``"h"``, ``"30min"``, ``"W-SUN"``, ``"1mo"``), or an integer step.

        Raises
        ------
        SettingError : not an alias of a frequency of at least one second
        """
        text = str(alias).strip()
        if text.isdecimal() and int(text) > 0:
            return cls("i", int(text))
        match = re.fullmatch(r"([1-9]\d*)?([A-Za-z]+)(?:-([A-Z]{3}))?", text)
        if match is None or match[2] not in _ALIASES:
            raise SettingError(
                f"frequency: expected an alias such as 'h', '30min', 'D', 'B', 'W-SUN', 'MS', 'QS', 'YS' or a positive "
                f"integer step, got {alias!r}"
            )
        unit, end = _ALIASES[match[2]]
        names = _WEEKDAYS if unit == "W" else _MONTH_NAMES if unit in "QY" else ()
        if match[3] and match[3] not in names:
            expected = f"one of {', '.join(names)}" if names else "none"
            raise SettingError(f"frequency {alias!r}: expected {expected} after the hyphen, got {match[3]!r}")
        anchor = names.index(match[3]) % {"W": 7, "Q": 3, "Y": 12}[unit] if match[3] else None
        n = int(match[1] or 1)
        if unit in _SECONDS:
            return replace(_fixed(n * _SECONDS[unit]), anchor=anchor)
        if unit in _MONTHS:
            return replace(_monthly(n * _MONTHS[unit], end), anchor=anchor)
        return cls(unit, n)

    @classmethod
    def infer(cls, ds: Sequence[Stamps], ids: Sequence[str] = ()) -> Frequency:
        """The frequency of several series, robust to gaps.

        The most common step, if all steps are multiples of it; else the largest step that divides them all, if at
        least one step in ten is that long.

        Parameters
        ----------
        ds : one array of strictly increasing stamps per series, datetime64[s] or int64
        ids : names of the series, for messages

        Raises
        ------
        HistoryError : no series has two stamps
        TimeError : the stamps do not lie on one grid
        """
        series = [part for part in ds if len(part) > 1]
        if not series:
            raise HistoryError(
                "frequency: at least two time stamps in one series are needed to infer it, got at most one; pass "
                "frequency, for example frequency='h'"
            )
        steps = [np.diff(part.astype(np.int64)) for part in series]
        if series[0].dtype.kind != "M":
            step = _common(np.concatenate(steps))
            if step:
                return cls("i", step)
        else:
            found = _infer_months(series, steps) or _infer_business(series, steps)
            step = None if found else _common(np.concatenate(steps))
            found = found or (_fixed(step) if step else None)
            if found:
                return found.anchored(np.array([part[0] for part in series], "datetime64[s]"))
        names = [ids[i] for i, part in enumerate(ds) if len(part) > 1] if ids else [str(i) for i in range(len(series))]
        raise _irregular(series, steps, names)

    @property
    def integer(self) -> bool:
        """Whether stamps are integers rather than dates."""
        return self.unit == "i"

    @property
    def alias(self) -> str:
        """The pandas alias; for integers the step in digits."""
        if self.unit == "i":
            return str(self.n)
        letters = f"{self.unit}{'E' if self.end else 'S'}" if self.unit in _MONTHS else self.unit
        anchor = ""
        if self.anchor is not None and self.unit == "W":
            anchor = f"-{_WEEKDAYS[self.anchor]}"
        elif self.anchor is not None:
            default = _MONTHS[self.unit] - 1 if self.end else 0
            month = 11 if self.end and self.anchor == default else self.anchor
            anchor = "" if self.anchor == default else f"-{_MONTH_NAMES[month]}"
        return f"{self.n if self.n > 1 else ''}{letters}{anchor}"

    def describe(self) -> str:
        """In words: "hourly", "every 30 minutes", "monthly, at the end of the month"."""
        name, words = _WORDS[self.unit]
        if self.n > 1:
            words = f"integer steps of {self.n}" if self.integer else f"every {self.n} {name}s"
        return f"{words}, at the end of the {name}" if self.end else words

    @property
    def season(self) -> int:
        """Rows after which the most likely cycle repeats: a day of hours, a week of days, a year of months; or 1."""
        return self._season[0]

    @property
    def season_reason(self) -> str:
        """Why ``season`` is what it is, in a few words."""
        rows, cycle = self._season
        return f"{rows} rows make {cycle}" if rows > 1 else f"no cycle is known for data that are {self.describe()}"

    @property
    def _season(self) -> tuple[int, str]:
        if self.unit in ("s", "min", "h"):
            cycle, length = ("an hour", 3600) if self.unit == "s" else ("a day", 86_400)
            step = self.n * _SECONDS[self.unit]
        elif self.unit in _MONTHS:
            cycle, length, step = "a year", 12, self.n * _MONTHS[self.unit]
        else:
            step = self.n
            cycle, length = {"D": ("a week", 7), "B": ("a week", 5), "W": ("a year", 52), "i": ("", 1)}[self.unit]
        return (length // step, cycle) if length % step == 0 else (1, "")

    def shift(self, ds: Any, steps: Any) -> Stamps:
        """The stamps ``steps`` steps after ``ds``, broadcast.

        Raises
        ------
        TimeError : a working-day stamp that is on a weekend
        """
        if self.unit == "i":
            return np.asarray(ds, np.int64) + np.asarray(steps, np.int64) * self.n
        ds, k = np.asarray(ds, "datetime64[s]"), np.asarray(steps, np.int64)
        if self.unit in _SECONDS:
            return ds + k * self.n * _SECONDS[self.unit]
        if self.unit == "B":
            day = ds.astype("datetime64[D]")
            weekend = ~np.is_busday(day)
            if np.any(weekend):
                raise TimeError(
                    f"time stamps: expected Monday to Friday for frequency 'B', got {day[weekend].ravel()[0]}, which "
                    "is on a weekend; use frequency='D'"
                )
            return np.busday_offset(day, k * self.n).astype("datetime64[s]") + (ds - day)
        month = ds.astype("datetime64[M]") + int(self.end)
        return (month + k * self.n * _MONTHS[self.unit]).astype("datetime64[s]") + (ds - month)

    def range(self, start: Any, n: int) -> Stamps:
        """``n`` stamps from ``start`` on, (n,)."""
        return self.shift(start, np.arange(n))

    def after(self, last: Any, n: int) -> Stamps:
        """The ``n`` stamps that follow ``last``, (n,)."""
        return self.shift(last, np.arange(1, n + 1))

    def locate(self, a: Any, b: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Steps from ``a`` to ``b`` (rounded down), and whether ``b`` is exactly there; broadcast."""
        if self.unit == "i":
            steps, rest = np.divmod(np.asarray(b, np.int64) - np.asarray(a, np.int64), self.n)
            return steps, rest == 0
        a, b = np.asarray(a, "datetime64[s]"), np.asarray(b, "datetime64[s]")
        if self.unit in _SECONDS:
            steps, rest = np.divmod((b - a).astype(np.int64), self.n * _SECONDS[self.unit])
            return steps, rest == 0
        if self.unit == "B":
            first, last = a.astype("datetime64[D]"), b.astype("datetime64[D]")
            steps, rest = np.divmod(np.busday_count(first, last), self.n)
            on = np.is_busday(first) & np.is_busday(last) & (a - first == b - last)
            return np.asarray(steps, np.int64), on & (rest == 0)
        first, last = a.astype("datetime64[M]") + int(self.end), b.astype("datetime64[M]") + int(self.end)
        steps, rest = np.divmod((last - first).astype(np.int64), self.n * _MONTHS[self.unit])
        return steps, (rest == 0) & (a - first == b - last)

    def steps(self, a: Any, b: Any) -> npt.NDArray[np.int64]:
        """Steps from ``a`` to ``b``, broadcast; negative where ``b`` comes first.

        Raises
        ------
        TimeError : a stamp of ``b`` is not on the grid through ``a``
        """
        steps, on = self.locate(a, b)
        if not np.all(on):
            first, stamp = (x[~on][0] for x in np.broadcast_arrays(np.asarray(a), np.asarray(b)))
            raise TimeError(
                f"time stamp {stamp}: expected one on the grid through {first} ({self.describe()}), got one beside it; "
                "resample to that grid"
            )
        return steps

    def anchored(self, firsts: npt.NDArray[Any]) -> Frequency:
        """This frequency with the weekday or month of ``firsts`` (S,), if they agree on one.

        Raises
        ------
        TimeError : they contradict the anchor that was named, or a day that some months do not have
        """
        if self.unit in _MONTHS and not self.end:
            late = firsts[firsts - firsts.astype("datetime64[M]") >= _SAFE_DAYS]
            if len(late):
                raise TimeError(
                    f"time stamp {late[0]}: expected a day that every month has for frequency {self.alias!r}, got day "
                    f"{str(late[0])[8:10]}; use {self.alias.replace('S', 'E', 1)!r} if these are ends of a period"
                )
        if self.unit not in ("W", "Q", "Y"):
            return self
        if self.unit == "W":
            # 1970-01-01 was a Thursday.
            found = (firsts.astype("datetime64[D]").astype(np.int64) + 3) % 7
        else:
            found = firsts.astype("datetime64[M]").astype(np.int64) % _MONTHS[self.unit]
        one = int(found[0]) if len(found) and np.all(found == found[0]) else None
        if self.anchor is None or not len(found):
            return replace(self, anchor=one if self.anchor is None else self.anchor)
        if np.any(found != self.anchor):
            wrong = int(np.flatnonzero(found != self.anchor)[0])
            fitting = replace(self, anchor=int(found[wrong])).alias
            raise TimeError(
                f"time stamp {firsts[wrong]}: expected one that fits frequency {self.alias!r}, got one that fits "
                f"{fitting!r}; pass that, or the frequency without what follows the hyphen"
            )
        return self


def _fixed(seconds: int) -> Frequency:
    """A step of so many seconds in the largest unit that divides it."""
    unit = next(u for u in ("W", "D", "h", "min", "s") if seconds % _SECONDS[u] == 0)
    return Frequency(cast(Unit, unit), seconds // _SECONDS[unit])


def _monthly(months: int, end: bool) -> Frequency:
    """A step of so many months in the largest unit that divides it."""
    unit = next(u for u in ("Y", "Q", "M") if months % _MONTHS[u] == 0)
    return Frequency(cast(Unit, unit), months // _MONTHS[unit], end)


def _common(steps: npt.NDArray[np.int64]) -> int | None:
    """The step of a grid with gaps, or None if there is no such grid."""
    values, counts = np.unique(steps, return_counts=True)
    mode = int(values[np.argmax(counts)])
    if not np.any(values % mode):
        return mode
    divisor = np.gcd.reduce(values)
    # One odd stamp also has a divisor, but hardly any step is that short.
    return int(divisor) if 10 * counts[values == divisor].sum() >= len(steps) else None


def _infer_months(series: list[Any], steps: list[npt.NDArray[np.int64]]) -> Frequency | None:
    """Months, if every series keeps its day and hour, counted from the start or from the end of the month."""
    if min(step.min() for step in steps) < 28 * 86_400:
        return None
    for end in (False, True):
        months = [part.astype("datetime64[M]") + int(end) for part in series]
        offsets = [part - month for part, month in zip(series, months, strict=True)]
        constant = all(bool(np.all(offset == offset[0])) for offset in offsets)
        if constant and (end or all(offset[0] < _SAFE_DAYS for offset in offsets)):
            step = _common(np.concatenate([np.diff(month.astype(np.int64)) for month in months]))
            if step:
                return _monthly(step, end)
    return None


def _infer_business(series: list[Any], steps: list[npt.NDArray[np.int64]]) -> Frequency | None:
    """Working days: no stamp on a weekend although weekends lie between them, and one step a day otherwise."""
    if any(np.any(step % 86_400) for step in steps):
        return None
    days = [part.astype("datetime64[D]") for part in series]
    if not all(bool(np.all(np.is_busday(day))) for day in days):
        return None
    worked = np.concatenate([np.busday_count(day[:-1], day[1:]) for day in days])
    crossed = np.any(worked * 86_400 != np.concatenate(steps))
    return Frequency("B") if crossed and _common(worked) == 1 else None


def _irregular(series: list[Any], steps: list[npt.NDArray[np.int64]], names: list[str]) -> TimeError:
    """What is irregular, where, and what to do."""
    values, counts = np.unique(np.concatenate(steps), return_counts=True)
    mode = int(values[np.argmax(counts)])
    which = next(i for i, step in enumerate(steps) if np.any(step % mode))
    row = int(np.flatnonzero(steps[which] % mode)[0])
    usual = _fixed(mode) if series[0].dtype.kind == "M" else Frequency("i", mode)
    words = f"{usual.n} {_WORDS[usual.unit][0]}{'s' if usual.n > 1 else ''}"
    return TimeError(
        f"series {names[which]!r}: expected time stamps on one regular grid (the most common step is {words}), "
        f"got {series[which][row + 1]} after {series[which][row]}; "
        "correct or resample the stamps, or pass frequency if they lie on a finer grid with many gaps"
    )
