"""Settings of a run: what is refused, and in which words."""

import dataclasses

import pytest

from carrousel.errors import SettingError
from carrousel.training import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("batch_size", 0, "batch_size: expected a whole number at least 1, got 0"),
        ("batch_size", None, "batch_size: expected a whole number at least 1, got None"),
        ("max_epochs", 2.5, "max_epochs: expected a whole number at least 1 or None, got 2.5"),
        ("max_steps", True, "max_steps: expected a whole number at least 1 or None, got True"),
        ("minutes", 0, "minutes: expected a finite number above 0 or None, got 0"),
        ("learning_rate", float("nan"), "learning_rate: expected a finite number above 0, got nan"),
        ("learning_rate", "1e-3", "learning_rate: expected a finite number above 0, got '1e-3'"),
        ("weight_decay", -0.1, "weight_decay: expected a finite number at least 0, got -0.1"),
        ("warmup", 1, "warmup: expected a finite number at least 0 and below 1 or None, got 1"),
        ("average", 1.0, "average: expected a finite number above 0 and below 1 or None, got 1.0"),
        ("seed", -1, "seed: expected a whole number at least 0, got -1"),
        ("schedule", "cosin", "schedule: expected one of constant, linear, cosine, one_cycle, got 'cosin'"),
        ("precision", "fp16", "precision: expected one of auto, float32, bf16, got 'fp16'"),
    ],
)
def test_setting_outside_its_range_is_refused_with_one_sentence(name: str, value: object, sentence: str) -> None:
    with pytest.raises(SettingError) as error:
        TrainingSettings(**{name: value})
    assert str(error.value) == sentence


def test_settings_without_any_limit_are_refused() -> None:
    with pytest.raises(SettingError, match="expected at least one limit, got None for all"):
        TrainingSettings(max_epochs=None)


def test_settings_cannot_be_changed_after_their_check() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingSettings().batch_size = 0  # type: ignore[misc]
