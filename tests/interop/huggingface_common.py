"""transformers' own tests of models, run over ours: ``pytest tests/interop/huggingface_common.py``.

``TRANSFORMERS_SOURCE`` names the folder of transformers' source: a checkout, or the unpacked sdist from PyPI, which has
the tests of models but not those of ``generate``. Nothing of it is copied here.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
import unittest
import unittest.mock
from pathlib import Path
from typing import Any

import torch
from transformers.models.auto import modeling_auto

from carrousel.interop.huggingface import (
    CarrouselCache,
    CarrouselConfig,
    CarrouselForCausalLM,
    CarrouselForSequenceClassification,
    CarrouselModel,
)

SOURCE = Path(os.environ["TRANSFORMERS_SOURCE"]) / "tests"
PACKAGE = "tests"  # the name by which its own modules import each other
NOT_APPLICABLE = {
    "test_model_base_model_prefix": "heads stand beside the body, not around it, so that names are those on disk",
    "test_model_weights_reload_no_missing_tied_weights": "it puts other weights beside the checksum of the saved ones",
}
NO_STATES = "the networks of an ensemble have no hidden states in common"
NOT_OF_CLASSIFIERS = {
    "test_hidden_states_output": NO_STATES,
    "test_retain_grad_hidden_states_attentions": NO_STATES,
    "test_load_with_mismatched_shapes": "an ensemble has no body that AutoModel could open",
    "test_problem_types": "a classifier has two classes at least, and there is no regression",
}


def module(name: str, **contents: Any) -> types.ModuleType:
    """A module of transformers' tests; ``contents`` stand in where the source does not have it."""
    if getattr(sys.modules.get(PACKAGE), "__path__", None) != [str(SOURCE)]:
        package = types.ModuleType(PACKAGE)
        package.__path__ = [str(SOURCE)]
        sys.modules[PACKAGE] = package
    if not (SOURCE / f"{name.replace('.', '/')}.py").exists():
        for k in range(1, len(name.split(".")) + 1):
            part = f"{PACKAGE}.{'.'.join(name.split('.')[:k])}"
            sys.modules.setdefault(part, types.ModuleType(part)).__path__ = []
        vars(sys.modules[f"{PACKAGE}.{name}"]).update(contents)
    return importlib.import_module(f"{PACKAGE}.{name}")


# By these names the mixins tell which class takes which labels.
modeling_auto.MODEL_MAPPING_NAMES["carrousel"] = CarrouselModel.__name__
modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES["carrousel"] = CarrouselForCausalLM.__name__
modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES["carrousel"] = CarrouselForSequenceClassification.__name__


class Absent:
    """In place of a mixin that the source does not have."""


module("exporters.test_export", ExportTesterMixin=Absent, ExportGenerateTesterMixin=Absent)
module("utils.test_configuration_utils", config_common_kwargs={})
Generation = module("generation.test_utils", GenerationTesterMixin=type("Absent", (), {})).GenerationTesterMixin
ModelTesterMixin = module("test_modeling_common").ModelTesterMixin
with unittest.mock.patch("transformers.utils.direct_transformers_import"):  # of a folder that only a checkout has
    ConfigTester = module("test_configuration_common").ConfigTester
ids_tensor = module("test_modeling_common").ids_tensor


class ModelTester:
    """The small model and its inputs that the mixins ask for."""

    batch_size, seq_length, is_training, use_labels, num_labels = 3, 7, True, True, 3
    vocab_size, hidden_size, num_hidden_layers = 99, 32, 2

    def __init__(self, parent: unittest.TestCase, task: str) -> None:
        self.parent, self.task = parent, task

    def get_config(self) -> CarrouselConfig:
        return CarrouselConfig(
            task=self.task,
            vocab_size=self.vocab_size,
            embedding_size=self.hidden_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[CarrouselConfig, dict[str, Any]]:
        ids = ids_tensor([self.batch_size, self.seq_length], self.vocab_size)
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Common(ModelTesterMixin):
    task: str
    has_attentions = False
    test_torch_exportable = False

    def setUp(self) -> None:
        self.model_tester = ModelTester(self, self.task)
        self.config_tester = ConfigTester(
            self, config_class=CarrouselConfig, hidden_size=37, common_properties=["hidden_size", "num_hidden_layers"]
        )

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


def leave_out(case: type, reasons: dict[str, str]) -> None:
    for name, reason in reasons.items():
        setattr(case, name, unittest.skip(reason)(getattr(ModelTesterMixin, name)))


leave_out(Common, NOT_APPLICABLE)


def needs_generation(test: Any) -> Any:
    has = hasattr(Generation, "test_greedy_generate")
    return unittest.skipUnless(has, "the source has no tests of generate")(test)


class Generate(Generation):
    """The tests of ``generate``: what they ask of keys and values is asked of h and c."""

    def _check_past_key_values_for_generate(
        self, batch_size: int, past_key_values: CarrouselCache, seq_length: int, config: CarrouselConfig
    ) -> None:
        assert isinstance(past_key_values, CarrouselCache)
        assert past_key_values.get_seq_length() == seq_length
        assert len(past_key_values) == config.num_hidden_layers
        assert past_key_values.state is not None
        for part in past_key_values.state:
            assert part.shape == (config.num_hidden_layers, batch_size, config.hidden_size)

    def _check_caches_are_equal(self, cache1: CarrouselCache, cache2: CarrouselCache) -> None:
        assert cache1.get_seq_length() == cache2.get_seq_length()
        torch.testing.assert_close(cache1.state, cache2.state)

    @needs_generation
    def test_left_padding_compatibility(self) -> None:
        """Which is left out for models without attentions: these stand padding all the same."""
        with unittest.mock.patch.object(self, "has_attentions", True):
            super().test_left_padding_compatibility()

    @needs_generation
    def test_recurrent_layers_mask_padding_on_continued_forward(self) -> None:
        """Which is left out for models that name no kind of layer: an LSTM is recurrent."""
        kinds = ["linear_attention"] * ModelTester.num_hidden_layers
        with unittest.mock.patch.object(CarrouselConfig, "layer_types", kinds, create=True):
            super().test_recurrent_layers_mask_padding_on_continued_forward()


class TestLanguage(Common, Generate, unittest.TestCase):
    task = "language"
    all_model_classes = (CarrouselModel, CarrouselForCausalLM)


class TestClassify(Common, unittest.TestCase):
    task = "classify"
    all_model_classes = (CarrouselForSequenceClassification,)


leave_out(TestClassify, NOT_OF_CLASSIFIERS)
