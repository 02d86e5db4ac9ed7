"""Tables on disk: what is written is read again, and what is no table is refused in one sentence."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from carrousel.data.frame import Table
from carrousel.data.schema import Schema
from carrousel.data.table import read_table, write_table
from carrousel.errors import CarrouselError, ColumnError, DataError, MissingExtraError

FRAMES = ["pyarrow", "polars", "pandas", None]
TEXT = "ds,y,c,open\n2024-01-01 00:00:00,1.5,rain,TRUE\n2024-01-01 01:00:00,NA,,FALSE\n2024-01-01 02:00:00,3,sun,TRUE\n"


@pytest.fixture(params=FRAMES)
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Only one frame library, or none, can be found."""
    find = importlib.util.find_spec
    hidden = {"pyarrow", "polars", "pandas"} - {request.param}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in hidden else find(name))
    return request.param


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_gives_the_same_panel_with_every_reader(installed: str | None, tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(TEXT.replace(",", delimiter))
    frame = read_table(file)
    assert type(frame).__module__.partition(".")[0] == (installed or "builtins")
    schema = Schema.infer(frame, future=["c", "open"])
    panel = schema.read(frame)
    assert (schema.frequency, panel.future_names) == ("h", ("c=rain", "c=sun", "open"))
    np.testing.assert_array_equal(panel.target[:, 0], [1.5, np.nan, 3])
    np.testing.assert_array_equal(panel.future, [[1, 0, 1], [np.nan, np.nan, 0], [0, 1, 1]])


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.encode("utf-16"), TEXT.replace("\n", "\r\n").encode()]
)
def test_byte_order_marks_and_line_ends_of_windows_are_read(
    installed: str | None, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert Table(read_table(tmp_path / "t.csv")).names == ("ds", "y", "c", "open")


def test_quoted_delimiters_and_line_ends_stay_in_their_cell(installed: str | None, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('name,y\n"a, b\nc",1\nd,2\n')
    assert Table(read_table(tmp_path / "t.csv")).column("name").values.tolist() == ["a, b\nc", "d"]


def test_type_of_a_column_comes_from_all_its_rows(installed: str | None, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ds,y\n" + "".join(f"{i},{i}\n" for i in range(50_000)) + "50000,0.5\n")
    assert Table(read_table(tmp_path / "t.csv")).column("y").values[-1] == 0.5


def test_line_of_a_very_wide_table_is_read(installed: str | None, tmp_path: Path) -> None:
    columns = [f"{'series ' * 30}{i}" for i in range(5_000)]
    (tmp_path / "t.csv").write_text(f"ds,{','.join(columns)}\n1,{','.join(['0.5'] * len(columns))}\n")
    assert Table(read_table(tmp_path / "t.csv")).names == ("ds", *columns)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_table_that_is_written_is_read_again(tmp_path: Path, suffix: str, make: Any) -> None:
    frame = make(
        {
            "unique_id": np.array(["a", "b"]),
            "ds": np.array(["2024-01-01T00:00", "2024-01-01T01:30"], "datetime64[us]"),
            "y": np.array([1.25, 1e-17]),
        }
    )
    file = tmp_path / f"out{suffix}"
    write_table(frame, file)
    table = Table(read_table(file))
    assert table.column("unique_id").values.tolist() == ["a", "b"]
    np.testing.assert_array_equal(
        table.column("ds").values, np.array(["2024-01-01T00:00", "2024-01-01T01:30"], "datetime64[us]")
    )
    assert table.column("y").values.tolist() == [1.25, 1e-17]
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    write_table({"a": np.array([1])}, file)
    with pytest.raises(ValueError, match="zip"):
        write_table({"a": np.array([1]), "b": np.array([1, 2])}, file)
    assert file.read_text() == "a\n1\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


def test_parquet_without_a_library_for_it_names_the_extra(
    installed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed in ("pyarrow", "polars"):
        pytest.skip("a library for Parquet is there")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"carrousel\[frames\]"):
        read_table(tmp_path / "t.parquet")


def refused(file: Path) -> str:
    with pytest.raises(CarrouselError) as caught:
        read_table(file)
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, DataError)
    return message


def test_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "weather.csv").write_text(TEXT)
    assert "found no such file; did you mean 'weather.csv'?" in refused(tmp_path / "wether.csv")
    folder = tmp_path / ("x" * 100)  # however long its name is
    assert f"there is no folder {folder} either" in refused(folder / "weather.csv")


def test_folder_is_refused_with_the_tables_in_it(tmp_path: Path) -> None:
    (tmp_path / "data.csv").mkdir()
    (tmp_path / "data.csv" / "part.parquet").write_bytes(b"")
    assert "got a folder; name one in it (part.parquet)" in refused(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.xlsx", b"PK", "ends in .csv"),
        ("t", b"a,b", "ends in .csv"),
        ("t.csv", b"", "got an empty file"),
        ("t.csv", b" \n\n", "got blank lines only"),
        ("t.csv", b"PK\x03\x04\x00\x00\x00", "got binary data"),
        ("t.csv", "ds,y\n1,\xe9\n".encode("latin-1"), "got byte 0xe9 at position 7"),
        ("t.csv.gz", b"ds,y\n1,2\n", "expected gzipped text"),
        ("t.csv.gz", gzip.compress(TEXT.encode(), mtime=0)[:-20], "expected gzipped text"),
        ("t.parquet", b"ds,y\n1,2\n", "expected a Parquet file"),
        ("t.parquet", b"", "got an empty file"),
        ("t.parquet", b"PAR1" + b"\x00" * 50 + b"PAR1", "expected a whole Parquet file"),
    ],
)
def test_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert expected in refused(tmp_path / name)


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    write_table({"a": np.arange(1000)}, file)
    file.write_bytes(file.read_bytes()[:-100])
    assert "expected a whole Parquet file" in refused(file)


def test_table_without_rows_or_columns_is_refused_by_the_name_of_its_file(
    installed: str | None, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("ds,y\n")
    assert refused(tmp_path / "t.csv").startswith(f"{tmp_path / 't.csv'}: expected rows, got none (columns ds, y); ")
    if installed in ("pyarrow", "polars"):
        write_table(pa.table({"ds": [], "y": []}), tmp_path / "t.parquet")
        assert refused(tmp_path / "t.parquet").startswith(f"{tmp_path / 't.parquet'}: expected rows, got none")
        write_table(pa.table({}), tmp_path / "t.parquet")
        assert refused(tmp_path / "t.parquet").startswith(f"{tmp_path / 't.parquet'}: expected a time column")


def test_ragged_csv_is_refused(installed: str | None, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 30 + "1,2,3\n")
    assert "expected a table of 2 columns parted by ','" in refused(tmp_path / "t.csv")


def test_columns_of_one_name_are_refused(installed: str | None, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(ColumnError, match="got 'a' 2 times"):
        read_table(tmp_path / "t.csv")


def test_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a place to write to"):
        write_table({"a": np.array([1])}, tmp_path / "absent" / "t.csv")
    with pytest.raises(DataError, match=r"ends in \.csv"):
        write_table({"a": np.array([1])}, tmp_path / "t.xlsx")
