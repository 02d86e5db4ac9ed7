"""The n-gram baseline: values worked out by hand, and what every distribution must be."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from carrousel.errors import SettingError
from carrousel.tasks.ngram import KneserNey


def nats(model: KneserNey, tokens: list[int]) -> np.ndarray:
    return model.scorer()(np.array(tokens))


def test_bigrams_are_those_of_a_calculation_by_hand():
    # Text 1 2 1 2 1 3 over V = 4, before it one 0. Too short for counts of counts: all discounts are 1/2.
    # Unigrams count the different tokens before each: 1: {0, 2}, 2: {1}, 3: {1}; in all 4.
    # p1(w) = (c − 1/2)/4 + (3·1/2)/4 · 1/4: p1(1) = 1.5/4 + 3/32 = 15/32, p1(2) = p1(3) = 0.5/4 + 3/32 = 7/32,
    # p1(0) = 3/32. Behind 1: 2 twice, 3 once, in all 3: p(2|1) = 1.5/3 + (1/3)·7/32, p(3|1) = 0.5/3 + (1/3)·7/32,
    # p(1|1) = (1/3)·15/32. Behind 2: only 1, twice: p(1|2) = 1.5/2 + (1/4)·15/32. Behind 3: nothing, so p(w|3) = p1(w).
    model = KneserNey(np.array([1, 2, 1, 2, 1, 3]), 4, 2)
    p = np.exp(-nats(model, [1, 2, 1, 1, 3, 2]))
    expected = [0.5 + 0.5 * 15 / 32, 0.5 + 7 / 96, 0.75 + 15 / 128, 15 / 96, 1 / 6 + 7 / 96, 7 / 32]
    np.testing.assert_allclose(p, expected, rtol=1e-12)


def test_three_discounts_come_from_the_counts_of_counts():
    # Unigrams of the highest order: counts 1, 1, 1, 2, 2, 3, 4 of the tokens 1 .. 7, in all 14; n1..n4 = 3, 2, 1, 1.
    tokens = [1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7]
    y = 3 / 7
    d1, d2, d3 = 1 - 2 * y * 2 / 3, 2 - 3 * y * 1 / 2, 3 - 4 * y * 1 / 1
    lost = (3 * d1 + 2 * d2 + 2 * d3) / 14
    p = np.exp(-nats(KneserNey(np.array(tokens), 8, 1), [1, 4, 6, 7, 0]))
    np.testing.assert_allclose(
        p, [(1 - d1) / 14 + lost / 8, (2 - d2) / 14 + lost / 8, (3 - d3) / 14 + lost / 8, (4 - d3) / 14 + lost / 8,
            lost / 8], rtol=1e-12,
    )  # fmt: skip


def reference(text: list[int], vocabulary: int, order: int, other: list[int]) -> list[float]:
    """The same by dictionaries and one token at a time, straight from the definition."""
    pad = [0] * (order - 1)
    sequence = pad + text
    grams: list[dict[tuple[int, ...], int]] = []
    for k in range(1, order + 1):
        counts: dict[tuple[int, ...], int] = defaultdict(int)
        before: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for end in range(order - 1, len(sequence)):
            gram = tuple(sequence[end - k + 1 : end + 1])
            counts[gram] += 1
            if k < order:
                before[gram].add(sequence[end - k])
        grams.append(counts if k == order else {gram: len(tokens) for gram, tokens in before.items()})

    def discounts(counts: dict[tuple[int, ...], int]) -> list[float]:
        n = [sum(count == k for count in counts.values()) for k in range(5)]
        if not all(n[1:]):
            return [0, 0.5, 0.5, 0.5]
        y = n[1] / (n[1] + 2 * n[2])
        return [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]

    result = []
    sequence = pad + other
    for end in range(order - 1, len(sequence)):
        p = 1 / vocabulary
        for k, counts in enumerate(grams, start=1):
            context, d = tuple(sequence[end - k + 1 : end]), discounts(counts)
            behind = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == context}
            if total := sum(behind.values()):
                count = behind.get(sequence[end], 0)
                lost = sum(d[min(c, 3)] for c in behind.values())
                p = (count - d[min(count, 3)]) / total + lost / total * p
        result.append(-math.log(p))
    return result


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_every_order_agrees_with_dictionaries_that_count_one_token_at_a_time(order):
    draws = np.random.default_rng(order)
    text, other = (np.minimum(draws.geometric(0.3, size), 9).tolist() for size in (400, 60))
    text[100] = 0  # between two documents
    model = KneserNey(np.array(text), 11, order)
    np.testing.assert_allclose(nats(model, other), reference(text, 11, order, other), rtol=1e-9)


@pytest.mark.parametrize("order", [1, 3, 4])
def test_probabilities_of_all_tokens_add_up_to_one(order):
    model = KneserNey(np.random.default_rng(0).integers(1, 6, 300), 8, order)
    for context in ([], [1, 2, 3, 4], [7, 7, 7], [2, 6]):
        total = sum(math.exp(-nats(model, [*context, token])[-1]) for token in range(8))
        assert total == pytest.approx(1, rel=1e-12)


def test_a_text_in_pieces_costs_what_the_whole_does():
    draws = np.random.default_rng(3)
    model, other = KneserNey(draws.integers(1, 6, 300), 8, 4), draws.integers(1, 8, 50)
    push = model.scorer()
    parts = [push(other[first:last]) for first, last in ((0, 1), (1, 2), (2, 2), (2, 30), (30, 50))]
    assert np.array_equal(np.concatenate(parts), model.scorer()(other))


def test_nothing_to_count_is_refused():
    with pytest.raises(SettingError, match="expected at least 1 and a text, got 0 and 3 tokens"):
        KneserNey(np.arange(3), 4, 0)
    with pytest.raises(SettingError, match="got 2 and 0 tokens"):
        KneserNey(np.empty(0, np.int64), 4, 2)
