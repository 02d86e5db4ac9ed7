"""A detector without a table: what it can be told, and what its first row tells it."""

from __future__ import annotations

import numpy as np
import pytest

import carrousel
from carrousel import Detector
from carrousel.errors import SettingError, TimeError

START = np.datetime64("2024-01-01T00", "s")
ODD = 600


def values(count: int = ODD + 10) -> list[float]:
    """A calm wave, and then nothing of the kind."""
    y = 10 * np.sin(np.arange(count) * 2 * np.pi / 24) + np.random.default_rng(0).normal(size=count)
    y[ODD:] += 60
    return y.tolist()


@pytest.mark.parametrize("stamps", ["none", "whole numbers", "dates"])
def test_a_stream_alarms_whatever_its_stamps_are(stamps):
    stream = Detector.online().stream()

    def row(t: int) -> dict[str, object]:
        ds = {"none": {}, "whole numbers": {"ds": t}, "dates": {"ds": START + 3600 * t}}[stamps]
        return {**ds, "y": values()[t]}

    y = values()
    events = [stream.update({**row(0), "y": y[0]})]
    events += [
        stream.update({"y": v} | ({} if stamps == "none" else {"ds": t if stamps != "dates" else START + 3600 * t}))
        for t, v in enumerate(y[1:], start=1)
    ]
    assert events[ODD].alarm
    if stamps != "dates":  # one in 2,000 rows
        assert sum(event.alarm for event in events[:ODD]) <= 1
    said = ("no time stamp: rows are numbered as they come",)
    assert events[0].notes == (said if stamps == "none" else ())
    assert events[1].notes == ()


def test_a_table_without_dates_has_the_events_of_its_rows_one_by_one():
    detector, y = Detector.online(), values()
    events = detector.predict({"ds": np.arange(len(y)), "y": np.array(y)})
    alone = detector.stream().push({"ds": t, "y": v} for t, v in enumerate(y))
    assert events["alarm"].tolist() == [event.alarm for event in alone]
    assert events["alarm"][ODD]


def test_the_promise_by_rows_goes_on_with_the_state(tmp_path):
    detector, y = Detector.online(), values()
    stream, rows = detector.stream(), [{"ds": t, "y": v} for t, v in enumerate(y)]
    stream.push(rows[:ODD])
    stream.save(tmp_path / "state")
    assert detector.stream(state=tmp_path / "state").push(rows[ODD:]) == stream.push(rows[ODD:])
    streams = detector.streams(["a", "b"])
    for t, v in enumerate(y):
        said = streams.update({"unique_id": ["a", "b"], "ds": [t, t], "y": [v, 0.0]})
    assert said["incident"].tolist() == [1, 0]


def test_a_promise_by_the_clock_is_refused_with_the_first_row_that_has_no_date():
    stream = Detector.online(false_alarms="1/week").stream()
    for row in ({"ds": 7, "y": 1.0}, {"y": 1.0}):
        with pytest.raises(SettingError, match="where time stamps are integers or none, got '1/week'"):
            stream.update(row)
    assert stream.update({"ds": "2024-01-01", "y": 1.0}).kind == "row"
    assert stream.count("rows") == 1


def test_a_first_row_that_is_refused_teaches_nothing():
    stream = Detector.online().stream()
    with pytest.raises(TimeError, match="expected ISO stamps"):
        stream.update({"ds": "noon", "y": 1.0})
    assert stream.update({"ds": 7, "y": 1.0}).ds == 7
    with pytest.raises(TimeError, match=r"'ds': expected it in every row, got the columns when, y"):
        stream.update({"when": 8, "y": 1.0})


def test_it_can_be_told_what_its_columns_are_called(tmp_path):
    detector = Detector.online("load", id="pump", time="when", false_alarms="1/100 rows")
    assert detector.stream().update({"when": 5, "ds": "2024-01-01", "load": 1.0}).ds == 5
    detector.save(tmp_path / "cold")
    again = carrousel.load(tmp_path / "cold")
    said = again.streams(["a", "b"]).update({"pump": ["b"], "when": ["2024-01-01"], "load": [1.0]})
    assert said["pump"].tolist() == ["b"]
    assert again.predict({"pump": ["a", "b"], "when": [1, 1], "load": [1.0, 2.0]})["pump"].tolist() == ["a", "b"]


def test_it_can_be_told_the_season_in_rows():
    wave = [float(10 * np.sin(t * np.pi / 4)) for t in range(100)]
    told = Detector.online(season=8).stream().push({"ds": t, "y": v} for t, v in enumerate(wave))
    assert told[-1].trend["y"].season == pytest.approx(wave[99], abs=1e-3)
    assert told[-1].trend["y"].level == pytest.approx(0, abs=1e-3)
    untold = Detector.online().stream().push({"ds": t, "y": v} for t, v in enumerate(wave))
    assert untold[-1].trend["y"].season is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"target": "load"}, "target: expected none without a table"),
        ({"frequency": "h"}, "frequency: expected none without a table, got 'h'"),
        ({"past": "valve"}, "past: expected none without a table"),
    ],
)
def test_what_needs_a_table_is_refused(settings, says):
    with pytest.raises(SettingError, match=says):
        Detector.online(**settings)
