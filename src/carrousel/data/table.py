"""Tables on disk: CSV (also gzipped) and Parquet, in and out, with whichever frame library is installed."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from carrousel.config import nearest
from carrousel.data.column import parse_number
from carrousel.data.file import write_whole
from carrousel.data.frame import Frame, Table, new_frame
from carrousel.errors import ColumnError, DataError, MissingExtraError, require

_CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_PARQUET = (".parquet", ".pq")
_DELIMITERS = (",", ";", "\t", "|")
# Texts that stand for nothing, as the CSV readers are told; the empty text they know.
_NULLS = sorted({"", "NA", "N/A", "#N/A", "NaN", "nan", "<NA>", "null", "NULL"})


def read_table(path: str | Path) -> Frame:
    """Read a file as a pyarrow table or, without pyarrow, a polars or pandas frame or a dict of lists.

    The delimiter of a CSV file (comma, semicolon, tab or bar) is found in its first lines.

    Parameters
    ----------
    path : .csv, .tsv or .txt, each also with .gz, or .parquet

    Raises
    ------
    DataError : no such file, or one that cannot be read as what its name says
    HistoryError : a table without rows
    ColumnError : two columns of the same name
    MissingExtraError : a Parquet file without pyarrow or polars
    """
    path = Path(path).expanduser()
    suffix = _suffix(path, (*_CSV, *_PARQUET))
    if path.is_dir():
        found = sorted(file.name for file in path.iterdir() if file.name.lower().endswith((*_CSV, *_PARQUET)))
        raise DataError(
            f"{path}: expected a file, got a folder; name one in it ({', '.join(found) or 'it has no table'})"
        )
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        remedy = f"there is no folder {path.parent} either"
        if path.parent.is_dir():
            remedy = nearest(path.name, [file.name for file in path.parent.iterdir()])
            remedy = remedy if len(remedy) < 100 else "check the name"  # rather than list a large folder
        raise DataError(f"{path}: expected a table, found no such file; {remedy}") from error
    except OSError as error:
        raise DataError(
            f"{path}: expected a file that can be read, got {error.strerror}; check its permissions"
        ) from error
    if not content:
        raise DataError(f"{path}: expected a table, got an empty file; write it again")
    if suffix in _PARQUET:
        frame = _read_parquet(path, content)
    else:
        frame = _read_csv(path, _text(path, content, suffix.endswith(".gz")))
    Table(frame, where=str(path)).require_rows()  # here, where the name of the file is known
    return frame


def write_table(frame: Frame, path: str | Path) -> None:
    """Write a frame or a dict of columns; the file appears whole or not at all.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
    path : .csv, .csv.gz or .parquet, in a folder that exists

    Raises
    ------
    DataError : another suffix, or a place that cannot be written to
    MissingExtraError : a dict to Parquet without pyarrow or polars
    """
    path = Path(path).expanduser()
    suffix = _suffix(path, (".csv", ".csv.gz", ".parquet"))
    content = _to_parquet(frame) if suffix == ".parquet" else _to_csv(frame)
    try:
        write_whole(path, gzip.compress(content, mtime=0) if suffix == ".csv.gz" else content)
    except OSError as error:
        raise DataError(f"{path}: expected a place to write to, got {error.strerror}; choose another one") from error


def _suffix(path: Path, known: tuple[str, ...]) -> str:
    suffix = next((end for end in sorted(known, key=len, reverse=True) if path.name.lower().endswith(end)), None)
    if suffix is None:
        raise DataError(
            f"{path}: expected a name that ends in {', '.join(known[:-1])} or {known[-1]}, got {path.name!r}; save or "
            "rename the table so"
        )
    return suffix


def _text(path: Path, content: bytes, zipped: bool) -> bytes:
    """The text of a CSV file in UTF-8, without byte order mark."""
    if zipped:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: expected gzipped text, got {str(error).rstrip('.')}; fetch it again") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
        if b"\0" in content:
            raise DataError(f"{path}: expected a text table, got binary data; export the table as CSV in UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, got byte 0x{content[error.start]:02x} at position {error.start}; save it "
            "as CSV in UTF-8"
        ) from error
    if not text.strip():
        raise DataError(f"{path}: expected a table, got blank lines only; write it again")
    return text.encode()


def _read_csv(path: Path, content: bytes) -> Frame:
    head = content[:65_536].decode(errors="ignore")
    delimiter = _delimiter(head)
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    header = next(row for row in csv.reader(lines, delimiter=delimiter) if row)
    name, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise ColumnError(f"{path}: expected column names that differ, got {name!r} {times} times; rename them")
    readers = {"pyarrow": _csv_pyarrow, "polars": _csv_polars, "pandas": _csv_pandas}
    read = next((readers[name] for name in readers if importlib.util.find_spec(name)), _csv_plain)
    try:
        return read(content, delimiter)
    # Each reader has errors of its own, and all of them mean the same here.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{path}: expected a table of {len(header)} columns parted by {delimiter!r}, got: {reason}; correct that "
            "line"
        ) from error


def _delimiter(head: str) -> str:
    """The delimiter that parts the first lines into the most columns, the same number in each."""
    lines = [line for line in head.splitlines() if line.strip()][:20]
    lines = lines[:-1] if len(lines) > 2 else lines
    widths = {delimiter: {len(row) for row in csv.reader(lines, delimiter=delimiter)} for delimiter in _DELIMITERS}
    even = [delimiter for delimiter in _DELIMITERS if len(widths[delimiter]) == 1 and max(widths[delimiter]) > 1]
    return max(even or _DELIMITERS, key=lambda delimiter: max(widths[delimiter]))


def _csv_pyarrow(content: bytes, delimiter: str) -> Frame:
    from pyarrow import csv as arrow

    return arrow.read_csv(
        io.BytesIO(content),
        # A line, of a very wide table, may be longer than the reader's usual block.
        read_options=arrow.ReadOptions(block_size=min(len(content) + 1, 2**31 - 1)),
        parse_options=arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow.ConvertOptions(null_values=_NULLS),
    )


def _csv_polars(content: bytes, delimiter: str) -> Frame:
    import polars

    return polars.read_csv(
        content, separator=delimiter, try_parse_dates=True, infer_schema_length=None, null_values=_NULLS
    )


def _csv_pandas(content: bytes, delimiter: str) -> Frame:
    import pandas

    return pandas.read_csv(io.BytesIO(content), sep=delimiter)


def _csv_plain(content: bytes, delimiter: str) -> dict[str, Any]:
    rows = [row for row in csv.reader(io.StringIO(content.decode()), delimiter=delimiter) if row]
    ragged = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if ragged is not None:
        raise ValueError(f"{len(rows[ragged])} in line {ragged + 1}")
    columns = zip(*rows[1:], strict=True) if len(rows) > 1 else ((),) * len(rows[0])
    return {name: _typed(values) for name, values in zip(rows[0], columns, strict=True)}


def _typed(texts: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Integers or numbers, if all texts are; else the texts."""
    for dtype in (np.int64, np.float64):
        try:
            return np.array(texts, np.str_).astype(dtype)
        except (ValueError, OverflowError):
            continue
    numbers = [parse_number(text) for text in texts]
    return np.array(texts, object) if None in numbers else np.array(numbers, np.float64)


