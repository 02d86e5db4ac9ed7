"""Sequences as a network's inputs, against arrays that were filled in by hand."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.errors import SettingError
from carrousel.features.classify import POINTS, ClassifySizes, Scaler, padded, stretched, views, windows

NAN = np.nan


def test_a_missing_value_takes_the_last_one_before_it_or_the_mean_and_is_marked():
    scaler = Scaler(mean=(1.0, 10.0), spread=(2.0, 5.0), marks=True)
    found = scaler.apply(np.array([[NAN, 20.0], [3.0, NAN], [NAN, NAN], [5.0, 0.0]]))
    expected = [[0, 2, 1, 0], [1, 2, 0, 1], [1, 2, 1, 1], [2, -2, 0, 0]]
    np.testing.assert_array_equal(found, expected)
    later = scaler.apply(np.array([[NAN, 15.0]]), np.array([7.0, 8.0]))
    np.testing.assert_array_equal(later, [[7, 1, 1, 0]])
    without = Scaler(mean=(1.0, 10.0), spread=(2.0, 5.0), marks=False)
    np.testing.assert_array_equal(without.apply(np.array([[3.0, NAN]])), [[1, 0]])


def test_a_scaler_learns_mean_and_spread_of_what_is_there():
    found = Scaler.learn([np.array([[1.0, 5.0], [NAN, 5.0]]), np.array([[3.0, 5.0]])])
    assert found == Scaler(mean=(2.0, 5.0), spread=(1.0, 1.0), marks=True)
    assert not Scaler.learn([np.ones((3, 1))]).marks


def test_each_step_sees_those_before_it_oldest_first():
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    assert windows(x, 2).tolist() == [[[0, 1, 0, 1], [0, 1, 2, 3], [2, 3, 4, 5]]]
    assert windows(x, 1) is x


def test_sequences_of_unequal_length_are_filled_with_zeros():
    whole, lengths = padded([np.array([1, 2]), np.array([3])])
    assert whole.tolist() == [[1, 2], [3, 0]]
    assert lengths.tolist() == [2, 1]


def test_sizes_of_texts_have_one_word_a_step_and_one_class():
    sizes = {
        "inputs": 5, "embedding_size": 4, "hidden_size": 3, "num_layers": 1, "bidirectional": True, "classes": 2,
        "members": 2,
    }  # fmt: skip
    ClassifySizes(kind="text", window=1, steps=False, **sizes)
    for wrong in ({"window": 2, "steps": False}, {"window": 1, "steps": True}):
        with pytest.raises(SettingError, match="expected window=1 and a class a sequence for texts"):
            ClassifySizes(kind="text", **wrong, **sizes)
    steps = ClassifySizes(kind="numeric", window=3, steps=True, **sizes)
    assert steps.architecture().tensors()["input_1.weight"] == (4, 15)
    assert steps.architecture().tensors()["head_0.weight"] == (2, 6)


def test_sequences_are_stretched_by_straight_lines_to_as_many_points():
    found = stretched([np.array([[0.0, 5.0], [63.0, 5.0]]), np.array([[2.0, 1.0]])]).reshape(2, POINTS, 2)
    np.testing.assert_allclose(found[0, :, 0], np.arange(64), atol=1e-5)
    np.testing.assert_allclose(found[0, :, 1], 5, atol=1e-5)
    assert (found[1] == [2, 1]).all()
    long = np.random.default_rng(0).standard_normal((101, 1))
    at = np.linspace(0, 100, POINTS)
    np.testing.assert_allclose(stretched([long])[0], np.interp(at, np.arange(101), long[:, 0]), atol=1e-6)


def test_wholes_are_compared_by_values_changes_and_sums():
    x = np.random.default_rng(0).standard_normal((3, POINTS, 2)).astype(np.float32)
    values, changes, sums = views(x.reshape(3, -1))
    np.testing.assert_array_equal(values, x.reshape(3, -1))
    np.testing.assert_allclose(changes.reshape(3, POINTS - 1, 2)[1, 4], x[1, 5].astype(float) - x[1, 4])
    np.testing.assert_allclose(sums.reshape(3, POINTS, 2)[2, 9], x[2, :10].astype(float).sum(0) / POINTS)
