"""The forecaster end to end: what it promises a user, on tables small enough to train in seconds."""

import dataclasses

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from carrousel import errors
from carrousel.tasks.forecast import Forecaster
from carrousel.training import silent
from small import SMALL, head, table

COLUMNS = ["Carrousel", "Carrousel-lo-90", "Carrousel-lo-50", "Carrousel-hi-50", "Carrousel-hi-90"]


def test_predict_gives_a_horizon_of_rows_a_series_after_its_last(model, long_table):
    forecast = model.predict(long_table)
    assert list(forecast) == ["unique_id", "ds", *COLUMNS]
    assert forecast["unique_id"].tolist() == ["s0"] * 12 + ["s1"] * 12
    last = long_table["ds"].max()
    np.testing.assert_array_equal(forecast["ds"][:12], last + np.arange(1, 13) * np.timedelta64(3600, "s"))


def test_bands_lie_inside_each_other(model, long_table):
    forecast = model.predict(long_table)
    ordered = np.stack([forecast[name] for name in COLUMNS[1:]])
    assert (np.diff(ordered, axis=0) >= 0).all()


def test_predict_without_a_table_goes_on_from_the_training_data(model, long_table):
    for name, column in model.predict(long_table).items():
        np.testing.assert_array_equal(column, model.predict()[name])


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_predictions_come_back_in_the_kind_that_came_in(model, long_table, kind):
    pandas = pd.DataFrame({name: long_table[name] for name in ("unique_id", "ds", "y", "p")})
    frame = {"pandas": pandas, "polars": pl.from_pandas(pandas), "pyarrow": pa.Table.from_pandas(pandas)}[kind]
    forecast = model.predict(frame)
    assert type(forecast) is type(frame)
    np.testing.assert_array_equal(np.asarray(forecast["Carrousel"]), model.predict(long_table)["Carrousel"])


def test_a_shift_of_the_series_shifts_the_forecast_and_nothing_else(model, long_table):
    moved = model.predict(long_table | {"y": 1000 + long_table["y"]})
    for name, column in model.predict(long_table).items():
        if name.startswith("Carrousel"):
            np.testing.assert_allclose(moved[name], 1000 + column, rtol=1e-8)


def test_the_model_beats_the_seasonal_naive_on_a_noisy_wave(model):
    fresh = table(rows=500)
    result = model.backtest(fresh, windows=6, step=12)
    scores = result.table().rows
    assert scores["Carrousel"]["mae"] < 0.9 * scores["seasonal_naive"]["mae"]


def test_covariates_known_ahead_are_used(future_model, long_table):
    ahead = {
        "unique_id": np.repeat(np.array(["s0", "s1"], dtype=object), 12),
        "ds": np.tile(long_table["ds"].max() + np.arange(1, 13) * np.timedelta64(3600, "s"), 2),
        "f": np.zeros(24),
    }
    low = future_model.predict(long_table, future=ahead | {"f": np.full(24, -2.0)})["Carrousel"]
    high = future_model.predict(long_table, future=ahead | {"f": np.full(24, 2.0)})["Carrousel"]
    assert (high - low).mean() == pytest.approx(2.0, abs=0.5)


def test_covariates_not_known_ahead_are_asked_for_by_name(future_model, long_table):
    with pytest.raises(errors.ColumnError, match=r"f: expected a value known ahead for 12 rows.*series 's0' at"):
        future_model.predict(long_table)


def test_a_series_not_seen_in_training_is_forecast_too(model, long_table):
    renamed = long_table | {"unique_id": np.where(long_table["unique_id"] == "s0", "new", "s1").astype(object)}
    forecast = model.predict(renamed)
    assert sorted(set(forecast["unique_id"])) == ["new", "s1"]
    known = model.predict(long_table)
    of = lambda frame, name: frame["Carrousel"][frame["unique_id"] == name]  # noqa: E731
    np.testing.assert_array_equal(of(forecast, "s1"), of(known, "s1"))
    np.testing.assert_allclose(of(forecast, "new"), of(known, "s0"), atol=0.5)


def test_missing_values_are_forecast_through(long_table):
    y = long_table["y"].copy()
    y[np.random.default_rng(0).random(len(y)) < 0.2] = np.nan
    gappy = Forecaster(**SMALL).fit(long_table | {"y": y})
    assert gappy.fitted.learned.flag_missing
    forecast = gappy.predict()
    assert all(np.isfinite(forecast[name]).all() for name in COLUMNS)


