"""The books of many streams about their rows: what came when, what is missing, late, said twice, silent or stuck.

A row is taken if it is later than the newest one. Where rows come at a regular interval, those that were skipped are
told from it. The interval is that of the training table, or else learned: the interval at hand gains by every row that
comes after that time, within a tenth, and loses by every other one; it counts once it is four rows ahead, so that a
stream whose rows come irregularly has none.

A clock that was wrong for one row, years ahead, must not make all rows late that come after it: where the newest row
came after a gap, and twenty late ones lie in that gap one behind the other, the clock was set back, and the stream goes
on with the last of them. Rows that are sent again do not lie there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from carrousel.config import Range, check
from carrousel.online.state import Field, Online

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Index = slice | Ints

ROW, LATE, DUPLICATE, CONFLICT = range(4)
"""Taken; older than the newest row; the newest row again; another row with the stamp of the newest."""

MOST = 2**62  # ticks: beyond, differences overflow
AHEAD, MOST_AHEAD = 4, 16  # rows by which a learned interval must lead, and by which it may
BACK_ROWS = 20  # late ones in order, in the gap before the newest row, after which its stamp was wrong
GAP_TIMES = 1000  # as long as the last step, of a stream that has no usual interval
STUCK_ROWS = 20  # the shortest run of one value that can be a sensor that sticks
STUCK_TIMES = 3  # as long as the longest run before
STUCK_CHANGES = 20  # changes without which a variable is one that seldom changes


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a stream does with rows that are not as they should be.

    Parameters
    ----------
    late : "ignore" a row that is not later than the newest one, counted and said, or "refuse" it with an error
    most_skipped : rows that were skipped are fed as missing ones, at most so many at a time
    silent_after : usual intervals without a row after which a stream is silent
    """

    late: Literal["ignore", "refuse"] = "ignore"
    most_skipped: Annotated[int, Range(0, 100_000)] = 256
    silent_after: Annotated[float, Range(1)] = 10.0

    def __post_init__(self) -> None:
        check(self, where="stream")


@dataclass(slots=True, eq=False)
class Admission:
    """What the books say of n rows.

    Parameters
    ----------
    kind : int64 (n,), ROW, LATE, DUPLICATE or CONFLICT
    missing : int64 (n,), rows skipped before this one
    fed : int64 (n,), how many of them are to be fed as missing
    interval : int64 (n,), ticks from row to row; 0 unknown
    back : bool (n,), the stream had been silent
    set_back : bool (n,), its clock was
    stuck, was_stuck : bool (n, K), the variable sticks; did so before this row
    """

    kind: Ints
    missing: Ints
    fed: Ints
    interval: Ints
    back: Flags
    set_back: Flags
    stuck: Flags
    was_stuck: Flags


@dataclass(slots=True, eq=False)
class Arrived:
    """What the books say of one row: ``Admission`` of n = 1 as plain values.

    Parameters
    ----------
    kind, missing, fed, interval, back, set_back : as there
    stuck : indices of the variables that stick
    sticks, moves : indices of those that do so from this row on, and no longer
    """

    kind: int
    missing: int = 0
    fed: int = 0
    interval: int = 0
    back: bool = False
    set_back: bool = False
    stuck: tuple[int, ...] = ()
    sticks: tuple[int, ...] = ()
    moves: tuple[int, ...] = ()


