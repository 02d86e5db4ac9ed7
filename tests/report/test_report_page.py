"""The report: its figures hold the backtest's numbers, it loads nothing, and it stays small."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest

from carrousel.data.frequency import Frequency
from carrousel.metrics import mae
from carrousel.report import write_report
from carrousel.report.evidence import digits, percent
from carrousel.report.figure import numbers
from carrousel.tasks.forecast import Forecaster
from reported import HOSTILE, read, synthetic, written


def test_figures_hold_the_errors_of_the_backtest(page, result):
    _, _, data = read(page)
    by_step = {mark["name"]: mark["y"] for mark in data["figures"]["by-step"]["marks"]}
    expected = np.abs(result.y - result.forecasts["ridge"]).mean(axis=(0, 2))
    np.testing.assert_allclose(by_step["Ridge"], expected, rtol=1e-3)
    by_series = {mark["name"]: mark["x"] for mark in data["figures"]["by-series"]["marks"]}
    second = result.series == 1
    np.testing.assert_allclose(
        by_series["Carrousel"][1], mae(result.y[second], result.forecasts["Carrousel"][second]), rtol=1e-3
    )


def test_calibration_figures_count_truths_below_quantiles_and_inside_bands(page, result):
    _, parsed, data = read(page)
    observed = (result.y[..., None] <= result.quantile_forecasts).mean(axis=(0, 1, 2))
    marks = data["figures"]["reliability"]["marks"]
    np.testing.assert_allclose(marks[1]["y"], observed, atol=1e-4)
    inside = (result.quantile_forecasts[..., 0] <= result.y) & (result.y <= result.quantile_forecasts[..., -1])
    lines = {mark["name"]: mark["y"] for mark in data["figures"]["coverage"]["marks"] if "name" in mark}
    np.testing.assert_allclose(lines["90% band"], 100 * inside.mean(axis=(0, 2)), atol=1e-2)
    np.testing.assert_allclose(
        np.array(data["figures"]["pit"]["marks"][0]["y"]) * np.diff([0, *result.quantiles, 1]),
        np.diff([0, *observed, 1]),
        atol=1e-3,
    )
    assert ["5%", percent(observed[0])] in [row[:2] for row in parsed.rows]


def test_the_viewer_holds_forecasts_bands_and_truth_of_the_chosen_windows(page, result):
    _, _, data = read(page)
    view = data["viewer"]
    assert [line["name"] for line in view["lines"]] == ["s0", "s1"]
    line = view["lines"][1]
    windows = np.flatnonzero(result.series == 1)
    errors = np.abs(result.y - result.forecasts["Carrousel"])[windows].mean(axis=(1, 2))
    drawn = [w["when"] for w in line["windows"]]
    for pick, n in (
        ("best", errors.argmin()),
        ("worst", errors.argmax()),
        ("typical", errors.argsort()[len(errors) // 2]),
    ):
        window = line["windows"][line["picks"][pick]]
        n = windows[n]
        np.testing.assert_allclose(window["y"], result.y[n, :, 0], atol=1e-3)
        np.testing.assert_allclose(window["forecasts"][0], result.forecasts["Carrousel"][n, :, 0], atol=1e-3)
        np.testing.assert_allclose(window["bands"][0][0], result.quantile_forecasts[n, :, 0, 0], atol=1e-3)
        assert window["x"][-12:] == result.ds[n].astype(np.int64).tolist()
        assert f"Carrousel misses by {digits(errors[n - windows[0]])} on average" in window["text"]
    assert drawn == sorted(drawn)


def test_latency_and_model_facts_are_shown(page, model):
    text, _, data = read(page)
    assert "108 µs in the median, 99% within 116 µs, over 300 rows" in text
    assert sum(data["figures"]["latency"]["marks"][0]["y"]) >= 0.99 * 300 - 1
    assert f"<dd>{model.num_parameters:,}</dd>" in text
    assert "in the folder model" in text
    assert f"<dd>{model.fitted.sizes.look_back} rows, read {model.fitted.sizes.patch} at a time</dd>" in text
    assert [mark["name"] for mark in data["figures"]["loss"]["marks"] if "name" in mark] == ["training", "validation"]
    assert data["figures"]["loss"]["marks"][1]["y"] == numbers([row.validation_loss for row in model.history.rows])


def test_a_long_tail_of_latencies_does_not_hide_the_rest(model, tmp_path):
    slow = np.where(np.arange(400) % 20, 100.0 + 20 * (np.arange(400) % 7), 9000.0)
    _, _, data = written(tmp_path, model, synthetic(), latency_us=slow)
    spec = data["figures"]["latency"]
    assert spec["x"]["kind"] == "log"
    assert sum(spec["marks"][0]["y"]) == 400
    assert max(spec["marks"][0]["y"]) < 200
    assert [mark["text"] for mark in spec["marks"][1:]] == ["median 160 µs", "99% below 9.00 ms"]


def test_a_model_loaded_from_a_file_has_no_training_curves_and_says_so(model, result, tmp_path):
    loaded = Forecaster.load(model.save(tmp_path / "model"))
    text, _, data = written(tmp_path, loaded, result)
    assert "loaded from a file" in text
    assert "loss" not in data["figures"]
    assert "latency" not in data["figures"]


def test_names_are_text_never_markup(model, tmp_path):
    backtest = synthetic(names=HOSTILE)
    backtest = dataclasses.replace(
        backtest, panel=dataclasses.replace(backtest.panel, target_names=(HOSTILE,)), notes=(HOSTILE,)
    )
    text, parsed, data = written(tmp_path, model, backtest, title=HOSTILE, facts={HOSTILE: HOSTILE})
    assert "<script>alert" not in text
    assert text.count("<script") == 3
    assert parsed.loads == []
    assert data["viewer"]["lines"][0]["name"] == f"{HOSTILE}0"
    assert data["viewer"]["target"] == HOSTILE


def test_the_page_loads_nothing_and_forbids_everything_but_its_own_script(page):
    text, parsed, _ = read(page)
    assert parsed.loads == []
    assert "default-src 'none'" in text
    assert "unsafe-inline'; script-src 'sha256-" in text
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    assert page.stat().st_size < 1_000_000


def test_five_hundred_series_are_drawn_in_part_and_listed_in_full(model, tmp_path):
    backtest = synthetic(series=500, windows=4)
    text, parsed, data = written(tmp_path, model, backtest)
    assert "30 of 500 series are drawn" in text
    assert len(data["viewer"]["lines"]) == 30
    assert len(data["figures"]["by-series"]["y"]["labels"]) == 24
    assert sum(bool(re.fullmatch(r"s\d+", row[0])) for row in parsed.rows) == 500
    assert "on 500 of 500 series" in text
    assert (tmp_path / "r.html").stat().st_size < 3_000_000


def test_long_horizons_and_many_windows_stay_small(model, tmp_path):
    written(tmp_path, model, synthetic(series=40, windows=12, horizon=30))
    backtest = synthetic(series=3, windows=20, horizon=38)
    text, _, data = written(tmp_path, model, backtest)
    shown = sum(len(line["windows"]) for line in data["viewer"]["lines"])
    assert f"{shown} of 60 are drawn" in text
    assert shown <= 14 * 3
    assert (tmp_path / "r.html").stat().st_size < 3_000_000


@pytest.mark.parametrize("integer", [False, True])
def test_one_series_one_step_and_integer_time_work(model, tmp_path, integer):
    backtest = synthetic(series=1, windows=1, horizon=1)
    if integer:
        ds = np.arange(len(backtest.panel.ds))
        panel = dataclasses.replace(backtest.panel, ds=ds)
        rows = backtest.origins[:, None]
        backtest = dataclasses.replace(
            backtest, panel=panel, ds=rows, cutoff=rows[:, 0] - 1, frequency=Frequency.parse("1")
        )
        dated = dataclasses.replace(model.fitted.context, ds=np.arange(len(model.fitted.context.ds)) - 10_000)
        model = SimpleNamespace(
            fitted=dataclasses.replace(model.fitted, context=dated),
            **{
                name: getattr(model, name)
                for name in ("history", "settings", "notes", "num_parameters", "nbytes", "training_seconds")
            },
        )
    text, _, data = written(tmp_path, model, backtest)
    assert "Measured on 1 test window, each forecasting 1 step (" in text
    assert data["viewer"]["time"] is not integer
    assert data["viewer"]["lines"][0]["windows"][0]["when"] == ("38" if integer else "2024-01-02 14:00")


def test_the_folder_is_made_and_an_old_report_replaced(model, tmp_path):
    path = tmp_path / "new" / "r.html"
    for title in ("First", "Second"):
        assert write_report(path, forecaster=model, backtest=synthetic(), title=title) == path
    assert "<h1>Second</h1>" in path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]
