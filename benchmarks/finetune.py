"""Fine-tuning on little text: War and Peace, then 10, 30 and 100 KB of Shakespeare, beside training from scratch.

taskset -c 0 python benchmarks/finetune.py
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import page
import torch

from carrousel import LanguageModel
from carrousel.data.text import documents, public_text
from carrousel.tasks.ngram import ORDERS, KneserNey
from carrousel.training import lines, silent

START = {"hidden_size": 512, "dropout": 0.0}
HELD_OUT = 0.2  # of a piece, which chooses everything
# Each way has as many steps as it takes until its validation loss rises again, on all sizes.
SCRATCH: Sequence[dict[str, Any]] = (
    {"hidden_size": 128, "dropout": 0.2, "max_steps": 400},
    {"hidden_size": 512, "dropout": 0.5, "max_steps": 300},
)
# The rates were chosen on the validation part of another piece of 30 KB; a factor divides those of lower layers.
TUNED: dict[str, dict[str, Any]] = {
    "fine-tuned, all layers alike": {"factor": 1.0, "unfreeze": 0.0, "learning_rate": 1e-3},
    "fine-tuned, rates divided by 2.6 a layer": {"factor": 2.6, "unfreeze": 0.0, "learning_rate": 2e-3},
    "fine-tuned, rates divided and gradual unfreezing": {"factor": 2.6, "unfreeze": 0.2, "learning_rate": 2e-3},
}
STEPS = 150
Scores = dict[str, list[float]]


def measure(
    start: LanguageModel, train: str, test: str, size: int, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Nats a character on the test text and on the validation part, of every way, from one piece of the text."""
    first = int(np.random.default_rng([seed, size]).integers(len(train) - size))
    piece = train[first : first + size]
    found: dict[str, float] = {}
    chosen: dict[str, float] = {}
    models = [LanguageModel(seed=seed, **how).fit(piece, validation=HELD_OUT, progress=silent) for how in SCRATCH]
    best = min(models, key=lambda model: model.fitted.learned.validation)
    found["from scratch"] = best.score(test).nats_per_character
    chosen["from scratch"] = best.fitted.learned.validation
    ids = best.fitted.tokenizer.encode(piece[: len(piece) - int(HELD_OUT * len(piece))])
    grams = KneserNey(ids, best.fitted.sizes.vocabulary, ORDERS["char"]).scorer()
    found["7-grams of the piece, Kneser-Ney"] = float(grams(best.fitted.tokenizer.encode(test)).mean())
    for name, how in TUNED.items():
        model = start.fine_tune(piece, validation=HELD_OUT, max_steps=STEPS, seed=seed, progress=silent, **how)
        found[name] = model.score(test).nats_per_character
        chosen[name] = model.fitted.learned.validation
    for name, nats in found.items():
        print(
            f"{size:,} characters, seed {seed}: {name}: {nats:.4f} (validation {chosen.get(name, 0):.4f})", flush=True
        )
    return found, chosen


def spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("CARROUSEL_DATA", "."))
    parser.add_argument("--text", type=Path, default=folder / "warpeace" / "warpeace_input.txt", help="to start on")
    parser.add_argument("--minutes", type=float, default=3, help="of training the start (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000], help="of the pieces")
    parser.add_argument("--seeds", type=int, default=3, help="pieces of each size (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    parser.add_argument("--try", dest="dry", action="store_true", help="print the page's tables, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text = "".join(documents(public_text("tinyshakespeare")[0])[0].pieces())
    border = len(text) * 9 // 10
    train, test = text[:border], text[border:]
    start = LanguageModel(minutes=options.minutes, seed=0, **START).fit(options.text, validation=0.05, progress=lines)
    learned = start.fitted.learned
    untouched = start.score(test)
    names = ["from scratch", *TUNED]
    rows: dict[str, list[str]] = {name: [name] for name in [*names, "7-grams of the piece, Kneser-Ney"]}
    choice: dict[str, list[str]] = {name: [name] for name in names}
    for size in options.sizes:
        tested: Scores = {}
        validated: Scores = {}
        for seed in range(options.seeds):
            for into, values in zip((tested, validated), measure(start, train, test, size, seed), strict=True):
                for name, nats in values.items():
                    into.setdefault(name, []).append(nats)
        for name in rows:
            rows[name].append(spread(tested[name]))
        for name in choice:
            choice[name].append(spread(validated[name]))
    header = ["nats a character", *(f"{size // 1000} KB" for size in options.sizes)]
    same = [f"{untouched.nats_per_character:.3f}"] * len(options.sizes)
    table = page.table(header, [*rows.values(), ["the model that was started from, untouched", *same]])
    about = (
        f"A model of characters is trained on War and Peace for {options.minutes:g} minutes ({learned.characters:,} "
        f"characters, {learned.epochs:.1f} passes, {learned.validation:.3f} nats a character on its validation part), "
        "and then on a small piece of tinyshakespeare: a random place of its first 90 %, another one for each of "
        f"{options.seeds} seeds, whose last {100 * HELD_OUT:.0f} % are the validation part and choose the weights "
        "that are kept; from scratch also the better of two networks (hidden_size 128 and 512). All are scored on the "
        f"whole last 10 % of tinyshakespeare ({len(test):,} characters, of which {untouched.unknown} are unknown to "
        "the start). "
        f"{STEPS} steps of fine-tuning, 300 and 400 from scratch; mean ± standard deviation over the pieces. "
        f"{page.cores(options.threads)}."
    )
    validated_table = page.table(["nats a character", *header[1:]], list(choice.values()))
    parts = [about, table, "The same on the validation parts, which chose the defaults:", validated_table]
    if options.dry:
        print("\n\n".join(parts))
        return
    page.write(
        "finetune",
        "Fine-tuning on little text",
        parts,
        packages=("carrousel", "torch", "numpy"),
        seeds=f"0 to {options.seeds - 1}",
    )


if __name__ == "__main__":
    main()
