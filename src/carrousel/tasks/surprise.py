"""How much a language model is surprised by a text, of the whole or token by token as it comes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.engine import Engine
from carrousel.features.token import Decoder, Encoder, Ids, Tokenizer

VALUES = 1 << 20  # logits in memory at once


class Surprise(NamedTuple):
    """A token's text (for a token that is a part of a character, what it completes) and −log p, in nats."""

    text: str
    nats: float


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """What a text costs a model.

    Parameters
    ----------
    nats : −log p of the whole text
    tokens, characters : how many it has
    unknown : tokens that stand for characters that the model does not know; the cost is that of "some unknown one"
    """

    nats: float
    tokens: int
    characters: int
    unknown: int

    @property
    def nats_per_character(self) -> float:
        return self.nats / self.characters

    @property
    def bits_per_character(self) -> float:
        return self.nats / self.characters / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp of the nats a token; infinite where a float cannot hold it."""
        try:
            return math.exp(self.nats / self.tokens)
        except OverflowError:
            return math.inf


class Scorer:
    """−log p of the tokens of one text, whose state goes on from call to call."""

    def __init__(self, engine: Engine, size: int) -> None:
        self._session = engine.session()
        self._last = np.zeros(1, np.int64)
        self._length = max(1, VALUES // size)

    def push(self, ids: Ids) -> npt.NDArray[np.float64]:
        """float64 (L,) of the next tokens (L,); how a text is cut into calls changes no bit with the native engine."""
        costs = [np.empty(0)]
        for first in range(0, len(ids), self._length):
            target = ids[first : first + self._length]
            seen = np.concatenate([self._last, target[:-1]])
            costs.append(token_nats(self._session.run(seen[None])[0], target))
            self._last = target[-1:].copy()
        return np.concatenate(costs)


class TextStream:
    """The surprise of every token of a text that comes piece by piece; made by ``LanguageModel.stream``.

    Byte pairs are known a word late, since what follows a word's beginning decides its tokens.
    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self._scorer = Scorer(engine, tokenizer.size)
        self._encoder, self._decoder = Encoder(tokenizer), Decoder(tokenizer)

    def push(self, text: str) -> list[Surprise]:
        """The tokens that are certain after this piece, and what each cost."""
        return list(self._score(self._encoder.push(text)))

    def finish(self) -> list[Surprise]:
        """The tokens that were held back."""
        return list(self._score(self._encoder.finish()))

    def _score(self, ids: Ids) -> Iterator[Surprise]:
        costs = self._scorer.push(ids)
        for token, nats in zip(ids.tolist(), costs.tolist(), strict=True):
            yield Surprise(self._decoder.push(token), nats)


def token_nats(logits: npt.NDArray[np.float32], target: Ids) -> npt.NDArray[np.float64]:
    """−log softmax(z)_target (L,) of logits (L, V)."""
    z = logits.astype(np.float64)
    z -= z.max(-1, keepdims=True)
    return np.log(np.exp(z).sum(-1)) - z[np.arange(len(target)), target]