def test_joint_targets_learn_from_each_other():
    rng = np.random.default_rng(0)
    cause = rng.standard_normal(1500)
    effect = np.concatenate([np.zeros(6), cause[:-6]])
    ds = np.datetime64("2024-01-01", "s") + np.arange(1500) * np.timedelta64(3600, "s")
    frame = {"ds": ds, "cause": cause, "effect": effect + 0.05 * rng.standard_normal(1500)}
    settings = {
        "horizon": 6,
        "look_back": 24,
        "hidden_size": 32,
        "max_steps": 400,
        "dropout": 0.0,
        "season": 6,
        "learning_rate": 5e-3,
    }
    errors_of = {}
    for joint in (True, False):
        table_ = Forecaster(**settings, joint=joint).fit(frame).cross_validation(frame, windows=40, step=1)
        chosen = table_["unique_id"] == "effect"
        errors_of[joint] = np.abs(table_["y"] - table_["Carrousel"])[chosen].mean()
    assert errors_of[True] < 0.8 * errors_of[False]


def test_cross_validation_shows_every_forecast_beside_its_truth(model, long_table):
    result = model.cross_validation(long_table, windows=3, step=5)
    assert list(result) == ["unique_id", "ds", "cutoff", "y", *COLUMNS]
    assert len(result["y"]) == 2 * 3 * 12
    lookup = {(i, d): y for i, d, y in zip(long_table["unique_id"], long_table["ds"], long_table["y"], strict=True)}
    assert all(lookup[i, d] == y for i, d, y in zip(result["unique_id"], result["ds"], result["y"], strict=True))
    assert len(np.unique(result["cutoff"])) == 3
    assert (result["ds"] > result["cutoff"]).all()


@pytest.mark.parametrize("refit", [False, True])
def test_cross_validation_never_sees_the_truth_it_forecasts(long_table, refit):
    settings = {**SMALL, "max_steps": 10}
    first = Forecaster(**settings).cross_validation(long_table, windows=2, step=4, refit=refit)
    y = long_table["y"].copy()
    late = long_table["ds"] > first["cutoff"].min()
    y[late] += 100
    changed = Forecaster(**settings).cross_validation(long_table | {"y": y}, windows=2, step=4, refit=refit)
    earliest = first["cutoff"] == first["cutoff"].min()
    np.testing.assert_array_equal(first["Carrousel"][earliest], changed["Carrousel"][earliest])
    assert not np.array_equal(first["Carrousel"][~earliest], changed["Carrousel"][~earliest])


def test_cross_validation_on_rows_after_training_keeps_the_model(long_table):
    early = long_table["ds"] < long_table["ds"].max() - np.timedelta64(40 * 3600, "s")
    trained = Forecaster(**SMALL).fit(head(long_table, early))
    result = trained.cross_validation(long_table, windows=2)
    again = trained.backtest(long_table, windows=2, step=1, baselines=False)
    np.testing.assert_array_equal(result["Carrousel"], again.forecasts["Carrousel"].ravel())
    assert not any("flatter" in note for note in again.notes)


