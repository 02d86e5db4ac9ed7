"""``carrousel train forecast``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.cli._option import Data, Frame, is_public, numbers, public_set, table, words
from carrousel.cli._output import print_scores, show_notes
from carrousel.cli._training import make_way, training_in

EXAMPLES = ("carrousel train forecast weather --horizon 24 --minutes 5 -o runs/weather",)

VALIDATION = 0.15  # last share of each series: not trained on, but the model is chosen, calibrated and scored there
MOST_WINDOWS = 50  # of each series in the final table; evaluate has no limit
Columns = list[str] | None


def command(
    data: Data,
    horizon: Annotated[int, typer.Option(metavar="H", help="How many rows to forecast ahead.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The folder to save the model in.")],
    target: Annotated[Columns, typer.Option(metavar="COLUMNS", help="What to forecast. Default: y, or found.")] = None,
    past: Annotated[Columns, typer.Option(metavar="COLUMNS", help="Covariates known up to now.")] = None,
    future: Annotated[Columns, typer.Option(metavar="COLUMNS", help="Covariates known ahead, as a holiday is.")] = None,
    static: Annotated[Columns, typer.Option(metavar="COLUMNS", help="What does not change within a series.")] = None,
    id: Annotated[str | None, typer.Option(metavar="COLUMN", help="Which series a row belongs to.")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="The time stamps. Default: ds, or found.")] = None,
    frequency: Annotated[
        str | None, typer.Option(metavar="F", help="h, 15min, D, W-SUN, MS ... Default: found.")
    ] = None,
    season: Annotated[
        int | None, typer.Option(metavar="ROWS", help="Rows of one season. Default: from the frequency.")
    ] = None,
    look_back: Annotated[
        int | None, typer.Option(metavar="ROWS", help="Rows seen at once. Default: chosen on validation.")
    ] = None,
    levels: Annotated[str, typer.Option(metavar="PER CENT", help="The bands to forecast.")] = "50,90",
    ensemble: Annotated[int, typer.Option(metavar="N", help="Networks to train and average.")] = 1,
    joint: Annotated[bool, typer.Option("--joint", help="Forecast several targets together, as one vector.")] = False,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Time budget of the training.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Most steps of the training.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stood.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model or training that is in RUN.")] = False,
    log_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a TensorBoard log.")] = None,
) -> None:
    """Train a forecaster on a table of one or many series, long or wide, and save it.

    Columns are given with commas between them, or by repeating the option; those that are not named are found by their
    usual names. The last part of the data is held out for choosing and scoring the model.
    """
    show_notes()
    training = make_way(output, resume=resume, overwrite=overwrite)
    frame, roles = _frame(data)
    named = {"target": target, "past": past, "future": future, "static": static}
    roles |= {role: words(columns, f"--{role}") for role, columns in named.items() if columns}
    roles |= {role: value for role, value in {"id": id, "time": time, "frequency": frequency}.items() if value}

    from carrousel.tasks.forecast import Forecaster

    forecaster = Forecaster(
        horizon=horizon,
        season=season,
        look_back=look_back,
        levels=numbers(levels, "--levels"),
        ensemble=ensemble,
        joint=joint,
        minutes=minutes,
        seed=seed,
        **({} if max_steps is None else {"max_steps": max_steps}),
        **roles,
    )
    with training_in(training) as progress:
        forecaster.fit(
            frame, validation=VALIDATION, run_dir=training, resume=resume, log_dir=log_dir, progress=progress
        )
    show_notes(forecaster.notes)
    backtest = forecaster.backtest(frame, windows=_windows(forecaster, frame), step=horizon)
    print_scores(backtest.table())
    forecaster.save(output, overwrite=overwrite, backtest=backtest)
    shutil.rmtree(training, ignore_errors=True)
    print(f"saved {output}; now try")
    print(f"  carrousel predict {output}\n  carrousel evaluate {output} {data}\n  carrousel stream {output} < new.csv")


def _windows(forecaster: Any, frame: Frame) -> int:
    """Forecasts of each series whose truths all lie in its validation part, on which nothing was trained."""
    lengths = forecaster.schema.read(frame).lengths
    held = max(1, int(VALIDATION * lengths.min()) // forecaster.settings.horizon)
    return min(held, MOST_WINDOWS)


def _frame(data: str) -> tuple[Frame, dict[str, Any]]:
    """The table to train on, and what its columns are where that is known: in public sets."""
    if not is_public(data):
        return table(data), {}
    from carrousel.data.public import find

    return public_set(data)[0], dict(find(data).roles)
