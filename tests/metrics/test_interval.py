"""Intervals: coverage, width and Winkler's score by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics import band, coverage, interval_score, pinball, width

Y = np.array([1.0, 5.0, 9.0, np.nan])
LOWER, UPPER = np.array([0.0, 6.0, 7.0, 0.0]), np.array([2.0, 8.0, 8.0, 9.0])


def test_coverage_counts_the_bounds_in_and_the_missing_out():
    assert coverage(Y, LOWER, UPPER) == pytest.approx(1 / 3)
    assert coverage([2.0, 0.0], [0.0, 0.0], [2.0, 2.0]) == 1.0


def test_coverage_with_a_missing_bound_is_nan():
    assert np.isnan(coverage([1.0], [np.nan], [2.0]))
    assert np.isnan(coverage([1.0], [0.0], [np.nan]))


def test_width_is_the_mean_distance_of_the_bounds():
    assert width(LOWER, UPPER) == pytest.approx((2 + 2 + 1 + 9) / 4)


def test_interval_score_adds_the_distance_outside_over_half_alpha():
    # widths 2, 2, 1; outside by 0, 1, 1; alpha 0.1
    assert interval_score(Y, LOWER, UPPER, 90) == pytest.approx((2 + (2 + 20) + (1 + 20)) / 3)


def test_interval_score_and_coverage_equal_utilsforecast():
    import pandas as pd
    from utilsforecast import losses

    rng = np.random.default_rng(0)
    y, lower = rng.normal(size=(2, 3, 8))
    upper = lower + rng.uniform(0, 3, (3, 8))
    frame = pd.DataFrame({"unique_id": np.repeat(np.arange(3), 8), "ds": np.tile(np.arange(8), 3), "y": y.ravel()})
    frame["m-lo-80"], frame["m-hi-80"] = lower.ravel(), upper.ravel()
    np.testing.assert_allclose(
        coverage(y, lower, upper, axis=1), losses.coverage(frame, models=["m"], level=80)["m"], rtol=1e-12
    )
    np.testing.assert_allclose(
        interval_score(y, lower, upper, 80, axis=1),
        losses.winkler_score(frame, models=["m"], level=80)["m"],
        rtol=1e-12,
    )


def test_band_picks_the_two_quantiles_of_a_level():
    forecast = np.arange(10.0).reshape(2, 5)
    lower, upper = band(forecast, [0.05, 0.25, 0.5, 0.75, 0.95], 90)
    assert (lower.tolist(), upper.tolist()) == ([0.0, 5.0], [4.0, 9.0])
    lower, upper = band(forecast, [0.05, 0.25, 0.5, 0.75, 0.95], 50)
    assert (lower.tolist(), upper.tolist()) == ([1.0, 6.0], [3.0, 8.0])


def test_a_level_that_was_not_forecast_is_refused():
    with pytest.raises(SettingError, match=r"level 80: expected the quantiles 0.1 and 0.9, got \[0.05, 0.95\]"):
        band(np.zeros((3, 2)), [0.05, 0.95], 80)


@pytest.mark.parametrize("level", [0, 100, 0.9 - 1, 150])
def test_a_level_outside_its_range_is_refused(level):
    with pytest.raises(SettingError, match="level: expected a percentage"):
        interval_score([1.0], [0.0], [2.0], level)


def test_bounds_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match="expected the shape of y"):
        coverage(np.zeros(3), np.zeros(3), np.zeros(2))


@given(st.integers(0, 10_000), st.sampled_from([50, 80, 90, 99]))
def test_interval_score_is_the_pinball_loss_of_its_two_bounds(seed, level):
    rng = np.random.default_rng(seed)
    y, lower = rng.normal(size=(2, 20))
    upper = lower + rng.uniform(0, 2, 20)
    tail = (1 - level / 100) / 2
    two = pinball(y, np.stack([lower, upper], -1), [tail, 1 - tail])
    assert interval_score(y, lower, upper, level) == pytest.approx(2 * two / tail, rel=1e-9)
