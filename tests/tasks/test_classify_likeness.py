"""Likeness of whole sequences beside the networks: where it counts, where it may not, and what is saved of it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.stored import edit_config

import carrousel
from carrousel.features.classify import stretched, views
from carrousel.heads.kernel import KernelRidge
from carrousel.tasks import classify_baseline, classify_likeness
from carrousel.tasks.classify import Classifier
from carrousel.tasks.classify_evaluate import OWN
from carrousel.tasks.classify_likeness import learn_likeness, likeness_scores
from carrousel.training import silent

QUICK = {"hidden_size": 8, "ensemble": 5, "max_steps": 30, "window": 3, "learning_rate": 1e-2}


def days(count: int, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Days of 24 hours whose class is hidden in the levels of single hours, which noise covers."""
    rng = np.random.default_rng(seed)
    sign = np.where(np.random.default_rng(7).uniform(size=24) < 0.5, -1.0, 1.0)
    y = ["warm" if k % 2 else "cold" for k in range(count)]
    return [0.6 * sign * (1 if label == "warm" else -1) + rng.standard_normal(24) for label in y], y


@pytest.fixture(scope="module")
def model() -> Classifier:
    return Classifier(**QUICK).fit(*days(60, 0), progress=silent)


def test_what_stands_step_upon_step_is_told_by_its_likeness_better_than_by_networks(model):
    alone = Classifier(**QUICK, likeness=False).fit(*days(60, 0), progress=silent)
    assert alone.fitted.likeness is None
    assert model.fitted.learned.likeness > 0.5
    x, y = days(200, 1)
    with_it, without = model.evaluate(x, y).scores[OWN], alone.evaluate(x, y).scores[OWN]
    assert with_it.accuracy > without.accuracy + 0.1
    assert with_it.log_loss < without.log_loss - 0.1


def test_the_probabilities_are_those_of_both_judges_by_their_weights(model):
    x, _ = days(7, 2)
    fitted = model.fitted
    inputs = fitted.inputs(model._read(x, None, labelled=False))
    logits = np.concatenate(fitted.logits(inputs))
    known = [fitted.scaler.apply(np.array(day)[:, None]) for day in days(60, 0)[0]]
    truth = fitted.codes(days(60, 0)[1])
    own, _ = KernelRidge.learn(views(stretched(known)), truth, 2)
    s = logits / fitted.learned.temperature + fitted.learned.likeness * own.scores(views(stretched(inputs)))
    expected = np.exp(s) / np.exp(s).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(x).probabilities, expected, atol=1e-10)


def test_a_saved_model_and_a_stream_of_it_say_the_same(model, tmp_path):
    again = carrousel.load(model.save(tmp_path / "run"))
    x, _ = days(3, 3)
    assert np.array_equal(again.predict(x).probabilities, model.predict(x).probabilities)
    stream = again.stream()
    for hour, value in enumerate(x[0]):
        answer = stream.update(value)
        expected = model.predict([x[0][: hour + 1]]).probabilities[0]
        np.testing.assert_allclose(list(answer.probabilities.values()), expected, rtol=0, atol=2e-5)
    assert "kernel ridge regression" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize("changes", [{"bidirectional": False}, {"balanced": True}, {"likeness": False}])
def test_a_model_that_may_not_know_the_whole_or_weighs_classes_has_none(changes):
    few = {**QUICK, "ensemble": 1, "max_steps": 3, **changes}
    found = Classifier(**few).fit(*days(20, 0), progress=silent).fitted
    assert found.likeness is None
    assert set(found.context) == {"neighbours", "owner", "how"}


def test_sequences_beyond_those_that_are_kept_are_judged_by_these(monkeypatch):
    monkeypatch.setattr(classify_baseline, "MOST_NEIGHBOURS", 20)
    x, y = days(30, 0)
    inputs, truth = [day[:, None].astype(np.float32) for day in x], np.array([label == "warm" for label in y], np.int64)
    arrays, scores = learn_likeness(inputs, truth, 2)
    some = classify_baseline.remembered(30)
    assert arrays["duals"].shape == (20, 2)
    known, left_out = KernelRidge.learn(views(stretched([inputs[k] for k in some])), truth[some], 2)
    np.testing.assert_allclose(scores[some], left_out)
    rest = np.setdiff1d(np.arange(30), some)
    np.testing.assert_allclose(scores[rest], known.scores(views(stretched([inputs[k] for k in rest]))))


def test_however_many_are_stretched_at_once_scores_are_the_same(model, monkeypatch):
    inputs = model.fitted.inputs(model._read(days(9, 4)[0], None, labelled=False))
    whole = likeness_scores(model.fitted.likeness, inputs)
    monkeypatch.setattr(classify_likeness, "BLOCK", 4)
    np.testing.assert_allclose(likeness_scores(model.fitted.likeness, inputs), whole, atol=1e-12)


def test_a_model_of_an_earlier_version_is_read_without(tmp_path):
    old = Classifier(**{**QUICK, "ensemble": 1, "max_steps": 3}, likeness=False).fit(*days(20, 0), progress=silent)

    def earlier(data: dict) -> None:
        del data["statistics"]["learned"]["likeness"], data["settings"]["likeness"]

    edit_config(old.save(tmp_path / "run"), earlier)
    again = carrousel.load(tmp_path / "run")
    assert np.array_equal(again.predict(days(4, 1)[0]).probabilities, old.predict(days(4, 1)[0]).probabilities)
