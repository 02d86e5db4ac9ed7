"""Tokens: text as integers and back, whole or as it comes; ``tokenizer.json`` in the format of Hugging Face tokenizers.

Characters are looked up with NumPy, so a model of characters needs no further package and reads a hundred megabytes in
seconds; byte-level pairs are the work of ``tokenizers``.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from carrousel.errors import CarrouselError, ConfigError, require

Level = Literal["char", "bpe"]
Ids = npt.NDArray[np.int64]

START, UNKNOWN = "<|endoftext|>", "\ufffd"  # ids 0, and 1 among characters
CHUNK = 1 << 17  # characters that are encoded at once; a longer word than that is cut
SAMPLE = 1 << 24  # characters that pairs are learned from
LONGEST = 256  # characters of a word that pairs are learned from
# No pair crosses it, and what stands before it does not matter after it; white space that libraries agree on.
BOUNDARY = re.compile(r"(?<=[\w!-~])(?=[ \t\r\n])")
FILE = "tokenizer.json"


class Tokenizer(Protocol):
    """Text as ids below ``size``. Id 0 is no text: it stands before every text."""

    level: Level
    size: int

    def encode(self, text: str) -> Ids:
        """Ids (L,) of a text."""
        ...

    def split(self, text: str) -> int:
        """How many characters of a text, from its start, have ids that do not depend on what follows."""
        ...

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for, in UTF-8; of pairs it may be a part of a character."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id of whatever has none of its own; None where everything has one."""
        ...

    def to_json(self) -> str: ...


class Characters:
    """A token a character: 0 before a text, 1 for any unknown one, then those known, by code point."""

    level: Level = "char"
    unknown: int | None = 1

    def __init__(self, known: Iterable[str]) -> None:
        self.known = tuple(known)
        self.size = 2 + len(self.known)
        codes = np.array([ord(character) for character in self.known], np.int64)
        self._table = np.ones(int(codes.max(initial=0)) + 2, np.int64)  # the last row is for all codes beyond
        self._table[codes] = 2 + np.arange(len(codes))
        self._bytes = (b"", UNKNOWN.encode(), *(character.encode() for character in self.known))

    @classmethod
    def learn(cls, pieces: Iterable[str], size: int) -> Characters:
        """The characters of a text; of more than ``size`` in all, the most frequent ones."""
        counts = frequencies(pieces)
        counts.pop(UNKNOWN, None)
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        return cls(sorted(ranked[: max(1, size - 2)]))

    def encode(self, text: str) -> Ids:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        return self._table[np.minimum(codes, len(self._table) - 1)]

    def split(self, text: str) -> int:
        return len(text)

    def bytes_of(self, token: int) -> bytes:
        return self._bytes[token]

    def to_json(self) -> str:
        vocabulary = {START: 0, UNKNOWN: 1} | {character: 2 + k for k, character in enumerate(self.known)}
        return json.dumps(_character_file(vocabulary), ensure_ascii=False, indent=1)


class BytePairs:
    """Byte-level pair encoding: any text has ids, words that were frequent have short ones.

    References
    ----------
    Sennrich, Haddow & Birch 2016; over bytes: Radford et al. 2019 (§2.2).
    """

    level: Level = "bpe"
    unknown: int | None = None

    def __init__(self, text: str) -> None:
        library = require("tokenizers", extra="text", purpose="a model of byte pairs")
        try:
            self._inner = library.Tokenizer.from_str(text)
        except Exception as error:  # the library's errors have no other class
            raise ConfigError(f"{FILE}: expected a tokenizer, got another file ({error}); save it again") from error
        names: dict[str, int] = self._inner.get_vocab(with_added_tokens=True)
        self.size = len(names)
        letters = _letters()
        unknown = [name for name in names if name != START and not letters.keys() >= set(name)]
        if sorted(names.values()) != list(range(self.size)) or names.get(START) != 0 or unknown:
            raise ConfigError(
                f"{FILE}: expected ids from 0 on, {START} first and bytes behind it, got others; save the model again"
            )
        self._text = text
        self._bytes = [b""] * self.size
        for name, token in names.items():
            self._bytes[token] = b"" if token == 0 else bytes(letters[letter] for letter in name)

    @classmethod
    def learn(cls, pieces: Iterable[str], size: int) -> BytePairs:
        """Pairs that are frequent in a text, or in the first part of one that is long."""
        library = require("tokenizers", extra="text", purpose="training a model of byte pairs")
        inner = library.Tokenizer(library.models.BPE())
        inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=max(size, 257),
            special_tokens=[START],
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        inner.train_from_iterator(_sample(pieces), trainer)
        data: dict[str, Any] = json.loads(inner.to_str())
        data["added_tokens"] = []  # a text that spells the token out is a text like any other
        return cls(json.dumps(data, ensure_ascii=False, indent=1))

    def encode(self, text: str) -> Ids:
        return np.array(self._inner.encode(text, add_special_tokens=False).ids, np.int64)

    def split(self, text: str) -> int:
        last = 0
        for match in BOUNDARY.finditer(text, max(0, len(text) - CHUNK)):
            last = match.start()
        return last

    def bytes_of(self, token: int) -> bytes:
        return self._bytes[token]

    def to_json(self) -> str:
        return self._text


