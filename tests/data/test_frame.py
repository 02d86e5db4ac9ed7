"""Frames in and out: every kind gives the same columns, and gets its own kind back."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from carrousel.data.frame import Table, frame_like, new_frame
from carrousel.errors import ColumnError, DataError

KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": dict,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}
DAYS = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2, 12)]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], Any]:
    return KINDS[request.param]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2], "integer", [1, 2]),
        ([1, None], "number", [1.0, np.nan]),
        ([1.5, None], "number", [1.5, np.nan]),
        ([True, False], "boolean", [1.0, 0.0]),
        ([True, None], "boolean", [1.0, np.nan]),
        (["a", "b"], "text", ["a", "b"]),
        (["a", None], "text", ["a", None]),
        (DAYS, "time", np.array(DAYS, "datetime64[us]")),
        ([day.date() for day in DAYS], "time", np.array(["2024-01-01", "2024-01-02"], "datetime64[us]")),
        ([DAYS[0], None], "time", np.array([DAYS[0], "NaT"], "datetime64[us]")),
    ],
)
def test_column_has_the_same_kind_and_values_in_every_frame(
    make: Callable[..., Any], values: list[Any], kind: str, expected: Any
) -> None:
    column = Table(make({"x": values})).column("x")
    assert column.kind == kind
    np.testing.assert_array_equal(column.values, np.array(expected))


def test_stamps_with_a_time_zone_come_in_utc(make: Callable[..., Any]) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    column = Table(
        make({"x": [dt.datetime(2024, 1, 1, 1, tzinfo=zone), dt.datetime(2024, 1, 1, 2, tzinfo=zone)]})
    ).column("x")
    np.testing.assert_array_equal(column.values, np.array(["2023-12-31T23", "2024-01-01T00"], "datetime64[us]"))
    assert column.zone is not None


def test_categories_are_told_from_texts() -> None:
    for frame in (
        pd.DataFrame({"x": pd.Categorical([1, 2])}),
        pl.DataFrame({"x": pl.Series(["1", "2"], dtype=pl.Categorical)}),
        pa.table({"x": pa.array(["1", "2"]).dictionary_encode()}),
    ):
        column = Table(frame).column("x")
        assert column.kind == "category"
        assert column.values.tolist() == ["1", "2"]


def test_nullable_pandas_columns_read_like_plain_ones() -> None:
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None], "Int64"),
            "b": pd.array([True, None], "boolean"),
            "s": pd.array(["a", None], "string"),
            "o": np.array(["a", np.nan], object),
            "m": np.array([1, "NA"], object),
        }
    )
    table = Table(frame)
    np.testing.assert_array_equal(table.column("i").values, [1.0, np.nan])
    np.testing.assert_array_equal(table.column("b").values, [1.0, np.nan])
    assert table.column("s").values.tolist() == ["a", None]
    assert table.column("o").values.tolist() == ["a", None]
    assert table.column("m").values.tolist() == ["1", "NA"]


@pytest.mark.parametrize("index", ["DatetimeIndex", "PeriodIndex"])
def test_index_of_time_becomes_the_column_ds(index: str) -> None:
    days = pd.date_range("2024-01-01", periods=3)
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=days if index == "DatetimeIndex" else days.to_period("D"))
    table = Table(frame)
    assert table.names == ("ds", "a")
    np.testing.assert_array_equal(table.column("ds").values, days.to_numpy())


def test_columns_named_by_numbers_are_read() -> None:
    table = Table(pd.DataFrame({"ds": [1, 2], 7: [3, 4]}))
    assert table.names == ("ds", "7")
    assert table.column("7").values.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("frame", "error", "match"),
    [
        ([1, 2], DataError, "got list"),
        (pl.LazyFrame({"a": [1]}), DataError, "collect"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ColumnError, "names that differ"),
        ({"a": [1, 2], "b": [1]}, ColumnError, "expected 2 values as in column 'a', got 1"),
        ({"a": [[1, 2], [3, 4]]}, ColumnError, "one value per row"),
        ({"a": [[1], [2, 3]]}, ColumnError, "unequal length"),
        ({"a": "text"}, ColumnError, "got str"),
        ({"a": 5}, ColumnError, "got int"),
        ({}, DataError, "no column at all"),
        (pd.DataFrame(), DataError, "no column at all"),
    ],
)
def test_what_is_no_table_is_refused(frame: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Table(frame)


def test_missing_column_suggests_the_nearest_name() -> None:
    with pytest.raises(ColumnError, match=r"past column 'tmep': not in the table; did you mean 'temp'\?"):
        Table({"temp": [1]}).require("tmep", "past")


def test_frame_comes_back_in_its_own_kind(make: Callable[..., Any]) -> None:
    original = make({"unique_id": ["a", "b"], "ds": DAYS, "y": [1.0, 2.0]})
    columns = {
        "unique_id": np.array(["a", "a"]),
        "ds": np.array(["2024-01-03", "2024-01-04"], "datetime64[s]"),
        "median": np.array([0.5, 1.5]),
    }
    back = frame_like(original, columns)
    assert type(back) is type(original)
    table = Table(back)
    assert table.names == ("unique_id", "ds", "median")
    assert table.column("unique_id").values.tolist() == ["a", "a"]
    np.testing.assert_array_equal(table.column("ds").values, columns["ds"])
    np.testing.assert_array_equal(table.column("median").values, columns["median"])


def test_frame_that_comes_back_joins_with_the_one_that_came() -> None:
    times = pl.Series([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2)]).dt.replace_time_zone("UTC")
    original = pl.DataFrame(
        {
            "unique_id": [7, 8],
            "ds": times.dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns"),
            "y": [1.0, 2.0],
        }
    )
    back = frame_like(
        original, {"unique_id": np.array(["8"]), "ds": np.array(["2024-01-02"], "datetime64[s]"), "p": np.array([9.0])}
    )
    assert back.schema == {"unique_id": pl.Int64, "ds": pl.Datetime("ns", "Asia/Tokyo"), "p": pl.Float64}
    assert original.join(back, on=["unique_id", "ds"]).rows() == [(8, original["ds"][1], 2.0, 9.0)]


def test_dates_come_back_as_dates() -> None:
    original = pl.DataFrame({"ds": [dt.date(2024, 1, 1)]})
    assert frame_like(original, {"ds": np.array(["2024-01-02"], "datetime64[s]")})["ds"].to_list() == [
        dt.date(2024, 1, 2)
    ]


def test_new_frame_is_of_the_preferred_kind() -> None:
    assert isinstance(new_frame({"a": np.array([1])}), pa.Table)


def test_dict_of_columns_is_read_without_any_frame_library() -> None:
    code = (
        "import sys; from carrousel.data.schema import Schema\n"
        "frame = {'ds': [1, 2, 3], 'y': [1.0, None, 3.0], 'c': ['a', 'b', 'a']}\n"
        "panel = Schema.infer(frame, future='c').read(frame)\n"
        "assert panel.target.shape == (3, 1), panel.target\n"
        "loaded = {'pandas', 'polars', 'pyarrow', 'narwhals', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
