"""The model card of a classifier: what it is, and the numbers that were measured on it."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from carrousel.tasks.classify_fitted import FittedClassifier

TIMED = 20  # sequences
LENGTH = 20  # words, or samples, of each


def milliseconds(fitted: FittedClassifier) -> float:
    """How long one sequence takes on this machine, the median of some."""
    sizes = fitted.sizes
    random = np.random.default_rng(0)
    if sizes.kind == "text":
        inputs = [random.integers(sizes.inputs, size=LENGTH)]
    else:
        inputs = [random.standard_normal((LENGTH, sizes.inputs)).astype(np.float32)]
    taken: list[float] = []
    for _ in range(TIMED):
        began = time.perf_counter()
        fitted.scores(inputs)
        taken.append(time.perf_counter() - began)
    return 1000 * float(np.median(taken))


def classify_card(fitted: FittedClassifier, settings: dict[str, Any]) -> str:
    """README.md of the artifact, in Markdown.

    Parameters
    ----------
    settings : as the model was told them
    """
    sizes, learned = fitted.sizes, fitted.learned
    told = ", ".join(f"{key}={value!r}" for key, value in settings.items() if value is not None)
    count = sum(array.size for array in fitted.weights.values())
    what = f"texts of {sizes.inputs:,} known words" if sizes.kind == "text" else f"{len(learned.variables)} variables"
    unit = "words" if sizes.kind == "text" else "steps"
    way = "both ways" if sizes.bidirectional else "one way"
    target = "each step" if sizes.steps else "a sequence"
    call = '"What is the tallest mountain?"' if sizes.kind == "text" else "sequence"
    task = "text-classification" if sizes.kind == "text" else "tabular-classification"
    classes = ", ".join(f"{name} ({n:,})" for name, n in zip(learned.labels, learned.counts, strict=True))
    alike: list[str] = []
    if learned.likeness:
        alike = [
            f"To their logits, divided by {learned.temperature:.3g}, is added {learned.likeness:.3g} times how like a "
            "sequence, as a whole, is to the training sequences of each class, by the kernel ridge regression in "
            "`context.safetensors`.", "",
        ]  # fmt: skip
    return "\n".join(
        [
            "---", "library_name: carrousel", f"pipeline_tag: {task}", "---", "",
            "# Classifier", "",
            f"{sizes.members} LSTM(s) that read {way} over {what} (hidden size {sizes.hidden_size}, {sizes.num_layers} "
            f"layer(s)) give the class of {target}.", "",
            "```python", "import carrousel", "",
            'model = carrousel.load("path/to/this/folder")',
            f"answer = model.predict([{call}])", "print(answer.labels, answer.probabilities)", "```", "",
            f"Classes, with their examples in training: {classes}.", "",
            *alike,
            "## Measured", "",
            "| what | value |", "|---|---|",
            f"| parameters | {count:,} ({4 * count / 2**20:.2f} MiB of float32) |",
            f"| trained on | {learned.sequences:,} sequences, in {learned.seconds:.0f} s |",
            f"| accuracy, held-out parts, network by network | {learned.accuracy:.4f} of {learned.held_out:,} |",
            f"| log loss there, nats | {learned.log_loss:.4f} |",
            f"| calibration error there, before and after the temperature {learned.temperature:.3f} | "
            f"{learned.uncalibrated:.4f}, {learned.calibration_error:.4f} |",
            f"| one sequence of {LENGTH} {unit}, engine on {fitted.engine.isa}, {platform.machine()} | "
            f"{milliseconds(fitted):.2f} ms |", "",
            "The held-out parts chose the weights and the temperature, so these numbers are no test; `carrousel "
            "evaluate` scores other sequences, beside baselines, of which the folder holds what they learnt.", "",
            "## How it was made", "",
            f"Settings: {told}.", "",
        ]
    )  # fmt: skip
