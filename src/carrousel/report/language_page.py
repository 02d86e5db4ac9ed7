"""The sections of the report about a language model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from carrousel.features.token import Decoder
from carrousel.tasks.surprise import TextScore

from . import figure, language
from .evidence import digits
from .page import ENDS, Figures, chart, facts, section, signed, table

if TYPE_CHECKING:
    from carrousel.tasks.language import LanguageModel

    from .language import Reading

EXCERPT = 1600  # characters that are shown in colours
PARTS = 60  # of the text, in the figure
LEAST = 50  # tokens of a part
STEPS = (1, 2, 4, 6, 8)  # bits at which a token's colour changes
SURPRISING = 12
BEFORE = 40  # characters that are shown before a surprising token
TEMPERATURES = (0.5, 0.8, 1.0)
SAMPLE = 400  # tokens
SEED = 0
LOG2 = math.log(2)


def _unit(model: LanguageModel) -> str:
    return "character" if model.settings.level == "char" else "token"


def verdict(model: LanguageModel, score: TextScore, other: TextScore, *, seen: bool) -> str:
    """The headline: how many bits fewer than n-grams need, or that they need fewer."""
    own, grams, order = score.bits_per_character, other.bits_per_character, model.fitted.baseline.order
    pair = f"{own:.3f} against {grams:.3f} bits a character"
    change = own / grams - 1 if grams else 0.0
    bad = " bad" if seen or change >= 0 else ""
    if change < 0:
        lead = (
            f"The text costs the model {-100 * change:.1f}% fewer bits than {order}-grams of its training text: {pair}."
        )
    else:
        lead = f"Counting wins: {order}-grams of its training text need no more bits than the model, {pair}."
    more = [
        f"Out of {model.fitted.sizes.vocabulary:,} tokens it is as unsure as if it chose among "
        f"{digits(score.perplexity)} equal ones."
    ]
    if score.unknown:
        more.append(f"{score.unknown:,} characters are unknown to it and cost what any unknown one does.")
    if seen:
        more.append("Caution: parts of this text were trained on, which flatters the model, and the n-grams even more.")
    return f'<div class="verdict{bad}"><p class="lead">{escape(lead)}</p><p>{escape(" ".join(more))}</p></div>'


def tile_items(model: LanguageModel, score: TextScore, other: TextScore) -> list[tuple[str, str]]:
    """The four numbers that people quote."""
    learned, unit = model.fitted.learned, _unit(model)
    return [
        (f"{score.bits_per_character:.3f}", f"bits a character; {score.nats_per_character:.3f} nats"),
        (f"{other.bits_per_character:.3f}", f"bits of {model.fitted.baseline.order}-grams, smoothed by Kneser-Ney"),
        (digits(score.perplexity), f"perplexity a {unit}"),
        (f"{model.num_parameters:,}", f"trained numbers, from {learned.tokens:,} {unit}s, {learned.epochs:.1f} times"),
    ]


def surprise(model: LanguageModel, reading: Reading, figures: Figures) -> str:
    """What each token of a piece of the text costs, and what each part of the whole does."""
    sizes = language.characters_of(model.fitted.tokenizer)[reading.ids]
    first, last = _excerpt(model, reading, sizes)
    decoder = Decoder(model.fitted.tokenizer)
    spans: list[str] = []
    for place in range(first, last):
        token = decoder.push(int(reading.ids[place]))
        if token:
            bits = reading.nats[place] / LOG2
            best = language.shown(
                model.fitted.tokenizer.bytes_of(int(reading.expected[place])).decode(errors="replace")
            )
            told = f"{bits:.1f} bits; expected {best} ({100 * reading.certain[place]:.0f}%)"
            spans.append(f'<span class="{_colour(bits)}" title="{told}">{_visible(token)}</span>')
    bounds = [
        "below 1",
        *(f"{low} to {high}" for low, high in itertools.pairwise(STEPS)),
        f"above {STEPS[-1]}",
    ]
    keys = "".join(f'<span class="at u{k}">&nbsp;{bound}&nbsp;</span> ' for k, bound in enumerate(bounds))
    at = f"characters {int(sizes[:first].sum()):,} to {int(sizes[:last].sum()):,}"
    return section(
        "Where it is surprised",
        f"Each token of a piece of the text ({at}), the stronger its colour the less expected: bits {keys}. The most "
        "probable token in its place appears when the mouse rests on it.",
        f'<div class="read">{"".join(spans)}</div>',
        _parts(model, reading, sizes, figures),
    )


def _excerpt(model: LanguageModel, reading: Reading, sizes: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Tokens of the piece that is shown: the longest document's, from a line's start near its middle on."""
    ends = [*reading.starts[1:], len(reading.ids)]
    start, end = max(zip(reading.starts, ends, strict=True), key=lambda pair: pair[1] - pair[0])
    room = end - int(np.searchsorted(np.cumsum(sizes[start:end][::-1]), EXCERPT))
    first = max(start, min((start + end) // 2, room))
    line = next(
        (k + 1 for k in range(first, max(start, first - 200), -1) if _ends_line(model, int(reading.ids[k]))), first
    )
    last = line + int(np.searchsorted(np.cumsum(sizes[line:end]), EXCERPT)) + 1
    return line, min(last, end)


def _ends_line(model: LanguageModel, token: int) -> bool:
    return model.fitted.tokenizer.bytes_of(token).endswith(b"\n")


def _colour(bits: float) -> str:
    return f"u{int(np.searchsorted(STEPS, bits, side='right'))}"


def _visible(token: str) -> str:
    """The text of a token; a line end is a mark, behind which the line does end."""
    text = "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in token)
    return escape(text).replace("\n", "⏎\n")


def _parts(model: LanguageModel, reading: Reading, sizes: npt.NDArray[np.int64], figures: Figures) -> str:
    count = min(PARTS, len(reading.ids) // LEAST)
    if count < 2:
        return ""
    edges = np.linspace(0, len(reading.ids), count + 1).astype(np.int64)
    places = np.concatenate([[0], np.cumsum(sizes)])[edges]
    width = np.maximum(np.diff(places), 1)
    order = model.fitted.baseline.order
    marks = [
        {
            "kind": "line",
            "name": name,
            "style": style,
            "x": ((places[1:] + places[:-1]) / 2).round().tolist(),
            "y": figure.numbers(np.add.reduceat(nats, edges[:-1]) / LOG2 / width),
        }
        for name, style, nats in (
            (f"{order}-grams, Kneser-Ney", "s-0", reading.grams),
            ("Carrousel", "s-carrousel", reading.nats),
        )
    ]
    spec = {
        "label": "Bits a character along the text",
        "height": 280,
        "x": {"label": "character of the text"},
        "y": {"label": "bits a character"},
        "marks": marks,
    }
    caption = (
        "Bits a character in equal parts of the text. Where both lines rise the text is hard; where they part, one of "
        "the two knows something that the other does not."
    )
    return chart("parts", spec, caption, figures, "Along the text")


def astonishing(model: LanguageModel, reading: Reading) -> str:
    """The tokens that were expected least, and what was expected instead."""
    rows: list[list[str]] = []
    tokenizer = model.fitted.tokenizer

    def text(ids: npt.NDArray[np.int64]) -> str:
        return b"".join(tokenizer.bytes_of(int(token)) for token in ids).decode(errors="replace")

    for place in np.argsort(-reading.nats, kind="stable")[:SURPRISING].tolist():
        start = max(s for s in reading.starts if s <= place)
        before = text(reading.ids[max(start, place - BEFORE) : place])[-BEFORE:]
        rows.append(
            [
                f"<code>{language.shown(before)}</code>",
                f'<td class="words"><code>{language.shown(text(reading.ids[place : place + 1]))}</code></td>',
                f"{reading.nats[place] / LOG2:.1f}",
                f'<td class="words"><code>{language.shown(text(reading.expected[place : place + 1]))}</code></td>',
                f"{100 * reading.certain[place]:.1f}%",
            ]
        )
    head = ("after", '<th scope="col" class="words">came</th>', "bits", '<th scope="col" class="words">expected</th>',
            "with probability")  # fmt: skip
    return section("What it expected least", "⏎ is a line end, ␣ a space.", table(head, rows))


def samples(model: LanguageModel) -> str:
    """Text from the beginning of a text on, at a few temperatures."""
    texts = [(t, model.generate(tokens=SAMPLE, temperature=t, seed=SEED)) for t in TEMPERATURES]
    boxes = [
        f'<div><h3>Temperature {temperature:g}</h3><div class="read">{escape(_printable(text))}</div></div>'
        for temperature, text in texts
    ]
    return section(
        "How it writes",
        f"{SAMPLE} tokens each, from the beginning of a text on, with the seed {SEED}. The lower the temperature, the "
        "more the probable is preferred; at 1 the model writes as it believes that texts are.",
        f'<div class="triple">{"".join(boxes)}</div>',
    )


def _printable(text: str) -> str:
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def scores(model: LanguageModel, score: TextScore, other: TextScore, adaptive: Mapping[str, TextScore]) -> str:
    """Every way beside the n-grams."""
    named = {"Carrousel": score, **adaptive, f"{model.fitted.baseline.order}-grams, Kneser-Ney": other}
    rows = [
        [
            escape(name),
            f"{one.bits_per_character:.4f}",
            f"{one.nats_per_character:.4f}",
            digits(one.perplexity),
            "" if one is other else signed(100 * (one.nats / other.nats - 1), 1, "%") if other.nats else "–",
        ]
        for name, one in named.items()
    ]
    head = ("model", "bits/character", "nats/character", "perplexity/token", "bits beside the n-grams")
    look = "The n-grams are of the text that the model was trained on, smoothed by modified Kneser-Ney interpolation."
    if adaptive:
        look += " Scores that adapt learn from the text as they go, each token from those before it only."
    return section("Scores", look, table(head, rows, classes=["own"]))


def training(model: LanguageModel, figures: Figures) -> str:
    """Training curves, or that there are none."""
    history = model.history
    if history is None or not history.rows:
        return section("Training", "This model was loaded from a file, which keeps no training curves.")
    last, specs = history.rows[-1], figure.training(history, f"nats a {_unit(model)}")
    why = ENDS.get(history.stopped or "", "it was interrupted")
    caption = (
        "Both should fall and flatten. Validation rising while training falls is over-fitting, which is why the "
        "weights of the best validation are kept, not the last ones. Dropout and label smoothing raise the "
        "training loss only."
    )
    return section(
        "Training",
        escape(f"{last.step:,} steps, {last.epoch:.3g} epochs; it ended because {why}."),
        '<div class="pair">',
        chart("loss", specs["loss"], caption, figures, "Loss"),
        chart(
            "rate", specs["rate"], "Step size of the optimiser, on a schedule set beforehand.", figures, "Learning rate"
        ),
        "</div>",
    )


def about(model: LanguageModel, score: TextScore, folder: Path | None, more: Mapping[str, str]) -> str:
    """The model, its training and the text."""
    sizes, learned, unit = model.fitted.sizes, model.fitted.learned, _unit(model)
    items = {
        "Network": f"LSTM, {sizes.num_layers} layer{'s' * (sizes.num_layers > 1)} of {sizes.hidden_size}, vectors of "
        f"{sizes.embedding_size} that the softmax shares",
        "Tokens": f"{sizes.vocabulary:,} {'characters' if unit == 'character' else 'byte pairs'}",
        "Trained on": f"{learned.tokens:,} {unit}s, {learned.epochs:.2f} times, in {learned.seconds:.0f} s",
        "Validation part": f"{learned.held_out:,} {unit}s, {learned.validation:.4f} nats a {unit}; chose the weights",
    }
    if learned.before:
        items["Started from"] = f"a model of {learned.before:,} {unit}s of other text"
    if folder is not None and folder.is_dir():
        items["On disk"] = f"{sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) / 2**20:.1f} MiB"
    items["Scored text"] = f"{score.characters:,} characters, {score.tokens:,} tokens"
    return section("Model and text", "", facts(items | dict(more)))
