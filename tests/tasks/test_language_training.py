"""What the settings of a language model's training do: each has an effect, and the right one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carrousel.errors import SettingError
from carrousel.tasks.language import LanguageModel
from carrousel.tasks.language_fit import Network, load, mean_loss
from carrousel.training import silent

TEXT = "the cat sat on the mat. a dog ran to the cat; it sat.\n" * 60
SMALL = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8, "sequence_length": 16, "learning_rate": 1e-2}


def fitted(steps: int = 4, **settings: object) -> LanguageModel:
    return LanguageModel(**{**SMALL, **settings}, max_steps=steps).fit(TEXT, progress=silent)


@pytest.mark.parametrize(
    "setting",
    [
        {"recurrent_dropout": 0.4},
        {"label_smoothing": 0.2},
        {"embedding_dropout": 0.4},
        {"weight_drop": 0.4},
        {"variational_dropout": (0.3, 0.0)},
        {"variational_dropout": (0.0, 0.3)},
        {"weight_decay": 0.5},
        {"optimizer": "asgd"},
        {"sampled_softmax": 8},
    ],
    ids=str,
)
def test_every_setting_of_the_training_changes_what_is_learned_and_nothing_in_use(setting):
    plain, other = fitted(), fitted(**setting)
    assert not np.array_equal(plain.fitted.weights["lstm.weight_hh_l0"], other.fitted.weights["lstm.weight_hh_l0"])
    assert plain.fitted.weights.keys() == other.fitted.weights.keys()
    assert plain.fitted.sizes == other.fitted.sizes
    assert other.score(TEXT[:60]) == other.score(TEXT[:60])


def test_label_smoothing_keeps_the_model_from_being_certain():
    plain, smooth = fitted(120, dropout=0), fitted(120, dropout=0, label_smoothing=0.3)

    def most_certain(model: LanguageModel) -> float:
        return min(token.nats for token in model.stream().push(TEXT[:200]))

    assert most_certain(plain) < 0.02
    # A smoothed target is at most 1 − 0.3 + 0.3 / V.
    assert most_certain(smooth) > 0.2


def test_recurrent_dropout_reaches_the_cell_and_is_off_in_use():
    torch.manual_seed(0)
    network = Network(fitted(1).fitted.sizes, recurrent_dropout=0.5)
    ids = torch.randint(3, (20, 4))
    with torch.no_grad():
        assert not torch.equal(network(ids)[0], network(ids)[0])
        network.eval()
        assert torch.equal(network(ids)[0], network(ids)[0])


def test_averaged_descent_learns_and_takes_its_own_rate():
    model = LanguageModel(**{k: v for k, v in SMALL.items() if k != "learning_rate"}, optimizer="asgd", max_steps=150)
    assert model.settings.learning_rate == 2
    model.fit(TEXT, progress=silent)
    assert model.score(TEXT[:300]).nats_per_character < 2.0
    assert {row.learning_rate for row in model.history.rows} == {2.0}
    assert LanguageModel(optimizer="asgd", learning_rate=3.0).settings.learning_rate == 3


def test_a_sampled_softmax_trains_the_same_kind_of_model_about_as_well():
    plain, sampled = fitted(120), fitted(120, sampled_softmax=12)
    assert plain.fitted.sizes.architecture() == sampled.fitted.sizes.architecture()
    a, b = plain.score(TEXT[:400]).nats_per_character, sampled.score(TEXT[:400]).nats_per_character
    assert b < a + 0.15
    network = Network(sampled.fitted.sizes).eval()
    load(network, sampled.fitted.weights)
    held_out = sampled.fitted.tokenizer.encode(TEXT)[-sampled.fitted.learned.held_out :]
    with torch.no_grad():
        exact = mean_loss(network, torch.as_tensor(held_out))
    assert sampled.fitted.learned.validation == pytest.approx(exact, rel=1e-6)


def test_more_samples_than_tokens_are_the_softmax_itself():
    plain, sampled = fitted(), fitted(sampled_softmax=500)
    for name, array in plain.fitted.weights.items():
        assert np.array_equal(array, sampled.fitted.weights[name])


def test_what_does_not_go_together_is_refused():
    with pytest.raises(SettingError, match=r"label_smoothing: expected 0 with sampled_softmax, .* got 0\.1"):
        LanguageModel(label_smoothing=0.1, sampled_softmax=9)
    with pytest.raises(SettingError, match="optimizer: expected one of 'adamw', 'asgd', got 'sgd'"):
        LanguageModel(optimizer="sgd")
