"""Baselines: values by hand and from the M4 workbook, causality, the budget, and series that make methods fail."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from carrousel.errors import HistoryError, MissingExtraError, SettingError
from carrousel.metrics import mae, mase, naive_scale, owa, score_table, smape
from carrousel.tasks import baseline
from carrousel.tasks.baseline import NAMES, baselines, fit_series, interpolate, naive, naive2, seasonal_naive

RNG = np.random.default_rng(0)
T = np.arange(300)
SEASONAL = 10 + 3 * np.sin(2 * np.pi * T / 12) + 0.01 * T + 0.3 * RNG.normal(size=300)
TABLE = np.stack([np.r_[SEASONAL, 5 * SEASONAL[:200]], np.r_[-SEASONAL, SEASONAL[:200] ** 2]], axis=1)  # (500, 2)
STARTS = np.array([0, 300, 500])
ORIGINS = np.array([250, 260, 270, 280, 460, 470, 480])


Y = np.stack([TABLE[origin : origin + 12] for origin in ORIGINS])


def run(**arguments):
    return baselines(TABLE, STARTS, ORIGINS, **{"horizon": 12, "season": 12, **arguments})


def test_naive_repeats_the_last_value_and_seasonal_naive_the_last_season():
    history = np.array([1.0, 2.0, 3.0, 4.0])
    assert naive(history, 3).tolist() == [4.0, 4.0, 4.0]
    assert seasonal_naive(history, 5, 3).tolist() == [2.0, 3.0, 4.0, 2.0, 3.0]
    assert seasonal_naive(history, 2, 9).tolist() == [4.0, 4.0]


def test_naive2_of_a_multiplicative_season_repeats_it_at_the_last_level():
    index = np.array([0.5, 1.0, 1.5, 1.0])
    history = 20 * np.tile(index, 12)[:46]
    np.testing.assert_allclose(naive2(history, 5, 4), 20 * index[[2, 3, 0, 1, 2]], rtol=1e-12)


def test_naive2_is_naive_without_a_season_or_with_values_that_have_no_ratio():
    noise = np.random.default_rng(1).normal(50, 1, 120)
    np.testing.assert_array_equal(naive2(noise, 3, 12), naive(noise, 3))
    np.testing.assert_array_equal(naive2(SEASONAL - 30, 3, 12), naive(SEASONAL - 30, 3))
    np.testing.assert_array_equal(naive2(np.full(120, 7.0), 3, 12), np.full(3, 7.0))


def m4_hourly() -> tuple[list[np.ndarray], np.ndarray]:
    root = Path(os.environ.get("CARROUSEL_DATA", "")) / "m4"
    if not (root / "Train" / "Hourly-train.csv").exists():
        pytest.skip("M4 Hourly is not in $CARROUSEL_DATA")

    def rows(path: Path) -> list[np.ndarray]:
        with path.open(newline="") as file:
            return [np.array([float(v) for v in row[1:] if v]) for row in list(csv.reader(file))[1:]]

    return rows(root / "Train" / "Hourly-train.csv"), np.stack(rows(root / "Test" / "Hourly-test.csv"))


def test_naive2_and_seasonal_naive_on_m4_hourly_score_what_the_official_workbook_says():
    train, test = m4_hourly()
    scale = np.stack([naive_scale(history, 24) for history in train])[:, None]
    reference = np.stack([naive2(history, 48, 24) for history in train])
    scores = smape(test, reference), mase(test, reference, scale)
    assert np.round(scores, 3).tolist() == [18.383, 2.395]
    seasonal = np.stack([seasonal_naive(history, 48, 24) for history in train])
    ours = smape(test, seasonal), mase(test, seasonal, scale)
    assert np.round(ours, 3).tolist() == [13.912, 1.193]
    relative = owa(*ours, naive2_smape=scores[0], naive2_mase=scores[1])
    assert relative == pytest.approx(0.627, abs=6e-4)  # the workbook divides figures that it has rounded


def test_every_baseline_forecasts_every_origin_and_target():
    result = run()
    assert tuple(result.forecasts) == NAMES == tuple(result.seconds)
    for name, forecast in result.forecasts.items():
        assert forecast.shape == (7, 12, 2), name
        assert np.isfinite(forecast).all(), name
    np.testing.assert_array_equal(result.forecasts["naive"][4, :, 1], np.full(12, TABLE[459, 1]))
    np.testing.assert_array_equal(result.forecasts["seasonal_naive"][1], TABLE[248:260])


def test_methods_that_know_the_season_beat_the_naive_forecast():
    result = run()
    errors = {name: mae(Y, forecast) for name, forecast in result.forecasts.items()}
    assert all(errors[name] < 0.5 * errors["naive"] for name in ("seasonal_naive", "ets", "theta", "ridge")), errors


def test_a_baseline_sees_the_rows_before_its_origin_only():
    before = run()
    changed = TABLE.copy()
    changed[250:300] += 1000  # from the first origin of series 0 on
    changed[460:] -= 500  # from the first origin of series 1 on
    after = baselines(changed, STARTS, ORIGINS, horizon=12, season=12)
    for name in NAMES:
        np.testing.assert_array_equal(after.forecasts[name][[0, 4]], before.forecasts[name][[0, 4]], err_msg=name)
        assert not np.allclose(after.forecasts[name][1], before.forecasts[name][1]), name


def test_ridge_is_fitted_on_the_rows_allowed_only():
    changed = TABLE.copy()
    changed[150:250] = RNG.normal(size=(100, 2))
    arguments = {"horizon": 12, "season": 12, "models": ["ridge"]}
    # The window itself reaches into the changed rows, so compare forecasts from an origin that does not.
    early = np.array([140, 440])
    base = baselines(TABLE, STARTS, early, fit_rows=[140, 140], **arguments)
    same = baselines(changed, STARTS, early, fit_rows=[140, 140], **arguments)
    np.testing.assert_array_equal(same.forecasts["ridge"], base.forecasts["ridge"])
    other = baselines(changed, STARTS, early, fit_rows=[250, 140], **arguments)
    assert not np.allclose(other.forecasts["ridge"], base.forecasts["ridge"])


def test_budget_leaves_nan_at_the_same_origins_for_both_slow_methods_and_says_so():
    result = run(fits=6)
    for name in ("ets", "theta"):
        done = ~np.isnan(result.forecasts[name]).any(axis=(1, 2))
        assert done.tolist() == [True, False, False, True, False, False, True]
        assert f"{name} was run at 3 evenly spaced origins of 7, for its cost." in result.notes
    table = score_table(Y, result.forecasts)
    assert (table.windows, table.windows_given) == (3, 7)
    assert run(fits=None).forecasts["theta"].shape == (7, 12, 2)


def test_gaps_are_interpolated_from_the_history_alone_and_noted():
    gappy = TABLE.copy()
    gappy[100:110] = np.nan
    gappy[248:256] = np.nan  # across the first origin
    result = baselines(gappy, STARTS, ORIGINS, horizon=12, season=12)
    assert all(np.isfinite(forecast).all() for forecast in result.forecasts.values())
    np.testing.assert_array_equal(result.forecasts["naive"][0], np.broadcast_to(TABLE[247], (12, 2)))
    assert "Gaps in the history were interpolated linearly for the baselines." in result.notes


def test_interpolation_is_linear_inside_and_constant_at_the_ends():
    nan = np.nan
    assert interpolate(np.array([nan, 2.0, nan, nan, 5.0, nan])).tolist() == [2, 2, 3, 4, 5, 5]
    with pytest.raises(HistoryError, match="expected at least one observed value"):
        interpolate(np.full(3, nan))


def test_a_history_without_values_leaves_nan_and_a_note_and_the_others_whole():
    empty = TABLE.copy()
    empty[300:] = np.nan
    result = baselines(empty, STARTS, ORIGINS, horizon=12, season=12)
    for name, forecast in result.forecasts.items():
        assert np.isfinite(forecast[:4]).all(), name
        assert np.isnan(forecast[4:]).all(), name
    assert any(note.startswith("naive failed on 6 of 14 histories") for note in result.notes)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
def test_a_constant_series_is_forecast_as_constant(value):
    result = baselines(np.full((120, 1), value), [0, 120], [100, 105], horizon=6, season=12)
    for name, forecast in result.forecasts.items():
        np.testing.assert_allclose(forecast, value, atol=1e-9, err_msg=name)


def test_a_very_short_history_fails_one_method_at_a_time():
    result = baselines(SEASONAL[:20, None], [0, 20], [2, 8], horizon=4, season=12)
    assert np.isfinite(result.forecasts["naive"]).all()
    assert np.isnan(result.forecasts["ets"][0]).all()
    assert any(note.startswith("ets failed on") for note in result.notes)
    assert np.isnan(result.forecasts["ridge"]).all()
    assert any(note.startswith("ridge was left out") for note in result.notes)


def test_a_series_shorter_than_the_look_back_is_padded_for_ridge():
    short = np.r_[TABLE[:300, 0], SEASONAL[:30]][:, None]
    result = baselines(short, [0, 300, 330], [250, 318], horizon=12, season=12, models=["ridge"], fit_rows=[250, 0])
    assert np.isfinite(result.forecasts["ridge"]).all()


def test_ridge_of_series_of_different_size_is_the_same_in_their_own_units():
    small = [SEASONAL, SEASONAL[::-1].copy()]
    model, scaled = fit_series(small, 12, 12), fit_series([small[0], 1e6 * small[1]], 12, 12)
    assert (model.penalty, model.weight.shape) == (scaled.penalty, scaled.weight.shape)
    np.testing.assert_allclose(scaled.weight, model.weight, rtol=1e-6, atol=1e-9)


def test_ridge_on_more_windows_than_needed_is_fitted_on_every_phase_of_the_season(monkeypatch):
    rows = np.arange(1000)
    daily = np.r_[1.0, 2, 8, 4, 0, 5, 1, 7, 3, 6, 2, 9][rows % 12]
    whole = fit_series([daily], 12, 12)
    lookback = whole.weight.shape[1]
    total = len(daily) - 240 - 12 + 1  # the longest look-back it tries is 20 seasons
    monkeypatch.setattr(baseline, "RIDGE_WINDOWS", total // 24)  # every 24th window would always be the same hour
    thinned = fit_series([daily], 12, 12)
    assert thinned.windows < whole.windows / 20
    x = np.stack([daily[700 + phase - thinned.weight.shape[1] : 700 + phase] for phase in range(12)])
    y = np.stack([daily[700 + phase : 712 + phase] for phase in range(12)])
    assert lookback == thinned.weight.shape[1]
    np.testing.assert_allclose(thinned.predict(x), y, atol=0.2)


def test_an_unknown_model_is_refused():
    with pytest.raises(SettingError, match=r"models: expected some of naive, .* got prophet"):
        run(models=["naive", "prophet"])


@pytest.mark.parametrize("origins", [[0], [300], [500], [-1]])
def test_an_origin_without_history_or_outside_the_table_is_refused(origins):
    with pytest.raises(SettingError, match="origins: expected rows of the table, 0 to 499"):
        baselines(TABLE, STARTS, origins, horizon=3, season=12)


@pytest.mark.parametrize("arguments", [{"horizon": 0}, {"season": 0}])
def test_a_horizon_or_season_below_one_is_refused(arguments):
    with pytest.raises(SettingError, match="horizon and season: expected at least 1 row"):
        run(**arguments)


def test_without_statsforecast_the_numpy_baselines_stand_and_the_rest_is_noted(monkeypatch):
    monkeypatch.setattr(baseline.importlib.util, "find_spec", lambda name: None)
    result = run()
    assert tuple(result.forecasts) == ("naive", "seasonal_naive", "ridge")
    assert any("statsforecast is not installed" in note for note in result.notes)


def test_ets_asked_for_by_name_without_statsforecast_says_which_extra_brings_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "statsforecast", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'carrousel\[train\]'"):
        run(models=["ets"])
