"""Text that a language model goes on with: drawn token by token, or the most probable one that beams find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from carrousel.config import Range, check
from carrousel.engine import Engine, Session
from carrousel.errors import SettingError
from carrousel.features.token import Decoder, Ids, Tokenizer

Floats = npt.NDArray[np.floating]
Logits = npt.NDArray[np.float32]
PROMPT = 1024  # tokens of a prompt that are read in one call


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen.

    Parameters
    ----------
    temperature : logits are divided by it; 0 takes the most probable token
    top_k : only so many of the most probable tokens, and those that equal the last of them
    top_p : only the most probable tokens that together have at least this probability, after top_k
    """

    temperature: Annotated[float, Range(0)] = 1.0
    top_k: Annotated[int, Range(1)] | None = None
    top_p: Annotated[float, Range(above=0, maximum=1)] | None = None

    def __post_init__(self) -> None:
        check(self, where="generate")

    def probabilities(self, logits: Logits) -> npt.NDArray[np.float64]:
        """p (V,) of logits (V,), in float64; -inf is never chosen."""
        z = logits.astype(np.float64)
        z -= z.max()
        if self.temperature == 0:
            z[z < 0] = -np.inf
            z[int(z.argmax()) + 1 :] = -np.inf  # of equals the first
        else:
            with np.errstate(over="ignore"):  # a temperature near 0 makes -inf of what is not the best
                z /= self.temperature
        if self.top_k is not None and self.top_k < len(z):
            z[z < np.partition(z, -self.top_k)[-self.top_k]] = -np.inf
        p = np.exp(z)
        p /= p.sum()
        if self.top_p is not None:
            order = np.argsort(-p, kind="stable")
            before = np.cumsum(p[order]) - p[order]
            p[order[before >= self.top_p]] = 0
            p /= p.sum()
        return p

    def choose(self, logits: Logits, uniform: float) -> int:
        """The token at which the sum of the probabilities, in the order of the ids, passes a number from [0, 1)."""
        total = np.cumsum(self.probabilities(logits))
        return int(np.searchsorted(total, uniform * total[-1], side="right"))


def prime(engine: Engine, prompt: Ids) -> tuple[Session, Logits]:
    """A session that has read the start and a prompt, and the logits (V,) of what comes next."""
    session = engine.session()
    ids = np.concatenate([np.zeros(1, np.int64), prompt])
    if len(ids) > 1:
        for first in range(0, len(ids) - 1, PROMPT):
            session.run(ids[None, first : min(first + PROMPT, len(ids) - 1)])
    return session, session.step(ids[-1:])[0]


def sample(
    engine: Engine, prompt: Ids, sampling: Sampling, *, tokens: int, seed: int | None, never: Ids
) -> Iterator[int]:
    """Tokens one by one, at most so many; id 0 ends them.

    One uniform number of ``numpy.random.default_rng(seed)`` is drawn a token, so that a seed and the logits decide all.

    Parameters
    ----------
    never : tokens that are not to be chosen
    """
    draws = np.random.default_rng(seed)
    session, logits = prime(engine, prompt)
    out = np.empty((1, len(logits)), np.float32)
    token = np.empty(1, np.int64)
    for _ in range(tokens):
        logits[never] = -np.inf
        token[0] = sampling.choose(logits, draws.random())
        if token[0] == 0:
            return
        yield int(token[0])
        logits = session.step(token, out)[0]


def beam(engine: Engine, prompt: Ids, *, tokens: int, beams: int, never: Ids) -> list[int]:
    """The most probable continuation that a beam search finds.

    A continuation that has ended (id 0) competes with the others by its mean log-probability a token.

    Parameters
    ----------
    tokens : of the continuation, where it does not end before
    beams : continuations kept side by side
    """
    session, logits = prime(engine, prompt)
    paths: list[list[int]] = [[]]
    scores = np.zeros(1)
    rows = logits[None]
    ended: list[tuple[float, list[int]]] = []
    for _ in range(tokens):
        totals = scores[:, None] + log_softmax(rows)  # (beams, V)
        totals[:, never] = -np.inf
        order = np.argsort(-totals, axis=None, kind="stable")[: beams + len(paths)]
        parents, ids = np.unravel_index(order, totals.shape)
        ended += [
            (float(totals[b, 0]) / (len(paths[b]) + 1), paths[b])
            for b, v in zip(parents[:beams].tolist(), ids[:beams].tolist(), strict=True)
            if v == 0 and np.isfinite(totals[b, 0])
        ]
        going = (ids != 0) & np.isfinite(totals[parents, ids])
        parents, ids = parents[going][:beams], ids[going][:beams]
        scores = totals[parents, ids]
        paths = [[*paths[b], v] for b, v in zip(parents.tolist(), ids.tolist(), strict=True)]
        session = session.fork(parents)
        rows = session.step(ids.astype(np.int64))
    ended += [(float(score) / max(len(path), 1), path) for score, path in zip(scores, paths, strict=True)]
    return max(ended, key=lambda pair: pair[0])[1]


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """log p (…, V), in float64."""
    z = logits.astype(np.float64)
    z -= z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def until(pieces: Iterator[str], stop: Sequence[str]) -> Iterator[str]:
    """Pieces of a text up to the first place where one of some strings stands, which is left out.

    What may be the beginning of such a string is held back until it is known.
    """
    held = ""
    for piece in pieces:
        held += piece
        places = [place for word in stop if (place := held.find(word)) >= 0]
        if places:
            if held[: min(places)]:
                yield held[: min(places)]
            return
        keep = max((n for word in stop for n in range(1, len(word)) if held.endswith(word[:n])), default=0)
        if ready := held[: len(held) - keep]:
            yield ready
            held = held[len(held) - keep :]
    if held:
        yield held


def decoded(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[str]:
    """The text of tokens, as soon as its characters are whole."""
    decoder = Decoder(tokenizer)
    for token in tokens:
        if piece := decoder.push(token):
            yield piece
    if piece := decoder.finish():
        yield piece


def check_stop(stop: str | Sequence[str]) -> tuple[str, ...]:
    """The strings that end a text.

    Raises
    ------
    SettingError : one that is empty, or no string
    """
    words: tuple[Any, ...] = (stop,) if isinstance(stop, str) else tuple(stop)
    for word in words:
        if not isinstance(word, str) or not word:
            raise SettingError(f"stop: expected strings that are not empty, got {word!r}")
    return words
