"""The report: its numbers are the backtest's, it loads nothing, runs nothing but itself, and works in a browser."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import browser
from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.metrics import mae, rmse
from carrousel.report import write_report
from carrousel.report.evidence import Evidence, digits, duration, percent
from carrousel.report.figure import numbers
from carrousel.tasks.backtest import Backtest, mase_scales, truth
from carrousel.tasks.forecast import Forecaster
from small import SMALL, head, table

HOSTILE = "<script>alert('x')</script> & \"co\" </script>"
needs_browser = pytest.mark.skipif(browser.installed() is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def model() -> Forecaster:
    long = table()
    return Forecaster(**SMALL, past="p").fit(head(long, long["ds"] < long["ds"][300]))


@pytest.fixture(scope="module")
def result(model: Forecaster) -> Backtest:
    return model.backtest(table(), windows=7, step=13)


@pytest.fixture(scope="module")
def page(model: Forecaster, result: Backtest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    saved = model.save(folder / "model")
    latency_us = 100.0 + np.arange(300) % 17
    return write_report(
        folder / "report.html", forecaster=model, backtest=result, latency_us=latency_us, artifact=saved
    )


def synthetic(*, series: int = 2, targets: int = 1, windows: int = 5, horizon: int = 4, names: str = "s") -> Backtest:
    """A backtest whose own forecast is off by 1, its naive one by 2, and whose bands reach 1.5 and 3 to each side."""
    rows = 40 + windows
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(rows) / 3)[None, :, None] + rng.standard_normal((series, rows, targets))
    panel = Panel(
        ids=tuple(f"{names}{s}" for s in range(series)),
        starts=np.arange(series + 1) * rows,
        ds=np.tile(np.datetime64("2024-01-01", "s") + np.arange(rows) * np.timedelta64(3600, "s"), series),
        target=wave.reshape(-1, targets),
        past=np.empty((series * rows, 0)),
        future=np.empty((series * rows, 0)),
        static=np.empty((series, 0)),
        target_names=tuple(f"t{k}" for k in range(targets)),
    )
    owner = np.repeat(np.arange(series), windows)
    origins = np.tile(40 - horizon + np.arange(windows), series)
    y = truth(panel, owner, origins, horizon)
    stamps = panel.ds[(panel.starts[owner] + origins)[:, None] + np.arange(-1, horizon)]
    own = y + np.where(np.arange(len(y)) % 2, 1.0, -1.0)[:, None, None]
    return Backtest(
        panel=panel,
        frequency=Frequency.parse("h"),
        season=24,
        horizon=horizon,
        levels=(50.0, 90.0),
        series=owner,
        origins=origins,
        ds=stamps[:, 1:],
        cutoff=stamps[:, 0],
        y=y,
        forecasts={"Carrousel": own, "naive": y + 2, "seasonal_naive": y - 4, "ridge": y + 1.5},
        quantiles=(0.05, 0.25, 0.5, 0.75, 0.95),
        quantile_forecasts=own[..., None] + np.array([-3.0, -1.5, 0.0, 1.5, 3.0]),
        scale=mase_scales(panel, owner, origins, 1),
    )


class Page(HTMLParser):
    """Tags that are open and closed, attributes that load something, and the rows of every table."""

    VOID = ("meta", "input", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "tags that were never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.loads += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def read(path: Path) -> tuple[str, Page, dict]:
    """The text of a report, its parsed tags, and the data of its figures."""
    text = path.read_text("utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    return text, Page(text), json.loads(data[1])


def lead(text: str) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', text)
    assert found is not None
    return found[1]


def written(folder: Path, model: Forecaster, backtest: Backtest, **options: object) -> tuple[str, Page, dict]:
    return read(write_report(folder / "r.html", forecaster=model, backtest=backtest, **options))


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


def test_without_baselines_there_is_nothing_to_beat_and_the_report_says_so(model, tmp_path):
    backtest = synthetic()
    alone = dataclasses.replace(backtest, forecasts={"Carrousel": backtest.forecasts["Carrousel"]})
    text, _, _ = written(tmp_path, model, alone)
    assert lead(text) == "Carrousel’s forecasts miss by 1.00 on average (MAE); no naive baseline was run."


def test_the_folder_is_made_and_an_old_report_replaced(model, tmp_path):
    path = tmp_path / "new" / "r.html"
    for title in ("First", "Second"):
        assert write_report(path, forecaster=model, backtest=synthetic(), title=title) == path
    assert "<h1>Second</h1>" in path.read_text("utf-8")
    assert list(path.parent.iterdir()) == [path]


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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@needs_browser
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_drawn_without_complaint_and_without_scrolling_sideways(chromium, page, width):
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(page, width=width)
    assert chromium.value("document.documentElement.dataset.drawn") == "yes"
    assert chromium.value("document.querySelectorAll('.chart > svg').length") == 9
    assert chromium.value("document.querySelectorAll('.chart path.line.s-carrousel').length") >= 6
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.complaints == []
    assert chromium.requests == [page.resolve().as_uri()]


@needs_browser
def test_choosing_series_and_origin_shows_that_window(chromium, page):
    chromium.open(page)
    _, _, data = read(page)
    line = data["viewer"]["lines"][1]

    def shown() -> str:
        return chromium.value("document.querySelector('[data-part=window]').textContent")

    def do(part: str, action: str) -> None:
        chromium.value(f"(e => {{ {action} }})(document.querySelector('[data-part={part}]'))")

    do("series", "e.value = 1; e.dispatchEvent(new Event('change'))")
    assert shown() == line["windows"][line["picks"]["typical"]]["text"]
    do("worst", "e.click()")
    assert shown() == line["windows"][line["picks"]["worst"]]["text"]
    do("origin", "e.value = 0; e.dispatchEvent(new Event('input'))")
    assert shown() == line["windows"][0]["text"]
    do("later", "e.click()")
    assert shown() == line["windows"][1]["text"]
    drawn = "document.querySelector('#viewer .chart path.line.s-carrousel').getAttribute('d')"
    before = chromium.value(drawn)
    do("later", "e.click()")
    assert chromium.value(drawn) != before


@needs_browser
def test_pointing_at_a_figure_tells_the_numbers(chromium, page, result):
    chromium.open(page)
    chromium.value(
        "(s => { const b = s.getBoundingClientRect(); s.dispatchEvent(new PointerEvent('pointermove',"
        " { clientX: b.right - 14, clientY: b.top + 50 })); })(document.querySelector('#by-step > svg'))"
    )
    tip = chromium.value("document.querySelector('#by-step .tip').innerText")
    last = mae(result.y[:, -1], result.forecasts["Carrousel"][:, -1])
    assert tip.startswith("12 steps ahead")
    assert re.search(rf"Carrousel\s+{re.escape(digits(last))}", tip)


@needs_browser
def test_a_hostile_name_is_shown_as_it_is_and_runs_nothing(chromium, model, tmp_path):
    write_report(tmp_path / "r.html", forecaster=model, backtest=synthetic(names=HOSTILE), title=HOSTILE)
    chromium.complaints.clear()
    chromium.open(tmp_path / "r.html")
    assert chromium.value("document.querySelector('[data-part=series] option').textContent") == f"{HOSTILE}0"
    assert chromium.value("document.querySelector('h1').textContent") == HOSTILE
    assert chromium.complaints == []
