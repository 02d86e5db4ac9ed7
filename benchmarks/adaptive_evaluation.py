"""Scores that adapt to the text: a neural cache and dynamic evaluation, on text like the training's and on other text.

taskset -c 0 python benchmarks/adaptive_evaluation.py
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import page
import torch

from carrousel import LanguageModel
from carrousel.data.text import documents, public_text
from carrousel.tasks.adaptive import DynamicEvaluation, NeuralCache
from carrousel.training import silent

RECIPE: dict[str, Any] = {"hidden_size": 512, "dropout": 0.0}
CHOSEN_ON = 8_000  # characters of the validation part
THETAS, WEIGHTS, WINDOWS = (0.1, 0.3, 1.0), (0.03, 0.1, 0.2), (500, 2000, 8000)
RATES = {"rms": (1e-4, 3e-4, 1e-3), "sgd": (0.003, 0.01, 0.03)}
DECAYS = (1e-4, 1e-3, 1e-2)
Texts = dict[str, tuple[str, str, str]]


class Case(NamedTuple):
    """One model and the texts that it is scored on."""

    name: str
    source: str
    settings: dict[str, Any]
    scored: Sequence[str]


CASES = (
    Case("characters of War and Peace", "War and Peace", {}, ("War and Peace", "tinyshakespeare")),
    Case("characters of tinyshakespeare", "tinyshakespeare", {}, ("tinyshakespeare",)),
    Case(
        "2,048 byte pairs of War and Peace", "War and Peace", {"level": "bpe", "vocabulary": 2048},
        ("War and Peace", "tinyshakespeare"),
    ),
)  # fmt: skip


def parts(text: str) -> tuple[str, str, str]:
    """Training 85 %, validation 5 %, test 10 %."""
    first, second = len(text) * 85 // 100, len(text) * 9 // 10
    return text[:first], text[first:second], text[second:]


def chosen(model: LanguageModel, text: str) -> dict[str, dict[str, Any]]:
    """The best settings of both ways on a validation text, one after another; they see no test text."""

    def nats(how: dict[str, Any]) -> float:
        return model.score(text, **how).nats

    pairs = itertools.product(THETAS, WEIGHTS)
    cache = min(({"cache": NeuralCache(theta=t, weight=w)} for t, w in pairs), key=nats)["cache"]
    windows = ({"cache": NeuralCache(window=n, theta=cache.theta, weight=cache.weight)} for n in WINDOWS)
    rates = [(rule, rate) for rule, values in RATES.items() for rate in values]
    dynamic = min(({"dynamic": DynamicEvaluation(rule=n, rate=r)} for n, r in rates), key=nats)["dynamic"]  # pyright: ignore
    decays = ({"dynamic": DynamicEvaluation(rule=dynamic.rule, rate=dynamic.rate, decay=d)} for d in DECAYS)
    return {"neural cache": min(windows, key=nats), "dynamic evaluation": min(decays, key=nats)}


def told(how: dict[str, Any]) -> str:
    (value,) = how.values()
    return ", ".join(f"{k} {v:g}" if isinstance(v, (int, float)) else str(v) for k, v in vars(value).items())


def measure(case: Case, texts: Texts, minutes: float, seed: int) -> list[list[str]]:
    """Rows of one model: each text by each way, with the defaults and with settings of its own."""
    train, validation, _ = texts[case.source]
    model = LanguageModel(minutes=minutes, seed=seed, **RECIPE, **case.settings)
    model.fit(train, validation=validation, progress=silent)
    own = chosen(model, validation[:CHOSEN_ON])
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "neural cache": {"cache": NeuralCache()},
        "dynamic evaluation": {"dynamic": DynamicEvaluation()},
        **{f"{name}, its own settings ({told(how)})": how for name, how in own.items()},
    }
    rows: list[list[str]] = []
    for name in case.scored:
        test = texts[name][2]
        plain = None
        for way, how in ways.items():
            began = time.perf_counter()
            score = model.score(test, **how)
            spent = time.perf_counter() - began
            plain = plain or score
            rows.append(
                [
                    f"{case.name}, on {name}", way, f"{score.nats_per_character:.4f}", f"{score.perplexity:.3f}",
                    "" if score is plain else f"{100 * (score.nats / plain.nats - 1):+.2f} %",
                    f"{score.tokens / spent:,.0f}",
                ]
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("CARROUSEL_DATA", "."))
    parser.add_argument("--text", type=Path, default=folder / "warpeace" / "warpeace_input.txt", help="War and Peace")
    parser.add_argument("--minutes", type=float, default=2, help="of each training (default: %(default)s)")
    parser.add_argument("--test", type=int, default=20_000, help="first characters of each test part that are scored")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    parser.add_argument("--try", dest="dry", action="store_true", help="print the page's table, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {"War and Peace": options.text, "tinyshakespeare": public_text("tinyshakespeare")[0]}
    texts: Texts = {}
    for name, path in found.items():
        train, validation, test = parts("".join(documents(path)[0].pieces()))
        texts[name] = (train, validation, test[: options.test])
    rows = [row for case in CASES for row in measure(case, texts, options.minutes, options.seed)]
    header = ["model and text", "way", "nats a character", "perplexity a token", "beside plain", "tokens/s"]
    table = page.table(header, rows, left=2)
    about = (
        f"Each model is trained for {options.minutes:g} minutes on the first 85 % of its text and scored on the first "
        f"{options.test:,} characters of the last 10 %. The settings of its own are the best of a grid on the first "
        f"{CHOSEN_ON:,} characters of the 5 % between, which also chose the weights that are kept; no way saw a test "
        "text before. Each token is predicted from what stands before it only. On the other text the model is what it "
        "was, so that this shows how far adapting bridges the distance; no setting was chosen there. Scores that adapt "
        f"do not compare with scores that do not. {page.cores(options.threads)}."
    )
    if options.dry:
        print(about, table, sep="\n\n")
        return
    page.write(
        "adaptive_evaluation",
        "Language: scores that adapt",
        [about, table],
        packages=("carrousel", "torch", "tokenizers", "numpy"),
        seeds=str(options.seed),
    )


if __name__ == "__main__":
    main()
