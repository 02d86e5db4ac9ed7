"""Sequences and the classes they belong to: out of tables, folders, ``.ts`` files and plain lists.

A sequence is a text, or numbers in rows of K variables; a class belongs to a whole sequence, or to each of its steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.data.column import encode, numbers, numeric, stamps
from carrousel.data.frame import Column, Table
from carrousel.data.table import read_table
from carrousel.data.text import Document
from carrousel.data.ts import read_ts
from carrousel.errors import ColumnError, DataError

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Kind = Literal["text", "numeric"]

# Names by which a column is found that nobody named, the usual ones first.
LABELS = ("label", "class", "target", "y", "category")
TEXTS = ("text", "sentence", "question", "review", "message", "content", "document")
IDS = ("sequence", "sequence_id", "unique_id", "id", "series", "case")
TIMES = ("time", "ds", "timestamp", "step", "t", "date")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns of a table are; None is found by its usual name, or is not there.

    Parameters
    ----------
    text : a text a row
    label : the class
    id : the sequence that a row belongs to
    time : by which the rows of a sequence are ordered; without one they are in order
    variables : numbers; all other columns by default
    """

    text: str | None = None
    label: str | None = None
    id: str | None = None
    time: str | None = None
    variables: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """N sequences.

    Parameters
    ----------
    kind : texts, or numbers
    texts : of N texts
    values : of N sequences of numbers, float64 (L, K), L ≥ 1, NaN where nothing was observed
    variables : their K names
    names : by which messages and answers call the sequences
    labels : a class a sequence; or, with ``steps``, a tuple of them, one a step. None: not known
    steps : every step has a class
    rows : where each step stood in the table it came from, int64 (L,); empty elsewhere
    roles : of the table's columns, as they were found
    """

    kind: Kind
    texts: tuple[str, ...] = ()
    values: tuple[Floats, ...] = ()
    variables: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None
    steps: bool = False
    rows: tuple[Index, ...] = ()
    roles: Roles = Roles()

    def __len__(self) -> int:
        return len(self.texts) if self.kind == "text" else len(self.values)


def read_sequences(source: Any, roles: Roles, *, steps: bool = False, labelled: bool = True) -> Sequences:
    """Sequences of a table, of a file, or of a folder.

    Parameters
    ----------
    source : a frame or a dict of columns; or the path of a table, of a ``.ts`` file, or of a folder with a folder of
        .txt or .csv files for each class
    steps : a class a step instead of one a sequence
    labelled : the classes are needed; else they are read where they are

    Raises
    ------
    DataError : what is missing, empty or at odds, and where
    """
    if not isinstance(source, (str, Path)):
        return _table(Table(source), roles, steps, labelled)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, steps, labelled)
    if path.suffix.lower() == ".ts":
        if steps:
            raise DataError(
                f"{path}: expected a table with a class in every row, got a .ts file, which has one a sequence"
            )
        values, labels = read_ts(path)
        if labelled and labels is None:
            raise DataError(f"{path}: expected @classLabel true and a class behind every sequence, got none")
        return of_arrays(values, labels, where=str(path))
    return _table(Table(read_table(path), where=str(path)), roles, steps, labelled)


def of_arrays(
    sequences: Sequence[Any] | npt.NDArray[Any], labels: Sequence[Any] | npt.NDArray[Any] | None, *,
    steps: bool = False, where: str = "sequences",
) -> Sequences:  # fmt: skip
    """Sequences that are there already: strings, or arrays (L,) or (L, K), or one array (N, L) or (N, L, K).

    Raises
    ------
    DataError : none at all, an empty one, or one of another kind than the first
    """
    if isinstance(sequences, (str, bytes, Mapping)) or not hasattr(sequences, "__len__"):
        raise DataError(f"{where}: expected a list of texts or of arrays, got {type(sequences).__name__}")
    count = len(sequences)
    if not count:
        raise DataError(f"{where}: expected at least one sequence, got none")
    names = tuple(map(str, range(count)))
    if isinstance(sequences[0], str):
        if steps:
            raise DataError(f"{where}: expected arrays, since steps of texts have no classes; got texts")
        found = Sequences(kind="text", texts=tuple(_text(item, f"{where}[{k}]") for k, item in enumerate(sequences)))
    else:
        values = tuple(_values(item, f"{where}[{k}]") for k, item in enumerate(sequences))
        width = values[0].shape[1]
        for k, array in enumerate(values):
            if array.shape[1] != width:
                raise DataError(
                    f"{where}[{k}]: expected {width} variables a step as in the first sequence, got {array.shape[1]}"
                )
        found = Sequences(kind="numeric", values=values, variables=tuple(f"x{k}" for k in range(width)), steps=steps)
    if labels is None:
        return replace(found, names=names)
    if isinstance(labels, (str, bytes, Mapping)) or not hasattr(labels, "__len__") or len(labels) != count:
        got = len(labels) if hasattr(labels, "__len__") else type(labels).__name__
        raise DataError(f"labels: expected {count}, one for each sequence, got {got}")
    if steps:
        each = tuple(
            _step_labels(item, len(array), k) for k, (item, array) in enumerate(zip(labels, found.values, strict=True))
        )
    else:
        each = tuple(_label(item, f"labels[{k}]") for k, item in enumerate(_plain(labels)))
    return replace(found, names=names, labels=each)