class Arrival(Online):
    """When rows came, and how their values stood still, for N streams.

    Parameters
    ----------
    batch : N
    variables : K
    rules : what to do with rows that are not as they should be
    interval : ticks from row to row where that is known beforehand; 0 to learn it
    steps : (newest, ticks) -> steps between them, for calendars whose steps are not of one length
    """

    def __init__(
        self,
        batch: int,
        variables: int,
        *,
        rules: Rules,
        interval: int = 0,
        steps: Callable[[Ints, Ints], Ints] | None = None,
    ) -> None:
        self.rules, self._interval, self._steps = rules, interval, steps
        counts = dict.fromkeys(
            ("rows", "late", "duplicates", "conflicts", "skipped", "lost", "incidents"), Field(dtype="int64")
        )
        runs = dict.fromkeys(("run", "longest", "changes"), Field(shape=(variables,), dtype="int64"))
        super().__init__(
            batch,
            {
                **counts,
                "newest": Field(dtype="int64"),
                "interval": Field(dtype="int64"),
                "lead": Field(dtype="int64"),
                "gap": Field(dtype="int64"),  # the row before the gap that the newest one came after; else the newest
                "behind": Field(dtype="int64"),  # late rows in order in that gap, and the last of them
                "behind_tick": Field(dtype="int64"),
                "started": Field(dtype="bool", start=False),
                "silent": Field(dtype="bool", start=False),
                "running": Field(dtype="bool", start=False),
                "values": Field(shape=(variables,), start=np.nan),
                "observed": Field(shape=(variables,), start=np.nan),
                **runs,
            },
        )

    def start(self, row: int, tick: int) -> None:
        """Let a stream go on after a row that was seen elsewhere: in the table that the detector was fitted on."""
        self.arrays["newest"][row], self.arrays["gap"][row], self.arrays["started"][row] = tick, tick, True

    def admit(self, index: Index, ticks: Ints, values: Floats) -> Admission:
        """Enter one row of each of some streams into the books.

        Parameters
        ----------
        index : which streams, n of them, each once
        ticks : int64 (n,), stamps in ticks
        values : float64 (n, K), NaN where nothing was observed
        """
        a = self.arrays
        newest, last = a["newest"][index], a["values"][index]
        first = ~a["started"][index]
        since = np.where(first, 1, ticks - newest)
        set_back = self._set_back(index, ticks, since)
        take = (since > 0) | set_back
        kind = np.where(take, ROW, LATE)
        if not take.all():
            again = since == 0
            same = ((values == last) | (np.isnan(values) & np.isnan(last))).all(axis=1)
            kind[again] = np.where(same[again], DUPLICATE, CONFLICT)
            for what, name in ((LATE, "late"), (DUPLICATE, "duplicates"), (CONFLICT, "conflicts")):
                a[name][index] += kind == what
        later = (since > 0) & ~first
        a["gap"][index] = np.where(later & self._long(index, since), newest, np.where(take, ticks, a["gap"][index]))
        interval, missing = self._skipped(index, newest, ticks, since, later)
        fed = np.minimum(missing, self.rules.most_skipped)
        back = a["silent"][index] & take
        stuck, was_stuck = self._stick(index, values, take)
        a["newest"][index] = np.where(take, ticks, newest)
        a["values"][index] = np.where(take[:, None], values, last)
        a["rows"][index] += take
        a["started"][index] |= take
        a["silent"][index] &= ~take
        a["skipped"][index] += missing
        a["lost"][index] += missing - fed
        return Admission(kind, missing, fed, interval, back, set_back, stuck, was_stuck)

    def _set_back(self, index: Index, ticks: Ints, since: Ints) -> Flags:
        """Whether the clock of each stream was set back, as its late rows say, bool (n,)."""
        a = self.arrays
        behind = a["behind"][index]
        inside = (since < 0) & (ticks > a["gap"][index])
        count = np.where(inside, np.where((behind > 0) & (ticks > a["behind_tick"][index]), behind + 1, 1), behind)
        set_back = inside & (count >= BACK_ROWS)
        a["behind"][index] = np.where((since > 0) | set_back, 0, count)
        a["behind_tick"][index] = np.where(inside, ticks, a["behind_tick"][index])
        return set_back

    def _long(self, index: Index, since: Ints) -> Flags:
        """Whether so long without a row is a gap in which rows would be strange, bool (n,)."""
        if self._interval:
            return since > self.rules.silent_after * self._interval
        step = self.arrays["interval"][index]
        times = np.where(self.arrays["lead"][index] >= AHEAD, self.rules.silent_after, GAP_TIMES)
        return (step > 0) & (since > times * step)

    def _skipped(self, index: Index, newest: Ints, ticks: Ints, since: Ints, later: Flags) -> tuple[Ints, Ints]:
        """The usual interval, 0 where there is none, and how many rows were skipped, each (n,)."""
        if self._steps is not None:
            missing = np.where(later, self._steps(newest, ticks) - 1, 0)
            return np.full(len(ticks), self._interval), np.maximum(missing, 0)
        interval = np.full(len(ticks), self._interval) if self._interval else self._learn(index, since, later)
        each = np.maximum(interval, 1)
        missing = np.where(later & (interval > 0), (since + each // 2) // each - 1, 0)
        return interval, np.maximum(missing, 0)

    def _learn(self, index: Index, since: Ints, later: Flags) -> Ints:
        """The interval before this row, which then votes for it or against it."""
        usual, lead = self.arrays["interval"][index], self.arrays["lead"][index]
        interval = np.where(lead >= AHEAD, usual, 0)
        agrees = 10 * np.abs(since - usual) <= usual
        change = later & (lead == 0)
        self.arrays["interval"][index] = np.where(change, since, usual)
        voted = np.where(agrees | change, np.minimum(lead + 1, MOST_AHEAD), np.maximum(lead - 1, 0))
        self.arrays["lead"][index] = np.where(later, voted, lead)
        return interval

    def _stick(self, index: Index, values: Floats, take: Flags) -> tuple[Flags, Flags]:
        """Whether each variable sticks with this row, and whether it did before, each (n, K)."""
        a = self.arrays
        run, longest, changes, before = a["run"][index], a["longest"][index], a["changes"][index], a["observed"][index]
        was = _sticks(run, longest, changes)
        seen = take[:, None] & ~np.isnan(values)
        moved = seen & (values != before)
        # A run that was said to stick counts as long as when that was said: one that comes every night is soon normal.
        longest = np.where(moved, np.maximum(longest, np.minimum(run, _least(longest))), longest)
        run = np.where(moved, 0, run + seen)
        changes = changes + moved
        a["run"][index], a["longest"][index], a["changes"][index] = run, longest, changes
        a["observed"][index] = np.where(seen, values, before)
        return _sticks(run, longest, changes) & take[:, None], was

    def bind(self) -> None:
        # Of a single stream: its numbers one behind the other, which read and write as plain Python values.
        self._one: dict[str, Any] = {}
        if self.batch == 1:
            self._one = {name: (a if a.ndim == 1 else a[0]).data for name, a in self.arrays.items()}

    def admit_one(self, tick: int, values: Sequence[float]) -> Arrived:
        """``admit`` for the only stream of a batch of one, in plain Python: a tenth of the time."""
        a = self._one
        started, newest = a["started"][0], a["newest"][0]
        one = Arrived(ROW, interval=self._usual())
        if started and tick <= newest:
            kind = LATE
            if tick == newest:
                same = all(x == y or (x != x and y != y) for x, y in zip(values, a["values"], strict=True))
                kind = DUPLICATE if same else CONFLICT
            elif self._behind_one(tick):
                one.set_back, kind = True, ROW
            if kind != ROW:
                a[("", "late", "duplicates", "conflicts")[kind]][0] += 1
                one.kind = kind
                return one
        a["gap"][0] = tick
        if one.set_back:
            pass
        elif started:
            self._skip_one(one, newest, tick)
        else:
            a["started"][0] = True
        if a["behind"][0]:
            a["behind"][0] = 0
        self._stick_one(one, values)
        if a["silent"][0]:
            one.back = True
            a["silent"][0] = False
        a["newest"][0] = tick
        a["rows"][0] += 1
        last = a["values"]
        for k, value in enumerate(values):
            last[k] = value
        return one

    def _behind_one(self, tick: int) -> bool:
        """``_set_back`` for the only stream of a batch of one."""
        a = self._one
        if tick <= a["gap"][0]:
            return False
        a["behind"][0] = a["behind"][0] + 1 if a["behind"][0] and tick > a["behind_tick"][0] else 1
        a["behind_tick"][0] = tick
        return a["behind"][0] >= BACK_ROWS

    def newest_one(self) -> int | None:
        """The newest row of the only stream of a batch of one; None before the first."""
        return self._one["newest"][0] if self._one["started"][0] else None

    def _usual(self) -> int:
        if self._interval:
            return self._interval
        return self._one["interval"][0] if self._one["lead"][0] >= AHEAD else 0

    def _skip_one(self, one: Arrived, newest: int, tick: int) -> None:
        a, since = self._one, tick - newest
        times, step = self.rules.silent_after, one.interval
        if not step:
            times, step = GAP_TIMES, a["interval"][0]
        if step and since > times * step:
            a["gap"][0] = newest
        if self._steps is not None:
            one.missing = max(0, int(self._steps(np.array([newest]), np.array([tick]))[0]) - 1)
        elif one.interval:
            one.missing = max(0, (since + one.interval // 2) // one.interval - 1)
        if one.missing:
            one.fed = min(one.missing, self.rules.most_skipped)
            a["skipped"][0] += one.missing
            a["lost"][0] += one.missing - one.fed
        if not self._interval:
            usual, lead = a["interval"][0], a["lead"][0]
            if lead == 0:
                a["interval"][0], a["lead"][0] = since, 1
            elif 10 * abs(since - usual) > usual:
                a["lead"][0] = lead - 1
            elif lead < MOST_AHEAD:
                a["lead"][0] = lead + 1

    def _stick_one(self, one: Arrived, values: Sequence[float]) -> None:
        a = self._one
        runs, longest, changes, observed = a["run"], a["longest"], a["changes"], a["observed"]
        for k, value in enumerate(values):
            run, most = runs[k], longest[k]
            least = max(STUCK_ROWS, STUCK_TIMES * (most + 1))
            was = run >= least and changes[k] >= STUCK_CHANGES
            if value != value:  # nothing observed
                pass
            elif value == observed[k]:
                run += 1
                runs[k] = run
            else:
                if run:
                    longest[k] = max(most, min(run, least))
                    runs[k] = 0
                observed[k] = value
                changes[k] += 1
                if was:
                    one.moves = (*one.moves, k)
                continue
            if run >= least and changes[k] >= STUCK_CHANGES:
                one.stuck = (*one.stuck, k)
                if not was:
                    one.sticks = (*one.sticks, k)

    def count_one(self, alarm: bool, running: bool) -> tuple[int, int]:
        """``count`` for the only stream of a batch of one."""
        a = self._one
        ran, number = a["running"][0], a["incidents"][0]
        ended = number if ran and (alarm or not running) else 0
        if alarm:
            number += 1
            a["incidents"][0] = number
        inside = running and (ran or alarm)
        if inside != ran:
            a["running"][0] = inside
        return (number if inside else 0), ended

    def count(self, index: Index, alarm: Flags, running: Flags) -> tuple[Ints, Ints]:
        """Number the incidents: which one each stream is in, and which one ended, int64 (n,), 0 for none."""
        a = self.arrays
        number, ran = a["incidents"][index], a["running"][index]
        ended = np.where(ran & (alarm | ~running), number, 0)
        number = number + alarm
        inside = running & (ran | alarm)
        a["incidents"][index], a["running"][index] = number, inside
        return np.where(inside, number, 0), ended

    def quiet(self, now: int) -> Ints:
        """Which streams have become silent by now; each is named once, until its next row. int64 (m,)."""
        a = self.arrays
        interval = np.full(self.batch, self._interval) if self._interval else a["interval"] * (a["lead"] >= AHEAD)
        long = (now - a["newest"]) > self.rules.silent_after * interval
        found = a["started"] & (interval > 0) & long & ~a["silent"]
        a["silent"] |= found
        return np.flatnonzero(found)

    def valid(self) -> bool:
        """Whether a state that was loaded is one that rows can have led to: counts from 0 on, stamps within bounds."""
        stamps = ("newest", "gap", "behind_tick")
        counts = [array for name, array in self.arrays.items() if array.dtype == np.int64 and name not in stamps]
        return all(bool((array >= 0).all()) for array in counts) and all(
            bool(((array >= -MOST) & (array <= MOST)).all()) for array in map(self.arrays.__getitem__, stamps)
        )


def _least(longest: Ints) -> Ints:
    """The run at which a variable whose longest run was so long sticks."""
    return np.maximum(STUCK_ROWS, STUCK_TIMES * (longest + 1))


def _sticks(run: Ints, longest: Ints, changes: Ints) -> Flags:
    return (run >= _least(longest)) & (changes >= STUCK_CHANGES)
