"""Labelled sequences out of lists, tables, folders and .ts files; what is no such thing is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carrousel.data.sequence import Roles, of_arrays, read_sequences
from carrousel.data.ts import read_ts
from carrousel.errors import ColumnError, DataError, HistoryError

HEADER = "#of a test\n@problemName x\n@timeStamps false\n@classLabel true a b\n@data\n"


def file(folder: Path, text: str, name: str = "x.ts") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_ts_file_has_variables_in_columns_and_the_class_last(tmp_path):
    values, labels = read_ts(file(tmp_path, HEADER + "1,2,?:4,5,6:a\n\n7:8:b\n"))
    assert labels == ("a", "b")
    np.testing.assert_array_equal(values[0], [[1, 4], [2, 5], [np.nan, 6]])
    np.testing.assert_array_equal(values[1], [[7, 8]])
    values, labels = read_ts(file(tmp_path, "@classLabel false\n@data\n1,2\n3\n"))
    assert labels is None
    assert [len(v) for v in values] == [2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected sequences behind a line @data, got none; is it a .ts file?"),
        (HEADER, "expected sequences behind a line @data, got none; is it a .ts file?"),
        ("id,x\n1,2\n", ", line 1: expected a line of the header, which begins with @, got 'id,x'"),
        (HEADER + "1,2:3:a\n", ", line 6: expected variables of one length and a class with colons between them, got"),
        (HEADER + "1,x:a\n", ", line 6: expected numbers with commas between them, got '1,x'"),
        (HEADER + "1:2:a\n1:a\n", ", line 7: expected 2 variables as in the first sequence, got 1"),
        ("@timeStamps true\n@data\n", "expected @timeStamps false, got true; give such data as a long table"),
    ],
)
def test_what_is_no_ts_file_is_refused_by_line(text, message, tmp_path):
    with pytest.raises(DataError) as caught:
        read_ts(file(tmp_path, text))
    assert message in str(caught.value)


def test_arrays_of_any_form_become_sequences_of_rows():
    found = of_arrays(np.arange(12.0).reshape(2, 3, 2), [0, 1])
    assert (len(found), found.variables, found.labels) == (2, ("x0", "x1"), (0, 1))
    assert of_arrays(np.ones((3, 5)), None).values[0].shape == (5, 1)
    infinite = of_arrays([[1.0, np.inf]], None).values[0]
    np.testing.assert_array_equal(infinite, [[1], [np.nan]])
    assert of_arrays([[1.0], [2.0]], [True, False]).labels == ("True", "False")
    assert of_arrays([[1.0], [2.0]], np.array([3.0, 1.0])).labels == (3, 1)
    steps = of_arrays([[1.0, 2.0]], [["a", "b"]], steps=True)
    assert steps.labels == (("a", "b"),)


def table(**columns: object) -> dict:
    plain = {"id": ["b", "a", "b", "a"], "time": [2, 1, 1, 2], "x": [4.0, 1.0, 3.0, 2.0], "label": ["u", "v", "u", "v"]}
    return {k: v for k, v in (plain | columns).items() if v is not None}


def test_a_long_table_becomes_sequences_as_they_come_each_by_time():
    found = read_sequences(table(), Roles())
    assert found.names == ("b", "a")
    assert [v[:, 0].tolist() for v in found.values] == [[3, 4], [1, 2]]
    assert found.labels == ("u", "v")
    assert [rows.tolist() for rows in found.rows] == [[2, 0], [1, 3]]
    assert found.roles == Roles(label="label", id="id", time="time", variables=("x",))
    assert read_sequences(table(label=None), Roles(), labelled=False).labels is None
    steps = read_sequences(table(label=[1, 2, 3, 4]), Roles(), steps=True)
    assert steps.labels == ((3, 1), (2, 4))
    whole = read_sequences(table(id=None, label=[1, 2, 3, 4]), Roles(), steps=True)
    assert whole.labels == ((2, 3, 1, 4),)


@pytest.mark.parametrize(
    ("changes", "roles", "error", "message"),
    [
        ({"label": None}, Roles(), ColumnError, "label: expected the name of the column with the classes, got none"),
        ({}, Roles(label="lable"), ColumnError, "label column 'lable': not in the table; did you mean 'label'?"),
        ({"id": None}, Roles(), ColumnError, "text, id: expected the column of the texts, or the one that says which"),
        ({"x": None}, Roles(), ColumnError, "variables: expected a column of numbers beside id, time, label, got none"),
        ({}, Roles(variables=("z",)), ColumnError, "variable column 'z': not in the table"),
        ({}, Roles(text="x"), ColumnError, "text column 'x': expected texts, got number values"),
        ({"x": [1.0, None, 2.0, None]}, Roles(), DataError, "sequence 'a': expected at least one number, got only"),
        ({"id": ["a", None, "b", "b"]}, Roles(), DataError, "column 'id': expected the name of a sequence, got none"),
        ({"label": ["u", None, "u", "v"]}, Roles(), DataError, "column 'label', row 2: expected a label, got none"),
        ({"label": [0.5, 1, 2, 2]}, Roles(), DataError, "column 'label', row 1: expected a text or a whole number"),
        ({"x": ["p", "q", "r", "s"]}, Roles(variables=("x",)), ColumnError, "column 'x': expected numbers, got 'p'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused_in_one_sentence(changes, roles, error, message):
    with pytest.raises(error) as caught:
        read_sequences(table(**changes), roles)
    assert str(caught.value).startswith(message)


def test_empty_texts_and_tables_are_refused():
    with pytest.raises(DataError, match=r"^column 'text', row 2: expected words, got an empty text; leave it out$"):
        read_sequences({"text": ["a", ""], "label": [1, 2]}, Roles())
    with pytest.raises(HistoryError, match="expected rows, got none"):
        read_sequences({"text": [], "label": []}, Roles())


def test_a_folder_has_a_folder_for_each_class(tmp_path):
    for kind in ("u", "v"):
        (tmp_path / "texts" / kind).mkdir(parents=True)
        (tmp_path / "tables" / kind).mkdir(parents=True)
        file(tmp_path / "texts" / kind, f"a {kind}", "1.txt")
        file(tmp_path / "tables" / kind, "t,x,y\n2,3,4\n1,5,6\n", "1.csv")
    found = read_sequences(tmp_path / "texts", Roles())
    assert (found.texts, found.labels, found.names) == (("a u", "a v"), ("u", "v"), ("u/1.txt", "v/1.txt"))
    found = read_sequences(tmp_path / "tables", Roles())
    assert found.variables == ("x", "y")
    assert found.values[0].tolist() == [[5, 6], [3, 4]]
    found = read_sequences(tmp_path / "texts" / "u", Roles(), labelled=False)
    assert (found.texts, found.labels) == (("a u",), None)
    with pytest.raises(DataError, match="expected a folder for each class"):
        read_sequences(tmp_path / "texts" / "u", Roles())
    file(tmp_path / "tables" / "v", "t,z\n1,2\n", "2.csv")
    with pytest.raises(DataError, match=r"expected the columns x, y as in .* got z"):
        read_sequences(tmp_path / "tables", Roles())
    file(tmp_path / "tables" / "v", "a text", "3.txt")
    with pytest.raises(DataError, match=r"expected files of one kind, got \.csv and \.txt"):
        read_sequences(tmp_path / "tables", Roles())
