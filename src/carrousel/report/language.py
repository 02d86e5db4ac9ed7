"""The report about a language model: what a text costs it beside n-grams, where it is surprised, and how it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from carrousel.data.text import Texts, documents
from carrousel.features.token import Ids, Tokenizer, encode
from carrousel.tasks.surprise import TextScore, token_nats

from . import fact, language_page
from .document import write_page
from .page import Figures, tiles

if TYPE_CHECKING:
    from carrousel.tasks.language import LanguageModel

VALUES = 1 << 20  # logits in memory at once
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A text token by token, arrays (T,).

    Parameters
    ----------
    ids : of the tokens, all documents one after another
    nats : −log p of each
    grams : the same of the n-grams
    expected : the token that was the most probable one at each place
    certain : its probability
    starts : place of each document's first token
    """

    ids: Ids
    nats: Floats
    grams: Floats
    expected: Ids
    certain: Floats
    starts: list[int]


def write_language_report(
    path: str | Path,
    *,
    model: LanguageModel,
    text: Texts,
    adaptive: Mapping[str, TextScore] | None = None,
    title: str = "Language model",
    artifact: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write one HTML file with everything in it; it loads nothing from anywhere, and refuses to.

    Parameters
    ----------
    path : the file, replaced if it is there; its folder is made
    model : a trained model
    text : that it is judged by; the report says where the model was trained on it
    adaptive : scores of the same text by a model that adapts to it, by their names
    title : plain text
    artifact : folder of the saved model, for its size on disk
    facts : more to say about the data, name -> plain text

    Raises
    ------
    DataError : as ``LanguageModel.score``
    OSError : it could not be written; what stood there is unchanged
    """
    figures: Figures = {}
    score, other = model.score(text), model.baseline(text)
    reading = read(model, text)
    seen = model.trained_on(text)
    body = [
        language_page.verdict(model, score, other, seen=seen),
        tiles(language_page.tile_items(model, score, other)),
        language_page.surprise(model, reading, figures),
        language_page.astonishing(model, reading),
        language_page.samples(model),
        language_page.scores(model, score, other, dict(adaptive or {})),
        language_page.training(model, figures),
        language_page.about(model, score, None if artifact is None else Path(artifact), dict(facts or {})),
    ]
    return write_page(
        path,
        title=title,
        subtitle=f"{score.characters:,} characters, {score.tokens:,} tokens; each predicted from what stands before it",
        body=body,
        data={"figures": figures, "viewer": None},
        footer=fact.versions(),
    )


def read(model: LanguageModel, text: Texts) -> Reading:
    """A text with everything that was expected of it."""
    fitted = model.fitted
    tokens: list[Ids] = []
    columns: list[list[npt.NDArray[np.generic]]] = [[], [], [], []]
    starts: list[int] = []
    length = max(1, VALUES // fitted.sizes.vocabulary)
    for document in documents(text):
        starts.append(sum(map(len, tokens)))
        session, last, grams = fitted.engine.session(), np.zeros(1, np.int64), fitted.baseline.scorer()
        for ids in encode(fitted.tokenizer, document.pieces()):
            for first in range(0, len(ids), length):
                target = ids[first : first + length]
                logits = session.run(np.concatenate([last, target[:-1]])[None])[0]
                best = logits.argmax(-1).astype(np.int64)
                found = (token_nats(logits, target), grams(target), best, np.exp(-token_nats(logits, best)))
                for column, values in zip(columns, found, strict=True):
                    column.append(values)
                tokens.append(target)
                last = target[-1:]
    nats, counted, expected, certain = (np.concatenate(column) for column in columns)
    return Reading(
        ids=np.concatenate(tokens),
        nats=nats.astype(np.float64),
        grams=counted.astype(np.float64),
        expected=expected.astype(np.int64),
        certain=certain.astype(np.float64),
        starts=starts,
    )


def characters_of(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How many characters begin within each token (V,): those of a text are the sum of its tokens'."""
    return np.array(
        [sum(byte & 0xC0 != 0x80 for byte in tokenizer.bytes_of(token)) for token in range(tokenizer.size)], np.int64
    )


def shown(text: str) -> str:
    """A token or a piece of text in one line of HTML, with its line ends and spaces to be seen."""
    marks = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
    return escape("".join(marks.get(c, c if c.isprintable() else "\ufffd") for c in text)).replace(" ", "␣")
