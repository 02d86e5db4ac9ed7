"""``carrousel demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("carrousel demo -o runs/demo",)


def command(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where model and report go.")] = Path(
        "runs/demo"
    ),
    minutes: Annotated[float, typer.Option(metavar="M", help="Budget of the training.")] = 2.0,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
) -> None:
    """Train on a year of hourly weather at three airports and write an HTML report about the forecasts."""
    from rich.console import Console

    from carrousel.demo import run_demo

    page = run_demo(output, minutes=minutes, seed=seed, console=Console(stderr=True))
    print(page)
