"""The baseline of a language model: n-grams, smoothed as well as counting can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ORDERS = {"char": 7, "bpe": 4}  # of each level; on tinyshakespeare longer ones gain nothing


class _Order(NamedTuple):
    """The k-grams of a text. A k-gram's key is its context's number times V plus its last token.

    Parameters
    ----------
    keys : int64 (G,) of the distinct k-grams, ascending; a k-gram's number is its place here
    counts : int64 (G,), how often; below the highest order, after how many different tokens
    totals : int64 (C,), sum of the counts behind each context, by its number
    backoff : float64 (C,), mass that the discounts take from each context, as a share of its total
    discounts : float64 (4,), of a count of 0, 1, 2, and 3 or more
    """

    keys: Ids
    counts: Ids
    totals: Ids
    backoff: Floats
    discounts: Floats


class _Counted(NamedTuple):
    """The k-grams of a text before their discounts; numbers int64 (T,): which of them ends at each place."""

    keys: Ids
    counts: Ids
    numbers: Ids
    contexts: int


class KneserNey:
    """Interpolated modified Kneser-Ney n-grams of a sequence of tokens.

    p_k(w | h) = max(c(h w) − D(c(h w)), 0) / c(h) + γ(h)·p_{k−1}(w | h'), h' without its first token, p_0 = 1 / V.
    Below the highest order c counts the different tokens before an n-gram instead of its occurrences. Before the text
    stand n − 1 tokens 0, which are never predicted. A context that never occurred leaves everything to the shorter one.

    Parameters
    ----------
    tokens : integers (T,) from 0 to V − 1
    vocabulary : V
    order : n

    Raises
    ------
    SettingError : an order below 1, or no tokens

    References
    ----------
    Kneser & Ney 1995; Chen & Goodman 1999 (§2.8, §3.3: three discounts from the counts of counts).
    """

    def __init__(self, tokens: npt.NDArray[np.integer], vocabulary: int, order: int) -> None:
        if order < 1 or not len(tokens):
            raise SettingError(f"order: expected at least 1 and a text, got {order} and {len(tokens)} tokens")
        self.vocabulary, self.order = vocabulary, order
        padded = _pad(tokens, order)
        first = order - 1  # what stands before is padding, and counts as context only
        numbers = np.zeros(
            len(padded), np.int64
        )  # of the (k − 1)-gram that ends at each place; of order 0 all the same
        contexts = 1
        found: list[_Counted] = []
        for _ in range(order):
            before = np.concatenate([[0], numbers[:-1]])
            keys, start, numbers = np.unique(before * vocabulary + padded, return_index=True, return_inverse=True)
            counts = np.bincount(numbers[first:], minlength=len(keys))
            if found:  # a distinct k-gram is a new left neighbour of the (k − 1)-gram that it ends with
                ends, size = found[-1].numbers[start[counts > 0]], len(found[-1].keys)
                found[-1] = found[-1]._replace(counts=np.bincount(ends, minlength=size))
            found.append(_Counted(keys, counts, numbers, contexts))
            contexts = len(keys)
        self._orders = [_discounted(grams, vocabulary) for grams in found]

    def scorer(self) -> Callable[[npt.NDArray[np.integer]], Floats]:
        """A function from the next tokens (L,) of one other text to −log p float64 (L,), each after those before it."""
        before = _pad(np.empty(0, np.int64), self.order)

        def push(tokens: npt.NDArray[np.integer]) -> Floats:
            nonlocal before
            sequence = np.concatenate([before, tokens.astype(np.int64)])
            before = sequence[len(sequence) - self.order + 1 :]
            return self._nats(sequence)

        return push

    def _nats(self, sequence: Ids) -> Floats:
        """−log p of all tokens of a sequence but the first n − 1."""
        p = np.full(len(sequence), 1.0 / self.vocabulary)
        numbers = np.zeros(len(sequence), np.int64)
        for order in self._orders:
            before = np.concatenate([[0], numbers[:-1]])
            keys = np.where(before >= 0, before * self.vocabulary + sequence, -1)
            places = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            numbers = np.where(order.keys[places] == keys, places, -1)
            counts = np.where(numbers >= 0, order.counts[places], 0)
            totals = np.where(before >= 0, order.totals[before], 0)
            kept = np.maximum(counts - order.discounts[np.minimum(counts, 3)], 0) / np.maximum(totals, 1)
            p = np.where(totals > 0, kept + order.backoff[before] * p, p)
        return -np.log(p[self.order - 1 :])


def _pad(tokens: npt.NDArray[np.integer], order: int) -> Ids:
    return np.concatenate([np.zeros(order - 1, np.int64), tokens.astype(np.int64)])


def _discounted(grams: _Counted, vocabulary: int) -> _Order:
    context, counts, contexts = grams.keys // vocabulary, grams.counts, grams.contexts
    discounts = _discounts(counts)
    taken = np.minimum(discounts[np.minimum(counts, 3)], counts)
    totals = np.bincount(context, counts, minlength=contexts).astype(np.int64)
    lost = np.bincount(context, taken, minlength=contexts)
    return _Order(grams.keys, counts, totals, lost / np.maximum(totals, 1), discounts)


def _discounts(counts: Ids) -> Floats:
    """D of the counts 0, 1, 2 and 3 or more; half a count for each where the text is too short to tell."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return np.clip(found, 0, [0, 1, 2, 3])
