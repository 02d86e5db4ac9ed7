"""Thousands of streams in one call say what each says alone."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from carrousel.errors import DataError, SettingError
from carrousel.stream import DetectStream, Rules, Streams, subset
from carrousel.stream.store import load_streams
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
    with pytest.raises(SettingError, match=r"known are a0, a1, .*, a26 and 20 more$"):
        Streams(hourly(id="unique_id"), [f"a{n}" for n in range(40)]).one("zzz")


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


@pytest.mark.parametrize(("ids", "got"), [("pump", "'pump'"), (["c", 1], "1")])
def test_names_of_streams_are_a_list_of_texts(ids, got):
    streams = Streams(hourly(), ["a", "b"])
    for ask in (lambda: Streams(hourly(), ids), lambda: streams.add(ids), lambda: streams.drop(ids)):
        with pytest.raises(SettingError, match=f"ids: expected a list of names, got {got}"):
            ask()
    assert streams.ids == ("a", "b")


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


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (1, 8)])
def test_some_streams_step_in_parts_of_any_size(sizes, monkeypatch):
    detector, rng = hourly(id="unique_id"), np.random.default_rng(0)
    ids = [f"s{n}" for n in range(9)]
    plain, parts = Streams(detector, ids), Streams(detector, ids)
    for i in range(40):
        some = rng.permutation(9)[: 1 + i % 8]
        table = {
            "unique_id": np.array(ids)[some],
            "ds": np.full(len(some), START + 3600 * i),
            "y": rng.normal(size=len(some)) + 50 * (i == 30),
        }
        monkeypatch.undo()
        expected = plain.update(table)
        monkeypatch.setattr(subset, "SIZES", sizes)
        for name, column in parts.update(table).items():
            np.testing.assert_array_equal(column, expected[name], err_msg=name)
    for name, array in plain.state.items():
        np.testing.assert_array_equal(parts.state[name], array, err_msg=name)


def test_rows_of_all_streams_may_come_in_any_order():
    ids = ["a", "b", "c"]
    inorder, mixed = (Streams(hourly(id="unique_id"), ids) for _ in range(2))
    order = np.array([2, 0, 1])
    for i in range(20):
        table = {
            "unique_id": np.array(ids),
            "ds": np.full(3, START + 3600 * i),
            "y": np.array([i, -i, 50.0 * (i > 15)]),
        }
        expected = inorder.update(table)
        said = mixed.update({name: column[order] for name, column in table.items()})
        for name, column in expected.items():
            np.testing.assert_array_equal(said[name], column[order], err_msg=name)
    assert said["causes"].tolist()[0] == "forecast, range"
    assert (said["causes"] == "").tolist() == (said["incident"] == 0).tolist()


def test_causes_of_several_variables_are_told_by_name():
    streams = Streams(hourly("load", "heat", id="unique_id"), ["a"])
    for i in range(12):
        table = {"unique_id": ["a"], "ds": [START + 3600 * i], "load": [1.0], "heat": [1.0 + 50 * (i == 11)]}
        said = streams.update({name: np.array(column) for name, column in table.items()})
    assert said["causes"].tolist() == ["heat: forecast, range"]


def test_streams_appear_and_vanish_while_the_others_go_on(tmp_path):
    def table(i: int, *ids: str) -> dict[str, np.ndarray]:
        each = [float(i % 2) + 30 * (i > 17 and name == "b") for name in ids]
        return {"unique_id": np.array(ids), "ds": np.full(len(ids), START + 3600 * i), "y": np.array(each)}

    detector = hourly(id="unique_id")
    detector.ends = {"c": START + 3600 * 9}
    streams, alone = Streams(detector, ["a", "b"]), Streams(detector, ["a", "b"])
    for i in range(20):
        if i == 10:
            streams.add(["c", "d"])
        if i == 15:
            streams.drop(["a"])
        ids = ("a", "b") if i < 10 else ("a", "b", "c", "d") if i < 15 else ("b", "c", "d")
        said, expected = streams.update(table(i, *ids)), alone.update(table(i, "a", "b"))
        place = ids.index("b")
        assert said["incident"][place] == expected["incident"][1]
        assert said["score"][place] == expected["score"][1] or np.isnan(expected["score"][1])
        if i >= 10:  # c was fitted on, d was not
            assert said["warming"].tolist()[-2:] == [False, i < 18]
    assert streams.ids == ("b", "c", "d")
    streams.save(tmp_path / "state")
    assert load_streams(tmp_path / "state", detector).ids == streams.ids
    with pytest.raises(SettingError, match=r"not among these 3 streams, got 'c'"):
        streams.add(["e", "c"])
    with pytest.raises(SettingError, match="stream 'a': not among these"):
        streams.drop(["a"])
    with pytest.raises(SettingError, match="at least one stream to stay, got all 3"):
        streams.drop(["b", "c", "d"])
    assert streams.ids == ("b", "c", "d")


def test_streams_that_fell_silent_are_named_once():
    streams = Streams(hourly(id="unique_id"), ["a", "b", "c"], rules=Rules(silent_after=2))
    assert streams.silent(START) == ()
    for i in range(5):
        ids = ["a", "b"] if i < 3 else ["a"]
        streams.update({"unique_id": np.array(ids), "ds": np.full(len(ids), START + 3600 * i), "y": np.zeros(len(ids))})
    assert streams.silent(START + 3600 * 5) == ("b",)
    assert streams.silent("2024-01-01T08:00:00") == ("a",)
    assert streams.silent(START + 3600 * 9) == ()
