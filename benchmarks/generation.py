"""Generation, characters a second on one core: the engine beside transformers with a GPT of equal loss.

python benchmarks/tinyshakespeare.py --minutes 3 10 --runs runs/shakespeare --try
taskset -c 0 python benchmarks/generation.py runs/shakespeare/3 runs/shakespeare/10
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import page
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

import carrousel.interop.huggingface  # noqa: F401  (transformers then knows our models)
from carrousel import LanguageModel, load
from carrousel.data.text import documents, public_text
from carrousel.engine import Dtype

# The GPT that nanoGPT trains on tinyshakespeare on an A100, to 1.4697 nats.
GPT = {"n_layer": 6, "n_head": 6, "n_embd": 384}
CONTEXT, LOSS = 256, "1.4697 (published)"
SHORT, USUAL = CONTEXT - 1, 2000


class Contest(NamedTuple):
    """One who generates so many characters at a time, and what its text costs."""

    name: str
    nats: str
    parameters: int
    characters: int
    run: Callable[[], int]


def gpt(vocabulary: int, positions: int) -> GPT2LMHeadModel:
    """With weights as they are drawn: the time of a token does not depend on them."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=vocabulary, n_positions=positions, bos_token_id=0, eos_token_id=None, **GPT)
    return GPT2LMHeadModel(config).eval()


def transformed(model: Any, tokens: int) -> Callable[[], int]:
    """transformers' ``generate``, sampling, with its cache; it begins with one token."""
    start = torch.zeros(1, 1, dtype=torch.long)

    def run() -> int:
        options = {"do_sample": True, "max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": 0}
        return model.generate(start, attention_mask=torch.ones_like(start), **options).shape[1] - 1

    return run


def reopened(path: Path) -> Any:
    """A model of ours in transformers, after its first tokens were compared."""
    opened, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    ids = opened.generate(**tokenizer("First Citizen:", return_tensors="pt"), do_sample=False, max_new_tokens=50)[0]
    theirs = tokenizer.decode(ids, skip_special_tokens=True)
    ours = "First Citizen:" + load(path).generate("First Citizen:", tokens=50, temperature=0)
    if theirs != ours:
        raise SystemExit(f"expected the engine's text from transformers, got {theirs!r} for {ours!r}")
    return opened


def contests(runs: list[Path], text: str) -> list[Contest]:
    """All of them, ours first; the nats of ours on the last 10 % of the text, the state carried."""
    validation = text[len(text) * 9 // 10 :]
    found: list[Contest] = []
    for path in runs:
        for dtype in get_args(Dtype):
            model: LanguageModel = load(path, dtype=dtype)
            nats = f"{model.score(validation).nats_per_character:.4f}"
            name = f"**Carrousel**, engine, {model.fitted.sizes.hidden_size} units, {dtype}"
            for tokens in (SHORT, USUAL):
                run = lambda model=model, tokens=tokens: len(model.generate(tokens=tokens, seed=1))  # noqa: E731
                found.append(Contest(name, nats, model.num_parameters, tokens, run))
    model = load(runs[0])
    name = f"Carrousel, {model.fitted.sizes.hidden_size} units, by transformers' `generate`"
    found.append(Contest(name, found[0].nats, model.num_parameters, SHORT, transformed(reopened(runs[0]), SHORT)))
    for positions in (CONTEXT, 2048):
        rival, tokens = gpt(len(set(text)), positions), min(positions - 1, USUAL)
        name = f"GPT, 6 layers of 384, context {positions}, by transformers' `generate`"
        count = sum(parameter.numel() for parameter in rival.parameters())
        found.append(Contest(name, LOSS if positions == CONTEXT else "", count, tokens, transformed(rival, tokens)))
    return found


def timed(one: Contest) -> float:
    """Characters a second of one turn."""
    began = time.perf_counter()
    made = one.run()
    return made / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="models that tinyshakespeare.py saved")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: %(default)s)")
    parser.add_argument("--long", type=int, default=1_000_000, help="characters of the longest (default: %(default)s)")
    parser.add_argument("--try", dest="dry", action="store_true", help="print the table, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = "".join(documents(public_text("tinyshakespeare")[0])[0].pieces())
    found = contests(options.runs, text)
    speeds: list[list[float]] = [[] for _ in found]
    for _ in range(options.rounds):
        for one, values in zip(found, speeds, strict=True):
            values.append(timed(one))
    median = [statistics.median(values) for values in speeds]
    if options.long:
        model = load(options.runs[0])
        long = found[0]._replace(characters=options.long, run=lambda: len(model.generate(tokens=options.long, seed=1)))
        found, median = [*found, long], [*median, timed(long)]
    slow = next(speed for one, speed in zip(found, median, strict=True) if one.nats == LOSS)
    header = ["", "nats", "parameters", "characters", "characters/s", f"times the GPT of context {CONTEXT}"]
    rows = [
        [one.name, one.nats, f"{one.parameters:,}", f"{one.characters:,}", f"{speed:,.0f}", f"{speed / slow:.1f}×"]
        for one, speed in zip(found, median, strict=True)
    ]
    table = page.table(header, rows)
    about = (
        "One stream on one core, one thread, one character at a time, sampled at temperature 1; medians of "
        f"{options.rounds} turns, the longest text once. Nats a character: on the last 10 % of tinyshakespeare, with "
        "the state carried, in the precision of the row. The GPT has the size of the one that nanoGPT trains on an "
        "A100; its weights here are random, since the time of a character does not depend on them. It generates inside "
        "its context with its cache, which is its best case: beyond it, each character needs the whole window anew. "
        "That transformers and the engine generate the same text from Carrousel's model was checked first."
    )
    if options.dry:
        print(table)
        return
    page.write(
        "generation",
        "Language: generation",
        [about, table],
        packages=("carrousel", "torch", "transformers", "numpy"),
        seeds="0",
    )


if __name__ == "__main__":
    main()