def _plain(labels: Any) -> list[Any]:
    return labels.tolist() if hasattr(labels, "tolist") else list(labels)


def _step_labels(labels: Any, length: int, place: int) -> tuple[Any, ...]:
    if isinstance(labels, (str, bytes)) or not hasattr(labels, "__len__") or len(labels) != length:
        got = len(labels) if hasattr(labels, "__len__") and not isinstance(labels, str) else repr(labels)
        raise DataError(f"labels[{place}]: expected {length} labels, one a step of the sequence, got {got}")
    return tuple(_label(item, f"labels[{place}][{t}]") for t, item in enumerate(_plain(labels)))


def _label(value: Any, where: str) -> int | str:
    """A class: a whole number or a text."""
    if isinstance(value, (float, np.floating)) and value == value and value == int(value):
        value = int(value)
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    empty = value is None or value != value or isinstance(value, str)
    raise DataError(
        f"{where}: expected a label, got none; leave that example out" if empty else
        f"{where}: expected a text or a whole number, got {value!r}; a classifier tells classes apart, not amounts"
    )  # fmt: skip


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text as the first one is, got {type(value).__name__}")
    if not value.strip():
        raise DataError(f"{where}: expected words, got an empty text; leave it out")
    return value


def _values(value: Any, where: str) -> Floats:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected numbers (L,) or (L, K), got {type(value).__name__} ({error})") from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.shape[1]:
        raise DataError(f"{where}: expected numbers (L,) or (L, K), got an array of shape {array.shape}")
    if not len(array):
        raise DataError(f"{where}: expected at least one step, got an empty sequence; leave it out")
    array = np.where(np.isfinite(array), array, np.nan)
    if np.isnan(array).all():
        raise DataError(f"{where}: expected at least one number, got only missing ones; leave it out")
    return array


def _table(table: Table, roles: Roles, steps: bool, labelled: bool) -> Sequences:
    table.require_rows()
    roles = _resolve(table, roles, steps, labelled)
    label = None if roles.label is None else table.column(roles.label)
    if roles.text is not None:
        if steps:
            raise DataError("steps: expected numbers in every row, got a text column; leave one of the two out")
        column = table.column(roles.text)
        texts = tuple(
            _text("" if text is None else text, f"column {roles.text!r}, row {row + 1}")
            for row, text in enumerate(column.values.tolist())
        )
        names = tuple(str(row + 1) for row in range(len(texts)))
        return Sequences(kind="text", texts=texts, names=names, labels=label and _labels(label), roles=roles)
    order, borders, names = _order(table, roles)
    assert roles.variables is not None
    stacked = np.stack([numbers(table.column(name)) for name in roles.variables], 1)[order]
    parts = [slice(first, last) for first, last in itertools.pairwise(borders)]
    values = tuple(
        _values(stacked[part], f"sequence {name!r}") for name, part in zip(names, parts, strict=True)
    )  # fmt: skip
    found = Sequences(
        kind="numeric", values=values, variables=roles.variables, names=names, steps=steps,
        rows=tuple(order[part] for part in parts), roles=roles,
    )  # fmt: skip
    if label is None:
        return found
    each = _labels(label)
    inside = [tuple(each[row] for row in rows) for rows in found.rows]
    if steps:
        return replace(found, labels=tuple(inside))
    for name, labels in zip(names, inside, strict=True):
        if len(kinds := dict.fromkeys(labels)) > 1:
            first, second = list(kinds)[:2]
            raise DataError(
                f"sequence {name!r}: expected one label, got {first!r} and {second!r}; if every step has a class of "
                "its own, say steps=True (--steps)"
            )
    return replace(found, labels=tuple(labels[0] for labels in inside))


def _labels(column: Column) -> tuple[int | str, ...]:
    where = f"column {column.name!r}"
    if column.kind == "boolean":
        return tuple(str(bool(_label(v, f"{where}, row {row + 1}"))) for row, v in enumerate(column.values.tolist()))
    return tuple(_label(value, f"{where}, row {row + 1}") for row, value in enumerate(column.values.tolist()))


