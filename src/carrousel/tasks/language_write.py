"""A language model goes on with a text: what is asked for is checked, then drawn token by token or searched for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from carrousel.data.text import documents
from carrousel.errors import SettingError
from carrousel.features.token import Ids, Tokenizer, encode
from carrousel.tasks.generate import Sampling, beam, check_stop, decoded, sample, until
from carrousel.tasks.language_fitted import FittedLanguage

_LOG = logging.getLogger("carrousel")


def write(
    fitted: FittedLanguage,
    prompt: str,
    *,
    tokens: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    stop: str | Sequence[str],
    beams: int,
) -> Iterator[str]:
    """The text that follows a prompt, piece by piece; arguments and errors of ``LanguageModel.generate_pieces``."""
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    given = {name: value for name, value in given.items() if value is not None}
    sampling = Sampling(**given)  # pyright: ignore[reportArgumentType]
    words = check_stop(stop)
    _check_whole("tokens", tokens, 0)
    _check_whole("beams", beams, 1)
    if seed is not None:
        _check_whole("seed", seed, 0)
    if beams > 1 and given:
        raise SettingError(f"beams: expected 1 together with {next(iter(given))}, got {beams}; leave one of them out")
    ids = _known(fitted.tokenizer, prompt) if prompt else np.empty(0, np.int64)
    if beams > 1:
        chosen = iter(beam(fitted.engine, ids, tokens=tokens, beams=beams, never=fitted.never))
    else:
        chosen = sample(fitted.engine, ids, sampling, tokens=tokens, seed=seed, never=fitted.never)
    return until(decoded(fitted.tokenizer, chosen), words)


def _known(tokenizer: Tokenizer, prompt: str) -> Ids:
    """Ids of a prompt; says which characters the model does not know."""
    ids = np.concatenate(list(encode(tokenizer, documents(prompt)[0].pieces())))
    if (ids == tokenizer.unknown).any():
        place = int(np.flatnonzero(ids == tokenizer.unknown)[0])
        _LOG.info("prompt: the model does not know the character %r; it reads it as an unknown one", prompt[place])
    return ids


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise SettingError(f"{name}: expected an integer of at least {least}, got {value!r}")
