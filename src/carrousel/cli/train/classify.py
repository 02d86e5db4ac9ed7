"""``carrousel train classify``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.cli._option import words
from carrousel.cli._output import remark, show_notes
from carrousel.cli._training import make_way, training_in

EXAMPLES = (
    """for k in 1 2 3 4 5; do echo "win a prize $k,spam"; echo "lunch at $k ?,mail"; done |\n"""
    "sed '1i text,label' > mail.csv",
    "carrousel train classify mail.csv --minutes 1 -o runs/mail",
)

Columns = list[str] | None
Labelled = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A .csv, .tsv or .parquet table, a .ts file, or a folder with a folder of .txt or .csv files a class.",
    ),
]


def command(
    data: Labelled,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The folder to save the model in.")],
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="The texts. Default: text, or found.")] = None,
    label: Annotated[str | None, typer.Option(metavar="COLUMN", help="The classes. Default: label, or found.")] = None,
    id: Annotated[
        str | None,
        typer.Option("--id", "--sequence", metavar="COLUMN", help="Which sequence of numbers a row belongs to."),
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What orders the rows of a sequence. Default: as they stand.")
    ] = None,
    variables: Annotated[Columns, typer.Option(metavar="COLUMNS", help="The numbers. Default: all others.")] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Every row has a class of its own.")] = False,
    one_way: Annotated[
        bool,
        typer.Option(
            "--one-way", help="Read forwards only: every sample of a stream costs the same, however many came."
        ),
    ] = False,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Let rare classes weigh as much as frequent ones.")
    ] = False,
    ensemble: Annotated[
        int | None, typer.Option(metavar="N", help="Networks to train and average. Default: 5.")
    ] = None,
    hidden_size: Annotated[int | None, typer.Option(metavar="H", help="Units of a layer. Default: 96.")] = None,
    num_layers: Annotated[int | None, typer.Option(metavar="N", help="Layers of the LSTM. Default: 1.")] = None,
    window: Annotated[int | None, typer.Option(metavar="ROWS", help="Rows seen at once. Default: 8.")] = None,
    dropout: Annotated[float | None, typer.Option(metavar="P", help="Before the decision. Default: 0.5.")] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="R", help="Largest of the training.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Time budget of the training.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of each network's training.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stood.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model or training that is in RUN.")] = False,
    log_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a TensorBoard log.")] = None,
) -> None:
    """Train a classifier on texts, or on sequences of numbers, whose classes are known, and save it.

    Each network holds out another fifth of the examples, which ends its training and makes the probabilities mean what
    they say. Columns that are not named are found by their usual names.
    """
    show_notes()
    training = make_way(output, resume=resume, overwrite=overwrite)
    given: dict[str, Any] = {
        "text": text, "label": label, "id": id, "time": time, "ensemble": ensemble, "hidden_size": hidden_size,
        "num_layers": num_layers, "window": window, "dropout": dropout, "learning_rate": learning_rate,
        "minutes": minutes, "max_steps": max_steps,
        "variables": words(variables, "--variables") if variables else None,
        "bidirectional": False if one_way else None,
    }  # fmt: skip
    from carrousel.tasks.classify import Classifier

    model = Classifier(
        steps=steps, balanced=balanced, seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    with training_in(training) as progress:
        model.fit(data, run_dir=training, resume=resume, log_dir=log_dir, progress=progress)
    learned = model.fitted.learned
    remark(
        f"{model.num_parameters:,} parameters, {learned.sequences:,} sequences of {len(learned.labels)} classes, "
        f"{learned.seconds:.0f} s"
    )
    print(
        f"held-out parts, network by network: accuracy {learned.accuracy:.4f} of {learned.held_out:,}, log loss "
        f"{learned.log_loss:.4f}, calibration error {learned.calibration_error:.4f}"
    )
    model.save(output, overwrite=overwrite)
    shutil.rmtree(training, ignore_errors=True)
    print(f"saved {output}; now try")
    print(f"  carrousel predict {output} new.csv\n  carrousel evaluate {output} test.csv\n  carrousel stream {output}")
