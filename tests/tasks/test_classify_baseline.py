"""Baselines against what was computed by hand, and the folds that networks are held to."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.data.sequence import of_arrays
from carrousel.features.classify import Scaler
from carrousel.tasks import classify_fit
from carrousel.tasks.classify import Classifier
from carrousel.tasks.classify_baseline import baseline_probabilities, learn_baseline, majority
from carrousel.tasks.classify_fit import FOLDS, blocks, pieces, stratified
from carrousel.training import silent

PLAIN = Scaler(mean=(0.0,), spread=(1.0,), marks=False)


def test_naive_bayes_counts_each_word_and_pair_once_a_text():
    texts = of_arrays(["a a b", "a b", "b c", "b c c"] * 3, None)
    arrays = learn_baseline(texts, np.array([0, 0, 1, 1] * 3), 2, None)
    assert arrays["documents"].tolist() == [6, 6]
    # a, b, c, "a a", "a b", "b c", "c c"; of the pairs of "b" with itself there is none
    assert sorted(map(tuple, arrays["counts"].tolist())) == sorted(
        [(6, 0), (6, 6), (0, 6), (3, 0), (6, 0), (0, 6), (0, 3)]
    )
    alpha, temperature = arrays["how"]
    p = baseline_probabilities(arrays, of_arrays(["a zebra"], None), 2, None)[0]
    ratio = np.log((6 + alpha) / (21 + 7 * alpha)) - np.log(alpha / (21 + 7 * alpha))
    assert np.log(p[0] / p[1]) == pytest.approx(ratio / temperature)


def test_the_nearest_neighbour_is_worth_what_it_is_right_without_itself():
    known = of_arrays([[0.0, 0.0], [1.0, 1.0], [1.1, 1.1], [5.0, 5.0], [5.1, 5.1]], None)
    arrays = learn_baseline(known, np.array([0, 1, 1, 0, 0]), 2, PLAIN)
    share = (4 + 1) / (5 + 2)  # the first one's neighbour is of the other class
    p = baseline_probabilities(arrays, of_arrays([[0.1], [4.0, 4.5, 5.0]], None), 2, PLAIN)
    np.testing.assert_allclose(p, [[share, 1 - share]] * 2)


def test_each_step_is_of_the_class_under_which_it_is_likelier():
    x = of_arrays([[0.0, 1.0, 10.0, 12.0]], [["a", "a", "b", "b"]], steps=True)
    arrays = learn_baseline(x, [np.array([0, 0, 1, 1])], 2, PLAIN)
    np.testing.assert_allclose(arrays["means"].ravel(), [0.5, 11.0])
    np.testing.assert_allclose(arrays["spreads"].ravel(), [0.5, 1.0])
    p = baseline_probabilities(arrays, of_arrays([[0.2, 11.5]], None, steps=True), 2, PLAIN)
    assert p.argmax(1).tolist() == [0, 1]


def test_the_majority_gives_everyone_the_shares_of_training():
    np.testing.assert_allclose(majority([3, 1], 2), [[0.75, 0.25]] * 2)


def test_folds_share_every_class_and_a_lone_example_is_never_held_out():
    target = np.array([0] * 52 + [1] * 7 + [2])
    fold = stratified(target, FOLDS, seed=3)
    assert fold[-1] == -1
    for label, rows in ((0, 52), (1, 7)):
        counts = np.bincount(fold[target == label], minlength=FOLDS)
        assert counts.max() - counts.min() == 1
        assert counts.sum() == rows
    counts = np.bincount(fold[:-1], minlength=FOLDS)
    assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, stratified(target, FOLDS, seed=4))


def test_pieces_cover_long_sequences_and_stay_together():
    cuts = pieces([5, 23], length=10)
    assert cuts == [(0, 0, 5), (1, 0, 7), (1, 7, 15), (1, 15, 23)]
    owner = np.repeat(np.arange(8), 3)
    fold = blocks(owner, FOLDS, seed=0)
    assert all(len(set(fold[owner == k])) == 1 for k in range(8))
    assert blocks(np.zeros(10, np.int64), FOLDS, seed=0).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("steps", [False, True])
def test_no_network_is_trained_on_what_it_holds_out(steps, monkeypatch):
    seen: list[tuple[set, int]] = []

    def train(model, batches, loss, validate, settings, **_):
        seen.append((set(batches.members.tolist()), len(batches.lengths)))
        return classify_fit.History(rows=[classify_fit_row()])

    monkeypatch.setattr(classify_fit, "train", train)
    x = [[float(k), 1.0] for k in range(20)]
    y = [[k % 2, k % 2] for k in range(20)] if steps else [k % 2 for k in range(20)]
    Classifier(hidden_size=4, ensemble=6, steps=steps, seed=2).fit(x, y, progress=silent)
    held = [set(range(n)) - members for members, n in seen]
    assert len(seen) == 6
    assert held[5] == held[0]
    assert set().union(*held[:5]) == set(range(20))
    assert sum(map(len, held[:5])) == 20


def classify_fit_row():
    from carrousel.training import Row

    return Row(step=1, epoch=1.0, seconds=0.0, train_loss=0.0, validation_loss=0.0, learning_rate=0.1)
