"""``carrousel evaluate``, of a language model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from carrousel.cli._option import Run, model
from carrousel.cli._output import print_rows, remark, show_notes
from carrousel.cli._text import Texts, text_paths
from carrousel.errors import SettingError

EXAMPLES = (
    "carrousel evaluate runs/manual manual.txt --last 0.1",
    "carrousel evaluate runs/manual json.txt --last 0.2 --cache --dynamic",
)

ADAPTIVE = {"cache": "neural cache", "dynamic": "dynamic evaluation"}


def command(
    run: Run,
    text: Texts,
    last: Annotated[
        float, typer.Option(metavar="SHARE", help="Only the last share of each text: 0.1 is what training held out.")
    ] = 1.0,
    cache: Annotated[
        bool, typer.Option("--cache", help="Also with a neural cache: it remembers the text as it comes.")
    ] = False,
    window: Annotated[int | None, typer.Option("--cache-window", metavar="N", help="Tokens in the cache.")] = None,
    theta: Annotated[float | None, typer.Option("--cache-theta", metavar="T", help="How much alike counts.")] = None,
    weight: Annotated[
        float | None, typer.Option("--cache-weight", metavar="L", help="The cache's share of a probability.")
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Also with weights that follow the text as it comes; needs PyTorch.")
    ] = False,
    rule: Annotated[str | None, typer.Option("--dynamic-rule", metavar="RULE", help="rms or sgd.")] = None,
    rate: Annotated[float | None, typer.Option("--dynamic-rate", metavar="R", help="Of its steps.")] = None,
    decay: Annotated[
        float | None, typer.Option("--dynamic-decay", metavar="D", help="Towards the trained weights, a step.")
    ] = None,
    length: Annotated[int | None, typer.Option("--dynamic-length", metavar="N", help="Tokens a step.")] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a self-contained HTML page, the text in colours.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score text: nats and bits a character, perplexity a token, beside n-grams of the text the model was trained on.

    The n-grams are smoothed by modified Kneser-Ney interpolation, the best that counting does. --cache and --dynamic
    add scores that adapt to the text, each token from what stands before it only.
    """
    show_notes()
    if not 0 < last <= 1:
        raise SettingError(f"--last: expected a share above 0 and at most 1, got {last}")
    language = model(run)
    texts = [_last(path, last) for path in text_paths(text)]
    from carrousel.tasks.adaptive import DynamicEvaluation, NeuralCache

    ways: dict[str, tuple[Any, bool, dict[str, Any]]] = {
        "cache": (NeuralCache, cache, {"window": window, "theta": theta, "weight": weight}),
        "dynamic": (DynamicEvaluation, dynamic, {"rule": rule, "rate": rate, "decay": decay, "length": length}),
    }
    adaptive: dict[str, dict[str, Any]] = {}
    for name, (kind, wanted, settings) in ways.items():
        given = {key: value for key, value in settings.items() if value is not None}
        if wanted or given:
            adaptive[f"Carrousel, {ADAPTIVE[name]}"] = {name: kind(**given)}
    own, other = language.score(texts), language.baseline(texts)
    scores = {"Carrousel": own, **{name: language.score(texts, **how) for name, how in adaptive.items()}}
    scores[f"{language.fitted.baseline.order}-grams, Kneser-Ney"] = other
    if language.trained_on(texts):
        show_notes(["parts of this text were trained on: the scores flatter the model, and the n-grams even more"])
    if own.unknown:
        show_notes([f"{own.unknown} of {own.tokens} characters are unknown to the model, which scores them as such"])
    if report is not None:
        from carrousel.report.language import write_language_report

        found = {name: score for name, score in scores.items() if name in adaptive}
        names = ", ".join(text)
        write_language_report(
            report, model=language, text=texts, adaptive=found, title=f"Language: {names}", artifact=run
        )
        remark(f"wrote {report}")
    if as_json:
        print(json.dumps({"tokens": own.tokens, "characters": own.characters, "unknown": own.unknown,
                          "scores": {name: _plain(score) for name, score in scores.items()}}, indent=2))  # fmt: skip
        return
    print_rows(
        ("model", "nats/character", "bits/character", "perplexity/token"),
        [
            (name, f"{score.nats_per_character:.4f}", f"{score.bits_per_character:.4f}", f"{score.perplexity:.4g}")
            for name, score in scores.items()
        ],
    )
    change = 100 * (own.nats / other.nats - 1) if other.nats else 0.0
    remark(f"{own.characters:,} characters, {own.tokens:,} tokens")
    print(f"the model needs {abs(change):.1f} % {'more' if change > 0 else 'fewer'} bits than the n-grams")


def _last(path: Any, share: float) -> Any:
    """A file, or its last characters."""
    if share == 1:
        return path
    from carrousel.data.text import documents

    text = "".join(documents(path)[0].pieces())
    return text[len(text) - math.ceil(share * len(text)) :]


def _plain(score: Any) -> dict[str, float | None]:
    names = ("nats", "nats_per_character", "bits_per_character", "perplexity")
    values = {name: getattr(score, name) for name in names}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
