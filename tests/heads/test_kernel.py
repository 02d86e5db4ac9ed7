"""Kernel ridge regression against the equations solved anew for every example that is left out."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.heads import kernel
from carrousel.heads.kernel import GAMMAS, RIDGES, KernelRidge


def examples(count: int = 25, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=count)
    x = rng.standard_normal((count, 4)) + truth[:, None]
    return [x, np.diff(x, axis=1)], truth


def by_hand(views: list[np.ndarray], others: list[np.ndarray], medians: np.ndarray, gamma: float) -> np.ndarray:
    found = np.zeros((len(views[0]), len(others[0])))
    for view, other, median in zip(views, others, medians, strict=True):
        for a in range(len(view)):
            for b in range(len(other)):
                found[a, b] += 1 / (1 + gamma * ((view[a] - other[b]) ** 2).sum() / median) / len(views)
    return found


def test_the_scores_left_out_are_those_of_a_model_without_the_example():
    views, truth = examples()
    model, left_out = KernelRidge.learn(views, truth, 3)
    aim = 2.0 * (truth[:, None] == np.arange(3)) - 1
    errors = {}
    for gamma in GAMMAS:
        whole = by_hand(views, views, model.medians, gamma)
        for ridge in RIDGES:
            scores = np.empty_like(aim)
            for k in range(len(truth)):
                rest = np.delete(np.arange(len(truth)), k)
                inner = whole[np.ix_(rest, rest)] + ridge * np.eye(len(rest))
                scores[k] = whole[k, rest] @ np.linalg.solve(inner, aim[rest] - model.centre) + model.centre
            errors[gamma, ridge] = ((aim - scores) ** 2).mean(), scores
    (gamma, _), (_, scores) = min(errors.items(), key=lambda item: item[1][0])
    assert model.gamma == gamma
    np.testing.assert_allclose(left_out, scores, atol=1e-8)
    np.testing.assert_allclose(model.centre, aim.mean(0))


def test_medians_are_those_of_the_distances_between_different_examples():
    views, truth = examples(8)
    model, _ = KernelRidge.learn(views, truth, 3)
    pairs = [((views[1][a] - views[1][b]) ** 2).sum() for a in range(8) for b in range(a)]
    assert model.medians[1] == pytest.approx(np.median(pairs))


def test_scores_of_others_are_the_sum_over_the_examples_block_by_block(monkeypatch):
    views, truth = examples()
    model, _ = KernelRidge.learn(views, truth, 3)
    others, _ = examples(11, seed=1)
    expected = by_hand(others, views, model.medians, model.gamma) @ model.duals + model.centre
    np.testing.assert_allclose(model.scores(others), expected, atol=1e-10)
    monkeypatch.setattr(kernel, "BLOCK", 4)
    np.testing.assert_allclose(model.scores(others), expected, atol=1e-10)


def test_examples_that_are_all_alike_say_how_frequent_classes_are():
    truth = np.array([0, 0, 0, 1])
    model, left_out = KernelRidge.learn([np.ones((4, 2))], truth, 2)
    assert np.isfinite(left_out).all()
    np.testing.assert_allclose(model.scores([np.ones((1, 2))])[0], [0.5, -0.5], atol=1e-3)


def test_of_many_examples_a_sample_chooses_how_fast_likeness_falls(monkeypatch):
    views, truth = examples(40)
    monkeypatch.setattr(kernel, "SAMPLE", 30)
    some = np.sort(np.random.default_rng(0).permutation(40)[:30])
    sample, _ = KernelRidge.learn([view[some] for view in views], truth[some], 3)
    found, left_out = KernelRidge.learn(views, truth, 3)
    assert found.gamma == sample.gamma
    assert found.duals.shape == left_out.shape == (40, 3)
