"""The report about a detector: what it says is what was measured, and it is drawn whole, alone and safely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import browser
from carrousel.report.detect import write_detect_report
from carrousel.report.detect_figure import Line, false_times, thinned, ticks
from carrousel.tasks.detect_evaluate import OWN, Evaluation, evaluate
from carrousel.tasks.detect_setting import DetectSettings
from carrousel.tasks.detect_table import judge
from reported import HOSTILE, lead, read
from watcher import Detector, hourly

HOUR = np.timedelta64(3600, "s")
START = np.datetime64("2024-01-01", "s")


def told(*variables: str, **parts: object) -> Detector:
    """The miniature detector with what a report asks of a real one."""
    detector = hourly(*variables, **parts)
    detector.settings = DetectSettings(false_alarms="1/1000 rows", minutes=0)
    detector.num_parameters, detector.notes = 1234, ["frequency: hourly ('h')"]
    return detector


def frame(rows: int = 1500, name: str = "y") -> dict[str, np.ndarray]:
    y = np.random.default_rng(0).integers(0, 2, rows).astype(float)
    y[[400, 401, 900, 1300]] = 60
    y[700:720] = np.nan
    hour = np.arange(rows) + 30 * (np.arange(rows) > 1000)
    return {"ds": START + hour * HOUR, name: y}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    spans = {"start": START + np.array([395, 600]) * HOUR, "end": START + np.array([410, 610]) * HOUR}
    return evaluate(told(), frame(), spans)


def test_the_page_says_what_was_measured(evaluation, tmp_path):
    text, page, data = read(write_detect_report(tmp_path / "r.html", detector=told(), evaluation=evaluation))
    own = evaluation.scores[OWN]
    assert own.found == 1
    assert lead(text).startswith("Found 1 of 2 labelled anomalies, with ")
    assert "1.00 were promised" in lead(text)
    boards = [row for row in page.rows if row and row[0] == OWN]
    assert boards[0][1:3] == ["1 of 2", str(own.false_alarms)]
    assert boards[1][1] == str(own.false_alarms)
    for name in evaluation.scores:
        assert any(row and row[0] == name for row in page.rows)
    listed = [row for row in page.rows if row and row[0].isdecimal()]
    assert len(listed) == len(evaluation.judged.incidents)
    assert [row[-1] for row in listed].count("yes") == 1
    assert listed[0][1] == "2024-01-17 16:00"
    assert {"s0-0", "s0-0-r", "s0-0-t", "s0-score", "false-alarms", "calibration", "p-values"} <= set(data["figures"])
    assert "first 225 rows set the thresholds" in text
    assert page.loads == []


def test_figures_of_one_series_stand_below_each_other_and_residuals_have_a_scale(evaluation, tmp_path):
    _, _, data = read(write_detect_report(tmp_path / "r.html", detector=told(), evaluation=evaluation))
    figures = [spec for name, spec in data["figures"].items() if name.startswith("s0-")]
    assert len(figures) >= 4
    assert {spec["y"]["left"] for spec in figures} == {63}
    assert [label for _, label in data["figures"]["s0-0-r"]["y"]["ticks"]] == ["−50", "0", "50"]
    assert len(data["figures"]["s0-0-t"]["y"]["ticks"]) > 1


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (-46, 46, ["−40", "−20", "0", "20", "40"]),
        (-0.5, 0.3, ["−0.5", "0.0"]),
        (49.98, 50.31, ["50.0", "50.2"]),
        (1e6, 1.0009e6, ["1000000", "1000500"]),
        (-3e-4, -1e-5, ["−0.0002", "−0.0001"]),
    ],
)
def test_an_axis_has_two_ticks_at_least(low, high, texts):
    found = ticks(low, high)
    assert [text for _, text in found] == texts
    assert all(low <= at <= high for at, _ in found)


def test_a_rule_that_promises_no_rate_is_named_instead(evaluation, tmp_path):
    other = replace(evaluation, rule="where it is beyond all in the table")
    detector = told()
    detector.settings = DetectSettings(beyond=0.2)
    text, _, data = read(write_detect_report(tmp_path / "r.html", detector=detector, evaluation=other))
    assert "promised" not in lead(text)
    assert "It alarms where it is beyond all in the table, not at a promised rate (" in text
    for wrong in ("were promised", "promised and met", "keeps the promise", "the same promise", "agrees with the"):
        assert wrong not in text
    assert "were accepted from the naive detectors for each series" in text
    assert "accepted" in [mark["name"] for mark in data["figures"]["false-alarms"]["marks"]]


def test_members_that_read_covariates_are_explained_where_there_are_some(evaluation, tmp_path):
    text, _, _ = read(write_detect_report(tmp_path / "r.html", detector=told(), evaluation=evaluation))
    assert "sustained" not in text
    judged = replace(evaluation.judged, members=(*evaluation.judged.members, "residual", "sustained"))
    text, _, _ = read(write_detect_report(tmp_path / "r.html", detector=told(), judged=judged))
    assert "residual and sustained (the distance from what the covariates" in text


def test_false_alarms_are_drawn_as_they_are_counted(evaluation):
    for name, score in evaluation.scores.items():
        times = false_times(evaluation, name)
        assert len(times) == score.false_alarms
        assert (np.diff(times) >= 0).all()
        assert (times <= evaluation.watched).all()


def test_lines_break_where_rows_or_observations_are_missing(evaluation):
    judged = evaluation.judged
    rows = np.arange(690, 730)
    line = Line(judged, rows, 0)
    assert line.y(judged.values[rows, 0])[10:31] == [None] * 21
    across = np.arange(995, 1005)
    line = Line(judged, across, 0)
    y = line.y(judged.values[across, 0])
    assert y.index(None) == 6
    assert len(line.x) == len(y) == 11
    assert line.x == sorted(line.x)


def test_long_series_are_thinned_without_losing_peaks_and_alarms():
    long = frame(9000)
    judged = judge(told(), long)
    drawn = thinned(judged, np.arange(9000), 0)
    assert len(drawn) < 4000
    assert {400, 900, 1300} <= set(drawn.tolist())
    assert set(np.flatnonzero(judged.alarm)) <= set(drawn.tolist())


def test_without_labels_the_report_claims_nothing(tmp_path):
    judged = judge(told(), frame())
    text, _, data = read(write_detect_report(tmp_path / "r.html", detector=told(), judged=judged))
    assert lead(text) == f"{len(judged.incidents)} incidents in 1,500 rows."
    assert "no labels to say which" in text
    assert "calibration" not in data["figures"]
    with pytest.raises(ValueError, match="got neither"):
        write_detect_report(tmp_path / "r.html", detector=told())


def test_a_quiet_series_of_hostile_name_is_reported_safely(tmp_path):
    quiet = {"ds": START + np.arange(300) * HOUR, HOSTILE: np.zeros(300)}
    nothing = {"start": np.array([], "datetime64[s]"), "end": np.array([], "datetime64[s]")}
    evaluation = evaluate(told(HOSTILE), quiet, nothing)
    text, page, _ = read(
        write_detect_report(tmp_path / "r.html", detector=told(HOSTILE), evaluation=evaluation, title=HOSTILE)
    )
    assert HOSTILE not in text
    assert "There was none." in text
    assert page.loads == []


@pytest.mark.skipif(browser.installed() is None, reason="needs Chromium")
def test_a_band_has_an_area_for_each_stretch_that_is_known(tmp_path):
    judged = judge(told(), frame())
    gaps = np.zeros(1500, bool)
    gaps[[100, *range(200, 300), 600, 601, 603, 605]] = True
    for name in ("level_lower", "level_upper"):
        getattr(judged, name)[gaps] = np.nan
    page = write_detect_report(tmp_path / "r.html", detector=told(), judged=judged)
    _, _, data = read(page)
    (band,) = (mark for mark in data["figures"]["s0-0-l"]["marks"] if mark["kind"] == "band")
    known = np.array([low is not None for low in band["lo"]])
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False)).reshape(-1, 2)
    with browser.Browser(tmp_path / "profile") as chromium:
        chromium.open(page)
        paths = "[...document.querySelectorAll('#s0-0-l path.band')]"
        areas = chromium.value(f"{paths}.map(path => path.getAttribute('d'))")
    assert len(areas) == int((np.diff(edges) > 1).sum()) > 2
    assert all(area.count("M") == 1 for area in areas)


@pytest.mark.skipif(browser.installed() is None, reason="needs Chromium")
def test_the_page_is_drawn_on_a_screen_and_on_a_phone(tmp_path):
    names = [f"long_variable_name_{k}" for k in range(4)]
    long = frame()
    many = {"ds": long["ds"]} | {name: long["y"] * (k + 1) for k, name in enumerate(names)}
    spans = {"start": START + np.array([395]) * HOUR, "end": START + np.array([410]) * HOUR}
    evaluation = evaluate(told(*names), many, spans)
    path = write_detect_report(tmp_path / "r.html", detector=told(*names), evaluation=evaluation, title="a_" * 40)
    _, _, data = read(path)
    with browser.Browser(tmp_path / "profile") as opened:
        for width in (400, 1280):
            opened.open(path, width=width)
            assert opened.value("document.documentElement.dataset.drawn") == "yes"
            assert opened.value("document.querySelectorAll('.chart > svg').length") == len(data["figures"]) > 12
            assert opened.value("document.querySelectorAll('rect.span').length") > 10
            assert opened.value("document.documentElement.scrollWidth") <= width
        assert opened.complaints == []
        first = next(iter(data["figures"]))
        keys = f"[...document.querySelectorAll('#{first} .key')].filter(key => key.textContent == 'Incident')"
        assert opened.value(f"{keys}.length") == 1
        opened.value(f"{keys}[0].click()")
        kept = [m for m in data["figures"][first]["marks"] if m["kind"] == "spans" and m["name"] != "Incident"]
        shown = opened.value(f"document.querySelectorAll('#{first} > svg rect.span').length")
        assert shown == sum(len(mark["x0"]) for mark in kept)


def changed(evaluation: Evaluation, **scores: dict[str, float]) -> Evaluation:
    """The same evaluation with other numbers: "own", "range" ... by the first word of the model's name."""
    names = {name.split()[0] if name != OWN else "own": name for name in evaluation.scores}
    made = dict(evaluation.scores)
    for key, numbers in scores.items():
        made[names[key]] = replace(made[names[key]], **numbers)
    return replace(evaluation, scores=made)