def _read_parquet(path: Path, content: bytes) -> Frame:
    backend = next((name for name in ("pyarrow", "polars") if importlib.util.find_spec(name)), None)
    if backend is None:
        raise MissingExtraError(
            "reading Parquet needs the package 'pyarrow', which is not installed; pip install 'carrousel[frames]'"
        )
    if content[:4] != b"PAR1":
        raise DataError(f"{path}: expected a Parquet file, got one that starts otherwise; is it a CSV file?")
    try:
        if backend == "polars":
            return require("polars", extra="frames", purpose="reading Parquet").read_parquet(io.BytesIO(content))
        return require("pyarrow.parquet", extra="frames", purpose="reading Parquet").read_table(io.BytesIO(content))
    # Truncated or damaged: each reader has its own error for each way.
    except Exception as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")[:200]
        raise DataError(f"{path}: expected a whole Parquet file, got {reason}; write or fetch it again") from error


def _to_csv(frame: Frame) -> bytes:
    if not isinstance(frame, Mapping):
        import narwhals as nw

        return nw.from_native(frame, eager_only=True).write_csv().encode()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame)
    arrays = [np.asarray(values) for values in frame.values()]
    columns = [np.datetime_as_string(a).tolist() if a.dtype.kind == "M" else a.tolist() for a in arrays]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()


def _to_parquet(frame: Frame) -> bytes:
    import narwhals as nw

    if isinstance(frame, Mapping):
        frame = new_frame({str(name): np.asarray(values) for name, values in frame.items()})
        if isinstance(frame, dict):
            raise MissingExtraError(
                "writing Parquet needs the package 'pyarrow', which is not installed; pip install 'carrousel[frames]'"
            )
    buffer = io.BytesIO()
    nw.from_native(frame, eager_only=True).write_parquet(buffer)
    return buffer.getvalue()
