"""The report about a language model: what a text costs it beside n-grams, where it is surprised, and how it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.data.text import Texts
from carrousel.features.token import Ids, Tokenizer
from carrousel.tasks.surprise import TextScore, token_nats

from . import fact, language_page
from .document import write_page
from .page import Figures, tiles

if TYPE_CHECKING:
    from carrousel.tasks.language import LanguageModel
    from carrousel.tasks.language_fitted import FittedLanguage

VALUES = 1 << 20  # logits in memory at once
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """A text token by token, arrays (T,), and what it cost as a whole.

    Parameters
    ----------
    ids : of the tokens, all documents one after another
    nats : −log p of each
    grams : the same of the n-grams
    expected : the token that was the most probable one at each place
    certain : its probability
    starts : place of each document's first token
    score, baseline : what ``LanguageModel.score`` and ``LanguageModel.baseline`` say of the same text, to the bit
    """

    ids: Ids
    nats: Floats
    grams: Floats
    expected: Ids
    certain: Floats
    starts: list[int]
    score: TextScore
    baseline: TextScore


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
    reading = read(model, text)
    score, other = reading.score, reading.baseline
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
    """A text with everything that was expected of it; model and n-grams run over it once."""
    reader = _Reader(model.fitted)
    score = model.fitted.scored(text, reader.begin)
    return Reading(
        **{name: np.concatenate(parts) for name, parts in reader.found.items()},
        starts=reader.starts,
        score=score,
        baseline=replace(score, nats=reader.counted),
    )


class _Reader:
    """Reads documents one after another, in pieces, and keeps what was expected of them.

    Parameters
    ----------
    found : arrays of each piece, by the names that they have in ``Reading``
    starts : place of each document's first token
    counted : nats of all by the n-grams, added piece by piece as ``FittedLanguage.scored`` does it
    """

    def __init__(self, fitted: FittedLanguage) -> None:
        self.found: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("ids", "nats", "grams", "expected", "certain")
        }
        self.starts: list[int] = []
        self.counted = 0.0
        self._fitted = fitted
        self._length = max(1, VALUES // fitted.sizes.vocabulary)

    def begin(self) -> Callable[[Ids], Floats]:
        """A function that reads the next tokens (L,) of the next document, and gives their nats (L,)."""
        self.starts.append(sum(map(len, self.found["ids"])))
        self._session, self._grams = self._fitted.engine.session(), self._fitted.baseline.scorer()
        self._last = np.zeros(1, np.int64)
        return self._push

    def _push(self, ids: Ids) -> Floats:
        costs = [np.empty(0)]
        for first in range(0, len(ids), self._length):
            target = ids[first : first + self._length]
            logits = self._session.run(np.concatenate([self._last, target[:-1]])[None])[0]
            best = logits.argmax(-1).astype(np.int64)
            costs.append(token_nats(logits, target))
            self.found["expected"].append(best)
            self.found["certain"].append(np.exp(-token_nats(logits, best)))
            self._last = target[-1:].copy()
        nats, grams = np.concatenate(costs), self._grams(ids)
        for name, values in {"ids": ids, "nats": nats, "grams": grams}.items():
            self.found[name].append(values)
        self.counted += float(grams.sum())
        return nats


def characters_of(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """How many characters begin within each token (V,): those of a text are the sum of its tokens'."""
    return np.array(
        [sum(byte & 0xC0 != 0x80 for byte in tokenizer.bytes_of(token)) for token in range(tokenizer.size)], np.int64
    )


def shown(text: str) -> str:
    """A token or a piece of text in one line of HTML, with its line ends and spaces to be seen."""
    marks = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
    return escape("".join(marks.get(c, c if c.isprintable() else "\ufffd") for c in text)).replace(" ", "␣")
