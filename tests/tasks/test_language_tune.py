"""Fine-tuning: what goes on from where, what stays, and what is said of what the start does not know."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import carrousel
from carrousel.errors import HistoryError, NotTrainedError, SettingError
from carrousel.features.token import Characters
from carrousel.tasks import language_fit
from carrousel.tasks.language import LanguageModel
from carrousel.tasks.language_fit import Network, load, mean_loss
from carrousel.training import silent

TEXT = "the cat sat on the mat. a dog ran to the cat; it sat.\n" * 60
OTHER = "a mat! the dog sat on it; the cat ran.\n" * 12
SMALL = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8, "sequence_length": 16, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def start() -> LanguageModel:
    """Two layers and a projection; tests must not change it."""
    return LanguageModel(**SMALL, num_layers=2, max_steps=120, minutes=5).fit(TEXT, progress=silent)


def copied(model: LanguageModel) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in model.fitted.weights.items()}


def test_fine_tuning_makes_a_better_model_of_the_new_text_and_leaves_the_start_alone(start):
    before = copied(start)
    tuned = start.fine_tune(OTHER, max_steps=60, learning_rate=5e-3, progress=silent)
    assert tuned is not start
    for name, array in start.fitted.weights.items():
        assert np.array_equal(array, before[name])
    held_out = OTHER[-tuned.fitted.learned.held_out :]
    assert tuned.score(held_out).nats < 0.7 * start.score(held_out).nats
    scratch = LanguageModel(**SMALL, num_layers=2, max_steps=60).fit(OTHER, progress=silent)
    assert tuned.fitted.learned.validation < scratch.fitted.learned.validation
    assert tuned.fitted.sizes == start.fitted.sizes
    assert tuned.fitted.tokenizer is start.fitted.tokenizer


def test_the_first_step_starts_from_the_weights_of_the_start(start, monkeypatch):
    seen: list[dict[str, np.ndarray]] = []

    def watched(model, batches, loss, validate, settings, **how):
        seen.append(model.network.weights())
        raise KeyboardInterrupt

    monkeypatch.setattr(language_fit, "train", watched)
    with pytest.raises(KeyboardInterrupt):
        start.fine_tune(OTHER, max_steps=1, progress=silent)
    for name, array in start.fitted.weights.items():
        assert np.array_equal(array, seen[0][name]), name


def test_layers_are_grouped_from_the_softmax_down_each_parameter_once(start):
    network = Network(start.fitted.sizes)
    top, second, first = network.layers()
    lstm = dict(network.body.lstm.named_parameters())
    assert {id(p) for p in second} == {id(p) for name, p in lstm.items() if name.endswith("_l1")}
    assert {id(p) for p in first} == {id(p) for name, p in lstm.items() if name.endswith("_l0")}
    assert {id(p) for p in top} >= {id(network.head.weight), id(network.head.bias), id(network.body.projection.weight)}
    whole = [id(p) for layer in (top, second, first) for p in layer]
    assert sorted(whole) == sorted(id(p) for p in network.parameters())


def test_lower_layers_move_less_and_join_later(start):
    def moved(**how: float) -> dict[str, float]:
        tuned = start.fine_tune(OTHER, max_steps=8, patience=8, progress=silent, **how)
        pairs = ((name, array, start.fitted.weights[name]) for name, array in tuned.fitted.weights.items())
        return {name: float(np.abs(array - before).max()) for name, array, before in pairs}

    alike, divided, frozen = moved(factor=1, unfreeze=0), moved(factor=100, unfreeze=0), moved(factor=1, unfreeze=0.99)
    assert alike["lstm.weight_hh_l0"] > 20 * divided["lstm.weight_hh_l0"] > 0
    # The whole run has eight steps: the second layer joins in its middle, the first never.
    assert frozen["lstm.weight_hh_l0"] == 0 < frozen["lstm.weight_hh_l1"] < frozen["head.weight"]


def test_the_start_is_kept_where_nothing_better_is_found(start):
    tuned = start.fine_tune(OTHER, max_steps=6, learning_rate=50.0, progress=silent)
    for name, array in start.fitted.weights.items():
        np.testing.assert_allclose(array, tuned.fitted.weights[name], rtol=1e-6)
    network = Network(start.fitted.sizes).eval()
    load(network, start.fitted.weights)
    held_out = start.fitted.tokenizer.encode(OTHER)[-tuned.fitted.learned.held_out :]
    with torch.no_grad():
        assert tuned.fitted.learned.validation == pytest.approx(mean_loss(network, torch.as_tensor(held_out)))
    assert tuned.history is not None
    assert tuned.history.best_step == 0


def test_without_a_limit_a_small_text_gets_enough_steps(start, monkeypatch):
    seen = []

    def watched(model, batches, loss, validate, settings, **how):
        seen.append((settings.max_epochs, batches.chunks))
        raise KeyboardInterrupt

    monkeypatch.setattr(language_fit, "train", watched)
    for text in (OTHER, OTHER * 30):
        with pytest.raises(KeyboardInterrupt):
            start.fine_tune(text, progress=silent)
    (few, chunks), (many, more) = seen
    assert (few - 1) * chunks < 150 <= few * chunks
    assert many == 10 < 150 / chunks < more


def test_settings_are_those_of_the_start_but_for_its_limits_and_rate(start):
    tuned = start.fine_tune(OTHER, max_steps=3, dropout=0.25, progress=silent)
    s = tuned.settings
    assert (s.hidden_size, s.batch_size, s.num_layers) == (24, 8, 2)
    assert (s.max_steps, s.minutes, s.dropout, s.learning_rate) == (3, None, 0.25, 1e-3)
    for name in ("level", "vocabulary", "hidden_size", "num_layers", "embedding_size"):
        with pytest.raises(SettingError, match=f"{name}: expected none, since the model that is started from"):
            start.fine_tune(OTHER, **{name: 3})
    with pytest.raises(SettingError, match=r"fine_tune: factor: expected a number of at least 1, got 0\.5"):
        start.fine_tune(OTHER, factor=0.5)
    with pytest.raises(SettingError, match="did you mean 'dropout'"):
        start.fine_tune(OTHER, dropuot=0.5)
    with pytest.raises(NotTrainedError):
        LanguageModel().fine_tune(OTHER)
    with pytest.raises(HistoryError, match="expected at least 2 tokens"):
        start.fine_tune("ab")


def test_characters_that_the_start_does_not_know_are_told_and_counted(start, caplog):
    caplog.set_level(logging.INFO, "carrousel")
    tuned = start.fine_tune("the çat sat ön the mat, çat!\n" * 20, max_steps=5, progress=silent)
    assert caplog.messages == [
        "fine_tune: 100 of 580 characters are unknown to the start model ('ç', '!', ',', 'ö'), to which all of them "
        "are one unknown character; only a training from scratch gives them tokens of their own"
    ]
    assert (tuned.fitted.tokens == 1).sum() > 80
    caplog.clear()
    start.fine_tune("the cat. " * 30, max_steps=1, progress=silent)
    assert caplog.messages == []


def test_a_tuned_model_remembers_both_texts_and_is_saved_with_what_it_came_from(start, tmp_path):
    tuned = start.fine_tune(OTHER, max_steps=3, progress=silent)
    learned = tuned.fitted.learned
    assert learned.before == start.fitted.learned.tokens
    assert len(tuned.fitted.tokens) == learned.before + learned.tokens
    assert tuned.trained_on(OTHER[:200])
    assert tuned.trained_on(TEXT[:200])
    loaded = carrousel.load(tuned.save(tmp_path / "run"))
    assert loaded.fitted.learned == learned
    assert loaded.settings == tuned.settings
    card = (tmp_path / "run/README.md").read_text()
    assert f"| started from a model of | {learned.before:,} characters of other text |" in card
    assert loaded.score(OTHER) == tuned.score(OTHER)
    again = loaded.fine_tune(OTHER, max_steps=3, progress=silent)
    assert again.fitted.learned.before == learned.before + learned.tokens


def test_a_plain_model_is_saved_as_it_always_was(start, tmp_path):
    from carrousel import artifact

    saved = artifact.read(start.save(tmp_path / "run"))
    assert not {"optimizer", "sampled_softmax"} & set(saved.settings)
    assert "before" not in saved.statistics["learned"]
    other = LanguageModel(**SMALL, optimizer="asgd", max_steps=2).fit(TEXT, progress=silent)
    assert artifact.read(other.save(tmp_path / "other")).settings["optimizer"] == "asgd"
    assert carrousel.load(tmp_path / "other").settings == other.settings


def test_an_interrupted_fine_tuning_goes_on_to_the_same_weights(start, tmp_path):
    def tune(folder, *, resume: bool, stop: int = 0) -> LanguageModel:
        def watch(report) -> None:
            if stop and report.step >= stop:
                raise KeyboardInterrupt

        return start.fine_tune(OTHER, max_steps=16, patience=16, run_dir=folder, resume=resume, progress=watch)

    whole = tune(tmp_path / "whole", resume=False)
    with pytest.MonkeyPatch.context() as patch:
        import carrousel.training.loop as loop

        saved = loop._Run.report
        patch.setattr(loop._Run, "report", lambda run, **how: (run.save(), saved(run, **how)))
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path / "run", resume=False, stop=2)
    resumed = tune(tmp_path / "run", resume=True)
    for name, array in whole.fitted.weights.items():
        assert np.array_equal(array, resumed.fitted.weights[name]), name


def test_a_start_without_any_known_character_still_says_what_it_sees():
    from carrousel.data.text import documents
    from carrousel.tasks.language_fitted import unknown_characters

    found = unknown_characters(Characters("ab"), documents("漢字仮名交じり"))
    assert found.startswith("7 of 7 characters are unknown to the start model (")
    assert "and 2 others" in found
    assert unknown_characters(Characters("ab"), documents("abba")) == ""
