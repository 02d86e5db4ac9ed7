"""The books of streams: for many rows as for one, and a clock that was wrong once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel import Detector
from carrousel.stream.arrival import BACK_ROWS, LATE, ROW, Arrival, Rules

START = np.datetime64("2024-01-01T00", "s")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 1, 1, 1, 2, 40, 5000, -1, -30, -4990]), min_size=1, max_size=150),
    st.sampled_from([0, 1]),
    st.integers(0, 3),
)
def test_one_row_is_entered_as_many_are(steps, interval, seed):
    one, many = (Arrival(1, 1, rules=Rules(), interval=interval) for _ in range(2))
    rng, tick = np.random.default_rng(seed), 0
    for step in steps:
        tick += step
        value = float(rng.integers(0, 3))
        alone, together = one.admit_one(tick, [value]), many.admit(slice(None), np.array([tick]), np.array([[value]]))
        for name in ("kind", "missing", "fed", "interval", "back", "set_back"):
            assert getattr(alone, name) == getattr(together, name)[0], name
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(array, many.arrays[name], err_msg=name)
        assert one.valid()


@pytest.mark.parametrize("interval", [0, 60])
def test_a_stamp_far_ahead_does_not_make_all_later_rows_late(interval):
    books = Arrival(1, 1, rules=Rules(), interval=interval)
    kinds = [books.admit_one(tick, [1.0]).kind for tick in [*range(0, 600, 60), 10_000_000, *range(600, 3600, 60)]]
    assert kinds == [ROW] * 11 + [LATE] * (BACK_ROWS - 1) + [ROW] * (50 - BACK_ROWS + 1)
    assert books.newest_one() == 3540
    assert books.arrays["late"][0] == BACK_ROWS - 1


def test_rows_that_are_sent_again_are_late_however_many():
    books = Arrival(1, 1, rules=Rules(), interval=60)
    before = [*range(0, 6000, 60), *range(60_000, 66_000, 60)]  # with a gap that was one
    for tick in before:
        books.admit_one(tick, [1.0])
    assert all(books.admit_one(tick, [1.0]).kind != ROW for tick in before)
    assert books.newest_one() == before[-1]


def test_late_rows_in_no_order_are_no_clock():
    books = Arrival(1, 1, rules=Rules(), interval=60)
    for tick in (0, 60, 6_000_000):
        books.admit_one(tick, [1.0])
    rng = np.random.default_rng(0)
    kinds = [books.admit_one(int(tick), [1.0]).kind for tick in rng.integers(1000, 5_000_000, 200)]
    assert kinds == [LATE] * 200


@pytest.mark.parametrize("many", [False, True])
def test_a_stream_goes_on_after_its_clock_was_wrong(many):
    rng = np.random.default_rng(0)
    rows = [{"ds": START + 3600 * hour, "y": rng.normal() + 40 * (hour == 360)} for hour in range(400)]
    wrong = {"ds": START + 3600 * 24 * 9000, "y": 0.0}
    detector = Detector.online(false_alarms="1/100 rows")
    given_rows = [*rows[:300], wrong, *rows[300:]]
    if many:
        streams = detector.streams(["a", "b"])
        other = np.array([row["y"] for row in rows])
        said = [
            streams.update({"unique_id": np.array(["a", "b"]), "ds": [row["ds"]] * 2, "y": [row["y"], other[0]]})
            for row in given_rows
        ]
        kinds, alarms = [s["kind"][0] for s in said], [bool(s["alarm"][0]) for s in said]
    else:
        events = detector.stream().push(given_rows)
        kinds, alarms = [event.kind for event in events], [event.alarm for event in events]
        notes = events[300 + BACK_ROWS].notes
        assert notes == (
            f"{BACK_ROWS} rows in order were older than the newest one, of {wrong['ds']}: the clock was set back",
        )
        assert events[300 + BACK_ROWS].turn
    assert kinds == ["row"] * 301 + ["late"] * (BACK_ROWS - 1) + ["row"] * (100 - BACK_ROWS + 1)
    assert alarms[361]
