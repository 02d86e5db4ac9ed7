"""What a detector can be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from carrousel.config import Range, check
from carrousel.errors import SettingError

SECONDS = {
    "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_629_800.0,
    "year": 31_557_600.0,
}  # fmt: skip
IRREGULAR = "none"  # as a frequency
_PROMISE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)?\s*([A-Za-z]+)\s*")


@dataclass(frozen=True)
class Promise:
    """A rate of false alarms that someone accepts.

    Parameters
    ----------
    rate : alarms a second, or a row
    per_second : which of the two
    """

    rate: float
    per_second: bool

    @classmethod
    def parse(cls, text: str) -> Promise:
        """Read ``"1/week"``, ``"2/day"``, ``"1/1000 rows"``.

        Raises
        ------
        SettingError : anything else, or no rate above 0
        """
        match = _PROMISE.fullmatch(text)
        unit = match[3].lower().removesuffix("s") if match else ""
        if match is None or unit not in (*SECONDS, "row") or not (count := float(match[1])):
            raise SettingError(
                f"false_alarms: expected a rate such as '1/week', '2/day', '1/month' or '1/1000 rows', got {text!r}"
            )
        units = float(match[2] or 1)
        if not units:
            raise SettingError(f"false_alarms: expected a time above 0, got {text!r}")
        return cls(count / units / SECONDS.get(unit, 1.0), unit != "row")

    def per_row(self, interval_s: float) -> float:
        """Alarms a row, for rows that come every so many seconds."""
        return self.rate * interval_s if self.per_second else self.rate


@dataclass(frozen=True, kw_only=True)
class DetectSettings:
    """What a detector can be told; everything has a default that works on a laptop.

    Parameters
    ----------
    target : columns to watch; by default ``y`` of a long table, all numeric columns of a wide one
    past : columns that are read but not watched: commands, temperatures, whatever explains the values of their row
    id, time : columns of the series' names and of the time stamps
    frequency : such as "h", "30min"; inferred from the stamps by default. "none": rows come at no regular interval, or
        several a second, and are judged as they come; the network is then not adapted
    season : rows of the cycle that is told apart from the trend; by default that of the frequency or, where stamps are
        integers, the one that is found in the table
    joint : watch the columns of a wide table together, as one stream of several variables, instead of one by one
    false_alarms : how many are accepted: "1/week", "2/day", "1/1000 rows". By default one a week, or one in 2,000 rows
        where stamps are integers, or one in 200 where rows come less than every two hours or so
    beyond : alarm where a value, or its distance from the forecast, is beyond all in the table by this share, 0.2 for a
        fifth, instead of as often as promised: for tables without an anomaly, and streams that are like them
    minutes : time budget for adapting the network to the table; 0 keeps the network that Carrousel comes with
    seed : the same seed gives the same detector on the same machine, where the budget does not end the training
    """

    target: tuple[str, ...] | None = None
    past: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    frequency: str | None = None
    season: Annotated[int, Range(1)] | None = None
    joint: bool = True
    false_alarms: str | None = None
    beyond: Annotated[float, Range(0)] | None = None
    minutes: Annotated[float, Range(0)] = 1.0
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check(self, where="Detector")
        if self.false_alarms is not None:
            Promise.parse(self.false_alarms)

    def promise(self, *, dated: bool) -> Promise:
        """The rate that is promised; stamps that are no dates have no weeks.

        Raises
        ------
        SettingError : a rate by the clock for rows that have none
        """
        promise = Promise.parse(self.false_alarms or ("1/week" if dated else "1/2000 rows"))
        if promise.per_second and not dated:
            raise SettingError(
                "false_alarms: expected a rate such as '1/2000 rows' where time stamps are integers or none, got "
                f"{self.false_alarms!r}"
            )
        return promise

    @property
    def rule(self) -> str:
        """Where alarms come, in words."""
        if self.beyond is None:
            return f"as often as is accepted, {self.false_alarms or 'once a week, or in 2,000 rows without dates'}"
        share = f" by {self.beyond:g} of it" if self.beyond else ""
        return f"where a value, or its distance from the forecast, is beyond all in the table{share}"
