"""Which column plays which part, and the panel that a table becomes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.errors import CarrouselError, ColumnError, DataError, HistoryError, SettingError, TimeError


def hours(n: int, start: str = "2024-01-01") -> np.ndarray:
    return (np.datetime64(start, "s") + np.arange(n) * np.timedelta64(3600, "s")).astype("datetime64[s]")


def long_frame() -> pd.DataFrame:
    """Three series of unequal length and start, with a covariate of each sort."""
    parts: list[pd.DataFrame] = []
    for i, (name, n) in enumerate((("b", 30), ("a", 20), ("c", 25))):
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": name,
                    "ds": hours(n, f"2024-01-0{i + 1}"),
                    "y": np.arange(n) + 100.0 * i,
                    "temp": np.arange(n) / 10,
                    "sky": np.resize(["rain", "sun", "fog"], n),
                    "open": np.arange(n) % 2 == 0,
                    "size": float(i),
                    "town": f"town {name}",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


ROLES: dict[str, Any] = {"past": "temp", "future": ["sky", "open"], "static": ["size", "town"]}


def assert_equal(a: Panel, b: Panel) -> None:
    assert a.ids == b.ids
    for name in ("target_names", "past_names", "future_names", "static_names"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("starts", "ds", "target", "past", "future", "static"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_long_table_becomes_series_below_each_other() -> None:
    notes: list[str] = []
    schema = Schema.infer(long_frame(), **ROLES, notes=notes)
    panel = schema.read(long_frame(), notes=notes)
    assert panel.ids == ("a", "b", "c")
    assert panel.starts.tolist() == [0, 20, 50, 75]
    np.testing.assert_array_equal(panel.ds[panel.rows(0)], hours(20, "2024-01-02"))
    np.testing.assert_array_equal(panel.target[panel.rows(2), 0], np.arange(25) + 200.0)
    np.testing.assert_array_equal(panel.past[panel.rows(1), 0], np.arange(30) / 10)
    assert panel.future_names == ("sky=fog", "sky=rain", "sky=sun", "open")
    np.testing.assert_array_equal(panel.future[:3], [[0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1]])
    assert panel.static_names == ("size", "town=town a", "town=town b", "town=town c")
    np.testing.assert_array_equal(panel.static, [[1, 1, 0, 0], [0, 0, 1, 0], [2, 0, 0, 1]])
    assert schema.frequency == "h"
    assert "frequency: hourly ('h')" in notes
    assert "column 'sky': 3 categories (fog, rain, sun)" in notes


def test_wide_table_gives_a_series_for_each_column_from_its_first_to_its_last_value() -> None:
    frame = {
        "date": hours(5),
        "b": [None, 1.0, None, 3.0, None],
        "a": [9.0, 8.0, 7.0, 6.0, 5.0],
        "holiday": [True, False, False, True, True],
    }
    notes: list[str] = []
    schema = Schema.infer(frame, future="holiday", notes=notes)
    panel = schema.read(frame, notes=notes)
    assert (schema.time, schema.target, schema.layout) == ("date", ("b", "a"), "wide")
    assert panel.ids == ("b", "a")
    assert panel.target_names == ("y",)
    np.testing.assert_array_equal(panel.target[:, 0], [1, np.nan, 3, 9, 8, 7, 6, 5])
    np.testing.assert_array_equal(panel.ds, np.concatenate([hours(5)[1:4], hours(5)]))
    np.testing.assert_array_equal(panel.future[:, 0], [0, 0, 1, 1, 0, 0, 1, 1])
    assert "time column: date" in notes
    assert "targets: b, a (each a series)" in notes


def test_joint_targets_are_one_series_with_several_columns() -> None:
    frame = {"ds": hours(3), "a": [1.0, 2.0, 3.0], "b": [4.0, None, None]}
    panel = Schema.infer(frame, joint=True).read(frame)
    assert (panel.ids, panel.target_names) == (("series",), ("a", "b"))
    np.testing.assert_array_equal(panel.target, [[1, 4], [2, np.nan], [3, np.nan]])


def test_table_without_id_is_one_series_named_after_its_target() -> None:
    frame = {"ds": [3, 1, 2], "y": [30.0, 10.0, 20.0]}
    schema = Schema.infer(frame)
    panel = schema.read(frame)
    assert (schema.frequency, panel.ids, panel.target[:, 0].tolist()) == ("1", ("y",), [10.0, 20.0, 30.0])


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from(["pandas", "polars", "pyarrow", "dict"]))
def test_order_of_rows_and_kind_of_frame_make_no_difference(random: Any, kind: str) -> None:
    frame = long_frame()
    schema = Schema.infer(frame, **ROLES)
    order = list(range(len(frame)))
    random.shuffle(order)
    shuffled = frame.iloc[order].reset_index(drop=True)
    other: Any = shuffled
    if kind != "pandas":
        polars = pl.from_pandas(shuffled)
        other = {"polars": polars, "pyarrow": polars.to_arrow(), "dict": polars.to_dict(as_series=False)}[kind]
    assert Schema.infer(other, **ROLES) == schema
    assert_equal(schema.read(other), schema.read(frame))


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 74), max_size=40))
def test_lost_rows_become_missing_rows_at_their_places(lost: set[int]) -> None:
    frame = long_frame()
    # The first and the last row of each series hold the grid.
    lost -= {0, 29, 30, 49, 50, 74}
    schema = Schema.infer(frame, **ROLES)
    whole, notes = schema.read(frame), list[str]()
    panel = schema.read(frame.drop(sorted(lost)), notes=notes)
    gone = np.zeros(75, bool)
    # In the frame series b comes first, in the panel a.
    gone[[row + 20 if row < 30 else row - 30 if row < 50 else row for row in lost]] = True
    np.testing.assert_array_equal(panel.ds, whole.ds)
    for name in ("target", "past", "future"):
        expected = getattr(whole, name).copy()
        expected[gone] = np.nan
        np.testing.assert_array_equal(getattr(panel, name), expected)
    assert any(note.startswith(f"gaps: {len(lost)} time stamps") for note in notes) == bool(lost)


def test_repeated_rows_are_dropped_and_said() -> None:
    frame = long_frame()
    schema = Schema.infer(frame, **ROLES)
    notes: list[str] = []
    panel = schema.read(pd.concat([frame, frame.iloc[[3, 40]]]), notes=notes)
    assert_equal(panel, schema.read(frame))
    assert "2 rows that repeat another one were dropped" in notes


def test_rows_that_contradict_each_other_are_refused() -> None:
    frame = long_frame()
    other = frame.iloc[[40]].assign(y=-1.0)
    schema = Schema.infer(frame, **ROLES)
    with pytest.raises(TimeError, match=r"series 'a': .* differ at 2024-01-02T10:00:00 \(1 such pairs"):
        schema.read(pd.concat([frame, other]))


def test_contradiction_without_id_column_names_it_as_a_remedy() -> None:
    frame = {"ds": [1, 1, 2, 2], "name": ["a", "b", "a", "b"], "y": [1.0, 2.0, 3.0, 4.0]}
    with pytest.raises(TimeError, match="name the id column with id"):
        Schema.infer(frame).read(frame)


def test_leading_and_trailing_rows_without_target_are_left_out_and_the_latter_read_as_future() -> None:
    frame = {
        "ds": np.arange(8),
        "y": [None, 1.0, None, 3.0, 4.0, None, None, None],
        "x": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    }
    schema = Schema.infer(frame, future="x")
    notes: list[str] = []
    history = schema.read(frame, notes=notes)
    future = schema.read_future(frame, history)
    assert history.ds.tolist() == [1, 2, 3, 4]
    assert "4 rows before the first or after the last observed target were left out" in notes
    assert future.ds.tolist() == [5, 6, 7]
    assert future.future[:, 0].tolist() == [5, 6, 7]
    assert np.isnan(future.target).all()


def test_future_rows_stand_at_their_step_after_each_series_own_history() -> None:
    frame = long_frame()
    schema = Schema.infer(frame, **ROLES)
    history = schema.read(frame)
    ahead = pd.DataFrame(
        {
            "unique_id": ["c", "a", "c"],
            "ds": [
                np.datetime64("2024-01-04T03:00"),  # third step after the end of c
                np.datetime64("2024-01-02T20:00"),  # first step after the end of a
                np.datetime64("2024-01-03T05:00"),  # still history
            ],
            "sky": ["sun", "fog", "rain"],
            "open": [True, False, True],
        }
    )
    notes: list[str] = []
    future = schema.read_future(ahead, history, notes=notes)
    assert future.ids == history.ids
    assert future.lengths.tolist() == [1, 0, 3]
    np.testing.assert_array_equal(future.ds[1:], hours(3, "2024-01-04T01"))
    np.testing.assert_array_equal(future.future, [[1, 0, 0, 0], [np.nan] * 4, [np.nan] * 4, [0, 0, 1, 1]])
    assert future.target.shape == (4, 1)
    assert future.past.shape == (4, 1)
    np.testing.assert_array_equal(future.static, history.static)
    assert any(note.startswith("gaps: 2 time stamps") for note in notes)


def test_future_of_a_wide_table_is_shared_by_all_series() -> None:
    frame = {"ds": np.arange(4), "a": [1.0, 2.0, 3.0, 4.0], "b": [5.0, 6.0, None, None], "x": [0.0, 1.0, 2.0, 3.0]}
    schema = Schema.infer(frame, future="x")
    future = schema.read_future({"ds": [6, 5, 4, 2, 3], "x": [6.0, 5.0, 4.0, 2.0, 3.0]}, schema.read(frame))
    assert future.lengths.tolist() == [3, 5]
    assert future.ds.tolist() == [4, 5, 6, 2, 3, 4, 5, 6]
    assert future.future[:, 0].tolist() == [4, 5, 6, 2, 3, 4, 5, 6]


def test_future_of_an_unknown_series_is_refused() -> None:
    frame = long_frame()
    schema = Schema.infer(frame, future="sky")
    ahead = {"unique_id": ["aa"], "ds": [np.datetime64("2024-02-01")], "sky": ["sun"]}
    with pytest.raises(DataError, match=r"series 'aa': not in the history; did you mean 'a'\?"):
        schema.read_future(ahead, schema.read(frame))


def test_future_beside_the_grid_of_its_history_is_refused() -> None:
    frame = {"ds": hours(5), "y": np.arange(5.0), "x": np.arange(5.0)}
    schema = Schema.infer(frame, future="x")
    with pytest.raises(TimeError, match="got 2024-01-01T05:30:00"):
        schema.read_future({"ds": [np.datetime64("2024-01-01T05:30")], "x": [1.0]}, schema.read(frame))


@pytest.mark.parametrize(
    "texts",
    [
        ["2024-01-01 00:00:00", "2024-01-01 01:00:00", "2024-01-01 02:00:00"],
        ["2024-01-01T00:00", "2024-01-01T01:00", "2024-01-01T02:00"],
        ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z"],
        ["2024-01-01T01:00:00+01:00", "2024-01-01T02:00:00+01:00", "2024-01-01T02:00:00+00:00"],
        ["20240101T00", "20240101T01", "20240101T02"],
    ],
)
def test_time_may_be_text_in_any_form_of_iso_8601(texts: list[str]) -> None:
    frame = {"ds": texts, "y": [1.0, 2.0, 3.0]}
    schema = Schema.infer(frame)
    assert schema.frequency == "h"
    np.testing.assert_array_equal(schema.read(frame).ds, hours(3))


def test_months_and_years_may_be_text() -> None:
    assert Schema.infer({"ds": ["2024-01", "2024-02", "2024-04"], "y": [1.0, 2.0, 3.0]}).frequency == "MS"
    assert Schema.infer({"ds": ["1999", "2000", "2001"], "y": [1.0, 2.0, 3.0]}).frequency == "YS"


def test_conversion_to_utc_is_said() -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin"), "y": 1.0})
    notes: list[str] = []
    panel = Schema.infer(frame).read(frame, notes=notes)
    np.testing.assert_array_equal(panel.ds, hours(72, "2024-03-29T23"))
    assert notes == ["time column 'ds': stamps with a time zone (Europe/Berlin) were converted to UTC"]


def test_signs_of_absence_in_numbers_are_not_observed() -> None:
    frame = {"ds": np.arange(9), "y": ["1", "NA", " 3 ", "nan", "", "inf", "-", "8", "-inf"]}
    notes: list[str] = []
    panel = Schema.infer(frame).read(frame, notes=notes)
    np.testing.assert_array_equal(panel.target[:, 0], [1, np.nan, 3, np.nan, np.nan, np.nan, np.nan, 8])
    assert "column 'y': 2 infinite values count as not observed" in notes


def test_name_of_a_series_may_look_like_a_sign_of_absence() -> None:
    frame = {"unique_id": ["NA", "NA", "nan", "nan"], "ds": [1, 2, 1, 2], "y": [1.0, 2.0, 3.0, 4.0]}
    assert Schema.infer(frame).read(frame).ids == ("NA", "nan")


def test_missing_category_is_missing_in_each_of_its_indicators() -> None:
    frame = {"ds": [1, 2, 3], "y": [1.0, 2.0, 3.0], "c": ["a", None, "b"]}
    panel = Schema.infer(frame, past="c").read(frame)
    np.testing.assert_array_equal(panel.past, [[1, 0], [np.nan, np.nan], [0, 1]])


def test_schema_survives_json() -> None:
    schema = Schema.infer(long_frame(), **ROLES)
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    assert_equal(again.read(long_frame()), schema.read(long_frame()))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"horizon": 5}, "horizon"),
        ({"layout": "broad"}, "layout"),
        ({"target": []}, "target"),
        ({"target": "y"}, "target"),
        ({"frequency": "hourly"}, "frequency"),
        ({"past": ["y"]}, "column 'y': expected one part"),
        ({"categories": {"z": ["a"]}}, "'z' is not a covariate"),
        ({"id": None, "static": ["x"]}, "static"),
        ({"layout": "wide"}, "layout"),
        ({"target": ["y", "z"]}, "joint=True"),
    ],
)
def test_schema_that_does_not_fit_together_is_refused(change: dict[str, Any], match: str) -> None:
    data = {"time": "ds", "target": ["y"], "frequency": "h", "id": "unique_id", **change}
    with pytest.raises(SettingError, match=match):
        Schema.from_dict(data)


BASE: dict[str, Any] = {
    "unique_id": ["a"] * 4,
    "ds": [1, 2, 3, 4],
    "y": [1.0, 2.0, 3.0, 4.0],
    "x": [1.0, 2.0, 3.0, 4.0],
}


@pytest.mark.parametrize(
    ("change", "roles", "error", "match"),
    [
        ({}, {"past": "xx"}, ColumnError, r"past column 'xx': not in the table; did you mean 'x'\?"),
        ({}, {"target": "Y"}, ColumnError, "target column 'Y': not in the table"),
        ({}, {"id": "unique"}, ColumnError, "id column 'unique'"),
        ({}, {"time": "date"}, ColumnError, "time column 'date'"),
        ({}, {"target": ["y", "x"]}, SettingError, "joint=True"),
        ({}, {"past": "x", "future": "x"}, SettingError, "column 'x': expected one part"),
        ({}, {"frequency": "h"}, TimeError, "expected dates for frequency 'h', got whole numbers"),
        ({"ds": ["1/2/2024"] * 4}, {}, TimeError, "got '1/2/2024'"),
        ({"ds": ["2024-01-01", "2024-01-02", None, "2024-01-04"]}, {}, TimeError, "got None in row 3"),
        ({"ds": ["2024-01-01", "2024-01-02", "2024-02-30", "x"]}, {}, TimeError, "'2024-02-30'"),
        ({"ds": ["2024-01-01", "2024-01-02Z", "2024-01-03", "2024-01-04"]}, {}, TimeError, "'2024-01-02Z'"),
        ({"ds": [1.0, 2.5, 3.0, 4.0]}, {}, TimeError, "got 2.5 in row 2"),
        ({"ds": [1.0, None, 3.0, 4.0]}, {}, TimeError, "row 2"),
        ({"ds": [1, 2, 3, 10**9]}, {"frequency": 1}, TimeError, "widest gap from 3 to 1000000000"),
        ({"ds": [True, False, True, False]}, {}, TimeError, "got booleans"),
        ({"y": [1.0, "2", "many", 4.0]}, {}, ColumnError, "column 'y': expected numbers, got 'many' in row 3"),
        ({"y": [1.0, 2.0, 1e31, 4.0]}, {}, ColumnError, "got 1e[+]31 in row 3"),
        ({"y": hours(4)}, {}, ColumnError, "column 'y': expected numbers, got dates"),
        ({"y": [None] * 4}, {}, HistoryError, "series 'a': expected at least one observed target"),
        (
            {"x": ["1", "2", "3", "four"]},
            {"past": "x"},
            ColumnError,
            "column 'x': expected numbers, got 'four' in row 4",
        ),
        ({"x": [{}, {}, {}, {}]}, {"past": "x"}, ColumnError, "column 'x': expected numbers, got dict values"),
        ({"unique_id": ["a", None, "a", "a"]}, {}, ColumnError, "id column 'unique_id': .* row 2"),
        ({"unique_id": [1.5, 2, 3, 4]}, {}, ColumnError, "whole numbers, got 1.5"),
        ({"unique_id": ["a", "b", "c", "d"]}, {}, HistoryError, "at least two time stamps"),
        (
            {"x": [1.0, 1.0, 2.0, 1.0]},
            {"static": "x"},
            ColumnError,
            "static column 'x': .* got 2 in row 3 and 1 elsewhere",
        ),
    ],
)
def test_table_that_cannot_be_used_says_where_and_what_to_do(
    change: dict[str, Any], roles: dict[str, Any], error: type[CarrouselError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Schema.infer(BASE | change, **roles).read(BASE | change)


@pytest.mark.parametrize(
    ("frame", "error", "match"),
    [
        ({"ds": [], "y": []}, HistoryError, "expected rows, got none"),
        ({"ds": [1], "y": [1.0]}, HistoryError, "at least two time stamps"),
        ({"t": [1, 2], "y": [1.0, 2.0]}, ColumnError, "time column 'ds': not in the table, and no other column"),
        ({"p": hours(2), "q": hours(2), "y": [1.0, 2.0]}, ColumnError, "p and q hold dates"),
        ({"ds": [1, 2], "c": ["a", "b"]}, ColumnError, "expected a column of numbers"),
        ({"unique_id": [1, 1], "ds": [1, 2], "v": [1.0, 2.0]}, ColumnError, "name it with target, one of v"),
    ],
)
def test_table_without_the_needed_columns_or_rows_is_refused(
    frame: dict[str, Any], error: type[CarrouselError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Schema.infer(frame)


def test_one_row_is_enough_if_the_frequency_is_named() -> None:
    frame = {"ds": ["2024-01-07"], "y": [5.0]}
    schema = Schema.infer(frame, frequency="W")
    assert schema.frequency == "W-SUN"
    assert schema.read(frame).target.tolist() == [[5.0]]


def test_later_table_is_held_to_the_schema() -> None:
    frame = {"ds": [1, 2, 3], "y": [1.0, 2.0, 3.0], "c": ["a", "b", "a"]}
    schema = Schema.infer(frame, past="c")
    with pytest.raises(ColumnError, match=r"column 'c': unknown category 'd' in row 2 \(known are a, b\)"):
        schema.read(frame | {"c": ["a", "d", "a"]})
    with pytest.raises(ColumnError, match="past column 'c': not in the table"):
        schema.read({"ds": [1, 2], "y": [1.0, 2.0]})
    with pytest.raises(TimeError, match="expected whole numbers for frequency '1', got dates"):
        schema.read(frame | {"ds": hours(3)})
    assert schema.read(frame | {"c": ["b", "b", "b"]}).past.tolist() == [[0.0, 1.0]] * 3


def test_unused_columns_are_said() -> None:
    notes: list[str] = []
    Schema.infer(BASE, notes=notes)
    assert "columns not used: x; to use one, name it as past, future or static" in notes


def test_notes_are_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="carrousel"):
        Schema.infer({"ds": hours(3), "y": [1.0, 2.0, 3.0]})
    assert "frequency: hourly ('h')" in caplog.messages
