"""``carrousel train language``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.cli._output import remark, show_notes
from carrousel.cli._text import Texts, text_paths
from carrousel.cli._training import make_way, training_in

EXAMPLES = (
    "python -m pydoc builtins > manual.txt",
    "carrousel train language manual.txt --minutes 3 -o runs/manual",
)


def command(
    text: Texts,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The folder to save the model in.")],
    level: Annotated[
        str, typer.Option(metavar="LEVEL", help="What a token is: char, or bpe (byte pairs learned from the text).")
    ] = "char",
    vocabulary: Annotated[int | None, typer.Option(metavar="N", help="Most tokens. Default: 2048.")] = None,
    hidden_size: Annotated[int | None, typer.Option(metavar="H", help="Units of a layer. Default: 512.")] = None,
    num_layers: Annotated[int | None, typer.Option(metavar="N", help="Layers of the LSTM. Default: 1.")] = None,
    embedding_size: Annotated[int | None, typer.Option(metavar="E", help="Of a token's vector. Default: 64.")] = None,
    dropout: Annotated[float | None, typer.Option(metavar="P", help="Of the LSTM's outputs. Default: 0.1.")] = None,
    weight_drop: Annotated[float | None, typer.Option(metavar="P", help="Of the recurrent weights.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(metavar="S", help="Spread over all tokens.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="B", help="Streams side by side. Default: 32.")] = None,
    sequence_length: Annotated[
        int | None, typer.Option(metavar="L", help="Tokens that a gradient passes through. Default: 64.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="R", help="Largest of the training.")] = None,
    precision: Annotated[
        str, typer.Option(metavar="P", help="float32, or bf16: twice as fast where the processor has it.")
    ] = "float32",
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Time budget of the training.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Most steps of the training.")] = None,
    max_epochs: Annotated[int | None, typer.Option(metavar="N", help="Most passes. Without any limit: 10.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stood.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model or training that is in RUN.")] = False,
    log_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a TensorBoard log.")] = None,
) -> None:
    """Train a language model on text files and save it.

    The last tenth of the text is held out: the weights that are best on it are kept. Line ends and everything else are
    learned as they are.
    """
    show_notes()
    training = make_way(output, resume=resume, overwrite=overwrite)
    given: dict[str, Any] = {
        "vocabulary": vocabulary, "hidden_size": hidden_size, "num_layers": num_layers,
        "embedding_size": embedding_size, "dropout": dropout, "weight_drop": weight_drop,
        "label_smoothing": label_smoothing, "batch_size": batch_size, "sequence_length": sequence_length,
        "learning_rate": learning_rate,
    }  # fmt: skip
    from carrousel.tasks.language import LanguageModel

    model = LanguageModel(
        level=level,
        precision=precision,
        minutes=minutes,
        max_steps=max_steps,
        max_epochs=max_epochs,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )
    paths = text_paths(text)
    with training_in(training) as progress:
        model.fit(paths, run_dir=training, resume=resume, log_dir=log_dir, progress=progress)
    learned = model.fitted.learned
    unit = "character" if level == "char" else "token"
    remark(
        f"{model.num_parameters:,} parameters, {learned.tokens:,} {unit}s, {learned.epochs:.1f} times in "
        f"{learned.seconds:.0f} s"
    )
    print(f"validation part: {learned.validation:.4f} nats a {unit}")
    model.save(output, overwrite=overwrite)
    shutil.rmtree(training, ignore_errors=True)
    print(f"saved {output}; now try")
    print(f'  carrousel predict {output} --prompt "..."\n  carrousel evaluate {output} other.txt')
