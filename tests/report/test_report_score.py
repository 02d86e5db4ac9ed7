"""The report: its scores are the backtest's, and its sentences say what they say."""

import dataclasses
import re

import numpy as np
import pytest

from carrousel.metrics import rmse
from carrousel.report.evidence import Evidence, digits, duration, percent
from carrousel.report.figure import numbers
from reported import lead, read, synthetic, written
from small import table


def test_scores_in_the_table_are_those_of_the_backtest(page, result):
    _, parsed, _ = read(page)
    rows = {row[0]: row[1:] for row in parsed.rows if len(row) == 7}
    shown = {"Carrousel": "Carrousel", "naive": "Naive", "seasonal_naive": "Seasonal naive", "ridge": "Ridge"}
    scores = result.table()
    assert scores.windows == 14
    for model, name in shown.items():
        score = scores.rows[model]
        expected = [digits(score[column]) for column in ("mae", "rmse", "mase")] + [f"{digits(score['smape'])}%"]
        assert rows[name][:4] == expected


def test_every_winner_and_nobody_else_is_marked(model, tmp_path):
    backtest = synthetic()
    text, _, _ = written(tmp_path, model, backtest)
    own = re.search(r'<tr class="own">.*?</tr>', text)
    assert own is not None
    assert re.findall(r'<td class="win">(.*?)</td>', own[0])[:2] == ["1.00", "1.00"]
    assert text.count('<td class="win">') == 5


def test_the_headline_says_by_how_much_naive_is_beaten(model, tmp_path):
    text, _, _ = written(tmp_path, model, synthetic())
    assert lead(text) == (
        "Carrousel’s forecasts miss by 50% less than the best naive baseline, which repeats the last value: "
        "MAE 1.00 against 2.00."
    )
    assert "The strongest other baseline is Ridge with 1.50." in text
    assert "The 90% band held 100% of the truths, the 50% band 100%." in text


def test_the_headline_says_plainly_that_a_baseline_wins(model, tmp_path):
    backtest = synthetic()
    worse = {**backtest.forecasts, "Carrousel": backtest.y + 3, "ridge": backtest.y + 0.5}
    text, _, _ = written(tmp_path, model, dataclasses.replace(backtest, forecasts=worse))
    assert lead(text) == (
        "A naive baseline wins: repeating the last value misses by less than Carrousel, MAE 3.00 against 2.00."
    )
    assert "Another baseline does better than Carrousel: Ridge with 0.500. On these data, prefer it." in text
    assert 'class="verdict bad"' in text


def test_a_difference_below_one_per_cent_is_called_none(model, tmp_path):
    backtest = synthetic()
    equal = {**backtest.forecasts, "Carrousel": backtest.y + 1.99}
    text, _, _ = written(tmp_path, model, dataclasses.replace(backtest, forecasts=equal))
    assert lead(text).startswith("Carrousel is no better than the best naive baseline")


def test_windows_that_only_some_models_forecast_are_left_out_and_said(model, tmp_path):
    backtest = synthetic(series=1, windows=6)
    slow = backtest.y + 9.0
    slow[2:] = np.nan
    forecasts = {**backtest.forecasts, "ets": slow, "theta": np.full_like(slow, np.nan)}
    own = backtest.y + np.array([1, 1, 5, 5, 5, 5.0])[:, None, None]
    text, parsed, _ = written(tmp_path, model, dataclasses.replace(backtest, forecasts=forecasts | {"Carrousel": own}))
    assert "MAE 1.00 against 2.00" in lead(text)
    assert "on all 6 windows it is 3.67 against 2.00" in text
    assert "2 of 6 windows were forecast by every model." in text
    assert "Theta" not in {row[0] for row in parsed.rows}