@pytest.mark.parametrize(
    ("scores", "bad", "says"),
    [
        (
            {"own": {"found": 2, "f1": 0.9}, "range": {"found": 1, "f1": 0.5}},
            False,
            "the promise, range, finds 1",
        ),
        ({"own": {"found": 1, "f1": 0.5}, "range": {"found": 2, "f1": 0.5}}, True, "does better here: range, finds 2"),
        (
            {"own": {"found": 2, "f1": 0.1}, "range": {"found": 1, "f1": 0.5}},
            False,
            "range is ahead, 0.500",
        ),
        ({"own": {"found": 2, "rate_low": 1.5}}, True, "That is more than promised"),
        ({"own": {"found": 2, "rate_low": 0.1, "rate_high": 0.5}}, False, "the threshold could be lower"),
    ],
)
def test_the_headline_admits_what_naive_detectors_do_better(evaluation, scores, bad, says, tmp_path):
    quiet = {name: {"found": 0, "f1": 0.0, "rate_low": 0.0, "false_alarms": 0} for name in ("rolling", "last", "range")}
    told_by = {"own": {"f1": 0.9, "rate_low": 0.1, "rate_high": 2.0}} | quiet
    merged = {key: told_by.get(key, {}) | scores.get(key, {}) for key in told_by | scores}
    text, _, _ = read(
        write_detect_report(tmp_path / "r.html", detector=told(), evaluation=changed(evaluation, **merged))
    )
    verdict = text[text.index('<div class="verdict') :].partition("</div>")[0]
    assert verdict.startswith('<div class="verdict bad"') == bad
    assert says in verdict
