"""A live stream of a detector: an event for every row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from carrousel.config import nearest
from carrousel.errors import ColumnError, DataError, SettingError, TimeError
from carrousel.stream.arrival import BACK_ROWS, CONFLICT, LATE, ROW, Arrived, Rules
from carrousel.stream.event import CHANGES, Event, Trend, causes, event_of
from carrousel.stream.record import Columns
from carrousel.stream.source import Source, by_variable, ends
from carrousel.stream.streams import KINDS, Streams

COUNTS = ("rows", "late", "duplicates", "conflicts", "skipped", "lost", "incidents")


@dataclass(slots=True, eq=False)
class Verdict:
    """``Batch`` of one row, as plain values but for the readings."""

    arrived: Arrived
    readings: Any
    alarm: bool
    incident: int
    ended: int


class DetectStream:
    """A live stream of one series: an event at every row.

    Parameters
    ----------
    detector : carrousel.Detector, or what has its ``schema``, ``variables`` and ``watch``
    unique_id : name of the stream; one that the detector was fitted on goes on after the rows of that table, any other
        starts anew. None where there is only one
    rules : what to do with rows that are not as they should be

    Examples
    --------
    >>> import carrousel
    >>> stream = carrousel.Detector.online().stream()
    >>> stream.update({"ds": "2024-01-01 00:00", "y": 1.5}).warming
    True
    """

    def __init__(self, detector: Source, unique_id: str | None = None, *, rules: Rules | None = None) -> None:
        known = ends(detector)
        if unique_id is None and len(known) > 1:
            first = next(iter(known))
            raise SettingError(f"stream: expected one of {len(known)} series, such as {first!r}, got no name")
        if unique_id is None:
            unique_id = next(iter(known), Columns.of(detector).default_id())
        self._take(Streams(detector, (unique_id,), rules=rules))

    def _take(self, streams: Streams) -> None:
        self.streams, self.unique_id = streams, streams.ids[0]
        self._sources = streams.columns.sources(self.unique_id)

    @classmethod
    def of(cls, streams: Streams) -> Self:
        """The face of Streams of one."""
        made = cls.__new__(cls)
        made._take(streams)
        return made

    @property
    def newest(self) -> Any:
        """Stamp of the newest row; None before the first."""
        if not self.streams.arrival.arrays["started"][0]:
            return None
        return self.streams.columns.ds(self.count("newest"))

    def count(self, what: str) -> int:
        """How many there were so far.

        Parameters
        ----------
        what : "rows" that were taken; "late"; "duplicates"; "conflicts" (other values for the newest stamp); "skipped";
            "lost" (skipped, and too many to be fed as missing); "incidents"

        Raises
        ------
        SettingError : another name
        """
        if what not in self.streams.arrival.arrays:
            raise SettingError(f"count: unknown {what!r}; {nearest(what, COUNTS)}")
        return int(self.streams.arrival.arrays[what][0])

    def update(self, row: Mapping[str, object]) -> Event:
        """Take one row and judge it before the next one comes.

        Parameters
        ----------
        row : column -> value, with the time stamp. An absent, empty, infinite or monstrous value counts as missing; a
            row that skips stamps leaves missing rows in between; one that is late or came before is counted, not judged

        Raises
        ------
        ColumnError : a text that is no number, a misspelt name, or a row that says that it is of another stream
        TimeError : no stamp, or one that cannot be read; with the rule late="refuse", a row that is not later than the
            newest one
        SettingError : a promise by the clock, and the first row has no date
        DataError : no row at all

        After any of them the stream is as it was before.
        """
        columns, arrival = self.streams.columns, self.streams.arrival
        if not hasattr(row, "get"):
            raise DataError(f"row: expected column -> value, such as a dict, got {type(row).__name__}")
        named = None if columns.id is None else row.get(columns.id)
        if named is not None and not (type(named) is str and named == self.unique_id):
            self._check_id(columns.id_of(row))
        record = columns.read(row, self._sources)
        if not self.streams.settled:
            self.streams.settle()
        before = arrival.newest_one()
        if before is None:
            record.notes += self._first()
        tick = record.tick
        if tick is None:
            tick = 0 if before is None else before + 1
        if before is not None and tick <= before and arrival.rules.late == "refuse":
            raise TimeError(
                f"stream {self.unique_id!r}: expected a row after {self.newest}, got one of {columns.ds(tick)}; send "
                "rows once and in order, or let late ones be ignored"
            )
        return self._event(self.judge(tick, record.values), columns.ds(tick), record.notes, before)

    def _check_id(self, named: str | None) -> None:
        """Refuse a row of another stream, unless this one has no name of its own."""
        unnamed = self.streams.columns.schema is None and self.unique_id == self.streams.columns.default_id()
        if named not in (None, self.unique_id) and not unnamed:
            raise ColumnError(
                f"id column {self.streams.columns.id!r}: expected a row of the stream {self.unique_id!r}, got one of "
                f"{named!r}; each has a stream of its own"
            )

    def _first(self) -> list[str]:
        """What there is to say of the first row of a stream that starts cold."""
        notes: list[str] = []
        if self.streams.columns.clock == "rows":
            notes.append("no time stamp: rows are numbered as they come")
        if ends(self.streams.detector):
            notes.append(f"{self.unique_id!r} was not in the table that the detector was fitted on: it starts cold")
        return notes

    def judge(self, tick: int, values: Sequence[float]) -> Verdict:
        """Judge a row that was read: its stamp as the stream's clock counts, and its K + P values.

        It is ``Streams.push`` for one stream, in plain Python around the steps of the detector.
        """
        streams = self.streams
        watch, arrival = streams.watch, streams.arrival
        arrived = arrival.admit_one(tick, values[: len(streams.variables)])
        if arrived.kind != ROW:
            number = arrival.arrays["incidents"].item() if arrival.arrays["running"].item() else 0
            return Verdict(arrived, None, False, number, 0)
        second = streams.columns.second
        alarm, ended = False, 0
        for back in range(arrived.fed, 0, -1):
            nothing = np.full((1, len(values)), np.nan)
            readings = watch.step(nothing, np.array([(tick - back * arrived.interval) * second]))
            began = readings.alarm.item()
            ended = max(ended, arrival.count_one(began, readings.incident.item())[1])
            alarm |= began
        readings = watch.step(np.array([values]), np.array([tick * second]))
        began = readings.alarm.item()
        incident, over = arrival.count_one(began, readings.incident.item())
        return Verdict(arrived, readings, alarm or began, incident, max(ended, over))

    def push(self, rows: Iterable[Mapping[str, object]]) -> list[Event]:
        """Take rows one after the other: the same as ``update`` for each.

        Raises
        ------
        DataError : a table, or a single row; and as ``update`` does, after the rows before it were taken
        """
        if hasattr(rows, "keys"):
            raise DataError(f"push: expected rows, such as a list of dicts, got one {type(rows).__name__}")
        return [self.update(row) for row in rows]

    def silent(self, now: Any) -> Event | None:
        """Whether the stream has become silent: said once, until its next row.

        Parameters
        ----------
        now : the time, as rows say theirs

        Returns
        -------
        an Event of the kind "silent" when no row came for so many usual intervals as the rules say; else None

        Raises
        ------
        TimeError : a time that cannot be read
        """
        columns = self.streams.columns
        if columns.clock is None or columns.clock == "rows":
            return None
        tick = columns.tick_of(now)
        if not len(self.streams.arrival.quiet(tick)):
            return None
        note = f"silent: no row since {self.newest}"
        return Event(unique_id=self.unique_id, ds=columns.ds(tick), kind="silent", notes=(note,), turn=True)

    def fork(self) -> DetectStream:
        """An independent copy, to try out rows that may not come."""
        return DetectStream.of(self.streams.fork([0]))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the whole state to a file, from which ``detector.stream(state=path)`` continues with the same bits.

        Raises
        ------
        ArtifactError : it could not be written; what stood there before is unchanged
        """
        return self.streams.save(path)

    def _event(self, verdict: Verdict, ds: Any, notes: list[str], before: int | None) -> Event:
        """`before`: the tick of the row before."""
        kind = verdict.arrived.kind
        if kind != ROW:
            last = None if before is None else self.streams.columns.ds(before)
            said = {
                LATE: f"late: the newest row is of {last}",
                CONFLICT: f"a second row of {last} with other values; the first one counts",
            }.get(kind, f"a second row of {last} with the same values")
            return Event(
                unique_id=self.unique_id,
                ds=ds,
                kind=KINDS[kind],  # pyright: ignore[reportArgumentType]
                incident=verdict.incident or None,
                notes=(*notes, said),
            )
        turned = self._say(verdict.arrived, before, notes)
        return self._judged(verdict, ds, tuple(notes), turned)

    def _say(self, arrived: Arrived, before: int | None, notes: list[str]) -> bool:
        """Add what was unusual about the arrival of a row; whether something begins or ends with it."""
        variables = self.streams.variables
        if arrived.missing:
            lost = "" if arrived.fed == arrived.missing else f", of which {arrived.fed} count as missing ones"
            last = None if before is None else self.streams.columns.ds(before)
            notes.append(f"{arrived.missing} row{'s' * (arrived.missing > 1)} skipped after {last}{lost}")
        if arrived.back:
            notes.append("the stream is back after its silence")
        if arrived.set_back:
            last = None if before is None else self.streams.columns.ds(before)
            notes.append(f"{BACK_ROWS} rows in order were older than the newest one, of {last}: the clock was set back")
        for k in arrived.sticks:
            run = int(self.streams.arrival.arrays["run"][0, k]) + 1
            notes.append(f"{variables[k]} sticks: the same value {run} times, far longer than ever before")
        notes += [f"{variables[k]} moves again" for k in arrived.moves]
        return bool(arrived.back or arrived.set_back or arrived.sticks or arrived.moves)

    def _judged(self, verdict: Verdict, ds: Any, notes: tuple[str, ...], turned: bool) -> Event:
        """The event of a row that was taken; from here on there are plain Python values only."""
        r, variables = verdict.readings, self.streams.variables
        score, p_value = r.score.item() + 0.0, r.p_value.item()  # no −0
        expected: dict[str, float] = {}
        band: dict[str, tuple[float, float]] = {}
        residual: dict[str, float] = {}
        trend: dict[str, Trend] = {}
        drift: tuple[str, ...] = ()
        for name, *line in zip(variables, *by_variable(r), strict=True):
            mean, low, high, rest, level, level_low, level_high, slope, slope_low, slope_high, *line = line
            season, season_low, season_high, change, drifts = line
            if mean == mean:
                expected[name], band[name] = mean, (low, high)
                if rest == rest:
                    residual[name] = rest
            if level == level:
                trend[name] = Trend(
                    level,
                    slope,
                    _band(slope_low, slope_high),
                    CHANGES[change],
                    _band(level_low, level_high),
                    season if season == season else None,
                    _band(season_low, season_high),
                )
            if drifts:
                drift = (*drift, name)
        return event_of(
            self.unique_id,
            ds,
            "row",
            score if score == score else None,
            p_value if p_value == p_value else None,
            r.warming.item(),
            verdict.alarm,
            verdict.incident or None,
            verdict.ended or None,
            expected,
            band,
            residual,
            trend,
            drift,
            causes(r.contributions, variables, self.streams.watch.members),
            tuple([variables[k] for k in verdict.arrived.stuck]),
            notes,
            turned or verdict.alarm or verdict.ended > 0,
        )


def _band(low: float, high: float) -> tuple[float, float] | None:
    return None if low != low else (low, high)
