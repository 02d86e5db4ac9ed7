"""A softmax over part of a large vocabulary: time of a step, and nats at equal time, beside the whole softmax.

taskset -c 0 python benchmarks/large_vocabulary.py
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import page
import torch

from carrousel import LanguageModel
from carrousel.data.text import documents, public_text
from carrousel.features.language import LanguageSizes
from carrousel.features.token import learn
from carrousel.tasks.language_fit import fit_language
from carrousel.tasks.language_setting import LanguageSettings
from carrousel.training import silent

SIZES: dict[str, Any] = {"hidden_size": 512, "embedding_size": 256, "dropout": 0.1}
STEPS = 30  # that are timed at once, in turn for every way
TIMED = 400_000  # characters


class Result(NamedTuple):
    """What one way came to: nats a token and a character of the test text, steps, epochs."""

    nats: float
    per_character: float
    steps: int
    epochs: float


def train(text: str, test: str, minutes: float, seed: int, vocabulary: int, samples: int | None) -> Result:
    """Train for so many minutes; the test text is scored by the whole softmax on the engine."""
    model = LanguageModel(
        level="bpe", vocabulary=vocabulary, sampled_softmax=samples, minutes=minutes, seed=seed, **SIZES
    )
    model.fit(text, validation=0.05, progress=silent)
    score, learned = model.score(test), model.fitted.learned
    found = Result(score.nats / score.tokens, score.nats_per_character, learned.steps, learned.epochs)
    print(f"{samples or 'all'} of {model.fitted.sizes.vocabulary:,} tokens, seed {seed}: {found}", flush=True)
    return found


def seconds_a_step(text: str, vocabulary: int, ways: list[int | None]) -> dict[int | None, float]:
    """Median of the steps' times, all ways in turn."""
    tokenizer = learn("bpe", [text], vocabulary)
    tokens = tokenizer.encode(text[:TIMED]).astype(np.int32)
    sizes = LanguageSizes(
        vocabulary=tokenizer.size,
        embedding_size=SIZES["embedding_size"],
        hidden_size=SIZES["hidden_size"],
        num_layers=1,
    )
    spent: dict[int | None, list[float]] = {way: [] for way in ways}
    for _ in range(2):
        for way in ways:
            settings = LanguageSettings(level="bpe", max_steps=STEPS, sampled_softmax=way, **SIZES)
            _, history = fit_language(tokens, tokens[:2], sizes, settings, progress=silent)
            moments = [(row.step, row.seconds) for row in history.rows]
            spent[way] += [(t1 - t0) / (n1 - n0) for (n0, t0), (n1, t1) in pairwise(moments)]
    return {way: float(np.median(values)) for way, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("CARROUSEL_DATA", "."))
    parser.add_argument(
        "--text", type=Path, default=folder / "warpeace" / "warpeace_input.txt", help="beside the plays"
    )
    parser.add_argument("--vocabulary", type=int, default=16_384, help="byte pairs (default: %(default)s)")
    parser.add_argument("--samples", type=int, nargs="+", default=[2048], help="tokens a step")
    parser.add_argument("--timed", type=int, nargs="*", default=[1024, 4096], help="tokens a step that are only timed")
    parser.add_argument("--minutes", type=float, default=3, help="of each training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    parser.add_argument("--try", dest="dry", action="store_true", help="print the page's table, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = ["".join(documents(path)[0].pieces()) for path in (options.text, public_text("tinyshakespeare")[0])]
    train_text = "".join(text[: len(text) * 9 // 10] for text in texts)
    test = "".join(text[len(text) * 9 // 10 :] for text in texts)
    ways: list[int | None] = [None, *options.samples]
    began = time.perf_counter()
    steps = seconds_a_step(train_text, options.vocabulary, [*ways, *options.timed])
    print(steps, f"{time.perf_counter() - began:.0f} s", flush=True)
    rows: list[list[str]] = []
    for way in ways:
        found = [
            train(train_text, test, options.minutes, seed, options.vocabulary, way) for seed in range(options.seeds)
        ]
        nats, characters = ([getattr(one, name) for one in found] for name in ("nats", "per_character"))
        name = "whole softmax" if way is None else f"{way:,} tokens drawn a step"
        rows.append(
            [
                name, f"{1e3 * steps[way]:.0f}", f"{steps[None] / steps[way]:.2f}",
                f"{np.mean(nats):.3f} ± {np.std(nats, ddof=1) if len(nats) > 1 else 0:.3f}",
                f"{np.mean(characters):.4f}", f"{np.mean([one.steps for one in found]):,.0f}",
                f"{np.mean([one.epochs for one in found]):.2f}",
            ]
        )  # fmt: skip
    rows += [
        [f"{way:,} tokens drawn a step", f"{1e3 * steps[way]:.0f}", f"{steps[None] / steps[way]:.2f}", *[""] * 4]
        for way in options.timed
    ]
    header = ["", "ms a step", "times as fast", "nats a token", "nats a character", "steps", "epochs"]
    told = ", ".join(f"{key}={value:g}" for key, value in SIZES.items())
    about = (
        f"War and Peace and tinyshakespeare, the first 90 % of each, as {options.vocabulary:,} byte pairs ({told}), "
        f"each way for {options.minutes:g} minutes, {options.seeds} seeds; the last 10 % of both are scored by the "
        "whole softmax on the engine, whichever way the model was trained. A step reads 32 streams of 64 tokens; its "
        f"time is a median over steps of all ways in turn. {page.cores(options.threads)}."
    )
    table = page.table(header, rows)
    if options.dry:
        print(about, table, sep="\n\n")
        return
    page.write(
        "large_vocabulary",
        "Language: large vocabularies",
        [about, table],
        packages=("carrousel", "torch", "tokenizers", "numpy"),
        seeds=f"0 to {options.seeds - 1}",
    )


if __name__ == "__main__":
    main()
