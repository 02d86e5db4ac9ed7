"""The classifier: the engine agrees with PyTorch, a stream with the whole, a saved model with what was saved."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.stored import edit_config
from tests.test_import import HEAVY

import carrousel
from carrousel.errors import (
    ColumnError,
    ConfigError,
    DataError,
    NotTrainedError,
    SettingError,
    WeightsError,
)
from carrousel.features.classify import padded
from carrousel.heads.temperature import softmax
from carrousel.layers.classify import ClassifyLSTM
from carrousel.tasks.classify import Classifier
from carrousel.tasks.classify_evaluate import MAJORITY, OWN
from carrousel.training import silent

SMALL = {"hidden_size": 12, "ensemble": 2, "max_steps": 80, "seed": 1, "learning_rate": 2e-2, "dropout": 0.2}
# float32 rounds by 6e-8 a step of some dozen; logits are sums of order ten.
FLOAT32 = 2e-5

NAMES = ("Ada", "Bob", "Eve", "Max")
PLACES = ("Rome", "Oslo", "Lima", "Bonn")
TEXTS = [
    *(f"who wrote the letter to {name} ?" for name in NAMES * 4),
    *(f"where did the train from {place} stop ?" for place in PLACES * 4),
    *(f"how many people of {place} know {name} ?" for place in PLACES[:2] for name in NAMES[:4]),
]
TYPES = ["person"] * 16 + ["place"] * 16 + ["number"] * 8


def waves(count: int = 48, seed: int = 0) -> tuple[list[np.ndarray], list[int]]:
    """Sequences of two variables and unequal length: slow waves (class 1), fast ones (class 2), and gaps in some."""
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    for k in range(count):
        t = np.arange(int(rng.integers(8, 24))) + rng.uniform(0, 6)
        wave = np.stack([np.sin(t * (0.4 if k % 2 else 1.6)), rng.standard_normal(len(t))], 1)
        wave[rng.uniform(size=wave.shape) < 0.05 * (k % 4 == 0)] = np.nan
        wave[-1] = np.nan_to_num(wave[-1])
        found.append(wave)
    return found, [1 if k % 2 else 2 for k in range(count)]


@pytest.fixture(scope="module")
def text() -> Classifier:
    """Both ways; tests must not change it."""
    return Classifier(**SMALL).fit(TEXTS, TYPES, progress=silent)


@pytest.fixture(scope="module")
def one_way() -> Classifier:
    return Classifier(**SMALL, bidirectional=False, num_layers=2).fit(TEXTS, TYPES, progress=silent)


@pytest.fixture(scope="module")
def numbers() -> Classifier:
    """Trained so little that the sequences' likeness to each other has a say."""
    x, y = waves()
    return Classifier(**{**SMALL, "max_steps": 20}, window=3).fit(x, y, progress=silent)


@pytest.fixture(scope="module")
def numbers_one_way() -> Classifier:
    x, y = waves()
    return Classifier(**SMALL, window=3, bidirectional=False).fit(x, y, progress=silent)


@pytest.fixture(scope="module")
def steps() -> Classifier:
    """Whether the first variable is above the second, at every step."""
    x, _ = waves()
    return Classifier(**SMALL, steps=True).fit(x, above(x), progress=silent)


def above(x: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(np.nan_to_num(v[:, 0]) > np.nan_to_num(v[:, 1]), "up", "down") for v in x]


ALL = ("text", "one_way", "numbers", "numbers_one_way", "steps")


def data(which: str) -> list:
    return TEXTS if which in ("text", "one_way") else waves(9, seed=5)[0]


def by_torch(model: Classifier, sequences: list) -> list[np.ndarray]:
    """Logits of each sequence, (1, C) or (L, C), by the networks of the training, one sequence at a time."""
    fitted = model.fitted
    weights = {name: torch.as_tensor(array.copy()) for name, array in fitted.weights.items()}
    found = []
    for inputs in fitted.inputs(model._read(sequences, None, labelled=False)):
        total = 0.0
        for member in range(fitted.sizes.members):
            network = ClassifyLSTM(fitted.sizes).eval()
            network.load(weights, member)
            x, lengths = padded([inputs])
            with torch.no_grad():
                total = total + network(torch.as_tensor(x), torch.as_tensor(lengths)).double().numpy()
        z = np.asarray(total) / fitted.sizes.members
        found.append(z[0] if fitted.sizes.steps else z)
    return found


