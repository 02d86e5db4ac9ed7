"""``carrousel stream``, of a detector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from carrousel.cli._ending import Ending
from carrousel.cli._option import Run, model
from carrousel.cli._row import SkipBad, answer_lines

if TYPE_CHECKING:
    from carrousel.stream import DetectStream

EXAMPLES = (
    """echo '{"origin": "JFK", "time_hour": "2014-01-01 00:00", "temp": 90}' |\n"""
    "carrousel stream runs/watch --alarms --state watch.state",
)


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
    every: Annotated[int, typer.Option(metavar="ROWS", min=1, help="Rows after which the state is saved.")] = 1000,
    late: Annotated[
        Literal["ignore", "refuse"],
        typer.Option(help="What to do with rows not later than the newest of their series."),
    ] = "ignore",
    silence: Annotated[
        bool,
        typer.Option("--silence", help="Also say that a series is silent, by the time of the rows of the others."),
    ] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Read rows from stdin and answer each at once with one line of JSON: whether it is usual, and if not, why.

    Rows are JSON objects, one a line, or CSV below a header; several series may be mixed. Gaps, late and repeated rows
    are normal input and said in "notes"; a row that cannot be used is named on stderr with its line number. With
    --state a run that was interrupted, or asked to end by SIGTERM, goes on where it stood: rows that are sent again are
    known and count for nothing.
    """
    from carrousel.stream import Rules, Streams
    from carrousel.stream.store import load_streams, save_streams

    detector = model(run)
    rules = Rules(late=late)
    book = _Book(detector, rules)
    if state is not None and state.exists():
        kept: Streams = load_streams(state, detector, rules=rules)
        book.streams = {name: kept.one(name) for name in kept.ids}
    taken = 0

    def save() -> None:
        if state is not None and book.streams:
            save_streams(state, [stream.streams for stream in book.streams.values()])

    ending = Ending()

    def answer(row: dict[str, Any]) -> list[str]:
        nonlocal taken
        events = [book.of(name).update(row) for name in ((id,) if id is not None else book.names(row))]
        if silence and events[0].kind == "row":
            events += [e for stream in book.streams.values() if (e := stream.silent(events[0].ds)) is not None]
        taken += 1
        if taken % every == 0:
            save()
        return [json.dumps(event.to_dict(), allow_nan=False) for event in events if event.turn or not alarms]

    with ending:
        try:
            answer_lines(answer, skip_bad=skip_bad, whole=ending.whole)
        finally:
            with ending.whole():
                save()


class _Book:
    """The streams by the names that rows bring."""

    def __init__(self, detector: Any, rules: Any) -> None:
        from carrousel.stream.record import Columns

        self.detector, self.rules = detector, rules
        self.streams: dict[str, DetectStream] = {}
        self._columns = Columns(tuple(detector.variables), detector.schema)

    def of(self, name: str | None) -> DetectStream:
        """The stream of that name; None: the only one."""
        if name is not None and name in self.streams:
            return self.streams[name]
        stream = self.detector.stream(name, rules=self.rules)
        return self.streams.setdefault(stream.unique_id, stream)

    def names(self, row: dict[str, Any]) -> Sequence[str | None]:
        """The series that a row belongs to; a row of a wide table watched one by one has a value for each."""
        return self._columns.ids or (self._columns.id_of(row) or self._columns.default_id(),)
