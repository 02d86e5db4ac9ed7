"""Ridge: values against the textbook solution, choices on validation, and what normalisation promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.errors import HistoryError, SettingError, ShapeError
from carrousel.features import ridge as module
from carrousel.features.ridge import Ridge, fit_ridge, windows


def series(seed: int = 0, length: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    return 3 * np.sin(2 * np.pi * t / 12) + 0.02 * t + rng.normal(size=length)


@pytest.mark.parametrize("center", ["last", "mean"])
def test_weight_is_the_solution_of_the_normal_equations(center):
    x, y = windows(series(), 10, 4)
    fitted = fit_ridge([(x, y)], penalties=[0.3], center=center, scaled=False)
    c = x[:, -1:] if center == "last" else x.mean(axis=1, keepdims=True)
    a, b = x - c, y - c
    penalty = 0.3 * np.trace(a.T @ a) / 10
    expected = np.linalg.solve(a.T @ a + penalty * np.eye(10), a.T @ b).T
    np.testing.assert_allclose(fitted.weight, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fitted.predict(x), c + a @ expected.T, rtol=1e-9)


def test_scaled_windows_weigh_the_same_whatever_their_amplitude():
    small, large = windows(series(1), 10, 4), windows(series(2), 10, 4)
    both = fit_ridge([small, large], penalties=[0.1])
    louder = fit_ridge([small, tuple(1e6 * part for part in large)], penalties=[0.1])
    np.testing.assert_allclose(louder.weight, both.weight, rtol=1e-8, atol=1e-12)
    unscaled = fit_ridge([small, tuple(1e6 * part for part in large)], penalties=[0.1], scaled=False)
    assert not np.allclose(unscaled.weight, both.weight, rtol=1e-2)


def test_weight_does_not_depend_on_how_windows_are_cut_into_blocks(monkeypatch):
    x, y = windows(series(), 10, 4)
    whole = fit_ridge([(x, y)], penalties=[0.1])
    monkeypatch.setattr(module, "BLOCK_VALUES", 70)
    np.testing.assert_allclose(fit_ridge([(x[:50], y[:50]), (x[50:], y[50:])], penalties=[0.1]).weight, whole.weight)


def test_a_scale_beside_the_windows_is_what_they_are_divided_by():
    x, y = X.copy(), Y.copy()
    x[3, 4] = y[7, 1] = np.nan
    scale = np.random.default_rng(5).uniform(0.1, 10, (len(x), 1))
    beside = fit_ridge([(x, y, scale)], penalties=[0.1], scaled=False)
    divided = fit_ridge([(x / scale, y / scale)], penalties=[0.1], scaled=False)
    np.testing.assert_allclose(beside.weight, divided.weight, rtol=1e-9)
    assert beside.windows == divided.windows == len(x) - 2
    with pytest.raises(ShapeError, match=r"scale \(n, 1\) or none, got .* and \(3, 1\)"):
        fit_ridge([(x, y, scale[:3])])


@pytest.mark.parametrize("level", [0.0, 1e6])
def test_windows_that_follow_each_other_are_summed_without_a_pass_over_each(level, monkeypatch):
    values = level + series(length=400)
    x, y = windows(values, 30, 7)
    scale = np.full((len(x), 1), 3.0)
    passes: list[int] = []
    normalised = module._normalised
    monkeypatch.setattr(module, "_normalised", lambda *given: (passes.append(1), normalised(*given))[1])
    at_once = fit_ridge([(x, y, scale)], penalties=[1e-4], scaled=False)
    assert not passes
    each = fit_ridge([(x.copy(), y.copy(), scale)], penalties=[1e-4], scaled=False)
    assert passes
    assert at_once.windows == each.windows == len(x)
    np.testing.assert_allclose(at_once.weight, each.weight, atol=1e-9 if level == 0 else 1e-5)
    ours, theirs = (
        fit_ridge([(x, y)], validation=[pair], lookbacks=[10, 30], scaled=False, refit=False).losses
        for pair in ((x, y), (x.copy(), y.copy()))
    )
    assert ours == pytest.approx(theirs, rel=1e-9 if level == 0 else 1e-6)


def test_each_series_that_is_summed_at_once_is_weighed_by_its_own_scale():
    parts = [(*windows(series(length=400, seed=seed), 30, 7), size) for seed, size in ((1, 0.5), (2, 4.0))]
    at_once = fit_ridge([(x, y, np.full((len(x), 1), size)) for x, y, size in parts], penalties=[1e-4], scaled=False)
    divided = fit_ridge([(x / size, y / size) for x, y, size in parts], penalties=[1e-4], scaled=False)
    np.testing.assert_allclose(at_once.weight, divided.weight, atol=1e-9)


@pytest.mark.parametrize("kind", ["gap", "other truth", "two scales", "every second"])
def test_windows_that_do_not_follow_each_other_are_summed_one_by_one(kind):
    values, scale = series(length=400), np.full((364, 1), 3.0)
    truth = values.copy()
    if kind == "gap":
        truth[200] = np.nan
    elif kind == "other truth":
        truth = values[::-1].copy()
    elif kind == "two scales":
        scale[100:] = 1.0
    (x, _), (_, y) = windows(values, 30, 7), windows(truth, 30, 7)
    if kind == "every second":
        x, y, scale = x[::2], y[::2], scale[::2]
    assert np.array_equal(
        fit_ridge([(x, y, scale)], penalties=[0.1], scaled=False).weight,
        fit_ridge([(x.copy(), y.copy(), scale)], penalties=[0.1], scaled=False).weight,
    )


def test_windows_with_a_missing_value_are_left_out():
    values = series()
    gappy = values.copy()
    gappy[60] = np.nan
    x, y = windows(gappy, 10, 4)
    whole = [(np.delete(x, slice(47, 61), axis=0), np.delete(y, slice(47, 61), axis=0))]
    fitted = fit_ridge([(x, y)], penalties=[0.1])
    assert fitted.windows == len(x) - 14
    np.testing.assert_allclose(fitted.weight, fit_ridge(whole, penalties=[0.1]).weight, rtol=1e-10)


def test_validation_losses_are_the_errors_of_the_forecasts():
    x, y = windows(series(), 12, 4)
    train, later = (x[:100], y[:100]), (x[115:], y[115:])
    penalties = [1e-3, 1.0, 100.0]
    fitted = fit_ridge([train], validation=[later], penalties=penalties, scaled=False, refit=False)
    for penalty in penalties:
        alone = fit_ridge([train], penalties=[penalty], scaled=False)
        error = np.mean((later[1] - alone.predict(later[0])) ** 2)
        assert fitted.losses[12, penalty] == pytest.approx(error, rel=1e-9)
    assert fitted.penalty == min(penalties, key=lambda p: fitted.losses[12, p])


def test_look_backs_chosen_from_the_same_sums_equal_those_fitted_by_themselves():
    x, y = windows(series(), 24, 4)
    train, later = (x[:100], y[:100]), (x[115:], y[115:])
    lookbacks, penalties = [3, 12, 24], [0.01, 1.0]
    chosen = fit_ridge([train], validation=[later], penalties=penalties, lookbacks=lookbacks, scaled=False, refit=False)
    for length in lookbacks:
        alone = [(x[:100, -length:], y[:100])]
        for penalty in penalties:
            model = fit_ridge(alone, penalties=[penalty], scaled=False)
            error = np.mean((later[1] - model.predict(later[0][:, -length:])) ** 2)
            assert chosen.losses[length, penalty] == pytest.approx(error, rel=1e-9)
            if (length, penalty) == (chosen.weight.shape[1], chosen.penalty):
                np.testing.assert_allclose(chosen.weight, model.weight, rtol=1e-8, atol=1e-12)
    best = min(chosen.losses, key=lambda choice: chosen.losses[choice])
    assert best == (chosen.weight.shape[1], chosen.penalty)


def test_refit_uses_the_validation_windows_too():
    x, y = windows(series(), 10, 4)
    train, later = (x[:100], y[:100]), (x[115:], y[115:])
    both = fit_ridge([train, later], penalties=[0.1])
    np.testing.assert_allclose(fit_ridge([train], validation=[later], penalties=[0.1]).weight, both.weight, rtol=1e-9)
    without = fit_ridge([train], validation=[later], penalties=[0.1], refit=False)
    np.testing.assert_array_equal(without.weight, fit_ridge([train], penalties=[0.1]).weight)


def test_a_noiseless_season_is_forecast_exactly():
    values = np.tile([1.0, 5.0, -2.0, 7.0], 20)
    x, y = windows(values, 8, 6)
    np.testing.assert_allclose(fit_ridge([(x, y)], penalties=[1e-9]).predict(x), y, atol=1e-6)


@given(st.floats(-1e4, 1e4), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_a_shifted_and_stretched_window_gives_a_shifted_and_stretched_forecast(shift, unit):
    weight = np.random.default_rng(0).normal(size=(3, 6))
    for center in ("last", "mean"):
        model = Ridge(weight=weight, center=center, penalty=1.0, losses={}, windows=1)
        x = np.arange(12.0).reshape(2, 6) ** 2
        np.testing.assert_allclose(
            model.predict(unit * x + shift), unit * model.predict(x) + shift, rtol=1e-9, atol=1e-6
        )


def test_windows_are_views_of_the_series():
    values = series()
    x, y = windows(values, 10, 4)
    assert np.shares_memory(x, values)
    assert len(x) == 200 - 14 + 1
    np.testing.assert_array_equal(x[5], values[5:15])
    np.testing.assert_array_equal(y[5], values[15:19])
    assert windows(values[:13], 10, 4)[0].shape == (0, 10)


def test_constant_windows_say_nothing_and_break_nothing():
    x, y = windows(series(), 10, 4)
    flat = np.full((30, 10), 4.0), np.full((30, 4), 4.0)
    np.testing.assert_allclose(
        fit_ridge([(x, y), flat], penalties=[0.1]).weight, fit_ridge([(x, y)], penalties=[0.1]).weight, rtol=1e-10
    )
    np.testing.assert_array_equal(fit_ridge([flat], penalties=[0.1]).predict(flat[0]), flat[1])


X, Y = windows(series(), 10, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"penalties": []}, "penalties: expected at least one"),
        ({"penalties": [0.0]}, "penalties: expected at least one, all above 0"),
        ({"center": "median"}, "center: expected 'last' or 'mean', got 'median'"),
        ({"lookbacks": [5, 11]}, "lookbacks: expected lengths from 1 to 10"),
        ({"lookbacks": [5], "center": "mean"}, "lookbacks: expected none with center='mean'"),
    ],
)
def test_settings_outside_their_range_are_refused(arguments, words):
    with pytest.raises(SettingError, match=words):
        fit_ridge([(X, Y)], **arguments)


def test_no_complete_window_is_refused():
    with pytest.raises(HistoryError, match="expected at least one complete window"):
        fit_ridge([(np.full((3, 10), np.nan), np.zeros((3, 4)))])
    with pytest.raises(HistoryError):
        fit_ridge([])


def test_blocks_and_windows_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"block: expected windows"):
        fit_ridge([(X[:5], Y[:4])])
    with pytest.raises(ShapeError, match="expected windows of 10 values"):
        fit_ridge([(X, Y)]).predict(np.zeros((2, 9)))