def test_rows_that_the_model_had_seen_are_owned_up_to(model, tmp_path):
    unfair = model.backtest(table(), windows=12, step=12)
    first = unfair.ds[:, 0] <= model.fitted.context.ds.max()
    assert 0 < first.sum() < len(first)
    text, _, _ = written(tmp_path, model, unfair)
    assert f"Caution: {first.sum()} windows hold rows that the model had seen" in text
    assert "none of which the bands were calibrated on" not in text
    assert "Nothing in the model was chosen" not in text


def test_a_fair_test_is_called_one(page):
    text, _, _ = read(page)
    assert "Caution" not in text
    assert "Measured on 14 windows, none of which the bands were calibrated on." in text
    assert "Nothing in the model was chosen on these windows" in text
    assert "Where the parts end was up to whoever split the table." in text


def test_joint_targets_are_compared_in_mase_and_drawn_one_by_one(model, tmp_path):
    backtest = synthetic(series=1, targets=3)
    text, _, data = written(tmp_path, model, backtest)
    assert "MASE" in lead(text)
    assert [line["name"] for line in data["viewer"]["lines"]] == ["t0", "t1", "t2"]
    assert data["figures"]["by-series"]["y"]["labels"] == ["t0", "t1", "t2"]
    two = synthetic(series=2, targets=2)
    _, _, data = written(tmp_path, model, two)
    assert data["figures"]["by-series"]["y"]["labels"] == ["s0 · t0", "s0 · t1", "s1 · t0", "s1 · t1"]


def test_series_of_different_size_are_compared_in_mase(model, tmp_path):
    backtest = synthetic()
    scale = np.where(backtest.series == 0, 1.0, 50.0)[:, None]
    text, _, _ = written(tmp_path, model, dataclasses.replace(backtest, scale=scale))
    assert "MASE" in lead(text)


def test_without_baselines_there_is_nothing_to_beat_and_the_report_says_so(model, tmp_path):
    backtest = synthetic()
    alone = dataclasses.replace(backtest, forecasts={"Carrousel": backtest.forecasts["Carrousel"]})
    text, _, _ = written(tmp_path, model, alone)
    assert lead(text) == "Carrousel’s forecasts miss by 1.00 on average (MAE); no naive baseline was run."


def test_missing_truths_are_left_out_and_counted(model, tmp_path):
    backtest = synthetic()
    y = backtest.y.copy()
    y[0, :2] = np.nan
    y[3] = np.nan
    text, _, data = written(tmp_path, model, dataclasses.replace(backtest, y=y))
    assert "6 truths were never observed and left out." in text
    assert "MAE 1.00 against 2.00" in lead(text)
    assert None in [v for window in data["viewer"]["lines"][0]["windows"] for v in window["y"]]
    assert any("no truth to compare with" in window["text"] for window in data["viewer"]["lines"][0]["windows"])


def test_pinball_scores_the_bands_and_a_point_forecast_as_if_certain(result):
    evidence = Evidence(result)
    quantiles = np.array(result.quantiles)
    error = result.y - result.forecasts["naive"]
    each = [np.maximum(q * error, (q - 1) * error).mean() for q in quantiles]
    assert evidence.table["naive"]["pinball"] == pytest.approx(np.mean(each))
    error = result.y[..., None] - result.quantile_forecasts
    assert evidence.table["Carrousel"]["pinball"] == pytest.approx(
        np.maximum(quantiles * error, (quantiles - 1) * error).mean()
    )
    assert evidence.table["naive"]["rmse"] == pytest.approx(rmse(result.y, result.forecasts["naive"]))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1,234"), (0.01234, "0.0123"), (-3.456, "−3.46"), (np.nan, "–"), (2e-9, "2.00e−09")],
)
def test_numbers_read_well(value, text):
    assert digits(value) == text


def test_short_times_and_shares_read_well():
    assert [duration(12.34), duration(999.4), duration(1524)] == ["12.3 µs", "999 µs", "1.52 ms"]
    assert [percent(0.9), percent(0.8766), percent(np.nan)] == ["90%", "87.7%", "–"]
    assert numbers([1.0, np.nan, 0.12344], 1.0) == [1, None, 0.1234]