@pytest.mark.parametrize("which", ALL)
def test_the_engine_gives_the_logits_of_pytorch(which, request):
    model: Classifier = request.getfixturevalue(which)
    found = model.fitted.logits(model.fitted.inputs(model._read(data(which), None, labelled=False)))
    for mine, theirs in zip(found, by_torch(model, data(which)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=FLOAT32)
    if model.fitted.likeness is None:
        p = softmax(np.concatenate(found), model.fitted.learned.temperature)
        np.testing.assert_allclose(model.predict(data(which)).probabilities, p, rtol=0, atol=1e-12)
    assert (model.fitted.likeness is not None) == (which == "numbers")


@pytest.mark.parametrize("which", ALL)
def test_a_sequence_is_the_same_whatever_its_neighbours(which, request):
    model: Classifier = request.getfixturevalue(which)
    whole = model.predict(data(which))
    for k, sequence in enumerate(data(which)[:4]):
        alone = model.predict([sequence]).probabilities
        np.testing.assert_allclose(alone, whole.probabilities[whole.starts[k] : whole.starts[k + 1]], atol=FLOAT32)


@pytest.mark.parametrize("which", ["numbers", "numbers_one_way", "steps"])
def test_a_stream_says_at_every_sample_what_is_said_of_the_sequence_so_far(which, request):
    model: Classifier = request.getfixturevalue(which)
    stream = model.stream()
    for sequence in data(which)[:3]:
        stream.reset()
        for t, sample in enumerate(sequence):
            if t == 0 and np.isnan(sample).all():
                continue
            answer = stream.update(sample)
            expected = model.predict([sequence[: t + 1]])
            np.testing.assert_allclose(
                list(answer.probabilities.values()), expected.probabilities[-1], rtol=0, atol=FLOAT32
            )
            assert answer.label == expected.labels[-1]
            assert answer.steps == t + 1
            assert answer.probability == max(answer.probabilities.values())


@pytest.mark.parametrize("which", ["text", "one_way"])
@pytest.mark.parametrize("size", [1, 7])
def test_a_text_in_pieces_is_the_whole_text(which, size, request):
    model: Classifier = request.getfixturevalue(which)
    stream, text = model.stream(), "Where did Ada's train stop?"
    assert stream.update("") is None
    assert stream.finish() is None
    for first in range(0, len(text), size):
        answer = stream.update(text[first : first + size])
        if answer is not None:
            heard = text[: first + size]
            heard = heard if heard[-1] in " '?" else heard[: -len(heard.replace("'", " ").split()[-1])]
            expected = model.predict([heard]).probabilities[0]
            np.testing.assert_allclose(list(answer.probabilities.values()), expected, rtol=0, atol=FLOAT32)
    final = stream.finish()
    assert final is not None
    assert final.steps == 8
    np.testing.assert_allclose(
        list(final.probabilities.values()), model.predict([text]).probabilities[0], rtol=0, atol=FLOAT32
    )


def test_a_mapping_and_missing_values_are_samples_too(numbers_one_way):
    a, b = numbers_one_way.stream(), numbers_one_way.stream()
    for x0, x1 in ((0.5, 1.0), (float("nan"), 0.0), (0.25, float("nan"))):
        mine = a.update({"x0": None if x0 != x0 else x0, "x1": x1})
        assert mine == b.update([x0, x1])


def test_it_learns_what_can_be_learnt(text, numbers, steps):
    x, y = waves(40, seed=7)
    assert text.evaluate(TEXTS, TYPES).accuracy > 0.9
    assert numbers.evaluate(x, y).accuracy > 0.9
    found = steps.evaluate(x, above(x))
    assert found.accuracy > 0.9
    assert found.accuracy > found.scores[MAJORITY].accuracy
    assert len(found.truth) == sum(map(len, x))


def test_answers_are_the_labels_that_were_given(text, numbers):
    found = numbers.predict(waves()[0])
    assert found.labels.dtype == np.int64
    assert found.classes.tolist() == [1, 2]
    found = text.predict(TEXTS)
    assert set(found.labels) <= {"person", "place", "number"}
    assert found.classes.tolist() == [
        "number",
        "person",
        "place",
    ]
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-12)
    assert text.predict("who was it?").labels.tolist() == ["person"]


