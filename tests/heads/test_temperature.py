"""Temperature scaling: the one number that makes held-out truths most probable, and what it must not change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.heads.temperature import LIMITS, MOST_WEIGHT, fit_ensemble, fit_temperature, fit_weights, softmax


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


def judged(rows: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two judges who each see the truth through noise of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=rows)
    right = 1.0 * (truth[:, None] == np.arange(3))
    return right + 0.6 * rng.standard_normal((rows, 3)), 3 * right + 3 * rng.standard_normal((rows, 3)), truth


def loss_of(w: np.ndarray, judges: list[np.ndarray], truth: np.ndarray) -> float:
    rows, classes = judges[0].shape
    doubt = 1 / (rows + 2)
    aim = np.full((rows, classes), doubt / (classes - 1))
    aim[np.arange(rows), truth] = 1 - doubt
    return float(-(aim * np.log(softmax(sum(x * z for x, z in zip(w, judges, strict=True))))).sum(1).mean())


def test_the_weight_of_one_judge_is_the_inverse_of_the_temperature():
    a, b, truth = judged()
    for z in (a, b):
        assert 1 / fit_weights([z], truth)[0] == pytest.approx(fit_temperature(z, truth), rel=1e-5)


def test_no_weights_near_those_of_two_judges_are_better():
    *judges, truth = judged()
    found = fit_weights(judges, truth)
    assert (found > 0.1).all()
    best = loss_of(found, judges, truth)
    for move in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01], [0.01, -0.01], [-0.01, 0.01]):
        assert loss_of(found + move, judges, truth) > best


def test_a_judge_who_knows_nothing_has_no_weight_and_one_who_is_always_right_the_most():
    a, b, truth = judged()
    wrong = -b
    found = fit_weights([a, wrong], truth)
    assert found[1] == 0
    assert found[0] == pytest.approx(fit_weights([a], truth)[0], rel=1e-5)
    assert fit_weights([wrong, a], truth)[0] == 1 / LIMITS[1]
    sure = 1e-3 * (truth[:, None] == np.arange(3))
    assert fit_weights([a, sure], truth)[1] == MOST_WEIGHT
    assert fit_weights([a[:0], b[:0]], truth[:0]).tolist() == [1, 0]


def noisy(members: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of several networks, each with noise of its own: (members, rows, 3); and truths."""
    rng = np.random.default_rng(seed)
    z, truth = drawn(rng, rows, 3)
    return z + 1.5 * rng.standard_normal((members, rows, 3)), truth


def test_the_weight_of_an_ensemble_is_found_from_examples_that_two_networks_held_out():
    z, truth = noisy(5, 20_000, seed=3)
    rows = np.arange(20_000)
    judge = np.concatenate([z[0], z[1]])
    found, single = fit_ensemble([judge], np.concatenate([truth, truth]), np.concatenate([rows, rows]), 5)
    alone, best = (fit_weights([own], truth)[0] for own in (z[0], z.mean(0)))
    assert single[0] == pytest.approx(alone, rel=0.03)
    assert best > 1.3 * alone
    assert found[0] == pytest.approx(best, rel=0.05)
    # For a mean of two nothing has to be guessed.
    pair, _ = fit_ensemble([judge], np.concatenate([truth, truth]), np.concatenate([rows, rows]), 2)
    assert pair[0] == pytest.approx(fit_weights([z[:2].mean(0)], truth)[0], rel=1e-6)


def test_an_ensemble_whose_examples_were_held_out_once_takes_the_weights_of_single_networks():
    z, truth = noisy(1, 50, seed=0)
    found, single = fit_ensemble([z[0]], truth, np.arange(50), 5)
    assert found.tolist() == single.tolist() == fit_weights([z[0]], truth).tolist()


def test_networks_whose_errors_cancel_do_not_make_an_ensemble_surer_than_noise_can():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=200)
    right = 1.0 * (truth[:, None] == np.arange(3))
    noise, rest = 1.5 * rng.standard_normal((200, 3)), 0.1 * rng.standard_normal((2, 200, 3))
    a, b, c = right + noise + rest[0], right - noise + rest[1], right + 1.5 * rng.standard_normal((200, 3))
    twice, rows = np.concatenate([truth, truth]), np.tile(np.arange(200), 2)
    judges = [np.concatenate([a, b]), np.concatenate([c, c])]
    mean = fit_weights([(a + b) / 2, c], truth)
    found, single = fit_ensemble(judges, twice, rows, 5)
    assert found[0] == pytest.approx(5 / 2 * mean[0])
    assert single[1] > 0
    assert found[1] == 0  # not below
    assert fit_ensemble(judges, twice, rows, 99)[0][0] == 1 / LIMITS[0]
