"""tinyshakespeare, characters: nats on the last 10 % after 3, 10 and 60 minutes of training, beside a GPT and n-grams.

taskset -c 0,1 python benchmarks/tinyshakespeare.py --minutes 3 10 60
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import page
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, scaled_dot_product_attention

from carrousel import LanguageModel
from carrousel.data.text import documents, public_text
from carrousel.tasks.surprise import token_nats
from carrousel.training import lines

# What each budget is spent on: the longer, the wider and the more dropout.
RECIPES: dict[float, dict[str, Any]] = {
    3: {"hidden_size": 512, "dropout": 0.2},
    10: {"hidden_size": 768, "dropout": 0.3},
    60: {"hidden_size": 1024, "dropout": 0.5, "weight_drop": 0.2, "learning_rate": 3e-3},
}
BLOCK = 256  # characters, after which nothing is remembered, as a Transformer of that context
PUBLISHED = {
    "nanoGPT, its CPU recipe, about 3 minutes (published)": 1.88,
    "nanoGPT, one A100, context 256 (published)": 1.4697,
}
GENERATED = 2000


class Result(NamedTuple):
    """What one recipe came to: nats a character with the state carried, and in blocks; characters a second."""

    name: str
    minutes: float
    parameters: int
    steps: int
    epochs: float
    carried: float
    blocks: float
    generated: float


def carrousel(train: str, validation: str, minutes: float, seed: int, runs: Path | None) -> Result:
    """Train for so many minutes, and score the whole validation part on the engine; saved to runs/<minutes>."""
    known = [budget for budget in RECIPES if minutes >= budget]
    recipe = RECIPES[max(known, default=3)]
    model = LanguageModel(minutes=minutes, seed=seed, **recipe)
    began = time.perf_counter()
    model.fit(train, validation=validation, progress=lines)
    spent = (time.perf_counter() - began) / 60
    if runs is not None:
        model.save(runs / f"{minutes:g}")
    learned = model.fitted.learned
    carried = model.score(validation).nats_per_character
    began = time.perf_counter()
    text = model.generate(tokens=GENERATED, seed=seed)
    speed = len(text) / (time.perf_counter() - began)
    told = ", ".join(f"{key}={value:g}" for key, value in recipe.items())
    found = Result(
        f"**Carrousel**, {minutes:g} minutes ({told})", spent, model.num_parameters, learned.steps, learned.epochs,
        carried, in_blocks(model, validation), speed,
    )  # fmt: skip
    print(found, flush=True)
    return found


def in_blocks(model: LanguageModel, text: str) -> float:
    """Nats a character where each block begins anew; its first character is given, as a Transformer is scored."""
    ids = model.fitted.tokenizer.encode(text)
    count = (len(ids) - 1) // BLOCK
    seen = ids[: count * BLOCK].reshape(count, BLOCK)
    target = ids[1 : count * BLOCK + 1].reshape(count, BLOCK)
    total = 0.0
    for rows in np.array_split(np.arange(count), max(1, count // 64)):
        logits = model.fitted.engine.session(len(rows)).run(np.ascontiguousarray(seen[rows]))
        total += float(token_nats(logits.reshape(-1, logits.shape[-1]), target[rows].reshape(-1)).sum())
    return total / target.size


class GPT(nn.Module):
    """The decoder of nanoGPT: pre-norm blocks without biases, learned positions, a tied softmax.

    References
    ----------
    Radford et al. 2019; the sizes of the CPU recipe: README of github.com/karpathy/nanoGPT.
    """

    def __init__(self, vocabulary: int, *, layers: int = 4, heads: int = 4, width: int = 128, block: int = 64) -> None:
        super().__init__()
        self.heads, self.block = heads, block
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(width)) for _ in range(2 * layers + 1))
        self.attend = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(layers))
        self.mix = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.widen = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(layers))
        self.narrow = nn.ModuleList(nn.Linear(4 * width, width, bias=False) for _ in range(layers))
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.startswith(("mix", "narrow"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if deep else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (N, L, V) of ids (N, L)."""
        N, L = ids.shape
        x = self.token(ids) + self.place.weight[:L]
        width = x.shape[-1]
        gains = iter(self.gains)
        for attend, mix, widen, narrow in zip(self.attend, self.mix, self.widen, self.narrow, strict=True):
            q, k, v = (
                part.view(N, L, self.heads, -1).transpose(1, 2)
                for part in attend(layer_norm(x, (width,), next(gains))).split(width, 2)
            )
            y = scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + mix(y.transpose(1, 2).reshape(N, L, width))
            x = x + narrow(gelu(widen(layer_norm(x, (width,), next(gains)))))
        return layer_norm(x, (width,), next(gains)) @ self.token.weight.T


