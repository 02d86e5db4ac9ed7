"""A detector that is fitted to rows which come when they come: payments, requests, ten readings a second."""

from __future__ import annotations

import numpy as np
import pytest

import carrousel
from carrousel import Detector
from carrousel.errors import HistoryError, SettingError, TimeError
from carrousel.tasks.detect_irregular import replay_rows, rows_in_order
from carrousel.tasks.detect_replay import replay

FITTED, ROWS, ODD = 700, 1000, 900


def payments(ids: str = "", seed: int = 0) -> dict[str, np.ndarray]:
    """A payment every half minute or so, and a large one."""
    rng = np.random.default_rng(seed)
    after = np.cumsum(rng.exponential(30e6, ROWS)).astype(np.int64)
    amount = 100 + 10 * rng.normal(size=ROWS)
    amount[ODD] = 300
    found = {"time": np.datetime64("2024-01-01", "us") + after, "amount": amount}
    return found | ({"shop": np.array(list(ids))[np.arange(ROWS) % len(ids)]} if ids else {})


def part(frame: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in frame.items()}


def rows_of(frame: dict[str, np.ndarray]) -> list[dict[str, object]]:
    return [dict(zip(frame, row, strict=True)) for row in zip(*frame.values(), strict=True)]


@pytest.fixture(scope="module", params=["", "ab"], ids=["one", "several"])
def fitted(request: pytest.FixtureRequest) -> tuple[Detector, dict[str, np.ndarray]]:
    frame = payments(request.param)
    told = {"id": "shop"} if request.param else {}
    detector = Detector(frequency="none", false_alarms="1/2 hours", **told).fit(part(frame, slice(FITTED)))
    return detector, part(frame, slice(FITTED, None))


def test_a_regular_fit_says_how_to_fit_what_is_not():
    with pytest.raises(TimeError, match=r"whole seconds.*; or judge rows as they come: frequency='none'"):
        Detector(minutes=0, target="amount").fit(payments())
    seconds = payments() | {"time": payments()["time"].astype("datetime64[s]")}
    with pytest.raises(TimeError, match=r"regular grid.*; or judge rows as they come: frequency='none'"):
        Detector(minutes=0, target="amount").fit(seconds)


def test_it_goes_on_after_its_table_with_the_same_events_row_by_row(fitted):
    detector, later = fitted
    assert detector.schema is None
    assert detector.variables == ("amount",)
    assert detector.settings.time == "time"
    assert any("a row comes every" in note for note in detector.notes)
    said = detector.predict(later)
    assert not said["warming"].any()
    names = sorted(detector.ends)
    streams = {name: detector.stream(name) for name in names}
    for name, stream in streams.items():
        assert stream.newest == detector.ends[name]
    events = [streams[str(row.get("shop", names[0]))].update(row) for row in rows_of(later)]
    for name in names:
        alone = [event for event in events if event.unique_id == name]
        which = said.get("shop", np.full(len(events), name)) == name
        if len(names) == 1:
            which = np.ones(len(events), bool)
        assert said["score"][which].tolist() == [event.score for event in alone]
        assert said["alarm"][which].tolist() == [event.alarm for event in alone]
    assert any(event.incident for event in events if event.ds == later["time"][ODD - FITTED])


def test_it_is_saved_whole(fitted, tmp_path):
    detector, later = fitted
    again = carrousel.load(detector.save(tmp_path / "run"))
    assert again.ends == detector.ends
    assert again.fingerprint == detector.fingerprint
    for name, column in detector.predict(later).items():
        np.testing.assert_array_equal(again.predict(later)[name], column, err_msg=name)
    name = sorted(again.ends)[-1]
    stream = again.stream(name)
    mine = [row for row in rows_of(later) if row.get("shop", name) == name]
    stream.push(mine[:50])
    state = stream.save(tmp_path / "state")
    assert again.stream(name, state=state).push(mine[50:]) == stream.push(mine[50:])


