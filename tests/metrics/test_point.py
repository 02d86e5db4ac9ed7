"""Point errors: values against utilsforecast, missing truths, and what no error may do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics import (
    mae,
    mase,
    missing,
    mse,
    naive_scale,
    naive_scales,
    owa,
    rmse,
    rmsse,
    smape,
    wape,
)

EPSILON = 1e-12  # a few roundings of sums of a hundred float64 values of order one

values = st.integers(-(10**9), 10**9).map(lambda v: v / 1000)  # no squares that underflow


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=4))
    return draw(arrays(np.float64, shape, elements=values)), draw(arrays(np.float64, shape, elements=values))


def frames(seed: int = 3, series: int = 5, steps: int = 7, season: int = 4):
    """The same truths and forecasts as arrays (N, H, 1) and as the frames that utilsforecast takes."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    y, forecast = rng.normal(10, 3, (2, series, steps, 1))
    history = rng.normal(10, 3, (series, 40, 1))
    names = np.repeat(np.arange(series), steps)
    frame = pd.DataFrame(
        {"unique_id": names, "ds": np.tile(np.arange(40, 40 + steps), series), "y": y.ravel(), "m": forecast.ravel()}
    )
    train = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(series), 40), "ds": np.tile(np.arange(40), series), "y": history.ravel()}
    )
    return y, forecast, history, frame, train, season


@pytest.mark.parametrize(
    ("ours", "theirs", "factor"),
    [(mae, "mae", 1), (mse, "mse", 1), (rmse, "rmse", 1), (smape, "smape", 200), (wape, "nd", 1)],
)
def test_point_errors_of_each_series_equal_utilsforecast(ours, theirs, factor):
    from utilsforecast import losses

    y, forecast, _, frame, _, _ = frames()
    expected = getattr(losses, theirs)(frame, models=["m"])["m"].to_numpy() * factor
    np.testing.assert_allclose(ours(y, forecast, axis=(1, 2)), expected, rtol=EPSILON)


@pytest.mark.parametrize(("ours", "theirs", "order"), [(mase, "mase", 1), (rmsse, "rmsse", 2)])
def test_scaled_errors_of_each_series_equal_utilsforecast(ours, theirs, order):
    from utilsforecast import losses

    y, forecast, history, frame, train, season = frames()
    starts = np.arange(0, history.size + 1, 40)
    scale = naive_scales(history.reshape(-1, 1), starts, season, order=order)
    expected = getattr(losses, theirs)(frame, models=["m"], seasonality=season, train_df=train)["m"].to_numpy()
    np.testing.assert_allclose(ours(y, forecast, scale[:, None, :], axis=(1, 2)), expected, rtol=EPSILON)


def test_owa_is_the_mean_of_both_errors_relative_to_naive2():
    assert owa(10.0, 3.0, naive2_smape=20.0, naive2_mase=2.0) == 1.0


def test_a_missing_truth_is_left_out_and_counted():
    y = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    forecast = np.array([[2.0, 9.0, 5.0], [1.0, 1.0, 1.0]])
    assert mae(y, forecast) == 1.5
    assert wape(y, forecast) == 0.75
    assert missing(y) == 4
    np.testing.assert_array_equal(missing(y, axis=1), [1, 3])
    np.testing.assert_array_equal(mae(y, forecast, axis=1), [1.5, np.nan])


def test_a_missing_forecast_of_an_observed_truth_makes_the_score_nan():
    y, forecast = np.array([1.0, 2.0, np.nan]), np.array([1.0, np.nan, np.nan])
    for metric in (mae, mse, rmse, smape, wape):
        assert np.isnan(metric(y, forecast)), metric.__name__
    assert np.isnan(mase(y, forecast, 1.0))


def test_smape_of_two_zeros_is_zero_and_of_opposite_signs_is_200():
    assert smape([0.0, 1.0], [0.0, -1.0]) == 100.0
    np.testing.assert_array_equal(smape([0.0, 1.0], [0.0, -1.0], axis=()), [0.0, 200.0])


def test_a_constant_history_has_scale_zero_and_is_left_out_of_mase():
    scale = np.array([naive_scale(np.full(50, 7.0), 24), naive_scale(np.arange(50.0), 24)])
    assert scale.tolist() == [0.0, 24.0]
    y, forecast = np.zeros((2, 3)), np.array([[100.0] * 3, [12.0] * 3])
    assert mase(y, forecast, scale[:, None]) == 0.5
    assert rmsse(y, forecast, scale[:, None] ** 2) == 0.5
    np.testing.assert_array_equal(mase(y, forecast, scale[:, None], axis=1), [np.nan, 0.5])


def test_scale_uses_the_pairs_of_which_both_were_observed():
    history = np.array([1.0, 2.0, np.nan, 5.0, 9.0, 1.0])
    assert naive_scale(history, 2) == 3.5  # |5 − 2|, |9 − NaN| left out, |1 − 5|
    assert np.isnan(naive_scale(history[:2], 2))


def test_wape_of_truths_that_sum_to_zero_is_nan():
    assert np.isnan(wape(np.zeros(3), np.ones(3)))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ShapeError, match=r"forecast: expected the shape of y \(2, 3\), got \(3, 2\)"):
        mae(np.zeros((2, 3)), np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("season", "order", "words"), [(0, 1, "season: expected at least 1"), (4, 3, "order: expected 1")]
)
def test_scale_refuses_settings_outside_their_range(season, order, words):
    with pytest.raises(SettingError, match=words):
        naive_scale(np.arange(9.0), season, order=order)


@given(pairs())
def test_a_perfect_forecast_scores_zero_and_no_score_is_negative(arrays_):
    y, forecast = arrays_
    for metric in (mae, mse, rmse, smape):
        assert metric(y, y) == 0
        assert metric(y, forecast) >= 0


@given(pairs())
def test_smape_is_symmetric_and_bounded_by_200(arrays_):
    y, forecast = arrays_
    assert smape(y, forecast) == smape(forecast, y)
    assert smape(y, forecast) <= 200 * (1 + EPSILON)


@given(pairs(), st.integers(-8, 8))
def test_scaled_errors_do_not_depend_on_the_unit(arrays_, power):
    y, forecast = arrays_
    unit = 2.0**power  # exact in binary, so that equality is exact as well
    assert mase(y * unit, forecast * unit, 3.0 * unit) == mase(y, forecast, 3.0)
    assert smape(y * unit, forecast * unit) == smape(y, forecast)


@given(pairs())
def test_rmse_is_never_below_mae(arrays_):
    assert rmse(*arrays_) >= mae(*arrays_) * (1 - EPSILON)


@given(pairs())
def test_the_mean_over_horizons_is_the_pooled_score(arrays_):
    y, forecast = arrays_
    np.testing.assert_allclose(mae(y, forecast, axis=(0, 2)).mean(), mae(y, forecast), rtol=1e-9)
