"""Whatever a row holds, a stream answers with an event for JSON, or refuses it in one line and is as before."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel import Detector
from carrousel.errors import CarrouselError
from carrousel.stream import DetectStream, Event

START = np.datetime64("2024-01-01T00", "s")
VALUES = [
    1, 1.5, None, float("nan"), float("inf"), "1", "x", "", True, [], {}, b"1", 10**400, -1e300, 1e29, pd.NA, pd.NaT,
    np.float32(1), np.datetime64("NaT"), decimal.Decimal("1.5"), fractions.Fraction(1, 3), 1 + 0j, "nan", "１", "1e400",
    np.array([]), object(), dt.timedelta(1), np.bool_(0),
]  # fmt: skip
STAMPS = [
    "2024-01-01", 0, 7, 10**30, -5, 1e18, "7", None, "", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00+14:00",
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 1, 2), np.datetime64("NaT"), pd.NaT, True, 3.7, "0001-01-01",
    "9999-12-31", dt.datetime.max, dt.datetime.min, "2024-02-30", [], {}, b"2024", "12:00",
    pd.Timestamp("2024-01-03", tz="Europe/Berlin"), pd.Timestamp("2024-01-01 00:00:00.000000001"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["cold", "pair", "season", "fitted", "named", "numbers"])
def detector(request: pytest.FixtureRequest) -> Detector:
    y = np.random.default_rng(0).normal(size=240)
    hours = START + 3600 * np.arange(-240, 0)
    return {
        "cold": lambda: Detector.online(),
        "pair": lambda: Detector.online(["y", "a"]),
        "season": lambda: Detector.online(season=7, false_alarms="1/100 rows"),
        "fitted": lambda: Detector(minutes=0).fit({"ds": hours, "y": y}),
        "named": lambda: Detector(minutes=0).fit({"unique_id": ["p"] * 240, "ds": hours, "y": y}),
        "numbers": lambda: Detector(minutes=0).fit({"ds": np.arange(-240, 0), "y": y}),
    }[request.param]()


def answer(stream: DetectStream, row: dict[object, object]) -> Event | str:
    """The event, or why there is none."""
    try:
        return stream.update(row)  # pyright: ignore[reportArgumentType]
    except CarrouselError as error:
        return str(error)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["y", "Y", "a", "unique_id", "DS", "", 5, None]), st.sampled_from(range(len(VALUES)))
        ).flatmap(lambda row: st.tuples(st.just(row), st.sampled_from([*range(len(STAMPS)), -1, -1, -1, -1, -2]))),
        min_size=1,
        max_size=25,
    )
)
def test_no_row_breaks_a_stream(detector, given_rows):
    stream = detector.stream()
    for n, (values, stamp) in enumerate(given_rows):
        row: dict[object, object] = {name: VALUES[place] for name, place in values.items()}
        if stamp >= 0:
            row["ds"] = STAMPS[stamp]
        elif stamp == -1:
            row["ds"] = n if detector.schema and not detector.dated else str(START + 3600 * n)
        before = {name: array.copy() for name, array in stream.streams.state.items()}
        said = answer(stream, row)
        if isinstance(said, str):
            assert "\n" not in said
            for name, array in stream.streams.state.items():
                np.testing.assert_array_equal(array, before[name], err_msg=f"{name} after {said}")
        else:
            json.dumps(said.to_dict(), allow_nan=False)
            assert said.kind in ("row", "late", "duplicate")