def test_its_states_are_those_of_a_stream_that_saw_the_table(fitted):
    detector, _ = fitted
    frame = part(payments("ab" if len(detector.ends) > 1 else ""), slice(FITTED))
    for name in detector.ends:
        watch = detector.watch()
        mine = frame.get("shop", np.full(FITTED, name)) == name
        for tick, y in zip(frame["time"][mine].astype(np.int64), frame["amount"][mine], strict=True):
            watch.step(np.array([[y]]), np.array([tick / 1e6]))
        for key, array in detector.watch(ids=[name]).state.items():
            if not key.startswith("alarm."):  # which knows the factor that the table gave
                np.testing.assert_array_equal(array, watch.state[key], err_msg=key)


def test_evaluate_takes_labels_between_seconds(fitted):
    detector, later = fitted
    odd = later["time"][ODD - FITTED]
    labels = {"start": odd[None], "end": odd[None]}
    if len(detector.ends) > 1:
        labels["shop"] = later["shop"][[ODD - FITTED]]
    evaluation = detector.evaluate(later, labels)
    assert (evaluation.scores["Carrousel"].labels, evaluation.scores["Carrousel"].found) == (1, 1)
    assert (evaluation.unit, evaluation.per, evaluation.promised) == ("hour", "an hour", 0.5)


def test_of_a_stamp_the_first_row_counts():
    frame = payments()
    twice = {name: np.concatenate([column, column[100:103]]) for name, column in frame.items()}
    twice["amount"][-3:] = 1e6
    detector = Detector(frequency="none").fit(twice)
    assert "3 rows repeat a stamp of their series; the first one counts" in detector.notes
    plain = Detector(frequency="none").fit(frame)
    for key, array in plain.watch(ids=["series"]).state.items():
        np.testing.assert_array_equal(detector.watch(ids=["series"]).state[key], array, err_msg=key)


@pytest.mark.parametrize(
    ("settings", "rows", "error", "says"),
    [
        ({"past": "amount"}, slice(None), SettingError, "past: expected none with frequency='none', got amount"),
        ({"joint": False}, slice(None), SettingError, "joint: expected none with frequency='none', got False"),
        ({"false_alarms": "9/second"}, slice(None), SettingError, "expected fewer than rows, got '9/second'"),
        ({}, slice(150), HistoryError, "at least 200 rows of one series, got 150"),
    ],
)
def test_what_it_cannot_do_is_said(settings, rows, error, says):
    with pytest.raises(error, match=says):
        Detector(frequency="none", **settings).fit(part(payments(), rows))


def test_whole_numbers_have_a_grid_of_their_own():
    with pytest.raises(TimeError, match="expected dates with frequency='none', got whole numbers"):
        Detector(frequency="none").fit(payments() | {"time": np.cumsum(np.arange(ROWS) % 3 + 1)})
    detector = Detector(frequency="none").fit(payments())
    with pytest.raises(TimeError, match="expected a date"):
        detector.stream().update({"time": 7, "amount": 1.0})


def test_on_regular_rows_it_is_what_is_done_with_regular_rows():
    frame = payments() | {"time": np.datetime64("2024-01-01", "s") + 3600 * np.arange(ROWS)}
    regular = Detector(minutes=0, target="amount", false_alarms="1/100 rows").fit(frame)
    told = Detector(frequency="none", false_alarms="1/100 rows").fit(frame)
    states, rarities = replay(regular.watch, regular.schema.read(frame))
    others, again = replay_rows(regular.watch, rows_in_order(told.settings, frame, []))
    np.testing.assert_array_equal(rarities, again)
    for key, array in states["amount"].items():
        np.testing.assert_array_equal(others["series"][key], array, err_msg=key)
    assert told.interval_s == regular.interval_s == 3600
    assert told.factor == pytest.approx(regular.factor, rel=0.3)
