"""Calibration: bands that hold what they promise, on data like those they were calibrated on."""

import numpy as np
import pytest

from carrousel.heads.conformal import conformal_offset

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def coverage(y: np.ndarray, values: np.ndarray, low: int) -> float:
    high = values.shape[-1] - 1 - low
    return float(((y >= values[..., low]) & (y <= values[..., high])).mean())


@pytest.mark.parametrize("spread", [0.1, 10.0])
def test_bands_that_are_too_narrow_or_too_wide_come_to_cover_their_share(spread: float):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((4000, 3, 2))
    values = np.broadcast_to(spread * np.array([-1.0, -0.4, 0, 0.4, 1.0]), (*y.shape, 5))
    half = slice(0, 2000)
    offset = conformal_offset(y[half], values[half], QUANTILES)
    assert offset[..., 2].tolist() == [[0, 0]] * 3
    fresh = y[2000:]
    assert coverage(fresh, values[2000:] + offset, 0) == pytest.approx(0.9, abs=0.02)
    assert coverage(fresh, values[2000:] + offset, 1) == pytest.approx(0.5, abs=0.03)


def test_each_step_of_the_horizon_is_calibrated_by_itself():
    rng = np.random.default_rng(1)
    y = rng.standard_normal((2000, 2, 1)) * np.array([1.0, 5.0])[:, None]
    offset = conformal_offset(y, np.zeros((2000, 2, 1, 5)), QUANTILES)
    assert offset[1, 0, 4] / offset[0, 0, 4] == pytest.approx(5, rel=0.1)


def test_few_windows_share_one_offset_over_the_steps():
    y = np.random.default_rng(2).standard_normal((20, 4, 1))
    offset = conformal_offset(y, np.zeros((20, 4, 1, 5)), QUANTILES)
    assert (offset == offset[:1]).all()
    expected = np.sort(np.abs(y).ravel())[int(np.ceil(81 * 0.9)) - 1]
    assert offset[0, 0, 4] == pytest.approx(expected)


def test_missing_truths_do_not_count_and_none_at_all_changes_nothing():
    y = np.full((300, 1, 1), np.nan)
    assert not conformal_offset(y, np.zeros((300, 1, 1, 5)), QUANTILES).any()
    y[::2] = np.random.default_rng(3).standard_normal((150, 1, 1))
    values = np.zeros((300, 1, 1, 5))
    np.testing.assert_array_equal(
        conformal_offset(y, values, QUANTILES), conformal_offset(y[::2], values[::2], QUANTILES)
    )
