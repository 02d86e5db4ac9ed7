"""Words of a text as integers, whole or as they come; ``tokenizer.json`` in the format of Hugging Face tokenizers.

A word is what stands between white space, without the signs around it, of which each is a word by itself, as is each
character of scripts that put no spaces between words; capital letters do not matter. Nothing but Python's own regular
expressions is needed to read it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.errors import ConfigError

Ids = npt.NDArray[np.int64]

FILE = "tokenizer.json"
UNKNOWN = "<|unknown|>"  # id 0
# Signs of ASCII (but _), of Latin-1, general punctuation, currency, arrows to symbols; kana and ideographs, pictures.
# Written out: what \w means differs between the libraries that read tokenizer.json.
SINGLE = (
    "!-/:-@\\[-^`{-~"
    "\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u205e\u20a0-\u20cf\u2190-\u2bff"
    "\u3001-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\U0001f000-\U0001faff\U00020000-\U0003fffd"
)
# Unicode's white space, written out for the same reason: Python's \s has four controls more (U+001C to U+001F).
SPACE = "\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
PATTERN = f"[^{SPACE}{SINGLE}]+|[{SINGLE}]"
EARLIER = rf"[^\s{SINGLE}]+|[{SINGLE}]"  # what files of earlier versions say; it differs in those controls only
_WORD = re.compile(PATTERN)
_OPEN = re.compile(rf"[^{SPACE}{SINGLE}]+\Z")


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters; never none of a text that is not blank."""
    # Σ is σ wherever it stands, as in the library that others read tokenizer.json with.
    return _WORD.findall(text.replace("Σ", "σ").lower())


class Words:
    """A token a word: 0 for any unknown one, then those known, in alphabetical order.

    Parameters
    ----------
    known : words, each once
    """

    level = "word"

    def __init__(self, known: Iterable[str]) -> None:
        self.known = tuple(known)
        self.size = 1 + len(self.known)
        self._ids = {word: k for k, word in enumerate(self.known, start=1)}

    @classmethod
    def learn(cls, texts: Iterable[str], *, size: int, least: int = 2) -> Words:
        """The words of texts that occur at least so often; of more than ``size`` in all, the most frequent ones.

        Rare words get no vector of their own: read as unknown in training too, they teach what unknown words are like.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        ranked = sorted((word for word in counts if counts[word] >= least), key=lambda word: (-counts[word], word))
        return cls(sorted(ranked[: max(0, size - 1)]))

    def encode(self, text: str) -> Ids:
        """Ids (L,) of a text."""
        return np.array([self._ids.get(word, 0) for word in words_of(text)], np.int64)

    def to_json(self) -> str:
        vocabulary = {UNKNOWN: 0} | self._ids
        return json.dumps(_file(vocabulary), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Words:
        """What ``to_json`` wrote.

        Raises
        ------
        ConfigError : something else
        """
        refuse = ConfigError(f"{FILE}: expected the words of a model, got something else; save the model again")
        try:
            data = json.loads(text)
            vocabulary: dict[str, int] = data["model"]["vocab"]
            ordered = sorted(vocabulary, key=lambda word: vocabulary[word])
            whole = [vocabulary[word] for word in ordered] == list(range(len(ordered)))
            known = (_file(vocabulary), _file(vocabulary, EARLIER))
            if data not in known or not whole or ordered[:1] != [UNKNOWN]:
                raise refuse
            "".join(ordered).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise refuse from error
        return cls(ordered[1:])


class WordEncoder:
    """Ids of a text that comes piece by piece: the same as of the whole."""

    def __init__(self, words: Words) -> None:
        self._words, self._held = words, ""

    def push(self, text: str) -> Ids:
        """Ids of the words that are certain to have ended."""
        self._held += text
        last = _OPEN.search(self._held)
        ends = last.start() if last else len(self._held)
        done, self._held = self._held[:ends], self._held[ends:]
        return self._words.encode(done)

    def finish(self) -> Ids:
        """Ids of what was held back."""
        held, self._held = self._held, ""
        return self._words.encode(held)


def _file(vocabulary: dict[str, int], pattern: str = PATTERN) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": True},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
    }
