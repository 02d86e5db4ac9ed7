"""The model card of a language model: what it is, and the numbers that were measured on it."""

from __future__ import annotations

import itertools
import platform
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from carrousel.tasks.generate import Sampling, sample

if TYPE_CHECKING:
    from carrousel.tasks.language import FittedLanguage

TIMED = 300  # tokens


def tokens_per_second(fitted: FittedLanguage, tokens: int = TIMED) -> float:
    """How fast one stream is generated on this machine, sampling included."""
    drawn = sample(fitted.engine, np.empty(0, np.int64), Sampling(), tokens=2 * tokens, seed=0, never=fitted.never)
    began = time.perf_counter()
    count = sum(1 for _ in itertools.islice(drawn, tokens))
    return count / (time.perf_counter() - began)


def language_card(fitted: FittedLanguage, settings: dict[str, Any]) -> str:
    """README.md of the artifact, in Markdown.

    Parameters
    ----------
    settings : as the model was told them
    """
    sizes, learned = fitted.sizes, fitted.learned
    told = ", ".join(f"{key}={value!r}" for key, value in settings.items() if value is not None)
    kind = "characters" if fitted.tokenizer.level == "char" else "byte-level pairs"
    unit = "character" if fitted.tokenizer.level == "char" else "token"
    count = sum(array.size for name, array in fitted.weights.items() if name != "head.weight")
    return "\n".join(
        [
            "---", "library_name: carrousel", "pipeline_tag: text-generation", "---", "",
            "# Language model", "",
            f"An LSTM over {sizes.vocabulary:,} {kind} (hidden size {sizes.hidden_size}, {sizes.num_layers} layer(s), "
            f"vectors of {sizes.embedding_size}, shared with the softmax).", "",
            "```python", "import carrousel", "",
            'model = carrousel.load("path/to/this/folder")',
            'print(model.generate("Once ", tokens=200, temperature=0.8))', "```", "",
            "## Measured", "",
            "| what | value |", "|---|---|",
            f"| parameters | {count:,} ({4 * count / 2**20:.2f} MiB of float32) |",
            f"| trained on | {learned.tokens:,} {unit}s, {learned.epochs:.1f} times, in {learned.seconds:.0f} s |",
            *([f"| started from a model of | {learned.before:,} {unit}s of other text |"] if learned.before else []),
            f"| nats a {unit}, validation part | {learned.validation:.4f} |",
            f"| {unit}s a second, one stream, engine on {fitted.engine.isa}, {platform.machine()} | "
            f"{tokens_per_second(fitted):,.0f} |", "",
            "The validation part ended the training, so its loss is no test; `carrousel evaluate` scores other text, "
            "beside n-grams. The folder holds the tokens of the training text, on which these rest.", "",
            "## How it was made", "",
            f"Settings: {told}.", "",
        ]
    )  # fmt: skip