def frequencies(pieces: Iterable[str]) -> Counter[str]:
    """How often each character stands in a text."""
    counts: Counter[str] = Counter()
    for piece in pieces:
        codes, times = np.unique(np.frombuffer(piece.encode("utf-32-le"), np.uint32), return_counts=True)
        counts.update(dict(zip(map(chr, codes.tolist()), times.tolist(), strict=True)))
    return counts


def learn(level: Level, pieces: Iterable[str], size: int) -> Characters | BytePairs:
    """A tokenizer of a text, with at most ``size`` ids."""
    return (Characters if level == "char" else BytePairs).learn(pieces, size)


def from_json(text: str, level: Level) -> Characters | BytePairs:
    """The tokenizer that ``to_json`` wrote.

    Raises
    ------
    ConfigError : something else
    MissingExtraError : a tokenizer of pairs, and ``tokenizers`` is not installed
    """
    if level == "bpe":
        return BytePairs(text)
    refuse = ConfigError(f"{FILE}: expected the characters of a model, got something else; save the model again")
    try:
        data = json.loads(text)
        vocabulary: dict[str, int] = data["model"]["vocab"]
        ordered = sorted(vocabulary, key=lambda character: vocabulary[character])
        if data != _character_file(vocabulary) or [vocabulary[name] for name in ordered] != list(range(len(ordered))):
            raise refuse
        if ordered[:2] != [START, UNKNOWN] or any(len(character) != 1 for character in ordered[2:]):
            raise refuse
        "".join(ordered).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refuse from error
    return Characters(ordered[2:])


class Encoder:
    """Ids of a text that comes piece by piece: the same as of the whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._held = ""

    def push(self, text: str) -> Ids:
        """Ids of what is certain by now."""
        self._held += text
        parts: list[Ids] = []
        while self._held:
            block = self._held[:CHUNK]
            last = self._tokenizer.split(block)
            if not last and len(block) == CHUNK:
                last = CHUNK  # a word without an end
            if not last:
                break
            parts.append(self._tokenizer.encode(block[:last]))
            self._held = self._held[last:]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def finish(self) -> Ids:
        """Ids of what was held back."""
        held, self._held = self._held, ""
        return self._tokenizer.encode(held) if held else np.empty(0, np.int64)


class Decoder:
    """Text of tokens that come one by one; a character appears when its last byte has come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._inner = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        return self._inner.decode(self._tokenizer.bytes_of(token))

    def finish(self) -> str:
        return self._inner.decode(b"", True)


def encode(tokenizer: Tokenizer, pieces: Iterable[str]) -> Iterator[Ids]:
    """Ids of a text in pieces, themselves in pieces."""
    encoder = Encoder(tokenizer)
    for piece in pieces:
        yield encoder.push(piece)
    yield encoder.finish()


def check_size(tokenizer: Tokenizer, size: int, error: type[CarrouselError] = ConfigError) -> None:
    """Hold a tokenizer to the network's vocabulary."""
    if tokenizer.size != size:
        raise error(f"{FILE}: expected {size} tokens as the network has, got {tokenizer.size}; save the model again")


def _sample(pieces: Iterable[str]) -> Iterator[str]:
    """The first part of a text, with endless words cut: learning pairs takes memory for every different word."""
    left = SAMPLE
    for piece in pieces:
        part = piece[:left]
        left -= len(part)
        yield re.sub(rf"\S{{{LONGEST}}}", r"\g<0>\n", part)
        if not left:
            return


def _letters() -> dict[str, int]:
    """The visible letters by which byte-level tokenizers write the 256 bytes (Radford et al. 2019, encoder.py)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + k): byte for k, byte in enumerate(hidden)}


def _character_file(vocabulary: dict[str, int]) -> dict[str, Any]:
    """What tokenizer.json holds for characters: every one of them is a word."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
    }  # fmt: skip
