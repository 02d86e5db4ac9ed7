"""Temperature scaling: the one number that makes held-out truths most probable, and what it must not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.heads.temperature import LIMITS, fit_temperature, softmax


def drawn(rng: np.random.Generator, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is what truths are drawn from."""
    z = 2 * rng.standard_normal((rows, classes))
    p = softmax(z)
    return z, (p.cumsum(1) < rng.uniform(size=(rows, 1))).sum(1)


def test_softmax_is_that_of_the_formula():
    expected = np.exp([0.5, 1.0]) / np.exp([0.5, 1.0]).sum()
    np.testing.assert_allclose(softmax(np.array([[1.0, 2.0]]), 2.0)[0], expected, rtol=1e-15)
    np.testing.assert_allclose(softmax(np.array([1e4, 0.0, -1e4])), [1, 0, 0], atol=0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_of_logits_that_were_multiplied_is_that_factor(factor):
    z, truth = drawn(np.random.default_rng(0), 40_000, 4)
    # The standard error of log T is about 0.01 with so many truths.
    assert fit_temperature(factor * z, truth) == pytest.approx(factor, rel=0.03)


def test_the_temperature_is_where_no_other_one_is_better():
    z, truth = drawn(np.random.default_rng(1), 300, 3)
    found = fit_temperature(5 * z, truth)

    def loss(t: float) -> float:
        p = softmax(5 * z, t)
        own = np.log(p[np.arange(len(truth)), truth])
        doubt = 1 / (len(truth) + 2)
        return -float(((1 - doubt) * own + doubt * (np.log(p).sum(1) - own) / 2).mean())

    assert all(loss(found) <= loss(found * other) for other in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0))


def test_a_few_truths_that_are_all_right_do_not_make_it_certain():
    z = np.tile([4.0, 0.0], (8, 1))
    found = softmax(z, fit_temperature(z, np.zeros(8, np.int64)))
    np.testing.assert_allclose(found[:, 0], 0.9, atol=1e-6)  # (8 + 1) / (8 + 2)


def test_without_truths_and_at_its_limits_it_is_a_number():
    assert fit_temperature(np.empty((0, 3)), np.empty(0, np.int64)) == 1.0
    wrong = fit_temperature(np.tile([1.0, 0.0], (1000, 1)), np.ones(1000, np.int64))
    assert wrong == pytest.approx(LIMITS[1], rel=1e-6)


@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 20))
def test_the_temperature_changes_no_decision(seed, temperature):
    z = np.random.default_rng(seed).standard_normal((5, 4))
    assert np.array_equal(softmax(z, temperature).argmax(1), z.argmax(1))
