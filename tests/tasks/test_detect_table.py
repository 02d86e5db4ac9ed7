"""Whole tables: the same events as row by row, in any order and kind of frame, for one series and for many."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from carrousel.errors import ColumnError, DataError, TimeError
from carrousel.stream import DetectStream
from carrousel.stream.event import in_words
from carrousel.tasks.detect_table import incident_frame, judge
from stream.test_detect_streams import START, feed
from watcher import Detector, hourly


def table(seeds: list[int], rows: int = 160) -> dict[str, np.ndarray]:
    """Messy series of unequal length, in time order."""
    parts = []
    for n, seed in enumerate(seeds):
        taken = sorted(dict(reversed(feed(seed, rows - 20 * n))).items())
        parts += [(f"s{n}", START + np.timedelta64(3600 * hour, "s"), y) for hour, y in taken]
    ids, ds, y = zip(*parts, strict=True)
    return {"unique_id": np.array(ids, object), "ds": np.array(ds), "y": np.array(y)}


@pytest.mark.parametrize("seeds", [[3], [0, 1, 2, 3]], ids=["one", "four"])
@pytest.mark.parametrize("detector", [hourly(id="unique_id"), Detector()], ids=["schema", "cold"])
def test_a_table_has_the_events_of_its_rows_one_by_one(detector, seeds):
    frame = table(seeds)
    judged = judge(detector, frame)
    said = judged.frame(frame)
    assert isinstance(said, dict)
    for s, name in enumerate(judged.ids):
        rows = np.flatnonzero(frame["unique_id"] == name)
        stream = DetectStream(detector, str(name))
        events = stream.push([{"ds": frame["ds"][i], "y": frame["y"][i]} for i in rows])
        place = np.flatnonzero(said["unique_id"] == name)
        assert [e.kind for e in events] == said["kind"][place].tolist()
        assert [e.alarm for e in events] == said["alarm"][place].tolist()
        assert [e.incident or 0 for e in events] == said["incident"][place].tolist()
        assert [e.ended or 0 for e in events] == said["ended"][place].tolist()
        assert [bool(e.stuck) for e in events] == said["stuck"][place].tolist()
        assert [e.trend["y"].change if e.trend else "" for e in events] == said["change"][place].tolist()
        for column, values in (
            ("score", [e.score for e in events]),
            ("p_value", [e.p_value for e in events]),
            ("expected", [e.expected.get("y") for e in events]),
            ("lower", [e.band.get("y", (None, None))[0] for e in events]),
            ("upper", [e.band.get("y", (None, None))[1] for e in events]),
            ("residual", [e.residual.get("y") for e in events]),
        ):
            np.testing.assert_array_equal(said[column][place], np.array(values, float), err_msg=column)
        assert judged.skipped[judged.rows(s)].sum() == stream.count("skipped") > 0
    assert judged.alarm.sum() > 2


def test_the_order_of_the_rows_and_the_kind_of_the_frame_change_nothing():
    frame = table([0, 1])
    judged = judge(hourly(id="unique_id"), frame)
    shuffled = np.random.default_rng(0).permutation(len(frame["y"]))
    other = pl.DataFrame({name: column[shuffled].tolist() for name, column in frame.items()})
    said = judge(hourly(id="unique_id"), other)
    result = said.frame(other)
    assert isinstance(result, pl.DataFrame)
    np.testing.assert_array_equal(said.score, judged.score)
    np.testing.assert_array_equal(result["ds"].to_numpy().astype("datetime64[s]"), judged.ds)
    np.testing.assert_array_equal(shuffled[said.source], judged.source)
    assert said.incidents == judged.incidents


def test_incidents_say_when_how_much_and_why():
    y = np.array([0.0, 1] * 10 + [50, 70, 55] + [0.0, 1] * 8 + [0, 1, -90])
    ds = START + np.arange(len(y)) * np.timedelta64(3600, "s")
    frame = {"ds": ds, "load": np.tile([1.0, 2], len(y) // 2), "heat": y}
    judged = judge(hourly("load", "heat"), frame)
    first, last = judged.incidents[0], judged.incidents[-1]
    assert (first.unique_id, first.number, first.start, first.peak_ds) == ("series", 1, ds[20], ds[21])
    assert first.peak == np.abs(judged.residual[21]).max()
    assert first.causes[0] == ("heat", "forecast", np.abs(judged.residual[judged.incident == 1, 1]).max())
    assert (last.start, last.end) == (ds[-1], None)
    assert in_words(last.causes, 2) == "heat: forecast, range"
    listed = incident_frame(judged.incidents, frame, judged)
    assert listed["number"].tolist() == [i.number for i in judged.incidents]
    assert listed["over"].tolist()[-1] is False
    assert listed["end"][-1] == ds[-1]
    assert last.to_dict()["end"] is None
    said = judged.frame(frame)
    np.testing.assert_array_equal(said["residual-heat"], judged.residual[:, 1])


def test_a_series_that_was_fitted_on_goes_on_only_where_all_its_rows_are_later():
    detector = hourly(id="unique_id")
    ds = START + np.arange(30) * np.timedelta64(3600, "s")
    detector.ends = {"a": ds[4], "b": ds[4]}
    frame = {
        "unique_id": np.repeat(["a", "b", "c"], [25, 30, 25]),
        "ds": np.concatenate([ds[5:], ds, ds[5:]]),
        "y": np.zeros(80),
    }
    judged = judge(detector, frame)
    assert [judged.warming[judged.rows(s)].sum() for s in range(3)] == [0, 8, 8]


def test_a_table_without_stamps_is_numbered_and_one_with_a_repeated_stamp_judged_once():
    judged = judge(Detector(), {"y": np.arange(12.0)})
    assert judged.ds.tolist() == list(range(12))
    twice = judge(Detector(), {"ds": np.array([0, 1, 1, 1, 2]), "y": np.array([1.0, 2, 2, 9, 3])})
    assert twice.frame({})["kind"].tolist() == ["row", "row", "duplicate", "duplicate", "row"]


def test_monstrous_values_count_as_missing_and_are_said():
    notes: list[str] = []
    judged = judge(Detector(), {"ds": np.arange(5), "y": np.array([1.0, 1e300, np.inf, 2, 3])}, notes=notes)
    assert np.isnan(judged.values[:, 0]).tolist() == [False, True, True, False, False]
    assert len([note for note in notes if "not observed" in note]) == 2


@pytest.mark.parametrize(
    ("frame", "error", "says"),
    [
        ({"ds": [START], "x": [1.0]}, ColumnError, "variable column 'y': not in the table"),
        ({"ds": [START], "y": ["hot"]}, ColumnError, "expected numbers, got 'hot' in row 1"),
        ({"ds": [1], "y": [1.0]}, TimeError, "expected dates"),
        ({"ds": [np.datetime64("NaT", "s")], "y": [1.0]}, TimeError, "in row 1"),
        ({"ds": np.array([], "datetime64[s]"), "y": []}, DataError, "expected rows"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(frame, error, says):
    with pytest.raises(error, match=says):
        judge(hourly(), frame)


def test_rows_that_were_not_judged_and_series_that_start_anew_are_said():
    detector = hourly()
    detector.ends = {"y": START + np.timedelta64(5, "h")}
    twice = {"ds": START + np.array([0, 0, 1]) * np.timedelta64(1, "h"), "y": np.array([0.0, 1.0, 2.0])}
    notes: list[str] = []
    judge(detector, twice, notes=notes)
    assert notes == [
        "1 row repeat a stamp of their series; the first one counts; if these are several series, fit with their id "
        "column",
        "series 'y' starts cold: not after the rows that the detector was fitted on",
    ]
    detector = hourly(id="unique_id")
    detector.ends = {"a": START - np.timedelta64(1, "h")}
    known = {"unique_id": ["a", "b", "c"], "ds": [START] * 3, "y": [1.0, 1.0, 1.0]}
    notes.clear()
    judge(detector, known, notes=notes)
    assert notes == ["2 series, such as 'b', start cold: not in the table that the detector was fitted on"]
