"""Evaluation by values that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carrousel import Detector
from carrousel.errors import ColumnError, DataError, TimeError
from carrousel.tasks import detect_baseline as naive
from carrousel.tasks.detect_evaluate import OWN, evaluate, poisson_interval
from carrousel.tasks.detect_label import read_labels
from carrousel.tasks.detect_setting import DetectSettings
from carrousel.tasks.detect_table import judge
from watcher import hourly

START = np.datetime64("2024-01-01T00", "s")
HOUR = np.timedelta64(3600, "s")


def series(rows: int, *peaks: int) -> dict[str, np.ndarray]:
    """0 and 1 in turn, but 50 in the rows that are named."""
    y = np.arange(rows) % 2.0
    y[list(peaks)] = 50
    return {"ds": START + np.arange(rows) * HOUR, "y": y}


def spans(*pairs: tuple[int, int]) -> dict[str, np.ndarray]:
    return {
        "start": START + np.array([a for a, _ in pairs]) * HOUR,
        "end": START + np.array([b for _, b in pairs]) * HOUR,
    }


def test_events_are_counted_once_however_many_rows_they_have():
    frame = series(400, 100, 200, 201, 300)
    result = evaluate(hourly(), frame, spans((98, 110), (200, 230), (350, 360)))
    assert result.first.tolist() == [60]
    score = result.scores[OWN]
    incidents = result.found[OWN][0].tolist()
    assert len(incidents) == len(result.judged.incidents)
    touching = [(a, b) for a, b in incidents if any(a < stop and start < b for start, stop in result.labels[0])]
    assert (score.labels, score.found) == (3, 2)
    assert score.false_alarms == len(incidents) - len(touching) >= 1
    assert score.precision == 2 / (2 + score.false_alarms)
    assert score.recall == 2 / 3
    assert score.f1 == pytest.approx(2 / (1 / score.precision + 3 / 2))
    assert (score.delay_rows, score.delay_s) == (1.0, 3600.0)
    assert result.watched == 400 - 60 - 13 - 31 - 11
    assert result.promised == 1.0
    assert score.rate == 1000 * score.false_alarms / result.watched
    assert score.rate_low < score.rate < score.rate_high


def test_labels_may_be_spans_rows_or_a_column():
    frame = series(100, 50)
    judged = judge(hourly(), frame)
    marked = (np.arange(100) >= 48) & (np.arange(100) <= 52)
    wanted = [[48, 53]]
    assert read_labels(judged, frame, spans((48, 52)))[0].tolist() == wanted
    assert read_labels(judged, frame, {"ds": frame["ds"], "label": marked * 1})[0].tolist() == wanted
    assert read_labels(judged, frame | {"odd": marked}, "odd")[0].tolist() == wanted
    order = np.random.default_rng(0).permutation(100)
    mixed = {name: column[order] for name, column in (frame | {"odd": marked}).items()}
    assert read_labels(judge(hourly(), mixed), mixed, "odd")[0].tolist() == wanted
    notes: list[str] = []
    assert read_labels(judged, frame, spans((48, 52), (50, 60), (500, 510)), notes=notes)[0].tolist() == [[48, 61]]
    assert notes == ["labels: 1 of 3 spans left out, which no row of their series meets"]


def test_labels_with_an_id_hold_for_that_series():
    one = series(60)
    frame = {
        "unique_id": np.repeat(["a", "b"], 60),
        "ds": np.tile(one["ds"], 2),
        "y": np.tile(one["y"], 2),
    }
    judged = judge(hourly(id="unique_id"), frame)
    assert [part.tolist() for part in read_labels(judged, frame, spans((5, 6)))] == [[[5, 7]], [[5, 7]]]
    named = spans((5, 6)) | {"unique_id": np.array(["b"])}
    assert [part.tolist() for part in read_labels(judged, frame, named)] == [[], [[5, 7]]]


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        ("nothing", ColumnError, "label column 'nothing': not in the table"),
        ("y", ColumnError, "expected 0 or 1, got 50 in row 51"),
        (spans((9, 5)), TimeError, "expected spans that end after their start"),
        ({"start": [1], "end": [2]}, TimeError, "expected stamps as in the table"),
        ({"ds": series(3)["ds"], "a": [0, 0, 1], "b": [0, 1, 0]}, ColumnError, "'start' and 'end'"),
        (
            {"from": series(1)["ds"], "to": series(1)["ds"]},
            ColumnError,
            "'start' and 'end'.*the time column is 'ds', got",
        ),
    ],
)
def test_labels_that_cannot_be_read_are_refused(labels, error, says):
    frame = series(100, 50)
    with pytest.raises(error, match=says):
        read_labels(judge(hourly(), frame), frame, labels)


def test_stamps_alone_are_labels_and_the_case_of_start_and_end_does_not_matter():
    frame = series(100, 50)
    judged = judge(hourly(), frame)
    assert read_labels(judged, frame, {"ds": frame["ds"][[48, 49, 60]]})[0].tolist() == [[48, 50], [60, 61]]
    named = {name.capitalize(): column for name, column in spans((48, 52)).items()}
    assert read_labels(judged, frame, named)[0].tolist() == [[48, 53]]
    assert [part.tolist() for part in read_labels(judged, frame, None)] == [[]]


@pytest.mark.parametrize("form", ["spans", "rows"])
def test_labels_of_series_that_the_table_does_not_have_are_left_out_and_counted(form):
    frame = {name: np.tile(column, 2) for name, column in series(100).items()}
    frame["unique_id"] = np.repeat(["a", "b"], 100)
    judged = judge(hourly(id="unique_id"), frame)
    ids = np.array(["zz", "b", "a"])
    ends = spans((5, 6), (7, 8), (500, 501))
    labels = {"unique_id": ids} | (ends if form == "spans" else {"ds": ends["start"], "label": np.ones(3)})
    notes: list[str] = []
    found = read_labels(judged, frame, labels, notes=notes)
    assert [part.tolist() for part in found] == [[], [[7, 9 if form == "spans" else 8]]]
    what = "spans" if form == "spans" else "marked rows"
    assert notes == [f"labels: 2 of 3 {what} left out, which no row of their series meets"]


def test_a_label_of_no_series_is_lost_only_if_no_series_meets_it():
    frame = {name: np.concatenate([series(100)[name], series(50)[name]]) for name in ("ds", "y")}
    frame["unique_id"] = np.repeat(["a", "b"], [100, 50])
    judged = judge(hourly(id="unique_id"), frame)
    notes: list[str] = []
    assert [part.tolist() for part in read_labels(judged, frame, spans((70, 71)), notes=notes)] == [[[70, 72]], []]
    assert notes == []


def test_without_labels_every_incident_is_false_and_the_promise_is_held_against_them():
    result = evaluate(hourly(), series(400, 300))
    assert result.scores[OWN].false_alarms == len(result.judged.incidents) == 1
    assert result.scores[OWN].labels == 0
    assert any("no labels were given" in note for note in result.notes)


def test_a_detector_that_goes_by_another_rule_promises_no_rate():
    detector = hourly()
    assert evaluate(detector, series(400, 300)).rule == ""
    detector.settings = DetectSettings(beyond=0.2)
    result = evaluate(detector, series(400, 300))
    assert result.rule == "where a value, or its distance from the forecast, is beyond all in the table by 0.2 of it"
    said = result.to_dict()
    assert (said["promised"], said["rule"]) == (None, result.rule)
    assert result.promised == 1.0  # a week, of the naive detectors


def test_rates_of_a_detector_without_table_are_by_rows_where_rows_have_no_dates():
    rng = np.random.default_rng(0)
    result = evaluate(Detector.online(), {"ds": np.arange(400), "y": rng.normal(size=400)})
    assert (result.unit, result.promised) == ("1,000 rows", 0.5)


def test_rates_are_told_in_the_unit_of_the_promise():
    result = evaluate(hourly(false_alarms="2/week"), series(400, 100, 300), spans((98, 110)))
    assert (result.unit, result.promised, result.rows_per_unit) == ("week", 2.0, 168.0)
    assert result.scores[OWN].rate == 168 * result.scores[OWN].false_alarms / result.watched


def test_the_naive_detectors_see_the_part_before_and_keep_the_promise_there():
    train, test = series(1000, 500), series(1400, 1200)
    test = {name: column[1000:] for name, column in test.items()}
    result = evaluate(hourly(), test, spans((1199, 1201)), train=train)
    assert result.first.tolist() == [0]
    # One false alarm in the thousand rows before was accepted, so the threshold may be as low as that peak.
    jump = naive.jump(np.concatenate([train["y"], test["y"]])[:, None])
    assert naive.incidents(jump[:1000], result.thresholds["last value"])[:, 0].tolist() == [500]
    assert result.found["last value"][0].tolist() == [[200, 201]]
    assert result.scores["last value"].found == 1
    assert result.scores["range"].found == 0  # it has seen 50 before


def test_rows_before_must_be_of_the_same_series_and_before():
    def named(frame: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
        many = {key: np.tile(column, len(names)) for key, column in frame.items()}
        return many | {"unique_id": np.repeat(names, len(frame["ds"]))}

    test = {key: column[300:] for key, column in series(600, 500).items()}
    detector = hourly(id="unique_id")
    with pytest.raises(DataError, match=r"train: expected rows of the same series, such as 'a', got x, z"):
        evaluate(detector, named(test, "a", "b"), train=named(series(300), "x", "z"))
    notes = evaluate(detector, named(test, "a", "b"), train=named(series(300), "a", "z")).notes
    assert "train: no rows of 1 of 2 series, such as 'b'" in notes
    notes = evaluate(detector, named(test, "a", "b"), train=named(series(301), "a", "b")).notes
    assert any("of 2 of 2 series, such as 'a', are not before those that are judged" in note for note in notes)
    notes = evaluate(detector, named(test, "a", "b"), train=named(series(300), "a", "b")).notes
    assert not any(note.startswith("train") for note in notes)


def test_without_labels_there_is_still_a_rate_of_false_alarms():
    result = evaluate(
        hourly(), series(300, 200), {"start": np.array([], "datetime64[s]"), "end": np.array([], "datetime64[s]")}
    )
    score = result.scores[OWN]
    assert score.false_alarms == len(result.judged.incidents)
    assert math.isnan(score.recall)
    assert math.isnan(score.vus_pr)
    assert math.isnan(score.nab)
    assert result.to_dict()["scores"][OWN]["recall"] is None


def test_calibration_is_read_on_unlabelled_rows():
    result = evaluate(hourly(), series(400, 100, 300), spans((100, 110)))
    rows = np.arange(400)
    quiet = (rows >= 60) & ~((rows >= 100) & (rows <= 110))
    p = result.judged.p_value[quiet]
    assert result.calibration == tuple((level, float((p <= level).mean())) for level in (0.5, 0.1, 0.05, 0.01, 0.001))


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (4, 1.090, 10.242), (30, 20.24, 42.83)]
)
def test_the_interval_of_a_count_is_the_exact_one_nearly(count, low, high):
    assert poisson_interval(count) == pytest.approx((low, high), rel=0.03, abs=0.03)


def test_naive_scores_are_those_of_their_definition():
    values = np.array([[0.0], [2], [0], [2], [0], [2], [0], [2], [0], [2], [0], [7], [np.nan], [7]])
    jump = naive.jump(values)
    assert jump[:11].tolist() == [0.0] * 11
    assert jump[11] == 7 / 2
    assert jump[12] == jump[13] == 0.0
    beyond = naive.beyond(values)
    assert beyond[11] == 5 / 2
    assert beyond[13] == 0.0
    deviation = naive.deviation(values)
    before = values[:11, 0]
    assert deviation[11] == pytest.approx((7 - before.mean()) / before.std())
    assert naive.incidents(np.array([0, 5, 0, 5, *[0] * 12, 5]), 5).tolist() == [[1, 4], [16, 17]]
    assert naive.threshold([np.array([0.0, 1, 0, 3, 2])], promised=0.0) == np.nextafter(3, 4)
    assert naive.threshold([np.array([1.0, *[0] * 30, 3, *[0] * 30, 2])], promised=2 / 63) == 2


@pytest.mark.parametrize("rule", naive.BASELINES.values())
def test_no_naive_score_depends_on_a_later_row(rule):
    values = np.random.default_rng(0).normal(size=(300, 2))
    whole = rule(values)
    changed = np.concatenate([values[:250], values[:50] + 9])
    np.testing.assert_allclose(rule(changed)[:250], whole[:250], rtol=1e-9)
    assert (rule(np.full((50, 1), 3.0)) == 0).all()
