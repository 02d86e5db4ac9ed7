"""A detector over a whole table: the events that its rows would have had one by one, as arrays, and the incidents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.column import say
from carrousel.data.frame import Frame, frame_like
from carrousel.stream.detect import DetectStream
from carrousel.stream.event import CHANGES, Incident, causes, in_words
from carrousel.stream.record import Columns
from carrousel.stream.rows import Rows, read_rows
from carrousel.stream.source import Source, ends
from carrousel.stream.streams import EVERY, KINDS, Streams

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

BY_ROW = ("score", "p_value")
BY_VARIABLE = (
    "expected", "lower", "upper", "residual", "level", "level_lower", "level_upper", "slope", "slope_lower",
    "slope_upper", "season", "season_lower", "season_upper",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Judged:
    """R rows of S series, each judged when only those before it were known; series by series, in time order.

    Parameters
    ----------
    columns : which column was what
    ids : names of the series, (S,)
    starts : int64 (S + 1,); rows starts[s]:starts[s + 1] are series s
    ds : stamps, datetime64 or int64 (R,)
    values : float64 (R, K)
    variables, members : names, (K,) and (M,)
    kind : int64 (R,), as ``carrousel.stream.arrival`` counts them: 0 was judged, the others repeat a stamp
    score, p_value : float64 (R,), NaN where not judged
    warming, alarm : bool (R,)
    incident, ended : int64 (R,), numbers of incidents of the series, 0 for none
    expected, lower, upper, residual : float64 (R, K)
    level, slope, season : float64 (R, K), each with ..._lower and ..._upper, its interval
    change : int8 (R, K), 0 none, 1 level, 2 slope
    drift, stuck : bool (R, K)
    skipped : int64 (R,), rows missing before each
    incidents : all of them, by series and time; the end of one that still runs is None
    source : int64 (R,), the row of the table
    """

    columns: Columns
    ids: tuple[str, ...]
    starts: Ints
    ds: npt.NDArray[Any]
    values: Floats
    variables: tuple[str, ...]
    members: tuple[str, ...]
    kind: Ints
    score: Floats
    p_value: Floats
    warming: Flags
    alarm: Flags
    incident: Ints
    ended: Ints
    expected: Floats
    lower: Floats
    upper: Floats
    residual: Floats
    level: Floats
    level_lower: Floats
    level_upper: Floats
    slope: Floats
    slope_lower: Floats
    slope_upper: Floats
    season: Floats
    season_lower: Floats
    season_upper: Floats
    change: npt.NDArray[np.int8]
    drift: Flags
    stuck: Flags
    skipped: Ints
    incidents: tuple[Incident, ...]
    source: Ints

    def rows(self, series: int) -> slice:
        """The rows of one series."""
        return slice(int(self.starts[series]), int(self.starts[series + 1]))

    def frame(self, like: Frame) -> Frame:
        """The events as a table of the kind of another one."""
        ids = np.repeat(np.array(self.ids, object), np.diff(self.starts))
        columns: dict[str, npt.NDArray[Any]] = {
            self.columns.id or "unique_id": ids,
            self.columns.time or "ds": self.ds,
            "kind": np.array(KINDS, object)[self.kind],
            "score": self.score,
            "p_value": self.p_value,
            "warming": self.warming,
            "alarm": self.alarm,
            "incident": self.incident,
            "ended": self.ended,
        }
        for k, variable in enumerate(self.variables):
            tail = "" if len(self.variables) == 1 else f"-{variable}"
            columns |= {f"{name}{tail}": getattr(self, name)[:, k] for name in BY_VARIABLE}
            columns[f"change{tail}"] = np.array(CHANGES, object)[self.change[:, k]]
            columns |= {f"drift{tail}": self.drift[:, k], f"stuck{tail}": self.stuck[:, k]}
        return frame_like(like, columns)


def judge(detector: Source, frame: Frame, *, notes: list[str] | None = None) -> Judged:
    """Judge every row of a table as a stream would have.

    A series that the detector was fitted on goes on after the table of that time, if all its rows here are later; any
    other starts anew.

    Parameters
    ----------
    detector : a trained one, or one that needs no training
    frame : pandas, polars, pyarrow or a dict of columns; rows in any order, they are judged in that of their stamps
    notes : takes a sentence on each thing mended

    Raises
    ------
    DataError : a table that cannot be used; the message says which column or row
    """
    columns = Columns.of(detector)
    rows = read_rows(columns, frame, notes=notes)
    order = np.lexsort((rows.ticks, rows.codes))
    rows = Rows(rows.ids, rows.codes[order], rows.ticks[order], rows.values[order], rows.source[order])
    starts = np.searchsorted(rows.codes, np.arange(len(rows.ids) + 1))
    writer = _Writer(rows, len(detector.variables))
    known = {name: columns.tick_of(stamp) for name, stamp in ends(detector).items()}
    later = np.array(
        [known.get(name, rows.ticks[a]) < rows.ticks[a] for name, a in zip(rows.ids, starts, strict=False)], bool
    )
    members: tuple[str, ...] = ()
    for group, fresh in ((np.flatnonzero(later), False), (np.flatnonzero(~later), True)):
        if len(group):
            streams = Streams(detector, [rows.ids[s] for s in group], fresh=fresh)
            streams.columns.clock, streams.columns.time = columns.clock, columns.time
            if not streams.settled:
                streams.settle()
            members = tuple(streams.watch.members)
            writer.run(streams, starts[group], starts[group + 1])
    _say_what_counted(writer.arrays["kind"], known, later, rows.ids, columns, notes)
    return Judged(
        columns=columns,
        ids=rows.ids,
        starts=starts,
        ds=columns.stamps(rows.ticks),
        values=rows.values[:, : len(detector.variables)],
        variables=tuple(detector.variables),
        members=members,
        incidents=tuple(writer.incidents(columns, starts, members, tuple(detector.variables))),
        source=rows.source,
        **writer.arrays,
    )


def _say_what_counted(
    kind: Ints, known: Mapping[str, int], later: Flags, ids: tuple[str, ...], columns: Columns, notes: list[str] | None
) -> None:
    """Rows that were not judged, and series that start anew although the detector was fitted."""
    again = int((kind > 0).sum())
    if again:
        several = "" if columns.id is not None else "; if these are several series, fit with their id column"
        say(notes, f"{again} row{'s' * (again > 1)} repeat a stamp of their series; the first one counts{several}")
    fresh = {name for name, goes_on in zip(ids, later.tolist(), strict=True) if known and not goes_on}
    for which, why in (
        (fresh - known.keys(), "not in the table that the detector was fitted on"),
        (fresh & known.keys(), "not after the rows that the detector was fitted on"),
    ):
        if which:
            named = f"series {min(which)!r}" if len(which) == 1 else f"{len(which)} series, such as {min(which)!r},"
            say(notes, f"{named} {'starts' if len(which) == 1 else 'start'} cold: {why}")


class _Writer:
    """Takes down what is said of every row."""

    def __init__(self, rows: Rows, variables: int) -> None:
        self.rows, count = rows, len(rows.ticks)
        self.arrays: dict[str, Any] = {
            **{name: np.full(count, np.nan) for name in BY_ROW},
            **{name: np.full((count, variables), np.nan) for name in BY_VARIABLE},
            **{name: np.zeros(count, np.int64) for name in ("kind", "incident", "ended", "skipped")},
            **{name: np.zeros(count, bool) for name in ("warming", "alarm")},
            **{name: np.zeros((count, variables), bool) for name in ("drift", "stuck")},
            "change": np.zeros((count, variables), np.int8),
        }
        self.peaks: dict[tuple[int, int], Floats] = {}

    def run(self, streams: Streams, starts: Ints, stops: Ints) -> None:
        """Step through series side by side; those that are over leave."""
        if len(streams) == 1:
            self._run_one(DetectStream.of(streams), int(starts[0]), int(stops[0]))
            return
        place = starts.copy()
        while len(streams):
            for _ in range(int((stops - place).min())):
                batch = streams.push(EVERY, self.rows.ticks[place], self.rows.values[place])
                a, admission = self.arrays, batch.admission
                a["kind"][place], a["skipped"][place], a["stuck"][place] = (
                    admission.kind, admission.missing, admission.stuck,
                )  # fmt: skip
                a["alarm"][place], a["incident"][place], a["ended"][place] = batch.alarm, batch.incident, batch.ended
                if batch.readings is not None:
                    self._read(place, batch.readings)
                    for n in np.flatnonzero((admission.kind == 0) & (batch.incident > 0)):
                        self._raise(int(place[n]), batch.readings.contributions[n])
                place = place + 1
            left = np.flatnonzero(place < stops)
            if not len(left):
                return
            streams, place, stops = streams.fork(left), place[left], stops[left]

    def _run_one(self, stream: DetectStream, start: int, stop: int) -> None:
        a, ticks, values = self.arrays, self.rows.ticks.tolist(), self.rows.values.tolist()
        for row in range(start, stop):
            verdict = stream.judge(ticks[row], values[row])
            arrived = verdict.arrived
            a["kind"][row], a["skipped"][row] = arrived.kind, arrived.missing
            a["alarm"][row], a["incident"][row], a["ended"][row] = verdict.alarm, verdict.incident, verdict.ended
            for k in arrived.stuck:
                a["stuck"][row, k] = True
            if verdict.readings is not None:
                self._read(slice(row, row + 1), verdict.readings)
                if verdict.incident:
                    self._raise(row, verdict.readings.contributions[0])

    def _read(self, place: Any, readings: Any) -> None:
        a = self.arrays
        for name in (*BY_ROW, *BY_VARIABLE, "warming", "change", "drift"):
            a[name][place] = getattr(readings, name)

    def _raise(self, row: int, contributions: Floats) -> None:
        """Keep the highest surprise of each variable and member in an incident."""
        key = (int(self.rows.codes[row]), int(self.arrays["incident"][row]))
        self.peaks[key] = np.fmax(self.peaks.get(key, contributions), contributions)

    def incidents(
        self, columns: Columns, starts: Ints, members: tuple[str, ...], variables: tuple[str, ...]
    ) -> Iterator[Incident]:
        """Every incident, by series and time."""
        ds, score = columns.stamps(self.rows.ticks), self.arrays["score"]
        for s, name in enumerate(self.rows.ids):
            span = np.arange(starts[s], starts[s + 1])
            numbers = self.arrays["incident"][span]
            for number in np.unique(numbers[numbers > 0]).tolist():
                rows = span[numbers == number]
                rows = rows[self.arrays["kind"][rows] == 0]
                if not len(rows):
                    continue
                known = np.where(np.isnan(score[rows]), -np.inf, score[rows])
                peak = int(rows[np.argmax(known)])
                over = bool((self.arrays["ended"][span] == number).any())
                yield Incident(
                    unique_id=name,
                    number=number,
                    start=ds[rows[0]],
                    end=ds[rows[-1]] if over else None,
                    peak=float(score[peak]),
                    peak_ds=ds[peak],
                    causes=causes(self.peaks[s, number], variables, members),
                )


def incident_frame(incidents: tuple[Incident, ...], like: Frame, judged: Judged) -> Frame:
    """Incidents as a table of the kind of another one: series, number, start, end, peak, peak_ds, causes in words."""
    ds = judged.ds.dtype
    last = {name: judged.ds[judged.rows(s)][-1] for s, name in enumerate(judged.ids)}
    columns: dict[str, npt.NDArray[Any]] = {
        judged.columns.id or "unique_id": np.array([i.unique_id for i in incidents], object),
        "number": np.array([i.number for i in incidents], np.int64),
        "start": np.array([i.start for i in incidents], ds),
        "end": np.array([last[i.unique_id] if i.end is None else i.end for i in incidents], ds),
        "over": np.array([i.end is not None for i in incidents], bool),
        "peak": np.array([i.peak for i in incidents], np.float64),
        "peak_ds": np.array([i.peak_ds for i in incidents], ds),
        "causes": np.array([in_words(i.causes) for i in incidents], object),
    }
    return frame_like(like, columns)
