"""The classifier: the engine agrees with PyTorch, a stream with the whole, a saved model with what was saved."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.test_import import HEAVY

import carrousel
from carrousel.features.classify import padded
from carrousel.heads.temperature import softmax
from carrousel.layers.classify import ClassifyLSTM
from carrousel.tasks.classify import Classifier
from carrousel.tasks.classify_evaluate import MAJORITY, OWN
from carrousel.training import silent
from tasks.classified import FLOAT32, SMALL, TEXTS, TYPES, above, waves

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


def test_weights_balance_the_classes_where_asked():
    x, _ = waves(60, seed=2)
    rare = [0 if k % 12 else 1 for k in range(60)]
    plain = Classifier(**SMALL).fit(x, rare, progress=silent)
    even = Classifier(**SMALL, balanced=True).fit(x, rare, progress=silent)
    assert even.predict(x).probabilities[:, 1].mean() > plain.predict(x).probabilities[:, 1].mean()


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
