"""What a detector says about a row, in the user's terms and ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

import numpy as np

Kind = Literal["row", "late", "duplicate", "silent"]
CHANGES = ("", "level", "slope")
MOST_CAUSES = 10  # in one event


class Trend(NamedTuple):
    """What a variable does underneath.

    Parameters
    ----------
    level : in the units of the series, without the season
    slope : its rise from row to row, at the usual interval
    slope_band : 95 % interval of the slope; None while unknown
    change : "level" or "slope" where one was found, in this row, to have changed; else ""
    level_band : 95 % interval of the level; None while unknown
    season : what this part of the day, or of another cycle, adds; None without a cycle, and before three of them
    season_band : its 95 % interval
    """

    level: float
    slope: float
    slope_band: tuple[float, float] | None
    change: str
    level_band: tuple[float, float] | None = None
    season: float | None = None
    season_band: tuple[float, float] | None = None


class Cause(NamedTuple):
    """How much of a row's surprise comes from one member of the detector, looking at one variable."""

    variable: str
    member: str
    surprise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of one stream, or that no row came.

    Parameters
    ----------
    unique_id : of the stream
    ds : stamp of the row, datetime64 in UTC or int; for ``kind`` "silent" the time at which silence was noticed
    kind : "row"; "late" (older than the newest row) and "duplicate" (a second row of the newest stamp) were counted and
        not judged; "silent": no row came for too long
    score : how surprising the row is, in which all members of the detector come together; None where nothing is judged,
        0 where nothing was observed
    p_value : how often a row of this stream is at least so surprising; 1 where nothing was observed
    warming : too few rows yet to judge; there is no alarm then
    alarm : an incident begins in this row
    incident : number of the incident that the row belongs to, counted from 1 for each stream; None outside
    ended : number of the incident that is over with this row
    expected, band, residual : by variable, of the forecast one step ahead: the value, its 90 % interval, and the value
        observed minus the expected one. A variable without a forecast or a value is left out
    trend : by variable
    drift : variables that were found, in this row, to be distributed otherwise than before
    contributions : what the surprise is made of, most first, those above 0
    stuck : variables that have not changed for far longer than ever before
    notes : what was unusual about the row and how it was mended, in sentences
    turn : whether something begins or ends here: an incident, silence, a sensor that sticks
    """

    unique_id: str
    ds: Any
    kind: Kind = "row"
    score: float | None = None
    p_value: float | None = None
    warming: bool = False
    alarm: bool = False
    incident: int | None = None
    ended: int | None = None
    expected: Mapping[str, float] = field(default_factory=dict[str, float])
    band: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    residual: Mapping[str, float] = field(default_factory=dict[str, float])
    trend: Mapping[str, Trend] = field(default_factory=dict[str, Trend])
    drift: tuple[str, ...] = ()
    contributions: tuple[Cause, ...] = ()
    stuck: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    turn: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: no NaN, no infinity."""
        return {
            "unique_id": self.unique_id,
            "ds": plain_stamp(self.ds),
            "kind": self.kind,
            "score": finite(self.score),
            "p_value": finite(self.p_value),
            "warming": self.warming,
            "alarm": self.alarm,
            "incident": self.incident,
            "ended": self.ended,
            "expected": {name: finite(value) for name, value in self.expected.items()},
            "band": {name: [finite(end) for end in ends] for name, ends in self.band.items()},
            "residual": {name: finite(value) for name, value in self.residual.items()},
            "trend": {
                name: {
                    "level": finite(trend.level),
                    "level_band": _finite_band(trend.level_band),
                    "slope": finite(trend.slope),
                    "slope_band": _finite_band(trend.slope_band),
                    "season": finite(trend.season),
                    "season_band": _finite_band(trend.season_band),
                    "change": trend.change,
                }
                for name, trend in self.trend.items()
            },
            "drift": list(self.drift),
            "contributions": [
                {"variable": cause.variable, "member": cause.member, "surprise": finite(cause.surprise)}
                for cause in self.contributions
            ],
            "stuck": list(self.stuck),
            "notes": list(self.notes),
        }


_SET = [getattr(Event, part.name).__set__ for part in fields(Event)]
_NEW = object.__new__


def event_of(*values: Any) -> Event:
    """An Event of all its fields in their order, in half the time."""
    event = _NEW(Event)
    for put, value in zip(_SET, values, strict=True):
        put(event, value)
    return event


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Rows that belong together, from the alarm to the last row before calm.

    Parameters
    ----------
    unique_id : of the stream
    number : counted from 1 for each stream
    start, end : stamps of its first and last row; ``end`` None while it runs
    peak : its highest score
    peak_ds : the row that has it
    causes : the highest surprise of each variable and member in it, most first
    """

    unique_id: str
    number: int
    start: Any
    end: Any
    peak: float
    peak_ds: Any
    causes: tuple[Cause, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "unique_id": self.unique_id,
            "number": self.number,
            "start": plain_stamp(self.start),
            "end": None if self.end is None else plain_stamp(self.end),
            "peak": finite(self.peak),
            "peak_ds": plain_stamp(self.peak_ds),
            "causes": [
                {"variable": cause.variable, "member": cause.member, "surprise": finite(cause.surprise)}
                for cause in self.causes
            ],
        }


def causes(
    contributions: np.ndarray[Any, Any], variables: tuple[str, ...], members: tuple[str, ...]
) -> tuple[Cause, ...]:
    """Surprises (K, M) as names, most first, those above 0, at most ten."""
    flat: list[float] = contributions.ravel().tolist()
    width = len(members)
    places = [i for i, surprise in enumerate(flat) if surprise > 0]
    places.sort(key=flat.__getitem__, reverse=True)
    return tuple([Cause(variables[i // width], members[i % width], flat[i]) for i in places[:MOST_CAUSES]])


def in_words(causes: Sequence[Cause], most: int = 3, *, alone: bool = False) -> str:
    """Causes, most first: "load: forecast, level; heat: range"; `alone`: of a single variable, without its name."""
    if alone:
        return ", ".join(cause.member for cause in causes[:most])
    by_variable: dict[str, list[str]] = {}
    for cause in causes[:most]:
        by_variable.setdefault(cause.variable, []).append(cause.member)
    return "; ".join(f"{variable}: {', '.join(members)}" for variable, members in by_variable.items())


def finite(value: float | None) -> float | None:
    """A number for JSON, None where there is none."""
    return value if value is not None and math.isfinite(value) else None


def _finite_band(band: tuple[float, float] | None) -> list[float | None] | None:
    return None if band is None else [finite(end) for end in band]


def plain_stamp(stamp: Any) -> int | str:
    """A stamp for JSON: dates in ISO 8601."""
    return str(stamp) if isinstance(stamp, np.datetime64) else int(stamp)
