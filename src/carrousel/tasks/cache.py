"""A language model that remembers what it read: the neural cache, on the engine alone.

The scores are those of a model that adapts to the text it is scored on, strictly from what came before each token; they
do not compare with scores of models that do not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.engine import Engine
from carrousel.features.token import Ids
from carrousel.tasks.adaptive import NeuralCache
from carrousel.tasks.surprise import token_nats

Floats = npt.NDArray[np.float64]
LENGTH = 256  # tokens at once, each beside the whole window


class CacheScorer:
    """−log p of the tokens of one text with a cache, whose state goes on from call to call."""

    def __init__(self, engine: Engine, cache: NeuralCache) -> None:
        self._session, self._cache = engine.session(), cache
        self._last = np.zeros(1, np.int64)
        self._layer = next(layer.name for layer in engine.architecture.layers if layer.kind == "lstm")
        self._states = np.empty((0, 0), np.float32)  # h of the places in the window, and what came after them
        self._next = np.empty(0, np.int64)

    def push(self, ids: Ids) -> Floats:
        """float64 (L,) of the next tokens (L,)."""
        parts = [self._score(ids[first : first + LENGTH]) for first in range(0, len(ids), LENGTH)]
        return np.concatenate([np.empty(0), *parts])

    def _score(self, target: Ids) -> Floats:
        seen = np.concatenate([self._last, target[:-1]])
        with self._session.trace() as trace:
            nats = token_nats(self._session.run(seen[None])[0], target)
        states = trace[f"{self._layer}.h"][:, -1, 0]
        self._last = target[-1:].copy()
        window, before, steps = self._cache.window, len(self._next), len(target)
        self._states = np.concatenate([self._states.reshape(before, states.shape[1]), states])
        self._next = np.concatenate([self._next, target])
        # Row t sees the places (of all those held) from before + t − window to before + t − 1: never its own token.
        age = before + np.arange(steps)[:, None] - np.arange(before + steps)
        alike = self._cache.theta * (states @ self._states.T).astype(np.float64)
        z = np.where((age > 0) & (age <= window), alike, -np.inf)
        with np.errstate(invalid="ignore"):  # the first token of a text has no place before it
            p = np.exp(z - z.max(1, keepdims=True))
            cached = np.where(self._next == target[:, None], p, 0).sum(1) / p.sum(1)
            mixed = -np.logaddexp(_log(1 - self._cache.weight) - nats, _log(self._cache.weight) + _log(cached))
        self._states, self._next = self._states[-window:], self._next[-window:]
        return np.where(np.isnan(cached), nats, mixed)


def _log(p: npt.ArrayLike) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(p, np.float64))