def test_backtest_says_when_its_rows_were_trained_on(model, long_table):
    assert any("flatter" in note for note in model.backtest(long_table, windows=1, baselines=False).notes)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(long_table):
    settings = {**SMALL, "max_steps": 10}
    weights = [Forecaster(**settings, seed=seed).fit(long_table).fitted.weights for seed in (3, 3, 4)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not np.array_equal(weights[0]["head_0.weight"], weights[2]["head_0.weight"])


def test_an_ensemble_averages_networks_of_different_seeds(long_table):
    settings = {**SMALL, "max_steps": 10}
    pair = Forecaster(**settings, ensemble=2, seed=3).fit(long_table)
    single = [Forecaster(**settings, seed=seed).fit(long_table) for seed in (3, 4)]
    assert "head_1.weight" in pair.fitted.weights
    mean = np.mean([model.predict()["Carrousel"] for model in single], axis=0)
    np.testing.assert_allclose(pair.predict()["Carrousel"], mean, atol=1e-4)


def test_an_ensemble_that_was_interrupted_in_its_first_network_goes_on_to_the_same_weights(long_table, tmp_path):
    def stop(report):
        if report.step >= 20:
            raise KeyboardInterrupt

    settings = {**SMALL, "ensemble": 2}
    whole = Forecaster(**settings).fit(long_table, progress=silent)
    with pytest.raises(KeyboardInterrupt):
        Forecaster(**settings).fit(long_table, run_dir=tmp_path / "run", progress=stop)
    again = Forecaster(**settings).fit(long_table, run_dir=tmp_path / "run", resume=True, progress=silent)
    assert all(np.array_equal(v, again.fitted.weights[k]) for k, v in whole.fitted.weights.items())
    with pytest.raises(errors.SettingError, match="expected a checkpoint"):
        Forecaster(**settings).fit(long_table, run_dir=tmp_path / "none", resume=True, progress=silent)


def test_bands_cover_their_share_of_unseen_rows():
    rng = np.random.default_rng(5)
    ds = np.datetime64("2024-01-01", "s") + np.arange(3000) * np.timedelta64(3600, "s")
    y = np.sin(np.arange(3000) * 2 * np.pi / 24) + 0.3 * rng.standard_normal(3000)
    trained = Forecaster(**SMALL).fit({"ds": ds[:2000], "y": y[:2000]})
    row = trained.backtest({"ds": ds, "y": y}, windows=900, step=1, baselines=False).table().rows["Carrousel"]
    assert row["coverage-90"] == pytest.approx(0.9, abs=0.04)
    assert row["coverage-50"] == pytest.approx(0.5, abs=0.06)


def test_a_later_table_as_validation_is_the_same_as_a_share_of_one_table(long_table):
    settings = {**SMALL, "max_steps": 10}
    stamps = np.unique(long_table["ds"])
    early = long_table["ds"] < stamps[340]
    parted = Forecaster(**settings).fit(head(long_table, early), validation=head(long_table, ~early))
    whole = Forecaster(**settings).fit(long_table, validation=60 / 400)
    np.testing.assert_array_equal(parted.predict()["Carrousel"], whole.predict()["Carrousel"])


def test_continued_fit_moves_the_weights_and_the_end_of_the_data(long_table):
    early = long_table["ds"] < np.unique(long_table["ds"])[300]
    trained = Forecaster(**{**SMALL, "max_steps": 10}).fit(head(long_table, early))
    before, cutoff = dict(trained.fitted.weights), trained.predict()["ds"].min()
    trained.fit(head(long_table, ~early), continue_=True)
    assert trained.predict()["ds"].min() == cutoff + np.timedelta64(100 * 3600, "s")
    assert not np.array_equal(before["head_0.weight"], trained.fitted.weights["head_0.weight"])
    np.testing.assert_array_equal(before["maps.weight"], trained.fitted.weights["maps.weight"])


def test_continued_fit_on_old_rows_is_refused(model, long_table, tmp_path):
    model.save(tmp_path / "model")
    copy = Forecaster.load(tmp_path / "model")
    with pytest.raises(errors.HistoryError, match="expected rows later than those trained on"):
        copy.fit(long_table, continue_=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon"),
        ({"horizon": 12, "level": 90}, "level"),
        ({"horizon": 12, "levels": (90, 90)}, "expected different percentages"),
        ({"horizon": 12, "levels": (100,)}, "levels"),
        ({"horizon": 12, "dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(errors.SettingError, match=message):
        Forecaster(**settings)


def test_a_series_too_short_for_the_horizon_is_refused(long_table):
    short = long_table["ds"] < np.unique(long_table["ds"])[20]
    with pytest.raises(errors.HistoryError, match=r"got 20 rows at most; shorten the horizon"):
        Forecaster(**SMALL).fit(head(long_table, short))


def test_a_look_back_that_is_no_multiple_of_the_patch_names_the_nearest(long_table):
    with pytest.raises(errors.SettingError, match="expected a multiple of patch=24, got 50; 48 is the nearest"):
        Forecaster(**{**SMALL, "look_back": 50}).fit(long_table)


def test_using_a_model_before_fit_is_refused():
    with pytest.raises(errors.NotTrainedError, match="call fit"):
        Forecaster(horizon=3).predict()


def test_settings_are_documented_field_by_field():
    from carrousel.tasks.setting import ForecastSettings

    text = ForecastSettings.__doc__ or ""
    assert not [f.name for f in dataclasses.fields(ForecastSettings) if f.name not in text]
