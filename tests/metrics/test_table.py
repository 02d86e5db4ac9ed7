"""The table: every model on the same windows, whatever each of them failed on."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.errors import ShapeError
from carrousel.metrics import common, mae, mase, per_horizon, per_series, score_table

RNG = np.random.default_rng(1)
Y = RNG.normal(size=(5, 3, 2))


def forecasts() -> dict[str, np.ndarray]:
    good, gappy, failed = Y + 1, Y + 2, np.full_like(Y, np.nan)
    gappy[1, 2, 0] = np.nan
    gappy[4] = np.nan
    return {"good": good, "gappy": gappy, "failed": failed}


def test_common_windows_are_those_of_every_model_that_forecast_at_all():
    assert common(forecasts()).tolist() == [True, False, True, True, False]


def test_nothing_is_common_where_every_model_failed():
    assert common({"failed": np.full((2, 3, 1), np.nan)}).tolist() == [False, False]


def test_table_scores_all_models_on_the_common_windows_only():
    models = forecasts()
    models["good"][1] += 100  # a window that is left out must not count
    table = score_table(Y, models)
    assert (table.windows, table.windows_given, table.missing) == (3, 5, 0)
    assert table.rows["good"]["mae"] == pytest.approx(1)
    assert table.rows["gappy"]["mse"] == pytest.approx(4)
    assert table.rows["gappy"]["rmse"] == pytest.approx(2)
    assert np.isnan(table.rows["failed"]["mae"])


def test_table_counts_missing_truths_and_windows_without_a_scale():
    y = Y.copy()
    y[0, 0, 0] = np.nan
    scale = np.ones((5, 2)) * 2
    scale[2, 1] = 0
    table = score_table(y, forecasts(), scale=scale)
    assert (table.missing, table.unscaled) == (1, 1)
    assert table.rows["good"]["mase"] == pytest.approx(0.5)


def test_table_scores_quantile_forecasts_by_level():
    quantiles = np.array([0.05, 0.5, 0.95])
    bands = Y[..., None] + np.array([-1.0, 0.5, 2.0])
    table = score_table(Y, {"good": Y + 0.5}, quantile_forecasts={"good": bands}, quantiles=quantiles, levels=(90,))
    row = table.rows["good"]
    assert row["coverage-90"] == 1.0
    assert row["width-90"] == pytest.approx(3)
    assert row["interval_score-90"] == pytest.approx(3)
    # 2·(0.275·0.05·1 + 0.45·0.5·0.5 + 0.275·0.05·2): each quantile's loss times the width of its cell
    assert row["crps"] == pytest.approx(2 * (0.275 * 0.05 * 1 + 0.45 * 0.25 + 0.275 * 0.05 * 2))


def test_forecasts_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"forecasts\['short'\]: expected the shape of y \(5, 3, 2\), got \(5, 2, 2\)"):
        score_table(Y, {"short": Y[:, :2]})


def test_quantiles_of_a_model_without_a_point_forecast_are_refused():
    with pytest.raises(ShapeError, match="other"):
        score_table(Y, {"good": Y}, quantile_forecasts={"other": Y[..., None]}, quantiles=[0.5])


def test_per_series_pools_the_windows_of_each_series():
    series = np.array([7, 2, 7, 2, 2])
    scores = per_series(mae, series, Y, np.zeros_like(Y))
    assert list(scores) == [2, 7]
    assert scores[7] == pytest.approx(np.abs(Y[[0, 2]]).mean())


def test_per_horizon_scores_each_step_and_hands_a_scale_over_whole():
    scale = np.full((5, 1, 2), 4.0)
    np.testing.assert_allclose(per_horizon(mase, Y, np.zeros_like(Y), scale), np.abs(Y).mean(axis=(0, 2)) / 4)
