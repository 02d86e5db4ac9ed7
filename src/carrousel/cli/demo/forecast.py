"""``carrousel demo forecast``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("carrousel demo -o runs/demo",)


def command(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where model and report go.")] = Path(
        "runs/demo"
    ),
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Budget of the training. Default: 1.5.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
) -> None:
    """Train on a year of hourly weather at three airports and write an HTML report about the forecasts."""
    from carrousel.demo import run_demo

    run_demo(output, minutes=minutes, seed=seed)
