"""``carrousel demo detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("carrousel demo detect -o runs/detect",)


def command(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where detectors and reports go.")
    ] = Path("runs/detect"),
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", min=0, help="Budget of each training; 0 needs no PyTorch. Default: 0.2."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same detectors.")] = 0,
) -> None:
    """Fit detectors to the first rows of three labelled series, stream the rest, and write an HTML report of each."""
    from carrousel.demo import run_detect_demo

    run_detect_demo(output, minutes=minutes, seed=seed)