def _resolve(table: Table, roles: Roles, steps: bool, labelled: bool) -> Roles:
    """Names of the columns, all of which are there."""
    given = {"text": roles.text, "label": roles.label, "id": roles.id, "time": roles.time}
    for role, name in given.items():
        if name is not None and (role != "label" or labelled):
            table.require(name, role)
    taken = {name for name in given.values() if name is not None} | set(roles.variables or ())

    def found(usual: Sequence[str]) -> str | None:
        lower = {name.lower(): name for name in reversed(table.names) if name not in taken}
        return next((lower[name] for name in usual if name in lower), None)

    label = roles.label if roles.label in table.names else None if roles.label else found(LABELS)
    if labelled and label is None:
        raise ColumnError(
            f"label: expected the name of the column with the classes, got none, and no column is called "
            f"{', '.join(LABELS)}; columns are {', '.join(table.names)}"
        )
    taken |= {label} if label else set()
    text = roles.text
    if text is None and roles.id is None and roles.variables is None and not steps:
        text = found(TEXTS)
        if text is not None and numeric(table.column(text)):
            text = None
    if text is not None:
        if (kind := table.column(text).kind) not in ("text", "category"):
            raise ColumnError(f"text column {text!r}: expected texts, got {kind} values")
        return Roles(text=text, label=label)
    name = roles.id or found(IDS)
    if name is None and not steps:
        raise ColumnError(
            f"text, id: expected the column of the texts, or the one that says which sequence a row belongs to, got "
            f"neither; columns are {', '.join(table.names)}"
        )
    taken |= {name} if name else set()
    time = roles.time or found(TIMES)
    rest = [column for column in table.names if column not in {label, name, time} and column != roles.label]
    variables = roles.variables or tuple(column for column in rest if numeric(table.column(column)))
    for variable in variables:
        if variable not in table.names:
            raise ColumnError(f"variable column {variable!r}: not in the table; {nearest(variable, table.names)}")
    if not variables:
        raise ColumnError(
            f"variables: expected a column of numbers beside {', '.join(filter(None, (name, time, label)))}, "
            f"got none; columns are {', '.join(table.names)}"
        )
    return Roles(label=label, id=name, time=time, variables=tuple(variables))


def _order(table: Table, roles: Roles) -> tuple[Index, list[int], tuple[str, ...]]:
    """Rows sequence by sequence, each by time; where each begins; and what it is called. Sequences as they come."""
    codes, labels = np.zeros(table.rows, np.int64), ("0",)
    if roles.id is not None:
        codes, labels = encode(table.column(roles.id))
        if (codes < 0).any():
            row = int(np.flatnonzero(codes < 0)[0])
            raise DataError(f"column {roles.id!r}: expected the name of a sequence, got none in row {row + 1}")
    _, first, rank = np.unique(codes, return_index=True, return_inverse=True)
    by_coming = np.argsort(np.argsort(first))[rank]
    keys: list[npt.NDArray[Any]] = [by_coming]
    if roles.time is not None:
        keys.insert(0, stamps(table.column(roles.time)))
    order = np.lexsort(keys).astype(np.int64)
    starts = np.flatnonzero(np.diff(by_coming[order], prepend=-1)).tolist()
    names = tuple(labels[codes[order[start]]] for start in starts)
    return order, [*starts, table.rows], names


def _folder(path: Path, steps: bool, labelled: bool) -> Sequences:
    """A folder of .txt files or of tables: one folder for each class, or, without classes, the files themselves."""
    if steps:
        raise DataError(f"{path}: expected a table with a class in every row, got a folder, which has one a sequence")
    kinds = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(file, kind.name) for kind in kinds for file in _files(kind)]
    if labelled and not files:
        raise DataError(f"{path}: expected a folder for each class with .txt or .csv files in it, got none")
    plain = not files
    if plain:
        files = [(file, "") for file in _files(path)]
    if not files:
        raise DataError(f"{path}: expected .txt or .csv files, got none")
    suffixes = {file.suffix.lower() for file, _ in files}
    if len(suffixes) > 1:
        raise DataError(f"{path}: expected files of one kind, got {' and '.join(sorted(suffixes))}; give them apart")
    names = tuple(str(file.relative_to(path)) for file, _ in files)
    labels = None if plain else tuple(label for _, label in files)
    if suffixes == {".txt"}:
        texts = tuple(_text("".join(Document(file).pieces()), str(file)) for file, _ in files)
        return Sequences(kind="text", texts=texts, names=names, labels=labels)
    tables = [_columns(file) for file, _ in files]
    variables = tables[0][0]
    for (file, _), (found, _) in zip(files, tables, strict=True):
        if found != variables:
            raise DataError(
                f"{file}: expected the columns {', '.join(variables)} as in {files[0][0]}, got {', '.join(found)}"
            )
    values = tuple(array for _, array in tables)
    return Sequences(kind="numeric", values=values, variables=variables, names=names, labels=labels)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in (".txt", ".csv"))


def _columns(file: Path) -> tuple[tuple[str, ...], Floats]:
    """The variables of a table that is one sequence; a time column only orders it."""
    table = Table(read_table(file), where=str(file))
    lower = {name.lower(): name for name in table.names}
    time = next((lower[name] for name in TIMES if name in lower), None)
    variables = tuple(name for name in table.names if name != time)
    if not variables:
        raise DataError(f"{file}: expected at least one column of numbers, got none beside {time!r}")
    values = np.stack([numbers(table.column(name)) for name in variables], 1)
    if time is not None:
        values = values[np.argsort(stamps(table.column(time)), kind="stable")]
    return variables, _values(values, str(file))
