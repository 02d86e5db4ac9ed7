"""The classifier of texts in transformers: the probabilities of ``Classifier.predict``, also behind ``Trainer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)

import carrousel
from carrousel import artifact
from carrousel.errors import ConfigError, SettingError, ShapeError
from carrousel.interop.huggingface import CarrouselConfig, CarrouselForSequenceClassification
from carrousel.tasks.classify import Classifier

TEXTS = ["who was it ?", "how many, WHERE?", "zebra", "where " * 30, "<|unknown|> who"]


def probabilities(folder: Path, texts: list[str], **how: Any) -> np.ndarray:
    """What the pipeline answers, in the order of the classes."""
    answer = pipeline("text-classification", model=str(folder), top_k=None, **how)(texts)
    return np.array([[score for _, score in sorted((one["label"], one["score"]) for one in each)] for each in answer])


@pytest.mark.parametrize("rows", [1, 5])
def test_the_pipeline_gives_the_probabilities_of_predict(classifier, classifier_folder, rows):
    found = probabilities(classifier_folder, TEXTS, batch_size=rows)
    np.testing.assert_allclose(found, classifier.predict(TEXTS).probabilities, atol=2e-6)


def test_the_most_probable_class_is_called_by_its_label(classifier, classifier_folder):
    classify = pipeline("text-classification", model=str(classifier_folder))
    assert [one["label"] for one in classify(TEXTS)] == classifier.predict(TEXTS).labels.tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(classifier_folder, side):
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder)
    assert type(model) is CarrouselForSequenceClassification
    assert model.config.architectures == [CarrouselForSequenceClassification.__name__]
    tokenizer = AutoTokenizer.from_pretrained(classifier_folder, padding_side=side)
    batch = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(
            batch[row], model(**tokenizer(text, return_tensors="pt")).logits[0], atol=1e-6, rtol=0
        )


# Python's white space that is none of Unicode's, and capitals whose small letters depend on where they stand.
ODD = st.sampled_from("\x1c\x1d\x1e\x1f\x85\xa0\u180e\u200b\u2028\u3000Σ")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]) | ODD, max_size=40))
def test_words_are_those_of_carrousel(request, text):
    classifier, folder = request.getfixturevalue("classifier"), request.getfixturevalue("classifier_folder")
    tokenizer = CACHED.setdefault("tokenizer", AutoTokenizer.from_pretrained(folder))
    text = f"Who {text} there?"
    assert tokenizer(text).input_ids == classifier.fitted.words.encode(text).tolist()


CACHED: dict[str, Any] = {}


def test_what_transformers_saves_carrousel_opens_with_the_same_bits(classifier, classifier_folder, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder)
    model.save_pretrained(tmp_path / "run")
    AutoTokenizer.from_pretrained(classifier_folder).save_pretrained(tmp_path / "run")
    again = carrousel.load(tmp_path / "run")
    assert isinstance(again, Classifier)
    assert np.array_equal(again.predict(TEXTS).probabilities, classifier.predict(TEXTS).probabilities)
    for name in ("model.safetensors", "context.safetensors", "tokenizer.json", "README.md"):
        assert (tmp_path / "run" / name).read_bytes() == (classifier_folder / name).read_bytes(), name


class Examples(Dataset[dict[str, Any]]):
    def __init__(self, tokenizer: Any, texts: list[str], labels: list[int]) -> None:
        self.rows = [{**tokenizer(text), "labels": k} for text, k in zip(texts, labels, strict=True)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


def test_trainer_teaches_it_other_examples_and_carrousel_opens_the_result(classifier_folder, tmp_path):
    model, tokenizer = (
        auto.from_pretrained(classifier_folder) for auto in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    texts = ["who is there ?", "where is it ?", "how many ?"] * 6
    kinds = [model.config.label2id[kind] for kind in ("place", "number", "person")] * 6  # other answers than before
    rows = Examples(tokenizer, texts, kinds)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=6, learning_rate=2e-2, max_steps=60, report_to="none",
        use_cpu=True, dataloader_pin_memory=False, disable_tqdm=True, logging_strategy="no", save_strategy="no", seed=0,
    )  # fmt: skip
    work = Trainer(
        model=model, args=arguments, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )  # fmt: skip
    before = work.evaluate()["eval_loss"]
    work.train()
    assert work.evaluate()["eval_loss"] < 0.5 * before
    work.save_model(str(tmp_path / "trained"))
    found = carrousel.load(tmp_path / "trained").predict(texts[:3])
    assert found.labels.tolist() == ["place", "number", "person"]
    np.testing.assert_allclose(found.probabilities, probabilities(tmp_path / "trained", texts[:3]), atol=2e-6)


def test_the_loss_is_that_of_the_calibrated_probabilities(classifier, classifier_folder):
    model, tokenizer = (
        auto.from_pretrained(classifier_folder) for auto in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    answer = model(**tokenizer(TEXTS[:2], padding=True, return_tensors="pt"), labels=torch.tensor([2, 0]))
    p = classifier.predict(TEXTS[:2]).probabilities
    assert float(answer.loss.detach()) == pytest.approx(-np.log(p[[0, 1], [2, 0]]).mean(), abs=1e-5)


def test_one_network_without_an_ensemble_takes_vectors_and_begins_as_carrousel_begins_one():
    torch.manual_seed(0)
    config = CarrouselConfig(
        task="classify", vocab_size=900, embedding_size=16, hidden_size=12, bidirectional=True, num_labels=3
    )
    model = CarrouselForSequenceClassification(config).eval()
    ids = torch.randint(900, (2, 5))
    vectors = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=vectors).logits, model(ids).logits)
    assert float(model.input_0.weight.detach().std()) == pytest.approx(0.5, abs=0.01)
    assert float(model.lstm_0.weight_hh_l0_reverse.detach().abs().max()) == pytest.approx(12**-0.5, rel=0.02)


def test_what_does_not_fit_is_refused_in_one_sentence(classifier_folder, folder, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder)
    with pytest.raises(ShapeError, match="expected at least one word in every row, got none in row 1; a blank text"):
        model(torch.ones(2, 3, dtype=torch.long), attention_mask=torch.tensor([[1, 1, 1], [0, 0, 0]]))
    with pytest.raises(SettingError, match="expected either input_ids or inputs_embeds, got both or neither"):
        model()
    with pytest.raises(SettingError, match="expected one network, got an ensemble of 2"):
        model.set_input_embeddings(model.input_1)
    with pytest.raises(ConfigError, match="task: expected 'language', got 'classify'; open it with AutoModelForSeq"):
        AutoModelForCausalLM.from_pretrained(classifier_folder)
    with pytest.raises(ConfigError, match="task: expected 'classify', got 'language'; open it with AutoModelForCausal"):
        AutoModelForSequenceClassification.from_pretrained(folder)
    numbers = Classifier(hidden_size=4, ensemble=1, max_steps=2, window=1)
    numbers.fit([np.arange(6.0) * (k % 2) for k in range(10)], [k % 2 for k in range(10)], progress=lambda _: None)
    with pytest.raises(ConfigError, match=r"sizes\.kind: expected 'text', since transformers' classifiers take tokens"):
        AutoModelForSequenceClassification.from_pretrained(numbers.save(tmp_path / "numbers"))
    assert artifact.task_of(classifier_folder) == "classify"
