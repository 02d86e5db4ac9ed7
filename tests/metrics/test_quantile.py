"""Quantile errors and calibration: values against utilsforecast and closed forms."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics import (
    calibration,
    crps,
    mae,
    mean_weighted_quantile_loss,
    pinball,
    pinball_by_quantile,
    pit_histogram,
)

NINE = np.arange(1, 10) / 10


def normal_quantiles(q: np.ndarray) -> np.ndarray:
    return np.array([NormalDist().inv_cdf(p) for p in q])


def sample(seed: int = 5, windows: int = 4, steps: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(10, 2, (windows, steps, 1)), np.sort(rng.normal(10, 2, (windows, steps, 1, 9)), axis=-1)


def test_pinball_and_weighted_quantile_loss_equal_utilsforecast():
    import pandas as pd
    from utilsforecast import losses

    y, forecast = sample()
    frame = pd.DataFrame({"unique_id": np.repeat(np.arange(4), 6), "ds": np.tile(np.arange(6), 4), "y": y.ravel()})
    columns = [f"q{i}" for i in range(9)]
    frame[columns] = forecast.reshape(-1, 9)
    expected = losses.mqloss(frame, models={"m": columns}, quantiles=NINE)["m"].to_numpy()
    np.testing.assert_allclose(pinball(y, forecast, NINE, axis=(1, 2)), expected, rtol=1e-12)
    crps_of_series = losses.scaled_crps(frame, models={"m": columns}, quantiles=NINE)["m"].to_numpy()
    ours = [mean_weighted_quantile_loss(y[n], forecast[n], NINE) for n in range(4)]
    np.testing.assert_allclose(ours, crps_of_series, rtol=1e-12)
    expected = [losses.quantile_loss(frame, models={"m": f"q{i}"}, q=q)["m"].mean() for i, q in enumerate(NINE)]
    np.testing.assert_allclose(pinball_by_quantile(y, forecast, NINE), expected, rtol=1e-12)


def test_pinball_weighs_the_two_sides_by_the_probability():
    assert pinball([10.0], [[7.0]], [0.9]) == pytest.approx(0.9 * 3)
    assert pinball([10.0], [[13.0]], [0.9]) == pytest.approx(0.1 * 3)


def test_crps_of_many_normal_quantiles_is_the_closed_form():
    q = (np.arange(2000) + 0.5) / 2000
    normal = NormalDist()
    for y in (-1.5, 0.0, 2.0):
        closed = y * (2 * normal.cdf(y) - 1) + 2 * normal.pdf(y) - 1 / np.sqrt(np.pi)  # Gneiting & Raftery 2007, eq. 21
        assert crps([y], normal_quantiles(q)[None], q) == pytest.approx(closed, abs=2e-4)  # the cut tails, about 1/2000


def test_crps_of_the_median_alone_is_the_absolute_error():
    y, forecast = sample()
    assert crps(y, forecast[..., 4:5], [0.5]) == pytest.approx(mae(y, forecast[..., 4]), rel=1e-12)


def test_a_missing_truth_is_left_out_of_every_quantile_score():
    y, forecast = sample()
    whole = y.copy()
    y[0] = np.nan
    for metric in (pinball, crps, calibration, pinball_by_quantile, mean_weighted_quantile_loss, pit_histogram):
        np.testing.assert_array_equal(metric(y, forecast, NINE), metric(whole[1:], forecast[1:], NINE))


def test_a_missing_quantile_of_an_observed_truth_makes_the_score_nan():
    y, forecast = sample()
    forecast[0, 0, 0, 2] = np.nan
    assert np.isnan(pinball(y, forecast, NINE))
    assert np.isnan(crps(y, forecast, NINE))
    assert np.isnan(calibration(y, forecast, NINE)).tolist() == [i == 2 for i in range(9)]


def test_calibration_of_true_quantiles_is_nominal_and_of_shifted_ones_is_not():
    y = normal_quantiles((np.arange(1000) + 0.5) / 1000)
    forecast = np.broadcast_to(normal_quantiles(NINE), (1000, 9))
    np.testing.assert_allclose(calibration(y, forecast, NINE), NINE, atol=1e-12)
    np.testing.assert_allclose(pit_histogram(y, forecast, NINE), np.full(10, 0.1), atol=1e-12)
    assert calibration(y, forecast + 1, NINE)[4] > 0.8
    assert pit_histogram(y, forecast + 1, NINE)[0] > 0.3


def test_calibration_per_horizon_keeps_one_row_a_step():
    y, forecast = sample()
    by_step = calibration(y, forecast, NINE, axis=(0, 2))
    assert by_step.shape == (6, 9)
    np.testing.assert_array_equal(by_step[2], calibration(y[:, 2], forecast[:, 2], NINE))


@pytest.mark.parametrize("quantiles", [[0.0, 0.5], [0.5, 1.0], [0.5, 0.1], [0.1, 0.1], []])
def test_probabilities_outside_their_range_or_order_are_refused(quantiles):
    with pytest.raises(SettingError, match="quantiles: expected probabilities between 0 and 1 in ascending order"):
        pinball(np.zeros(3), np.zeros((3, len(quantiles))), quantiles)


def test_a_forecast_without_one_column_a_quantile_is_refused():
    with pytest.raises(ShapeError, match=r"expected \(3, 2\).* got \(3, 5\)"):
        crps(np.zeros(3), np.zeros((3, 5)), [0.1, 0.9])


@given(st.integers(0, 10_000))
def test_the_true_quantile_has_the_least_expected_pinball_loss(seed):
    y = np.random.default_rng(seed).normal(size=400)
    best = np.quantile(y, 0.8, method="inverted_cdf")  # a minimiser of the sample's loss
    for other in (best - 0.3, best + 0.3):
        assert pinball(y, np.full((400, 1), best), [0.8]) <= pinball(y, np.full((400, 1), other), [0.8])


@given(st.integers(0, 10_000))
def test_calibration_rises_with_the_probability(seed):
    y, forecast = sample(seed)
    assert np.all(np.diff(calibration(y, forecast, NINE)) >= 0)
    assert pit_histogram(y, forecast, NINE).sum() == pytest.approx(1)