@pytest.mark.parametrize("which", ALL)
def test_a_saved_model_gives_the_same_bits(which, request, tmp_path):
    model: Classifier = request.getfixturevalue(which)
    again = carrousel.load(model.save(tmp_path / "run"))
    assert isinstance(again, Classifier)
    assert np.array_equal(again.predict(data(which)).probabilities, model.predict(data(which)).probabilities)
    assert again.settings == model.settings
    assert again.fitted.learned == model.fitted.learned
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"{model.num_parameters:,} (" in card
    assert "no test" in card
    first = again.save(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "context.safetensors"):
        assert (first / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_baselines_survive_saving(text, numbers, steps, tmp_path):
    x, y = waves(11, seed=3)
    for k, (model, sequences, labels) in enumerate(((text, TEXTS, TYPES), (numbers, x, y), (steps, x, above(x)))):
        again = carrousel.load(model.save(tmp_path / str(k))).evaluate(sequences, labels)
        before = model.evaluate(sequences, labels)
        assert again.to_dict() == before.to_dict()
        assert next(iter(before.scores)) == OWN
        assert len(before.scores) == 3
        shares = before.scores[MAJORITY]
        assert shares.accuracy == (before.truth == np.argmax(model.fitted.learned.counts)).mean()


def test_an_evaluation_counts_what_was_predicted(text):
    labels = ["place", *TYPES[1:]]
    found = text.evaluate(TEXTS, labels)
    said = text.predict(TEXTS).labels
    assert found.accuracy == np.mean(said == np.array(labels, object))
    assert found.confusion.sum() == len(TEXTS)
    assert np.trace(found.confusion) == (said == np.array(labels)).sum()
    worst = found.errors(1)[0]
    assert worst[1] != worst[2]
    assert worst[3] == max(p for *_, p in found.errors(100))
    assert found.errors(100)[0][0] in TEXTS


def test_the_temperature_is_from_the_held_out_parts_and_changes_no_label(text):
    learned = text.fitted.learned
    assert learned.held_out == 16  # two folds of eight
    hot = Classifier(**SMALL)
    hot._fitted = replace(text.fitted, learned=replace(learned, temperature=7.0))
    a, b = text.predict(TEXTS), hot.predict(TEXTS)
    assert np.array_equal(a.labels, b.labels)
    assert (b.probabilities.max(1) <= a.probabilities.max(1) + 1e-12).all()


def test_words_that_a_network_has_not_learnt_have_the_vector_of_the_unknown_one(text):
    texts = [*TEXTS, "a zebra", "the zebra"]  # these two are held out by different networks
    model = Classifier(**{**SMALL, "ensemble": 5, "max_steps": 5}).fit(texts, [*TYPES, "rare", "rare"], progress=silent)
    words = model.fitted.words
    zebra, who = words.encode("zebra who")
    assert zebra > 0
    vectors = [model.fitted.weights[f"input_{m}.weight"] for m in range(5)]
    unknown = [np.array_equal(v[zebra], v[0]) for v in vectors]
    assert sum(unknown) == 2
    assert not any(np.array_equal(v[who], v[0]) for v in vectors)


def test_the_same_seed_gives_the_same_model_and_another_one_another():
    few = {**SMALL, "ensemble": 1, "max_steps": 4}

    def fitted(seed: int) -> Classifier:
        return Classifier(**{**few, "seed": seed}).fit(TEXTS, TYPES, progress=silent)

    a, b, c = fitted(0), fitted(0), fitted(1)
    assert all(np.array_equal(v, b.fitted.weights[k]) for k, v in a.fitted.weights.items())
    assert not np.array_equal(a.fitted.weights["head_0.weight"], c.fitted.weights["head_0.weight"])


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


def test_weights_balance_the_classes_where_asked():
    x, _ = waves(60, seed=2)
    rare = [0 if k % 12 else 1 for k in range(60)]
    plain = Classifier(**SMALL).fit(x, rare, progress=silent)
    even = Classifier(**SMALL, balanced=True).fit(x, rare, progress=silent)
    assert even.predict(x).probabilities[:, 1].mean() > plain.predict(x).probabilities[:, 1].mean()


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


def test_an_interrupted_training_goes_on_where_it_stood(tmp_path: Path):
    few = {**SMALL, "max_steps": 8}
    whole = Classifier(**few).fit(TEXTS, TYPES, progress=silent)

    def stop(report) -> None:
        if report.fraction > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Classifier(**few).fit(TEXTS, TYPES, run_dir=tmp_path / "run", progress=stop)
    again = Classifier(**few).fit(TEXTS, TYPES, run_dir=tmp_path / "run", resume=True, progress=silent)
    assert all(np.array_equal(v, again.fitted.weights[k]) for k, v in whole.fitted.weights.items())


def test_loading_and_running_a_classifier_imports_no_heavy_package(text, numbers_one_way, tmp_path):
    text.save(tmp_path / "text")
    numbers_one_way.save(tmp_path / "numbers")
    script = f"""
import sys
import carrousel
carrousel.load({str(tmp_path / "text")!r}).predict(["who ?"])
model = carrousel.load({str(tmp_path / "numbers")!r})
model.stream().update([1.0, 2.0])
model.evaluate([[[1.0, 2.0]], [[2.0, 1.0]]], [1, 2])
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