def gpt(train: Tensor, validation: Tensor, vocabulary: int, iterations: int, seed: int, batch: int = 12) -> Result:
    """nanoGPT's recipe for a CPU: 4 layers, 4 heads, width 128, context 64, batch 12, no dropout."""
    torch.manual_seed(seed)
    model = GPT(vocabulary)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    began = time.perf_counter()
    for step in range(iterations):
        share = (step - 100) / max(1, iterations - 100)
        rate = 1e-3 * (step + 1) / 100 if step < 100 else 1e-4 + 0.5 * (1 + math.cos(math.pi * share)) * 9e-4
        for group in optimizer.param_groups:
            group["lr"] = rate
        first = torch.randint(len(train) - model.block, (batch,))[:, None] + torch.arange(model.block)
        loss = cross_entropy(model(train[first]).flatten(0, 1), train[first + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    spent = (time.perf_counter() - began) / 60
    count = (len(validation) - 1) // model.block
    seen, target = (validation[k : k + count * model.block].view(count, -1) for k in (0, 1))
    with torch.no_grad():
        parts = [
            cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
            for x, y in zip(seen.split(256), target.split(256), strict=True)
        ]
    nats = float(torch.stack(parts).sum()) / target.numel()
    found = Result(
        f"GPT, nanoGPT's CPU recipe, {iterations:,} iterations, context {model.block}", spent,
        sum(p.numel() for p in model.parameters()), iterations, iterations * batch * model.block / len(train),
        math.nan, nats, math.nan,
    )  # fmt: skip
    print(found, flush=True)
    return found


def row(found: Result) -> list[str]:
    def shown(value: float, digits: int) -> str:
        return "" if math.isnan(value) else f"{value:,.{digits}f}"

    return [
        found.name, shown(found.carried, 4), shown(found.blocks, 4), shown(found.minutes, 1), f"{found.parameters:,}",
        f"{found.steps:,}", shown(found.epochs, 1), shown(found.generated, 0),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3], help="budgets (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--iterations", type=int, default=2000, help="of the GPT (default: %(default)s)")
    parser.add_argument("--runs", type=Path, help="save the models there, for generation.py")
    parser.add_argument("--try", dest="dry", action="store_true", help="print the page's table, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    text = "".join(documents(public_text("tinyshakespeare")[0])[0].pieces())
    border = len(text) * 9 // 10
    train, validation = text[:border], text[border:]
    known = sorted(set(text))
    ids = torch.as_tensor([known.index(character) for character in text])
    found = [gpt(ids[:border], ids[border:], len(known), options.iterations, options.seed)]
    found += [carrousel(train, validation, minutes, options.seed, options.runs) for minutes in options.minutes]
    counted = LanguageModel(hidden_size=1, embedding_size=1, max_steps=1).fit(train, validation="the end")
    grams = counted.baseline(validation).nats_per_character
    header = ["", "nats, state carried", f"nats, blocks of {BLOCK}", "minutes", "parameters", "steps", "epochs",
              "characters/s"]  # fmt: skip
    rows = [row(one) for one in found[1:] + found[:1]]
    rows += [[f"{counted.fitted.baseline.order}-grams, Kneser-Ney", f"{grams:.4f}", *[""] * 6]]
    rows += [[name, "", f"{value:.4f}".rstrip("0"), *[""] * 5] for name, value in PUBLISHED.items()]
    table = page.table(header, rows)
    about = (
        f"{len(text):,} characters; the first 90 % train, the last 10 % ({len(validation):,} characters) are scored, "
        "all of them, on the engine. With the state carried the text is read from its beginning to its end; in blocks "
        f"every {BLOCK} characters begin anew, the first one given, as Transformers are scored (the GPT in blocks of "
        f"its context). Training on {page.cores(options.threads)}; load of the machine before it began: {load:.1f}. "
        "The validation part chose the weights that were kept, here as in the published figures. Characters/s: one "
        "stream, sampling included, on one core."
    )
    if options.dry:
        print(table)
        return
    page.write(
        "language",
        "Language: tinyshakespeare",
        [about, table],
        packages=("carrousel", "torch", "numpy"),
        seeds=str(options.seed),
    )


if __name__ == "__main__":
    main()
