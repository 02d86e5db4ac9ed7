"""Tables of a classifier, and what is refused in one sentence: data, settings, damaged artifacts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.stored import edit_config

import carrousel
from carrousel.errors import (
    ColumnError,
    ConfigError,
    DataError,
    NotTrainedError,
    SettingError,
    WeightsError,
)
from carrousel.tasks.classify import Classifier
from carrousel.training import silent
from tasks.classified import SMALL, TEXTS, TYPES, above, waves


@pytest.mark.parametrize(
    ("sequences", "labels", "message"),
    [
        ([], [], "sequences: expected at least one sequence, got none"),
        (["a b"], ["x"], "fit: expected at least 5 examples, got 1; a network learns nothing from so few"),
        (["a b"] * 6, ["x"] * 6, "fit: expected at least 2 classes, got one, 'x'; there is nothing to tell apart"),
        (
            ["a b"] * 6, ["x"] * 5 + ["y"],
            "fit: expected at least 2 classes with 2 examples each, one to train on and one to hold out, got 1; bring "
            "more examples",
        ),
        (["a", " "], ["x", "y"], "sequences[1]: expected words, got an empty text; leave it out"),
        (["a", 3], ["x", "y"], "sequences[1]: expected a text as the first one is, got int"),
        ([[1.0], []], [0, 1], "sequences[1]: expected at least one step, got an empty sequence; leave it out"),
        (
            [[1.0], [float("nan")]], [0, 1],
            "sequences[1]: expected at least one number, got only missing ones; leave it out",
        ),
        (
            [[[1.0, 2.0]], [1.0]], [0, 1],
            "sequences[1]: expected 2 variables a step as in the first sequence, got 1",
        ),
        (["a", "b"], ["x"], "labels: expected 2, one for each sequence, got 1"),
        (["a", "b"], ["x", None], "labels[1]: expected a label, got none; leave that example out"),
        (
            ["a", "b"], [0.5, 1],
            "labels[0]: expected a text or a whole number, got 0.5; a classifier tells classes apart, not amounts",
        ),
        (["a", "b"], None, "labels: expected the class of each sequence, got none; give them, or a table with them"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_from_is_said_in_one_sentence(sequences, labels, message):
    with pytest.raises(DataError) as caught:
        Classifier(**SMALL).fit(sequences, labels)
    assert str(caught.value) == message


def test_what_cannot_be_classified_is_said_in_one_sentence(text, numbers, steps):
    def refused(call, message: str) -> None:
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value) == message

    refused(
        lambda: text.evaluate(["who ?"], ["animal"]),
        "labels: expected labels among number, person, place, on which the model was trained, got 'animal'; leave such "
        "examples out, or train with them",
    )
    refused(lambda: text.predict([""]), "sequences[0]: expected words, got an empty text; leave it out")
    refused(lambda: text.predict([[1.0]]), "sequences: expected texts, on which the model was trained, got numbers")
    refused(lambda: numbers.predict([[1.0, 2.0]]), "sequences: expected 2 variables a step (x0, x1), got 1")
    refused(lambda: text.stream().update(3), "sample: expected a piece of text, got int")
    refused(lambda: numbers.stream().update([1.0]), "sample: expected 2 numbers (x0, x1), got 1")
    refused(lambda: numbers.stream().update({"x": 1.0}), "sample: unknown variable 'x'; did you mean 'x1'?")
    refused(lambda: numbers.stream().update(["a", "b"]), "sample: expected numbers (2,), got ['a', 'b']")
    refused(
        lambda: steps.evaluate(waves(2)[0], [["up"], ["down"]]),
        "labels[0]: expected 21 labels, one a step of the sequence, got 1",
    )


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(SettingError, match="unknown key 'hidden'; did you mean 'hidden_size'"):
        Classifier(hidden=3)
    with pytest.raises(SettingError, match="expected either text or steps=True"):
        Classifier(text="t", steps=True)
    with pytest.raises(SettingError, match="expected either text or id and variables"):
        Classifier(text="t", id="i")
    with pytest.raises(NotTrainedError, match="call fit"):
        Classifier().predict(["a"])


def test_a_table_of_texts_is_read_by_its_usual_names_and_by_those_that_are_given(tmp_path):
    table = {"question": TEXTS, "label": TYPES, "length": [len(t) for t in TEXTS]}
    model = Classifier(**SMALL).fit(table, progress=silent)
    listed = Classifier(**SMALL).fit(TEXTS, TYPES, progress=silent)
    assert np.array_equal(model.predict(table).probabilities, listed.predict(TEXTS).probabilities)
    assert model.fitted.learned.columns == {"text": "question", "label": "label"}
    again = carrousel.load(model.save(tmp_path / "run"))
    assert np.array_equal(again.predict({"question": TEXTS}).probabilities, listed.predict(TEXTS).probabilities)
    with pytest.raises(ColumnError, match="text column 'question': not in the table"):
        again.predict({"quest": TEXTS})
    frame = again.predict({"question": TEXTS[:2]}).frame()
    assert list(frame) == ["sequence", "label", "probability", "p_number", "p_person", "p_place"]
    assert frame["sequence"].tolist() == ["1", "2"]


def test_a_column_of_a_frame_is_a_list_of_texts(text):
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(TEXTS[:3], index=[5, 6, 7])
    expected = text.predict(TEXTS[:3]).probabilities
    assert np.array_equal(text.predict(column).probabilities, expected)
    assert text.evaluate(column, pandas.Series(TYPES[:3], index=[1, 0, 2])).accuracy == 1


def test_a_long_table_gives_its_sequences_in_order_of_time():
    x, y = waves(24)
    rows = [(f"s{k}", t, *values, y[k]) for k, v in enumerate(x) for t, values in enumerate(v)]
    shuffled = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))]
    columns = dict(zip(("id", "t", "x0", "x1", "class"), zip(*shuffled, strict=True), strict=True))
    model = Classifier(**SMALL).fit({k: list(v) for k, v in columns.items()}, progress=silent)
    assert model.fitted.learned.columns == {"id": "id", "time": "t", "label": "class"}
    plain = dict(zip(("id", "t", "x0", "x1"), zip(*(row[:4] for row in rows), strict=True), strict=True))
    found = model.predict({k: list(v) for k, v in plain.items()})
    assert found.names == tuple(f"s{k}" for k in range(24))
    np.testing.assert_array_equal(found.probabilities, model.predict(x).probabilities)


def test_labels_that_change_within_a_sequence_need_steps():
    table = {"id": ["a", "a", "b", "b"], "x": [1.0, 2.0, 3.0, 4.0], "label": ["u", "v", "u", "u"]}
    with pytest.raises(DataError, match=r"^sequence 'a': expected one label, got 'u' and 'v'; .* steps=True"):
        Classifier(**SMALL).fit(table)


def test_answers_for_steps_come_in_the_order_of_their_table():
    x, _ = waves(12)
    x = [np.nan_to_num(v) for v in x]
    rows = [(f"s{k}", t, *values, label) for k, v in enumerate(x) for t, (values, label) in
            enumerate(zip(v, above(x)[k], strict=True))]  # fmt: skip
    order = np.random.default_rng(0).permutation(len(rows))
    columns = {name: [rows[k][c] for k in order] for c, name in enumerate(("id", "t", "x0", "x1", "label"))}
    model = Classifier(**SMALL, steps=True).fit(columns, progress=silent)
    frame = model.predict(columns).frame()
    assert frame["sequence"].tolist() == columns["id"]
    straight = model.predict(x)
    np.testing.assert_array_equal(frame["p_up"], straight.probabilities[order, 1])


def _drop(name: str):
    return lambda data: data["statistics"].pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("scaler"), "expected learned, scaler, sizes, got learned, sizes"),
        (lambda d: d["statistics"]["sizes"].update(hidden_size=13), "does not describe the layers"),
        (lambda d: d["statistics"]["scaler"].update(marks=False), "expected sizes of numeric inputs, 2 of them"),
        (lambda d: d["statistics"]["learned"].update(labels=["1", "1"]), "expected at least two different ones"),
        (lambda d: d["settings"].update(colour="red"), "unknown key 'colour'"),
    ],
)
def test_an_artifact_whose_parts_do_not_fit_is_refused(numbers, change, message, tmp_path):
    edit_config(numbers.save(tmp_path / "run"), change)
    with pytest.raises(ConfigError, match=message):
        carrousel.load(tmp_path / "run")


def test_an_artifact_with_another_context_is_refused(numbers, monkeypatch, tmp_path):
    monkeypatch.setattr("carrousel.tasks.classify.classify_card", lambda *_: "")  # it measures the model
    fitted, other = numbers.fitted, Classifier(**SMALL)
    assert fitted.learned.likeness > 0

    def refused(context: dict, message: str) -> None:
        other._fitted = replace(fitted, context=context)
        with pytest.raises(WeightsError, match=message):
            carrousel.load(other.save(tmp_path / "run", overwrite=True))

    refused({"owner": fitted.context["owner"]}, "expected centre, duals, gamma, how, medians, neighbours, owner, got o")
    refused({**fitted.context, "centre": np.zeros(3)}, r"centre: expected \(2,\), got \(3,\); save the model again")
    refused({**fitted.context, "duals": np.zeros((47, 2))}, r"duals: expected \(48, 2\), got \(47, 2\)")
    other._fitted = replace(fitted, learned=replace(fitted.learned, likeness=0.0))
    with pytest.raises(WeightsError, match="expected how, neighbours, owner, got centre, duals"):
        carrousel.load(other.save(tmp_path / "run", overwrite=True))
