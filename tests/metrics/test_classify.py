"""Metrics of classes against values that were computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carrousel.errors import ShapeError
from carrousel.metrics.classify import (
    accuracy,
    brier,
    calibration_error,
    confusion,
    f1_by_class,
    log_loss,
    macro_f1,
    reliability,
)

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 1])


def test_confusion_counts_rows_of_truths_and_columns_of_predictions():
    assert confusion(TRUTH, PREDICTED, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]


def test_accuracy_is_the_share_that_is_right():
    assert accuracy(TRUTH, PREDICTED) == 0.5
    assert math.isnan(accuracy(TRUTH[:0], PREDICTED[:0]))


def test_f1_counts_each_class_alike_and_leaves_out_what_does_not_occur():
    # 2·2 / (3 + 3), 2·1 / (2 + 3), 0 / (1 + 0), and of the fourth class neither truth nor prediction
    found = f1_by_class(TRUTH, PREDICTED, 4)
    np.testing.assert_allclose(found, [2 / 3, 2 / 5, 0, np.nan])
    assert macro_f1(TRUTH, PREDICTED, 4) == pytest.approx((2 / 3 + 2 / 5) / 3)
    assert math.isnan(macro_f1(TRUTH[:0], PREDICTED[:0], 2))


def test_log_loss_and_brier_are_those_of_their_formulas():
    p = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]])
    assert log_loss(np.array([0, 2]), p) == pytest.approx(-(math.log(0.7) + math.log(0.25)) / 2)
    assert brier(np.array([0, 2]), p) == pytest.approx(((0.09 + 0.04 + 0.01) + (0.25 + 0.0625 + 0.5625)) / 2)


def test_a_probability_of_zero_costs_a_finite_loss():
    assert log_loss(np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(-math.log(1e-12))


def test_reliability_compares_confidence_and_accuracy_bin_by_bin():
    p = np.array([[0.95, 0.05], [0.91, 0.09], [0.35, 0.65], [0.0, 1.0]])
    found = reliability(np.array([0, 1, 1, 1]), p, bins=10)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]
    assert found.confidence[6] == 0.65
    assert found.accuracy[6] == 1.0
    assert found.confidence[9] == pytest.approx((0.95 + 0.91 + 1) / 3)
    assert found.accuracy[9] == pytest.approx(2 / 3)
    expected = (0.35 + 3 * abs((0.95 + 0.91 + 1) / 3 - 2 / 3)) / 4
    assert calibration_error(np.array([0, 1, 1, 1]), p, bins=10) == pytest.approx(expected)


def test_truths_and_predictions_of_different_number_are_refused():
    with pytest.raises(ShapeError, match=r"^predicted: expected \(6,\) as the truths have, got \(5,\)$"):
        accuracy(TRUTH, PREDICTED[:5])
