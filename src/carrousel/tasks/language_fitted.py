"""A trained language model as arrays, and the texts that it is given as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.text import Document, Texts, documents
from carrousel.engine import Dtype, Engine
from carrousel.errors import WeightsError
from carrousel.features.language import LanguageSizes
from carrousel.features.token import Ids, Tokenizer, encode, frequencies
from carrousel.tasks.language_setting import LanguageLearned
from carrousel.tasks.ngram import ORDERS, KneserNey
from carrousel.tasks.surprise import TextScore

NAMED = 5  # unknown characters that are named, the most frequent ones


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLanguage:
    """A trained language model as arrays.

    Parameters
    ----------
    sizes : of the network
    tokenizer : of its vocabulary
    weights : of ``sizes.architecture()``
    learned : what the training found
    tokens : the last ids that it was trained on, int32 or uint8 (T,)
    dtype : what the engine stores the weights as
    """

    sizes: LanguageSizes
    tokenizer: Tokenizer
    weights: dict[str, npt.NDArray[np.float32]]
    learned: LanguageLearned
    tokens: npt.NDArray[np.integer] = field(default_factory=lambda: np.empty(0, np.int32))
    dtype: Dtype = "float32"

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.sizes.architecture(), self.weights, dtype=self.dtype)

    @cached_property
    def never(self) -> Ids:
        """Tokens that are not to be written: an unknown one, and the end where no training text had one behind it."""
        unknown = self.tokenizer.unknown
        ends = bool((self.tokens == 0).any())
        return np.array([*([] if unknown is None else [unknown]), *([] if ends else [0])], np.int64)

    @cached_property
    def baseline(self) -> KneserNey:
        return KneserNey(self.tokens, self.sizes.vocabulary, ORDERS[self.tokenizer.level])

    def scored(self, text: Texts, scorer: Callable[[], Callable[[Ids], npt.NDArray[np.float64]]]) -> TextScore:
        """What texts cost, by a new scorer for each."""
        tokenizer = self.tokenizer
        nats, tokens, characters, unknown = 0.0, 0, 0, 0
        for document in documents(text):
            push, read = scorer(), Counted(document)
            for ids in encode(tokenizer, read.pieces()):
                nats += float(push(ids).sum())
                tokens += len(ids)
                unknown += 0 if tokenizer.unknown is None else int((ids == tokenizer.unknown).sum())
            characters += read.characters
        return TextScore(nats=nats, tokens=tokens, characters=characters, unknown=unknown)


class Counted:
    """A document that counts the characters it was read for."""

    def __init__(self, document: Document) -> None:
        self.characters = 0
        self._document = document

    def pieces(self) -> Iterator[str]:
        for piece in self._document.pieces():
            self.characters += len(piece)
            yield piece


def read_tokens(tokenizer: Tokenizer, found: Sequence[Document]) -> tuple[npt.NDArray[np.integer], int]:
    """Ids of documents, behind each the token 0 if they are several, in the smallest type; and how many characters."""
    kind = np.uint8 if tokenizer.size <= 256 else np.int32
    # No text has more tokens than bytes. Pages of memory that are never written to are never there: a file of 100 MB
    # takes what its tokens take, and not twice that for a moment.
    tokens = np.empty(sum(document.bytes_at_most + 1 for document in found), kind)
    count, characters = 0, 0
    for document in found:
        read = Counted(document)
        for ids in encode(tokenizer, read.pieces()):
            if count + len(ids) >= len(tokens):  # a file that has grown since
                tokens = np.concatenate([tokens[:count], np.empty(len(tokens) + 2 * len(ids), kind)])
            tokens[count : count + len(ids)] = ids
            count += len(ids)
        if len(found) > 1:
            tokens[count] = 0
            count += 1
        characters += read.characters
    return tokens[:count], characters


def unknown_characters(tokenizer: Tokenizer, found: Sequence[Document]) -> str:
    """What of some texts a model does not know, in one sentence; empty where it knows everything."""
    if tokenizer.unknown is None:
        return ""
    counts = frequencies(chain.from_iterable(document.pieces() for document in found))
    total = counts.total()
    for character in [c for c in counts if (tokenizer.encode(c) != tokenizer.unknown).all()]:
        del counts[character]
    if not counts:
        return ""
    named = ", ".join(f"{character!r}" for character, _ in counts.most_common(NAMED))
    rest = f" and {len(counts) - NAMED} others" if len(counts) > NAMED else ""
    return (
        f"{counts.total():,} of {total:,} characters are unknown to the start model ({named}{rest}), to which all of "
        "them are one unknown character; only a training from scratch gives them tokens of their own"
    )


def checked_tokens(context: dict[str, npt.NDArray[Any]], vocabulary: int) -> npt.NDArray[np.integer]:
    """The tokens that an artifact holds.

    Raises
    ------
    WeightsError : none, others besides, or ids that the vocabulary does not have
    """
    tokens = context.get("tokens", np.empty(0))
    whole = tokens.ndim == 1 and str(tokens.dtype) in ("uint8", "int32") and len(tokens) > 0
    if set(context) != {"tokens"} or not whole:
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in sorted(context.items()))
        raise WeightsError(
            f"context.safetensors: expected tokens, uint8 or int32 (T,), got {found or 'nothing'}; save the model again"
        )
    if int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary:
        raise WeightsError(
            f"context.safetensors: tokens: expected from 0 to {vocabulary - 1}, got others; save the model again"
        )
    return tokens
