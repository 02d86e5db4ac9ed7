"""``carrousel stream``, of a detector."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from carrousel.cli._ending import Ending
from carrousel.cli._option import Run, model
from carrousel.cli._row import SkipBad, answer_lines
from carrousel.errors import ArtifactError, ColumnError, DataError

if TYPE_CHECKING:
    from carrousel.stream import DetectStream, Event, Streams

EXAMPLES = (
    """echo '{"origin": "JFK", "time_hour": "2014-01-01 00:00", "temp": 90}' |\n"""
    "carrousel stream runs/watch --alarms --state watch.state",
)

EVERY, EACH = 1000, 10  # rows between two savings, at least, and of each series


def command(
    run: Run,
    id: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which series the rows belong to, where they do not say it.")
    ] = None,
    alarms: Annotated[
        bool,
        typer.Option(
            "--alarms", help="Answer only where something begins or ends: an incident, silence, a stuck sensor."
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Go on from this state if it is there, and keep it up to date."),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            metavar="ROWS", min=1, help="Rows after which the state is saved. Default: 1000, or ten for each series."
        ),
    ] = None,
    late: Annotated[
        Literal["ignore", "refuse"],
        typer.Option(help="What to do with rows not later than the newest of their series."),
    ] = "ignore",
    silence: Annotated[
        bool,
        typer.Option("--silence", help="Also say that a series is silent, by the time of the rows of the others."),
    ] = False,
    clock: Annotated[
        bool,
        typer.Option("--clock", help="As --silence, and by this machine's clock when no row comes at all."),
    ] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Read rows from stdin and answer each at once with one line of JSON: whether it is usual, and if not, why.

    Rows are JSON objects, one a line, or CSV below a header; several series may be mixed. Gaps, late and repeated rows
    are normal input and said in "notes"; a row that cannot be used is named on stderr with its line number. With
    --state a run that was interrupted, or asked to end by SIGTERM, goes on where it stood: rows that are sent again are
    known by their stamps and count for nothing. The state is never ahead of the answers that were given.
    """
    from carrousel.stream import Rules
    from carrousel.stream.store import load_streams, save_streams

    detector = model(run)
    rules = Rules(late=late)
    book = _Book(detector, rules)
    if state is not None and not state.parent.is_dir():
        raise DataError(
            f"--state: expected a file in a folder that is there, got {str(state)!r}; make the folder first"
        )
    if state is not None and state.exists():
        book.kept = load_streams(state, detector, rules=rules)
        if silence or clock:
            book.wake()
    unsaved, lost = 0, False
    latest: Any = None  # stamp by which silence was looked for

    def save() -> None:
        if state is not None and (parts := book.parts()):
            save_streams(state, parts)

    def answer(row: dict[str, Any]) -> list[str]:
        nonlocal latest
        events = [stream.update(row) for stream in book.of(row, id)]
        if (silence or clock) and events[0].kind == "row" and (latest is None or events[0].ds > latest):
            latest = events[0].ds
            events += book.silent(latest)
        return [json.dumps(event.to_dict(), allow_nan=False) for event in events if event.turn or not alarms]

    def idle() -> list[str]:
        now = np.datetime64(time.time_ns() // 1000, "us")
        return [json.dumps(event.to_dict(), allow_nan=False) for event in book.silent(now)]

    def given() -> None:
        nonlocal unsaved
        unsaved += 1
        # All streams are saved at once, which takes as long as dozens of rows of each.
        if unsaved >= (every or max(EVERY, EACH * len(book))):
            rows, unsaved = unsaved, 0
            try:
                save()
            except ArtifactError as error:  # it goes on watching: a full disk may be emptied
                print(f"warning: {error}; tried again after {rows} rows", file=sys.stderr, flush=True)

    ending = Ending()
    with ending:
        try:
            answer_lines(answer, skip_bad=skip_bad, whole=ending.whole, given=given, idle=idle if clock else None)
        except OSError:
            lost = True  # the state would be ahead of what was said
            raise
        finally:
            with ending.whole():
                if not lost:
                    save()


class _Book:
    """The streams by the names that rows bring."""

    def __init__(self, detector: Any, rules: Any) -> None:
        from carrousel.stream.record import Columns

        self.detector, self.rules = detector, rules
        self.streams: dict[str, DetectStream] = {}
        self._new = 0
        self.kept: Streams | None = None  # as a state held them; each is taken out when its first row comes
        self._columns = Columns.of(detector)

    def __len__(self) -> int:
        return self._new + (len(self.kept) if self.kept else 0)

    def of(self, row: dict[str, Any], id: str | None) -> list[DetectStream]:
        """The streams that a row belongs to: those of a wide table watched one by one, else one.

        Parameters
        ----------
        id : the name of the stream where the row says none
        """
        if self._columns.ids:
            return [self._stream(name) for name in self._columns.ids]
        named = self._columns.id_of(row) or id
        if named is None and self._columns.schema is not None and self._columns.id is not None:
            known = tuple(self.detector.ends)
            if len(known) != 1:
                got = ", ".join(str(name) for name in row)
                raise ColumnError(
                    f"id column {self._columns.id!r}: expected the series of the row, got the columns {got}; say it "
                    "there or with --id"
                )
            named = known[0]
        return [self._stream(named or self._columns.default_id())]

    def silent(self, now: Any) -> list[Event]:
        """That streams have become silent by a time, once of each; nothing of those whose stamps are none such."""
        kind = isinstance(now, np.datetime64)
        alike = (stream for stream in self.streams.values() if isinstance(stream.newest, np.datetime64) == kind)
        return [event for stream in alike if (event := stream.silent(now)) is not None]

    def _stream(self, name: str) -> DetectStream:
        if name not in self.streams:
            if self.kept and name in self.kept.places:
                self.streams[name] = self.kept.one(name)
            else:
                self.streams[name] = self.detector.stream(name, rules=self.rules)
                self._new += 1
        return self.streams[name]

    def wake(self) -> None:
        """Take out all streams that a state held."""
        for name in self.kept.ids if self.kept else ():
            self._stream(name)

    def parts(self) -> list[Streams]:
        """All streams, for a state; those that were not taken out as they were."""
        rest: list[Streams] = []
        if self.kept and (asleep := [place for name, place in self.kept.places.items() if name not in self.streams]):
            rest = [self.kept if len(asleep) == len(self.kept) else self.kept.fork(asleep)]
        return rest + [stream.streams for stream in self.streams.values()]
