"""Causal p-values: against counting by hand, and as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.tail import BINS, EXCESS, FIRST, FULL, MEMORY, PRIOR, TAIL, Tail, halved


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
    weights = np.rint(FIRST * (1 + 1 / MEMORY) ** np.arange(len(past)))
    for share in (0.0, 0.03, 0.11, 0.3, 0.37, 0.6, 0.99):
        found = tail.p_values(np.array([[2 * share]]))[0, 0]
        assert found == pytest.approx(by_hand(past, weights, share, excesses), rel=1e-9), share


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
    np.testing.assert_array_equal(tail.counts.sum((1, 2)), [5 * FIRST, 2 * FIRST])


def test_a_full_bin_halves_the_past_and_its_weight():
    tail = Tail(2, 1, [1.0, 1.0])
    tail.counts[:, :, 3] = [[7, FULL - 7], [7, FULL - 8]]
    tail.p_values(np.full((2, 2), 3.5 / BINS))
    tail.learn(np.array([True, True]))
    assert FULL == 2**16 - 1
    np.testing.assert_array_equal(
        tail.counts[:, :, 3], [[4 + FIRST / 2, (FULL - 7) / 2 + FIRST / 2], [7 + FIRST, FULL]]
    )
    np.testing.assert_allclose(tail.weight, FIRST * np.array([0.5, 1.0]) * (1 + 1 / MEMORY))


def test_halves_lean_to_neither_side():
    counts = np.arange(FULL + 1, dtype=np.uint16)
    np.testing.assert_array_equal(halved(counts), np.rint(counts / 2.0))


def test_the_past_fades_as_it_should_over_many_months():
    """A year of quarter hours: the share of a statistic that was rare, then common, then rare again."""
    rng = np.random.default_rng(3)
    often = np.repeat([0.02, 0.2, 0.02], [12_000, 12_000, 11_040])
    large = rng.random(len(often)) < often
    y = np.where(large, 0.8, 0.2)
    tail = Tail(1, 1, [1.0])
    share = np.zeros(len(y))
    for t in range(len(y)):
        tail.p_values(y[t : t + 1, None])
        tail.learn(np.array([True]))
        counts = tail.counts[0, 0].astype(float)
        share[t] = counts[BINS // 2 :].sum() / counts.sum()
    faded, mass = 0.0, 0.0
    for t, one in enumerate(large):
        faded, mass = faded * (1 - 1 / (MEMORY + 1)) + one, mass * (1 - 1 / (MEMORY + 1)) + 1
        if t % 500 == 499:
            assert share[t] == pytest.approx(faded / mass, rel=0.06, abs=0.001), t
    assert tail.counts.max() <= FULL
