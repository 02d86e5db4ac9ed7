"""``carrousel train detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.cli._option import Data, Frame, is_public, public_set, table, words
from carrousel.cli._output import console, show_notes
from carrousel.cli._training import make_way

EXAMPLES = (
    "carrousel train detect weather --false-alarms 2/month -o runs/watch",
    "carrousel train detect weather --past wind_speed,pressure -o runs/explained",
)

Columns = list[str] | None


def command(
    data: Data,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The folder to save the detector in.")],
    false_alarms: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Accepted for each series: 1/week, 2/day, 1/1000 rows. Default: 1/week, or 1/200 rows of slow ones.",
        ),
    ] = None,
    target: Annotated[Columns, typer.Option(metavar="COLUMNS", help="What to watch. Default: y, or found.")] = None,
    past: Annotated[
        Columns, typer.Option(metavar="COLUMNS", help="Covariates: read, not watched; they explain their row's values.")
    ] = None,
    id: Annotated[str | None, typer.Option(metavar="COLUMN", help="Which series a row belongs to.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="The time stamps. Default: ds, or found.")] = None,
    frequency: Annotated[
        str | None,
        typer.Option(metavar="F", help="h, 15min, D, W-SUN, MS ..., or none: rows as they come. Default: found."),
    ] = None,
    season: Annotated[
        int | None, typer.Option(metavar="ROWS", help="Rows of one season. Default: from the frequency, or found.")
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Watch the columns of a wide table one by one, not together.")
    ] = False,
    beyond: Annotated[
        float | None,
        typer.Option(metavar="SHARE", min=0, help="Alarm beyond all DATA by this share, not at a rate; 0.2: a fifth."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", min=0, help="Budget for adapting the network; 0 needs no PyTorch. Default: 1."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same detector.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is in RUN.")] = False,
) -> None:
    """Fit a detector to a table of what is usual, and save it.

    The table may hold a few anomalies; none need be marked. The threshold is set so that no more false alarms come
    than are accepted. Columns are given with commas between them, or by repeating the option; those that are not named
    are found by their usual names.
    """
    show_notes()
    make_way(output, resume=False, overwrite=overwrite)
    frame, roles = _frame(data)
    for role, columns in (("target", target), ("past", past)):
        if columns:
            roles[role] = words(columns, f"--{role}")
    roles |= {role: value for role, value in {"id": id, "time": time, "frequency": frequency}.items() if value}

    from carrousel.tasks.detect import Detector
    from carrousel.tasks.detect_card import detect_card

    detector = Detector(
        false_alarms=false_alarms,
        season=season,
        beyond=beyond,
        joint=not separate,
        seed=seed,
        **({} if minutes is None else {"minutes": minutes}),
        **roles,
    )
    _fit(detector, frame)
    show_notes(detector.notes)
    detector.save(output, overwrite=overwrite, card=detect_card(detector))
    print(f"saved {output}; now try")
    print(f"  carrousel predict {output} {data}\n  carrousel stream {output} --alarms < new.csv")


def _fit(detector: Any, frame: Frame) -> None:
    if detector.settings.minutes == 0:
        detector.fit(frame)
        return
    from carrousel.errors import require

    require("torch", extra="train", purpose="adapting the network (--minutes 0 needs none)")
    from carrousel.training import Bar, lines

    with Bar("training", console(stderr=True)) as bar:
        detector.fit(frame, progress=bar if console(stderr=True).is_terminal else lines)


def _frame(data: str) -> tuple[Frame, dict[str, Any]]:
    """The table to fit to, and what its columns are where that is known: in public sets."""
    if not is_public(data):
        return table(data), {}
    from carrousel.data.public import find

    roles = find(data).roles
    return public_set(data)[0], {role: roles[role] for role in ("id", "time", "target") if role in roles}
