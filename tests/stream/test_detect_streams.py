"""Thousands of streams in one call say what each says alone."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from carrousel.errors import DataError, SettingError
from carrousel.stream import DetectStream, Rules, Streams
from watcher import Detector, hourly

START = np.datetime64("2024-01-01T00", "s")


def feed(seed: int, rows: int = 160) -> list[tuple[int, float]]:
    """Hours and values of a messy stream: gaps, late rows, repeated ones, missing values, runs, steps."""
    rng = np.random.default_rng(seed)
    hour, found = 0, []
    for i in range(rows):
        hour += int(rng.choice([1, 1, 1, 1, 1, 1, 1, 2, 4, 0, -3]))
        value = float(rng.integers(0, 4)) + 30 * (i % 40 > 35)
        value = 2.0 if 80 < i < 140 and seed % 2 else value
        found.append((hour, np.nan if rng.random() < 0.05 else value))
        if rng.random() < 0.05:
            found.append(found[-1])
    return found[:rows]


@pytest.mark.parametrize("detector", [hourly(id="unique_id"), Detector()], ids=["schema", "cold"])
def test_many_streams_together_say_what_each_says_alone(detector):
    ids = [f"s{n}" for n in range(7)]
    rules = Rules(most_skipped=3)
    together = Streams(detector, ids, rules=rules)
    alone = {name: DetectStream(detector, name, rules=rules) for name in ids}
    feeds = [feed(n) for n in range(len(ids))]
    kinds = set()
    for i in range(160):
        some = [n for n in range(len(ids)) if (i * 7 + n) % 5 or i % 3 == 0]  # not every stream has a row each time
        table = {
            "unique_id": [ids[n] for n in some],
            "ds": [START + np.timedelta64(3600 * feeds[n][i][0], "s") for n in some],
            "y": [feeds[n][i][1] for n in some],
        }
        said = together.update({k: np.array(v) for k, v in table.items()})
        for j, name in enumerate(table["unique_id"]):
            event = alone[name].update({"ds": table["ds"][j], "y": table["y"][j]})
            kinds.add(event.kind)
            for what in ("kind", "alarm", "warming", "ds"):
                assert said[what][j] == getattr(event, what)
            assert said["incident"][j] == (event.incident or 0)
            assert said["ended"][j] == (event.ended or 0)
            assert said["stuck"][j] == bool(event.stuck)
            np.testing.assert_equal(said["score"][j], np.nan if event.score is None else event.score)
    assert kinds == {"row", "late", "duplicate"}
    for n, name in enumerate(ids):
        for key, array in alone[name].streams.state.items():
            np.testing.assert_array_equal(together.state[key][n], array[0], err_msg=f"{name} {key}")
    assert together.arrival.state["incidents"].max() > 1
    assert together.arrival.state["lost"].max() > 0


def test_a_stream_can_leave_the_batch_and_goes_on_alike():
    streams = Streams(hourly(id="unique_id"), ["a", "b"])
    for i in range(20):
        frame = pl.DataFrame({"unique_id": ["b", "a"], "ds": [(START + i * 3600).item()] * 2, "y": [i, -i]})
        said = streams.update(frame)
        assert isinstance(said, pl.DataFrame)
        assert said["unique_id"].to_list() == ["b", "a"]
    one = streams.one("b")
    event = one.update({"ds": START + 20 * 3600, "y": 15.0})
    assert event.expected == {"y": np.mean(np.arange(12, 20))}
    assert streams.arrival.state["rows"].tolist() == [20, 20]
    with pytest.raises(SettingError, match=r"did you mean|known are a, b"):
        streams.one("c")


@pytest.mark.parametrize(
    ("ids", "says"), [(["a", "a"], "expected one row of each stream"), (["a", "x"], "stream 'x': not among these")]
)
def test_a_table_that_does_not_fit_is_refused(ids, says):
    streams = Streams(hourly(id="unique_id"), ["a", "b"])
    with pytest.raises(DataError, match=says):
        streams.update({"unique_id": np.array(ids), "ds": np.array([START] * 2), "y": np.zeros(2)})
    assert not streams.arrival.state["rows"].any()


@pytest.mark.parametrize("ids", [[], ["a", "b", "a"]])
def test_streams_need_names_that_differ(ids):
    with pytest.raises(SettingError, match="names of streams that differ"):
        Streams(hourly(), ids)


def test_silent_streams_are_found_together():
    streams = Streams(hourly(id="unique_id"), ["a", "b", "c"], rules=Rules(silent_after=2))
    for i in range(5):
        table = {"unique_id": ["a", "b"], "ds": [START + 3600 * i] * 2, "y": [1.0, 2.0]}
        if i == 2:
            table = {name: column[:1] for name, column in table.items()}
        streams.update({name: np.array(column) for name, column in table.items()})
    now = int((START + 3600 * 7).astype("datetime64[us]").astype(int))
    assert streams.arrival.quiet(now).tolist() == [0, 1]
    assert streams.arrival.quiet(now).tolist() == []
