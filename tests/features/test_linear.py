"""The linear path: maps that say what they should, mixed for each series by what served it best."""

import numpy as np
import pytest

from carrousel.errors import HistoryError
from carrousel.features.linear import LinearPath, fit_linear_path, seasonal_mean

SEASON, LOOK_BACK, HORIZON = 6, 42, 8
T = 400


def blocks(series: np.ndarray, first: int, end: int):
    """Every window of (S, T) whose truth lies in [first, end)."""

    def make():
        for s, values in enumerate(series):
            origins = np.arange(max(first, LOOK_BACK), end - HORIZON + 1)
            x = values[origins[:, None] + np.arange(-LOOK_BACK, 0)]
            y = values[origins[:, None] + np.arange(HORIZON)]
            yield np.full(len(origins), s), 0, x, y

    return make


def two_series() -> np.ndarray:
    """One repeats its season exactly with a level that jumps each week of it; one is a random walk."""
    rng = np.random.default_rng(0)
    season = np.tile(rng.standard_normal(SEASON), T // SEASON + 1)[:T] * 5
    return np.stack([season + 0.01 * rng.standard_normal(T), rng.standard_normal(T).cumsum()])


def fit(series: np.ndarray, look_backs=(12, LOOK_BACK)) -> LinearPath:
    return fit_linear_path(
        blocks(series, 0, 300),
        blocks(series, 300, T),
        look_backs=list(look_backs),
        season=SEASON,
        unit=np.ones((len(series), 1)),
    )


@pytest.mark.parametrize(("period", "repeats"), [(6, 1), (6, 3), (14, 3)])
def test_a_seasonal_mean_is_the_mean_of_the_same_phase(period: int, repeats: int):
    x = np.random.default_rng(1).standard_normal(LOOK_BACK)
    forecast = seasonal_mean(LOOK_BACK, HORIZON, period, repeats) @ x
    for h in range(HORIZON):
        back = [LOOK_BACK + h % period - period * (j + 1) for j in range(repeats)]
        assert forecast[h] == pytest.approx(x[back].mean())


def test_each_series_trusts_the_maps_that_served_it():
    path = fit(two_series())
    periodic, walk = path.mixture[1, 0], path.mixture[2, 0]
    np.testing.assert_allclose(path.mixture.sum(axis=2), 1)
    np.testing.assert_allclose(path.mixture[0], path.mixture[1:].mean(axis=0))
    last_season = 2  # after the two ridges
    assert periodic[last_season] > walk[last_season]
    assert walk[:2].sum() > 2 * walk[2:].sum()


def test_the_mixture_is_the_fourth_power_of_the_errors():
    series = two_series()
    path = fit(series)
    owner, _, x, y = list(blocks(series, 300, T)())[1]
    x = x[:, -path.look_back :]
    each = np.einsum("ehl,nl->neh", path.weight, x - x[:, -1:]) + x[:, -1:, None]
    error = np.abs(each - y[:, None]).mean(axis=(0, 2))
    np.testing.assert_allclose(path.mixture[owner[0] + 1, 0], error**-4 / (error**-4).sum(), rtol=1e-6)


def test_the_path_predicts_the_mixed_maps_and_shifts_with_the_level():
    path = fit(two_series())
    x = np.random.default_rng(2).standard_normal((3, LOOK_BACK))
    forecast = path.predict(x, np.array([0, 1, 2]), 0)
    for row in range(3):
        recent = x[row, -path.look_back :]
        mixed = np.einsum("e,ehl->hl", path.mixture[row, 0], path.weight)
        np.testing.assert_allclose(forecast[row], recent[-1] + mixed @ (recent - recent[-1]))
    np.testing.assert_allclose(path.predict(x + 100, np.array([0, 1, 2]), 0), forecast + 100)


def test_a_series_without_validation_windows_gets_the_mean_mixture():
    series = two_series()
    full = blocks(series, 300, T)

    def only_first():
        yield next(iter(full()))

    path = fit_linear_path(
        blocks(series, 0, 300), only_first, look_backs=[LOOK_BACK], season=SEASON, unit=np.ones((2, 1))
    )
    np.testing.assert_array_equal(path.mixture[2], path.mixture[0])
    np.testing.assert_array_equal(path.mixture[1], path.mixture[0])


def test_a_validation_part_without_values_is_refused():
    series = two_series()
    gone = series.copy()
    gone[:, 300:] = np.nan
    with pytest.raises(HistoryError, match="expected an observed value in the validation part"):
        fit_linear_path(
            blocks(series, 0, 300), blocks(gone, 342, T), look_backs=[LOOK_BACK], season=SEASON, unit=np.ones((2, 1))
        )
