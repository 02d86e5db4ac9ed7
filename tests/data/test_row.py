"""One streamed row: as strict as a table."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from carrousel.data.schema import Schema
from carrousel.errors import CarrouselError, ColumnError, SettingError, TimeError

LONG = Schema(
    id="shop",
    time="ds",
    target=("sales",),
    past=("temp",),
    future=("weather", "holiday"),
    frequency="h",
    categories={"weather": ("rain", "sun")},
)


def test_row_has_the_values_of_its_columns() -> None:
    row = LONG.read_row(
        {"shop": 7, "ds": "2024-01-01 05:00", "sales": "3.5", "temp": 2, "weather": "sun", "holiday": True, "note": "x"}
    )
    assert row.id == "7"
    assert row.ds == np.datetime64("2024-01-01T05:00:00")
    np.testing.assert_array_equal(row.target, [3.5])
    np.testing.assert_array_equal(row.past, [2.0])
    np.testing.assert_array_equal(row.future, [0.0, 1.0, 1.0])


@pytest.mark.parametrize("value", [None, float("nan"), "", "NA", np.nan, float("inf")])
def test_value_that_is_absent_is_not_observed(value: Any) -> None:
    row = LONG.read_row({"shop": "a", "ds": dt.datetime(2024, 1, 1), "sales": value, "temp": value, "holiday": 0})
    assert np.isnan(row.target[0])
    assert np.isnan(row.past[0])
    np.testing.assert_array_equal(row.future, [np.nan, np.nan, 0.0])


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-01T05:00:00Z",
        "2024-01-01T07:00:00+02:00",
        dt.datetime(2024, 1, 1, 5),
        dt.datetime(2024, 1, 1, 5, tzinfo=dt.UTC),
        np.datetime64("2024-01-01T05:00:00.000000000"),
        pd.Timestamp("2024-01-01 05:00"),
    ],
)
def test_stamp_may_come_in_any_form_of_a_date(value: Any) -> None:
    assert LONG.read_row({"shop": "a", "ds": value}).ds == np.datetime64("2024-01-01T05:00:00", "s")


@pytest.mark.parametrize(
    ("row", "error", "match"),
    [
        ({"ds": "2024-01-01"}, ColumnError, "expected the series in 'shop'"),
        ({"shop": "a"}, TimeError, "expected a date, got None"),
        ({"shop": "a", "ds": "yesterday"}, TimeError, "'yesterday'"),
        ({"shop": "a", "ds": 5}, TimeError, "expected a date, got 5"),
        ({"shop": "a", "ds": pd.NaT}, TimeError, "expected a date"),
        ({"shop": "a", "ds": "2024-01-01 00:00:00.5"}, TimeError, "whole seconds"),
        ({"shop": "a", "ds": "2024-01-01", "sales": "many"}, ColumnError, "column 'sales': expected a number"),
        ({"shop": "a", "ds": "2024-01-01", "sales": 1e31}, ColumnError, "column 'sales': expected a number"),
        ({"shop": "a", "ds": "2024-01-01", "sales": [1]}, ColumnError, "column 'sales': expected a number"),
        ({"shop": "a", "ds": "2024-01-01", "weather": "snow"}, ColumnError, "unknown category 'snow'"),
        ({"shop": "a", "ds": "2024-01-01", "slaes": 1}, ColumnError, "did you mean 'sales'"),
    ],
)
def test_row_that_does_not_fit_is_refused(row: dict[str, Any], error: type[CarrouselError], match: str) -> None:
    with pytest.raises(error, match=match):
        LONG.read_row(row)


def test_row_of_a_wide_table_gives_the_series_asked_for() -> None:
    schema = Schema(time="t", target=("a", "b"), frequency="1", layout="wide", future=("x",))
    row = schema.read_row({"t": 4, "a": 1, "b": 2, "x": 3}, id="b")
    assert (row.id, row.ds, row.target.tolist(), row.future.tolist()) == ("b", 4, [2.0], [3.0])
    with pytest.raises(SettingError, match="one of a, b, got None"):
        schema.read_row({"t": 4, "a": 1, "b": 2, "x": 3})
    assert schema.read_row({"t": "4"}, id="b").ds == 4
    for value in ("4.5", 4.5, float("nan"), float("inf"), None, True, "2024-01-01"):
        with pytest.raises(TimeError, match="expected a whole number"):
            schema.read_row({"t": value}, id="b")


def test_row_of_joint_targets_gives_them_all() -> None:
    schema = Schema(time="t", target=("a", "b"), frequency="1", layout="wide", joint=True)
    row = schema.read_row({"t": 4, "a": 1, "b": None})
    assert row.id == "series"
    np.testing.assert_array_equal(row.target, [1.0, np.nan])
