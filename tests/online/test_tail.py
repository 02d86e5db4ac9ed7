"""Causal p-values: against counting by hand, and as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.tail import BINS, EXCESS, MEMORY, PRIOR, TAIL, Tail


def by_hand(past: np.ndarray, weights: np.ndarray, share: float, excesses: float) -> float:
    """The head of ``online.tail``, one value at a time."""
    bins = np.minimum((past * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, weights, BINS)
    total = counts.sum()
    above = [counts[k:].sum() for k in range(BINS)] + [0.0]
    rows = min(len(past), MEMORY)
    tail = min(excesses / max(rows, 1), TAIL)
    edge = min(sum(a > tail * total for a in above[:BINS]), BINS - 1)
    k = min(int(share * BINS), BINS - 1)
    rate = max(above[edge] / total, 0.5 / (rows + 1))
    excess = share - edge / BINS
    if excess <= 0:
        return max((above[k] + (above[k + 1] - above[k]) * (share * BINS - k)) / total, rate)
    observed = above[edge] / total * rows
    length = sum(counts[j] * (j - edge + 0.5) for j in range(edge, BINS)) / max(above[edge], 1e-12) / BINS
    s = PRIOR * EXCESS + observed * length
    return rate * (1 + excess / s) ** -(PRIOR + observed)


@pytest.mark.parametrize("excesses", [np.inf, 10.0])
def test_p_values_are_those_counted_by_hand(excesses):
    rng = np.random.default_rng(0)
    past = np.minimum(rng.exponential(0.08, 500), 1)
    tail = Tail(1, 1, [2.0], excesses=excesses)
    for value in past:
        tail.p_values(np.array([[2 * value]]))
        tail.learn(np.array([True]))
    weights = (1 + 1 / MEMORY) ** np.arange(len(past))
    for share in (0.0, 0.03, 0.11, 0.3, 0.37, 0.6, 0.99):
        found = tail.p_values(np.array([[2 * share]]))[0, 0]
        assert found == pytest.approx(by_hand(past, weights, share, excesses), rel=1e-4), share


def test_p_values_fall_as_the_statistic_grows():
    tail = Tail(1, 1, [4.0])
    rng = np.random.default_rng(1)
    for value in rng.exponential(0.4, 3000):
        tail.p_values(np.array([[value]]))
        tail.learn(np.array([True]))
    p = [tail.p_values(np.array([[y]]))[0, 0] for y in np.linspace(0, 4, 200)]
    assert (np.diff(p) <= 1e-12).all()
    assert p[0] == 1
    assert p[-1] < 2e-4  # e^-10 is 5e-5


def test_a_p_value_is_met_as_often_as_it_says_before_it_is_learnt():
    rng = np.random.default_rng(2)
    streams, rows = 200, 2500
    tail = Tail(streams, 1, [6.0])
    seen = np.zeros((rows, streams))
    for t in range(rows):
        seen[t] = tail.p_values(rng.exponential(0.5, (streams, 1)))[:, 0]
        tail.learn(np.ones(streams, bool))
    for level in (0.01, 0.003, 0.001):
        assert 0.7 < (seen[500:] <= level).mean() / level < 1.3


def test_nothing_is_rare_in_a_young_stream_and_only_what_was_observed_is_learnt():
    tail = Tail(2, 1, [1.0])
    for t in range(5):
        assert (tail.p_values(np.array([[0.1], [1.0]])) == 1).all()
        tail.learn(np.array([True, t < 2]))
    np.testing.assert_array_equal(tail.seen, [5, 2])
    np.testing.assert_allclose(tail.counts.sum((1, 2)), [5, 2], rtol=1e-3)


def test_weights_do_not_outgrow_single_precision():
    tail = Tail(1, 1, [1.0])
    tail.weight[:] = 9.999e5
    tail.counts[0, 0, 3] = 4e9
    for _ in range(2):
        tail.p_values(np.array([[0.5]]))
        tail.learn(np.array([True]))
    assert tail.weight[0] < 2
    assert tail.counts[0, 0, 3] == pytest.approx(4e3)
    assert tail.counts[0, 0, 48] == pytest.approx(2, rel=1e-3)
