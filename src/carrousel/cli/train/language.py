"""``carrousel train language``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrousel.cli._option import model as load_model
from carrousel.cli._option import task
from carrousel.cli._output import remark, show_notes
from carrousel.cli._text import Texts, text_paths
from carrousel.cli._training import make_way, training_in
from carrousel.errors import SettingError

if TYPE_CHECKING:
    from carrousel.tasks.language import LanguageModel

EXAMPLES = (
    "python -m pydoc builtins > manual.txt",
    "carrousel train language manual.txt --minutes 3 -o runs/manual",
    "python -m pydoc json > json.txt",
    "carrousel train language json.txt --from runs/manual -o runs/json",
)


def command(
    text: Texts,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="The folder to save the model in.")],
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Fine-tune this trained model, whose tokens and sizes stay."),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="What a token is: char, or bpe (byte pairs of the text). Default: char."),
    ] = None,
    vocabulary: Annotated[int | None, typer.Option(metavar="N", help="Most tokens. Default: 2048.")] = None,
    hidden_size: Annotated[int | None, typer.Option(metavar="H", help="Units of a layer. Default: 512.")] = None,
    num_layers: Annotated[int | None, typer.Option(metavar="N", help="Layers of the LSTM. Default: 1.")] = None,
    embedding_size: Annotated[int | None, typer.Option(metavar="E", help="Of a token's vector. Default: 64.")] = None,
    dropout: Annotated[float | None, typer.Option(metavar="P", help="Of the LSTM's outputs. Default: 0.1.")] = None,
    embedding_dropout: Annotated[float | None, typer.Option(metavar="P", help="Of whole tokens.")] = None,
    weight_drop: Annotated[float | None, typer.Option(metavar="P", help="Of the recurrent weights.")] = None,
    recurrent_dropout: Annotated[float | None, typer.Option(metavar="P", help="Of the gate updates.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(metavar="S", help="Spread over all tokens.")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="B", help="Streams side by side. Default: 32.")] = None,
    sequence_length: Annotated[
        int | None, typer.Option(metavar="L", help="Tokens that a gradient passes through. Default: 64.")
    ] = None,
    sampled_softmax: Annotated[
        int | None, typer.Option(metavar="N", help="Train on N drawn tokens a step, for vocabularies from 16,000 on.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="O", help="adamw, or asgd: averaged gradient descent. Default: adamw.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="R", help="Largest of the training.")] = None,
    factor: Annotated[
        float | None, typer.Option(metavar="F", help="With --from: divides each lower layer's rate. Default: 1.")
    ] = None,
    unfreeze: Annotated[
        float | None, typer.Option(metavar="SHARE", help="With --from: of the run, until all layers train. Default: 0.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="P", help="float32, bf16, or auto: bf16 where the processor has it. Default: auto."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Time budget of the training.")] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Most steps of the training.")] = None,
    max_epochs: Annotated[int | None, typer.Option(metavar="N", help="Most passes. Without any limit: 10.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed training stood.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model or training that is in RUN.")] = False,
    log_dir: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write a TensorBoard log.")] = None,
) -> None:
    """Train a language model on text files and save it, from the beginning or from a model that was trained before.

    The last tenth of the text is held out: the weights that are best on it are kept. Line ends and everything else are
    learned as they are. With --from, what is not given is as it was in that model, but for its limits and its learning
    rate; characters that it does not know are one unknown character.
    """
    show_notes()
    settings: dict[str, Any] = {
        "level": level, "vocabulary": vocabulary, "hidden_size": hidden_size, "num_layers": num_layers,
        "embedding_size": embedding_size, "dropout": dropout, "embedding_dropout": embedding_dropout,
        "weight_drop": weight_drop, "recurrent_dropout": recurrent_dropout, "label_smoothing": label_smoothing,
        "batch_size": batch_size, "sequence_length": sequence_length, "sampled_softmax": sampled_softmax,
        "optimizer": optimizer, "learning_rate": learning_rate, "precision": precision, "minutes": minutes,
        "max_steps": max_steps, "max_epochs": max_epochs, "seed": seed,
    }  # fmt: skip
    given = {name: value for name, value in settings.items() if value is not None}
    layers: dict[str, Any] = {
        name: value for name, value in (("factor", factor), ("unfreeze", unfreeze)) if value is not None
    }
    if start is None and layers:
        raise SettingError(f"--{next(iter(layers))}: expected together with --from, got it alone; leave it out")
    training = make_way(output, resume=resume, overwrite=overwrite)
    from carrousel.tasks.language import LanguageModel

    model = LanguageModel(**given) if start is None else _language(start)
    paths = text_paths(text)
    with training_in(training) as progress:
        how: dict[str, Any] = {"run_dir": training, "resume": resume, "log_dir": log_dir, "progress": progress}
        model = model.fit(paths, **how) if start is None else model.fine_tune(paths, **how, **given, **layers)
    learned = model.fitted.learned
    unit = "character" if model.settings.level == "char" else "token"
    remark(
        f"{model.num_parameters:,} parameters, {learned.tokens:,} {unit}s, {learned.epochs:.1f} times in "
        f"{learned.seconds:.0f} s"
    )
    print(f"validation part: {learned.validation:.4f} nats a {unit}")
    model.save(output, overwrite=overwrite)
    shutil.rmtree(training, ignore_errors=True)
    print(f"saved {output}; now try")
    print(f'  carrousel predict {output} --prompt "..."\n  carrousel evaluate {output} other.txt')


def _language(run: Path) -> LanguageModel:
    """The language model that is trained on."""
    if (found := task(run)) != "language":
        raise SettingError(f"--from: expected a language model, got one of {found} in {str(run)!r}")
    return load_model(run)
