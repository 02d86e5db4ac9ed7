"""``carrousel evaluate``, of a language model."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer

from carrousel.cli._option import Run, model
from carrousel.cli._output import print_rows, remark, show_notes
from carrousel.cli._text import Texts, text_paths
from carrousel.errors import SettingError

EXAMPLES = ("carrousel evaluate runs/manual manual.txt --last 0.1",)


def command(
    run: Run,
    text: Texts,
    last: Annotated[
        float, typer.Option(metavar="SHARE", help="Only the last share of each text: 0.1 is what training held out.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score text: nats and bits a character, perplexity a token, beside n-grams of the text the model was trained on.

    The n-grams are smoothed by modified Kneser-Ney interpolation, the best that counting does.
    """
    show_notes()
    if not 0 < last <= 1:
        raise SettingError(f"--last: expected a share above 0 and at most 1, got {last}")
    language = model(run)
    texts = [_last(path, last) for path in text_paths(text)]
    own, other = language.score(texts), language.baseline(texts)
    scores = {"Carrousel": own, f"{language.fitted.baseline.order}-grams, Kneser-Ney": other}
    if language.trained_on(texts):
        show_notes(["parts of this text were trained on: the scores flatter the model, and the n-grams even more"])
    if own.unknown:
        show_notes([f"{own.unknown} of {own.tokens} characters are unknown to the model, which scores them as such"])
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
