"""One live stream: events by hand-worked values, and rows that are not as they should be."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from carrousel.data.schema import Schema
from carrousel.errors import ColumnError, DataError, SettingError, TimeError
from carrousel.stream import DetectStream, Event, Rules
from carrousel.stream.record import Columns
from watcher import WARM, Detector, hourly

START = np.datetime64("2024-01-01T00", "s")


def at(hour: float) -> str:
    return str(START + np.timedelta64(int(3600 * hour), "s"))


def rows(values, first: int = 0) -> list[dict[str, object]]:
    return [{"ds": at(first + i), "y": float(y)} for i, y in enumerate(values)]


def warm(detector: Detector | None = None, **rules: object) -> DetectStream:
    """A stream that has seen nine hours of 0 and 1."""
    stream = DetectStream(detector or hourly(), rules=Rules(**rules))
    stream.push(rows([0, 1] * (WARM // 2) + [0]))
    return stream


def test_an_event_says_what_the_detector_reads_by_name():
    stream = warm()
    event = stream.update({"ds": at(9), "y": 20.5})
    assert event.ds == START + np.timedelta64(9, "h")
    assert (event.unique_id, event.kind, event.warming) == ("y", "row", False)
    assert (event.alarm, event.incident, event.ended, event.turn) == (True, 1, None, True)
    assert event.score == event.residual["y"] == 20.0
    assert event.p_value == 10.0**-20
    assert event.expected == {"y": 0.5}
    assert event.band == {"y": (-4.5, 5.5)}
    assert event.trend["y"] == (0.5, 0.0, (-1.0, 1.0), "level", (-0.5, 1.5), 0.0, (-1.0, 1.0))
    assert event.contributions == (("y", "forecast", 20.0), ("y", "range", 10.0))
    assert event.notes == ()


def test_an_incident_has_one_alarm_and_one_end_and_the_next_one_the_next_number():
    stream = warm()
    events = stream.push(rows([50, 90, 7, 7, 7, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 300, 0], first=9))
    said = [(e.alarm, e.incident, e.ended) for e in events]
    assert said[0] == (True, 1, None)
    assert sum(e.alarm for e in events) == max(e.incident or 0 for e in events)
    for number in range(1, stream.count("incidents") + 1):
        inside = [i for i, e in enumerate(events) if e.incident == number]
        assert [e.alarm for e in events if e.incident == number] == [True] + [False] * (len(inside) - 1)
        ended = [i for i, e in enumerate(events) if e.ended == number]
        assert ended in ([inside[-1] + 1], [])
    assert [e.turn for e in events] == [e.alarm or e.ended is not None for e in events]


def test_nothing_alarms_while_the_detector_warms_up():
    stream = DetectStream(hourly())
    events = stream.push(rows([0, 100, 0, 1000]))
    assert [(e.warming, e.alarm, e.score) for e in events] == [(True, False, None)] * 4
    assert events[0].expected == {}
    assert events[0].trend == {}


def test_every_event_is_plain_json_even_if_nothing_is_known():
    stream = warm()
    for row in ({"ds": at(9), "y": None}, {"ds": at(9)}, {"ds": at(8), "y": 1}, {"ds": at(30), "y": math.nan}):
        event = stream.update(row)
        assert json.loads(json.dumps(event.to_dict(), allow_nan=False))["unique_id"] == "y"
    assert set(event.to_dict()) == set(Event.__slots__) - {"turn"}
    assert event.to_dict()["ds"] == "2024-01-02T06:00:00"


@pytest.mark.parametrize("value", [None, math.nan, "", "NA", math.inf, -math.inf, 1e31, "1e400", 10**400])
def test_a_value_that_was_not_observed_leaves_a_missing_row(value):
    stream, gap = warm(), warm()
    event = stream.update({"ds": at(9), "y": value})
    assert event.residual == {}
    assert not event.alarm
    monstrous = value in (math.inf, -math.inf, 1e31, "1e400", 10**400)
    assert any("counts as not observed" in note for note in event.notes) == monstrous
    gap.update({"ds": at(9)})
    assert stream.update({"ds": at(10), "y": 3.0}) == gap.update({"ds": at(10), "y": 3.0})


def test_rows_that_were_skipped_are_fed_as_missing_ones():
    skipping, filled = warm(), warm()
    event = skipping.update({"ds": at(12), "y": 3.0})
    filled.push([{"ds": at(hour), "y": None} for hour in (9, 10, 11)])
    plain = filled.update({"ds": at(12), "y": 3.0})
    assert event.notes == ("3 rows skipped after 2024-01-01T08:00:00",)
    assert (event.expected, event.score) == (plain.expected, plain.score)
    for name, array in skipping.streams.watch.state.items():
        np.testing.assert_array_equal(array, filled.streams.watch.state[name])
    assert skipping.count("skipped") == 3
    assert skipping.count("lost") == 0


def test_a_long_gap_is_fed_up_to_the_limit_and_the_rest_is_said():
    stream = warm(most_skipped=5)
    event = stream.update({"ds": at(1000), "y": 3.0})
    assert event.notes == ("991 rows skipped after 2024-01-01T08:00:00, of which 5 count as missing ones",)
    assert stream.count("skipped") == 991
    assert stream.count("lost") == 986
    assert stream.streams.watch.state["rows"][0] == 9 + 5 + 1


def test_an_incident_that_ends_in_a_gap_ends_with_the_row_after_it():
    stream = warm()
    assert stream.update({"ds": at(9), "y": 50}).incident == 1
    event = stream.update({"ds": at(13), "y": 10.0})
    assert (event.incident, event.ended) == (None, 1)


def test_late_and_repeated_rows_are_counted_and_change_nothing():
    stream, clean = warm(), warm()
    late = stream.update({"ds": at(3), "y": 99})
    again = stream.update({"ds": at(8), "y": 0})
    other = stream.update({"ds": at(8), "y": 7})
    assert (late.kind, again.kind, other.kind) == ("late", "duplicate", "duplicate")
    assert late.notes == ("late: the newest row is of 2024-01-01T08:00:00",)
    assert again.notes == ("a second row of 2024-01-01T08:00:00 with the same values",)
    assert other.notes == ("a second row of 2024-01-01T08:00:00 with other values; the first one counts",)
    assert [e.score for e in (late, again, other)] == [None] * 3
    assert [stream.count(what) for what in ("rows", "late", "duplicates", "conflicts")] == [9, 1, 1, 1]
    assert stream.update({"ds": at(9), "y": 20.5}) == clean.update({"ds": at(9), "y": 20.5})


def test_late_rows_are_refused_where_that_is_the_rule():
    stream = warm(late="refuse")
    for hour in (3, 8):
        with pytest.raises(TimeError, match="expected a row after 2024-01-01T08:00:00, got one of 2024-01-01T0"):
            stream.update({"ds": at(hour), "y": 0})
    assert stream.count("late") == 0
    assert stream.update({"ds": at(9), "y": 20.5}).alarm


def test_a_refused_row_changes_nothing():
    stream, clean = warm(), warm()
    for row, error in (
        ({"ds": at(9), "y": "much"}, ColumnError),
        ({"ds": at(9), "yy": 1}, ColumnError),
        ({"ds": "soon", "y": 1}, TimeError),
        ({"y": 1, "other": 2}, TimeError),
        ({"ds": "9999-01-01", "y": 1}, TimeError),
        ({"ds": 5, "y": 1}, TimeError),
    ):
        with pytest.raises(error):
            stream.update(row)
    assert stream.update({"ds": at(9), "y": 20.5}) == clean.update({"ds": at(9), "y": 20.5})


def test_stamps_come_in_any_form_and_zone():
    seven = timezone(timedelta(hours=7))
    forms = (
        "2024-01-01 09:00",
        "2024-01-01T16:00:00+07:00",
        datetime(2024, 1, 1, 9),
        datetime(2024, 1, 1, 16, tzinfo=seven),
        np.datetime64("2024-01-01T09"),
        np.datetime64("2024-01-01T09", "ns"),
    )
    assert {warm().update({"ds": form, "y": 1}).ds for form in forms} == {START + np.timedelta64(9, "h")}
    half = warm().update({"ds": "2024-01-01 09:00:00.5", "y": 1})
    assert str(half.ds) == "2024-01-01T09:00:00.500000"
    assert half.notes == ()


def test_a_detector_without_schema_learns_the_interval_and_then_sees_gaps():
    stream = DetectStream(Detector())
    stamps = [0, 60, 120, 180, 240, 300, 360, 420, 600, 660]
    events = [stream.update({"time": str(START + np.timedelta64(s, "s")), "y": 1}) for s in stamps]
    assert [len(e.notes) for e in events] == [0] * 8 + [1, 0]
    assert events[8].notes == ("2 rows skipped after 2024-01-01T00:07:00",)


def test_irregular_arrival_has_no_gaps():
    stream = DetectStream(Detector())
    seconds = np.cumsum(np.random.default_rng(0).exponential(60, 300)).astype(int) + np.arange(300)
    events = [stream.update({"ds": str(START + np.timedelta64(int(s), "s")), "y": 1}) for s in seconds]
    assert sum(bool(e.notes) for e in events) <= 6
    assert all(e.kind == "row" for e in events)


def test_rows_without_stamps_are_numbered():
    stream = DetectStream(Detector())
    assert [stream.update({"y": i}).ds for i in range(3)] == [0, 1, 2]
    numbered = DetectStream(Detector())
    assert [numbered.update({"ds": i, "y": 0}).ds for i in (5, "7", 9.0)] == [5, 7, 9]
    with pytest.raises(TimeError, match="whole number"):
        numbered.update({"ds": "2024-01-01", "y": 0})


def test_a_calendar_knows_that_months_are_of_unequal_length():
    stream = DetectStream(Detector("y", schema=Schema(time="ds", target=("y",), frequency="MS")))
    stamps = ("2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01", "2024-06-01")
    notes = [stream.update({"ds": stamp, "y": 1}).notes for stamp in stamps]
    assert notes == [()] * 4 + [("2 rows skipped after 2024-03-01T00:00:00",)]


def test_silence_is_said_once_until_the_next_row():
    stream = warm(silent_after=3)
    assert stream.silent(at(11)) is None
    event = stream.silent(at(11.5))
    assert event is not None
    assert (event.kind, event.turn, event.notes) == ("silent", True, ("silent: no row since 2024-01-01T08:00:00",))
    assert event.ds == START + np.timedelta64(41400, "s")
    assert stream.silent(at(20)) is None
    back = stream.update({"ds": at(21), "y": 1})
    assert back.notes[-1] == "the stream is back after its silence"
    assert back.turn
    assert stream.silent(at(22)) is None
    assert stream.silent(at(25)) is not None


def test_a_stream_whose_interval_is_unknown_is_never_silent():
    stream = DetectStream(Detector())
    assert stream.silent(at(1)) is None
    stream.update({"ds": at(0), "y": 1})
    assert stream.silent("2030-01-01") is None


def test_a_sensor_sticks_when_it_stands_still_far_longer_than_ever():
    values = np.random.default_rng(0).integers(0, 5, 60).tolist() + [9] * 40 + [1, 2, 1]
    events = DetectStream(hourly()).push(rows(values))
    first = next(i for i, e in enumerate(events) if e.stuck)
    assert 60 + 15 < first < 60 + 25
    assert events[first].notes == (f"y sticks: the same value {first - 60 + 1} times, far longer than ever before",)
    assert events[first].turn
    assert all(e.stuck == ("y",) for e in events[first:100])
    assert events[100].notes == ("y moves again",)
    assert not events[101].stuck


@pytest.mark.parametrize("values", [[5] * 300, [0] * 290 + [1] * 10, ([0] * 60 + [1] * 60) * 5])
def test_a_constant_series_or_one_that_seldom_changes_does_not_stick(values):
    events = DetectStream(hourly()).push(rows(values))
    assert not any(e.stuck for e in events)


def test_a_row_in_which_nothing_was_observed_says_so():
    stream = warm(hourly("a", "b"))
    assert stream.update({"ds": at(9), "a": None, "b": pd.NA}).notes == ("nothing was observed",)
    assert stream.update({"ds": at(10), "a": 1.0}).notes == ()


def test_a_row_of_another_stream_is_refused():
    stream = DetectStream(hourly(id="unique_id"), "pump")
    stream.update({"unique_id": "pump", "ds": at(0), "y": 1.0})
    stream.update({"unique_id": " pump", "ds": at(1), "y": 1.0})
    with pytest.raises(ColumnError, match="expected a row of the stream 'pump', got one of 'fan'"):
        stream.update({"unique_id": "fan", "ds": at(2), "y": 1.0})
    for absent in (None, "", " ", np.nan, pd.NA, pd.NaT):
        assert stream.update({"unique_id": absent, "ds": at(stream.count("rows")), "y": 1.0}).kind == "row"
    with pytest.raises(ColumnError, match="got one of"):
        stream.update({"unique_id": np.array([]), "ds": at(20), "y": 1.0})
    assert stream.count("rows") == 8
    unnamed = DetectStream(Detector())
    assert unnamed.update({"unique_id": "fan", "ds": at(2), "y": 1.0}).kind == "row"


def test_a_name_that_differs_in_case_only_is_misspelt():
    with pytest.raises(ColumnError, match="unknown column 'Y', and no 'y'"):
        warm().update({"ds": at(9), "Y": 1.0})


@pytest.mark.parametrize("row", [[1, 2], (1, 2), "y=1", 5, None])
def test_what_is_no_row_is_refused(row):
    with pytest.raises(DataError, match=f"expected column -> value, such as a dict, got {type(row).__name__}"):
        warm().update(row)


def test_a_table_is_no_list_of_rows_and_an_unknown_count_is_named():
    stream = warm()
    for table in ({"ds": at(9), "y": 1.0}, pd.DataFrame({"ds": [at(9)], "y": [1.0]})):
        with pytest.raises(DataError, match=f"expected rows, such as a list of dicts, got one {type(table).__name__}"):
            stream.push(table)
    with pytest.raises(SettingError, match=r"count: unknown 'duplicate'; did you mean 'duplicates'\?"):
        stream.count("duplicate")


def test_a_missing_covariate_is_said():
    schema = Schema(time="ds", target=("y",), frequency="h", past=("valve", "mode"), categories={"mode": ("a", "b")})
    columns = Columns(("y",), schema)
    sources = columns.sources("y")

    def notes(**row: object) -> list[str]:
        return columns.read({"ds": at(0), "y": 1.0} | row, sources).notes

    assert notes(valve=1.0, mode="a") == []
    assert notes(valve=None, mode="b") == ["valve: missing, so taken as it was last"]
    assert notes() == ["valve, mode: missing, so taken as it was last"]


def test_several_variables_keep_their_names():
    stream = DetectStream(hourly("load", "heat"))
    for i in range(9):
        stream.update({"ds": at(i), "load": 1.0 * i, "heat": -1.0})
    event = stream.update({"ds": at(9), "load": 4.5, "heat": 30, "colour": "red"})
    assert event.unique_id == "series"
    assert event.residual == {"load": 0.0, "heat": 31.0}
    assert event.contributions == (("heat", "forecast", 31.0), ("heat", "range", 15.5))
    partly = stream.update({"ds": at(10), "heat": 0})
    assert set(partly.residual) == {"heat"}
    assert set(partly.expected) == {"load", "heat"}


def test_categories_become_indicators_and_unknown_ones_are_refused():
    schema = Schema(time="ds", target=("y",), past=("mode",), frequency="h", categories={"mode": ("off", "on")})
    stream = DetectStream(Detector("y", "mode=off", "mode=on", schema=schema))
    event = stream.push([{"ds": at(0), "y": 1, "mode": "on"}, {"ds": at(1), "y": 1, "mode": None}])[1]
    assert event.expected == {"y": 1.0, "mode=off": 0.0, "mode=on": 1.0}
    assert set(event.residual) == {"y"}
    with pytest.raises(ColumnError, match="unknown category 'onn'"):
        stream.update({"ds": at(2), "y": 1, "mode": "onn"})


def test_a_fork_goes_its_own_way():
    stream, clean = warm(), warm()
    tried = stream.fork()
    tried.push(rows([100, 200, 300], first=9))
    assert tried.count("rows") == 12
    assert stream.update({"ds": at(9), "y": 20.5}) == clean.update({"ds": at(9), "y": 20.5})


def test_no_event_depends_on_a_later_row():
    values = np.random.default_rng(1).normal(0, 3, 120)
    whole = DetectStream(hourly()).push(rows(values))
    for length in (1, 9, 50, 119):
        changed = np.concatenate([values[:length], 100 - values[length:]])
        assert DetectStream(hourly()).push(rows(changed))[:length] == whole[:length]
    assert any(e.alarm for e in whole)


def test_a_stream_of_a_series_that_was_fitted_on_goes_on_after_its_table():
    detector = hourly()
    detector.ends = {"y": START + np.timedelta64(8, "h")}
    stream = DetectStream(detector)
    assert stream.newest == START + np.timedelta64(8, "h")
    assert stream.update({"ds": at(8), "y": 1}).kind == "duplicate"
    assert stream.update({"ds": at(7), "y": 1}).kind == "late"
    event = stream.update({"ds": at(10), "y": 20.5})
    assert event.notes == ("1 row skipped after 2024-01-01T08:00:00",)
    assert event.alarm
    assert not event.warming
    assert stream.count("rows") == 1
    assert DetectStream(detector, "another").update({"ds": at(0), "y": 1}).warming
    detector.ends["z"] = START
    with pytest.raises(SettingError, match="expected one of 2 series, such as 'y', got no name"):
        DetectStream(detector)
