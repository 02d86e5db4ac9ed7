"""Live streams of a detector, thousands at once: a row of each goes through one call."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.data.frame import Frame, frame_like
from carrousel.data.frequency import Frequency
from carrousel.errors import SettingError, ShapeError
from carrousel.stream.arrival import ROW, Admission, Arrival, Flags, Floats, Index, Ints, Rules
from carrousel.stream.event import causes, in_words
from carrousel.stream.record import SECOND, Columns
from carrousel.stream.rows import one_each, read_rows
from carrousel.stream.source import NAMES, Source, Watch, ends
from carrousel.stream.subset import Subset

if TYPE_CHECKING:
    from carrousel.stream.detect import DetectStream

KINDS = ("row", "late", "duplicate", "duplicate")
EVERY = slice(None)


@dataclass(slots=True, eq=False)
class Batch:
    """What was said of one row of each of n streams; NaN and False where a row was not taken.

    Parameters
    ----------
    admission : of the rows
    readings : of the detector, arrays over n; None where no row was taken
    alarm : bool (n,), an incident began, in this row or in a missing one before it
    incident, ended : int64 (n,), number of the incident that the row is in, and of one that is over; 0 for none
    """

    admission: Admission
    readings: Any
    alarm: Flags
    incident: Ints
    ended: Ints


class Streams:
    """Live streams of one detector, stepped together.

    Parameters
    ----------
    detector : carrousel.Detector, or what has its ``schema``, ``variables`` and ``watch``
    ids : names of the streams, (N,), each once. Those that the detector was fitted on go on after its table
    rules : what to do with rows that are not as they should be
    fresh : let them all start anew

    Raises
    ------
    SettingError : no stream, or two of one name
    """

    def __init__(
        self, detector: Source, ids: Iterable[str], *, rules: Rules | None = None, fresh: bool = False
    ) -> None:
        self.ids = _names(ids)
        if not self.ids or len(set(self.ids)) < len(self.ids):
            twice = next((name for name in self.ids if self.ids.count(name) > 1), None)
            got = "none" if twice is None else f"{twice!r} twice"
            raise SettingError(f"ids: expected names of streams that differ, got {got}")
        self.detector, self.variables = detector, tuple(detector.variables)
        self.columns = Columns.of(detector)
        self.watch: Watch = detector.watch(len(self.ids)) if fresh else detector.watch(ids=self.ids)
        interval, steps = _clock(detector.schema)
        self.rules = rules or Rules()
        self.arrival = Arrival(len(self.ids), len(self.variables), rules=self.rules, interval=interval, steps=steps)
        known = {} if fresh else ends(detector)
        for row, name in enumerate(self.ids):
            if name in known:
                self.arrival.start(row, self.columns.tick_of(known[name]))
        self.settled = self.columns.schema is not None
        self._adopt(self.ids, self.watch, self.arrival)

    def _adopt(self, ids: tuple[str, ...], watch: Watch, arrival: Arrival) -> None:
        """Go on with other streams, or with as many others."""
        self.ids, self.watch, self.arrival = ids, watch, arrival
        self._subset = Subset(watch)
        self._places: dict[str, int] | None = None

    @property
    def places(self) -> dict[str, int]:
        """Where each stream stands, by name."""
        if self._places is None:
            self._places = {name: place for place, name in enumerate(self.ids)}
        return self._places

    def __len__(self) -> int:
        return len(self.ids)

    def settle(self) -> None:
        """After the first row: where it has no date, hold alarms against rows, not against time.

        Raises
        ------
        SettingError : the detector promises so many false alarms in a time that these rows do not have
        """
        if self.columns.clock not in (None, "time") and getattr(self.detector, "dated", False):
            make: Any = self.detector.watch
            try:
                watch: Watch = make(len(self), dated=False)
            except SettingError:
                first = Columns.of(self.detector)  # the row teaches nothing
                self.columns.clock, self.columns.time = first.clock, first.time
                raise
            watch.load(self.watch.state)
            self._adopt(self.ids, watch, self.arrival)
        self.settled = self.columns.clock is not None

    def push(self, index: Index, ticks: Ints, values: Floats) -> Batch:
        """Judge one row of each of some streams, as arrays.

        Parameters
        ----------
        index : which streams, n of them, each once; ``slice(None)`` for all
        ticks : int64 (n,), stamps as ``self.columns`` counts them
        values : float64 (n, K + P), the variables and the covariates behind them, NaN where nothing was observed
        """
        admission = self.arrival.admit(index, ticks, values[:, : len(self.variables)])
        n, take = len(ticks), admission.kind == ROW
        alarm, ended = np.zeros(n, bool), np.zeros(n, np.int64)
        if admission.fed.any():
            self._feed_missing(np.arange(len(self))[index], ticks, admission, alarm, ended)
        seconds = (ticks * self.columns.second).astype(np.float64)
        whole = isinstance(index, slice) and bool(take.all())
        if whole:
            readings = self.watch.step(values, seconds)
            began, running = readings.alarm, readings.incident
        elif take.any():
            chosen = np.arange(len(self))[index][take]
            readings = _spread(self._subset.step(chosen, values[take], seconds[take]), take)
            began = readings.alarm
            running = np.where(take, readings.incident, self.arrival.arrays["running"][index])
        else:
            readings, began, running = None, alarm, self.arrival.arrays["running"][index]
        incident, over = self.arrival.count(index, began, running)
        return Batch(admission, readings, alarm | began, incident, np.maximum(ended, over))

    def update(self, frame: Frame) -> Frame:
        """Take a table of at most one row of each stream, and judge them together.

        Parameters
        ----------
        frame : as a table of the detector, with its id column; streams without a row stay as they are

        Returns
        -------
        frame of the kind that came in, row by row: id, stamp, kind, score, p_value, warming, alarm, incident, ended,
        stuck, causes. Numbers of incidents are 0 for none; causes are those of rows in an incident, in words

        Raises
        ------
        DataError : two rows of one stream, an unknown stream, or a table that cannot be read
        """
        rows = read_rows(self.columns, frame)
        which = one_each(rows, self.places)
        if not self.settled:
            self.settle()
        n = len(which)
        if n == len(self):  # of every stream a row
            order = np.empty(n, np.int64)
            order[which] = np.arange(n)
            batch, of = self.push(EVERY, rows.ticks[order], rows.values[order]), which
        else:
            batch, of = self.push(which, rows.ticks, rows.values), np.arange(n)
        r, admission = batch.readings, batch.admission
        score, p_value = (np.full(n, np.nan) if r is None else np.array(a) for a in (r and r.score, r and r.p_value))
        columns: dict[str, npt.NDArray[Any]] = {
            self.columns.id or "unique_id": np.array(self.ids, object)[which],
            self.columns.time or "ds": self.columns.stamps(rows.ticks),
            "kind": np.array(KINDS, object)[admission.kind[of]],
            "score": score[of],
            "p_value": p_value[of],
            "warming": np.array(np.zeros(n, bool) if r is None else r.warming)[of],
            "alarm": batch.alarm[of],
            "incident": batch.incident[of],
            "ended": batch.ended[of],
            "stuck": np.array(admission.stuck.any(axis=1))[of],
            "causes": self._causes(batch)[of],
        }
        return frame_like(frame, columns)

    def _causes(self, batch: Batch) -> npt.NDArray[Any]:
        """What surprises in the rows that are in an incident, in words, object (n,)."""
        words = np.full(len(batch.incident), "", object)
        for row in np.flatnonzero((batch.incident > 0) & (batch.admission.kind == ROW)).tolist():
            found = causes(batch.readings.contributions[row], self.variables, self.watch.members)
            words[row] = in_words(found, alone=len(self.variables) == 1)
        return words

    def add(self, ids: Iterable[str]) -> None:
        """Watch further streams, behind the others; they start as they would have from the beginning.

        Raises
        ------
        SettingError : no name, or one that is there
        """
        new = _names(ids)
        if known := [name for name in new if name in self.places]:
            raise SettingError(f"ids: expected names that are not among these {len(self)} streams, got {known[0]!r}")
        more, whole = (Streams(self.detector, names, rules=self.rules) for names in (new, self.ids + new))
        for part in (more, whole):
            part.columns.clock, part.columns.time = self.columns.clock, self.columns.time
            if not part.settled:
                part.settle()
        own, other = self.state, more.state
        whole.load({name: np.concatenate([array, other[name]]) for name, array in own.items()})
        self._adopt(whole.ids, whole.watch, whole.arrival)

    def drop(self, ids: Iterable[str]) -> None:
        """Forget some of the streams.

        Raises
        ------
        SettingError : one that is not there, or all of them
        """
        gone = {self._place(name) for name in _names(ids)}
        kept = [place for place in range(len(self)) if place not in gone]
        if not kept:
            raise SettingError(f"ids: expected at least one stream to stay, got all {len(self)}")
        if gone:
            part = self.fork(kept)
            self._adopt(part.ids, part.watch, part.arrival)

    def silent(self, now: Any) -> tuple[str, ...]:
        """The streams that have become silent by a time: each is named once, until its next row.

        Parameters
        ----------
        now : the time, as rows say theirs

        Raises
        ------
        TimeError : a time that cannot be read
        """
        if self.columns.clock in (None, "rows"):
            return ()
        return tuple(self.ids[place] for place in self.arrival.quiet(self.columns.tick_of(now)))

    def one(self, unique_id: str) -> DetectStream:
        """One of the streams by itself: a copy, which goes on alone.

        Raises
        ------
        SettingError : there is none of that name
        """
        from carrousel.stream.detect import DetectStream

        return DetectStream.of(self.fork([self._place(unique_id)]))

    def _place(self, unique_id: str) -> int:
        if unique_id not in self.places:
            raise SettingError(f"stream {unique_id!r}: not among these; {nearest(unique_id, self.ids)}")
        return self.places[unique_id]

    def fork(self, rows: Sequence[int] | Ints) -> Streams:
        """An independent copy of some of the streams."""
        made = copy.copy(self)
        made.columns = copy.copy(self.columns)
        made._adopt(tuple(self.ids[row] for row in rows), self.watch.fork(rows), self.arrival.fork(rows))
        return made

    def _put_back(self, chosen: Ints, part: Watch) -> None:
        kept = part.state
        for name, array in self.watch.state.items():
            array[chosen] = kept[name]

    def _feed_missing(self, which: Ints, ticks: Ints, admission: Admission, alarm: Flags, ended: Ints) -> None:
        """Feed the rows that were skipped as missing ones, the last of them one interval before the row at hand."""
        for count in np.unique(admission.fed[admission.fed > 0]).tolist():
            place = np.flatnonzero(admission.fed == count)
            chosen = which[place]
            part = self.watch.fork(chosen)
            nothing = np.full((len(chosen), self.columns.width), np.nan)
            for back in range(count, 0, -1):
                past = (ticks[place] - back * admission.interval[place]) * self.columns.second
                readings = part.step(nothing, past.astype(np.float64))
                _, over = self.arrival.count(chosen, readings.alarm, readings.incident)
                alarm[place] |= readings.alarm
                ended[place] = np.maximum(ended[place], over)
            self._put_back(chosen, part)

    @property
    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that the streams remember: live arrays, their first dimension N."""
        books = {f"arrival.{name}": array for name, array in self.arrival.state.items()}
        return books | {f"watch.{name}": array for name, array in self.watch.state.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a state that was kept.

        Raises
        ------
        ShapeError : it is that of another detector, or of another number of streams
        """
        parts: dict[str, dict[str, npt.NDArray[Any]]] = {"arrival": {}, "watch": {}}
        for name, array in state.items():
            room, _, rest = name.partition(".")
            if room not in parts:
                raise ShapeError(f"state: unknown array {name!r}; {nearest(name, self.state)}")
            parts[room][rest] = array
        self.arrival.load(parts["arrival"])
        self.watch.load(parts["watch"])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the whole state to a file in the safetensors format, which appears whole or not at all.

        Raises
        ------
        ArtifactError : it could not be written; what stood there before is unchanged
        """
        from carrousel.stream.store import save_streams

        return save_streams(path, [self])


def _names(ids: Iterable[object]) -> tuple[str, ...]:
    """As a tuple; a name alone would be taken for a list of its letters."""
    given = tuple(ids)
    names = tuple(name for name in given if isinstance(name, str))
    if isinstance(ids, str) or len(names) < len(given):
        wrong = ids if isinstance(ids, str) else next(name for name in given if not isinstance(name, str))
        raise SettingError(f"ids: expected a list of names, got {wrong!r}")
    return names


def _spread(readings: Any, take: Flags) -> Any:
    """Readings of the rows that were taken as those of all n rows: NaN, False or 0 for the others."""
    whole: dict[str, npt.NDArray[Any]] = {}
    for name in NAMES:
        part: npt.NDArray[Any] = getattr(readings, name)
        array = np.full((len(take), *part.shape[1:]), np.nan if part.dtype.kind == "f" else 0, part.dtype)
        array[take] = part
        whole[name] = array
    return SimpleNamespace(**whole)


def _clock(schema: Any) -> tuple[int, Any]:
    """Ticks from row to row, 0 where unknown, and a function for calendars whose steps are not of one length."""
    if schema is None:
        return 0, None
    grid: Frequency = schema.grid
    if grid.integer:
        return grid.n, None
    start = np.datetime64("2024-01-01", "s")  # a Monday
    length = int((grid.after(start, 1)[0] - start).astype(np.int64)) * SECOND
    if grid.unit in ("s", "min", "h", "D", "W"):
        return length, None

    def steps(newest: Ints, ticks: Ints) -> Ints:
        a, b = ((part // SECOND).astype("datetime64[s]") for part in (newest, ticks))
        return grid.locate(a, b)[0]

    return length, steps
