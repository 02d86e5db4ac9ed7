"""``Trainer`` trains, evaluates and resumes a model of Carrousel, and the result runs on the engine."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

import carrousel
import carrousel.interop.huggingface  # registers the classes
from carrousel.tasks.language import LanguageModel
from carrousel.training import silent


class Pieces(Dataset[dict[str, Any]]):
    """A text as rows of so many tokens."""

    def __init__(self, tokenizer: Any, text: str, length: int) -> None:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        self.rows = [ids[first : first + length] for first in range(0, len(ids) - length, length)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index]}


def trainer(model: Any, folder: Path, text: str, out: Path, length: int = 24, **how: Any) -> Trainer:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    arguments = {
        "output_dir": str(out), "per_device_train_batch_size": 8, "learning_rate": 1e-2, "report_to": "none",
        "use_cpu": True, "dataloader_pin_memory": False, "disable_tqdm": True, "logging_strategy": "no",
        "seed": 0,
    } | how  # fmt: skip
    rows = Pieces(tokenizer, text, length)
    return Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
    )


OTHER = "blue one two red. " * 60


def test_trainer_teaches_a_saved_model_another_text_and_carrousel_opens_the_checkpoint(folder, characters, tmp_path):
    before = characters.score(OTHER).nats_per_character
    work = trainer(AutoModelForCausalLM.from_pretrained(folder), folder, OTHER, tmp_path, max_steps=40, save_steps=40)
    first = work.evaluate()["eval_loss"]
    work.train()
    last = work.evaluate()["eval_loss"]
    assert last < 0.5 * first
    checkpoint = tmp_path / "checkpoint-40"
    opened = carrousel.load(checkpoint)
    assert opened.score(OTHER).nats_per_character < 0.5 * before
    again = AutoModelForCausalLM.from_pretrained(checkpoint)
    for name, tensor in work.model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert trainer(again, folder, OTHER, tmp_path / "b").evaluate()["eval_loss"] == pytest.approx(last, abs=1e-6)


def test_an_interrupted_training_resumes_to_the_same_weights(folder, tmp_path):
    def train(out: Path, **how: Any) -> dict[str, torch.Tensor]:
        work = trainer(AutoModelForCausalLM.from_pretrained(folder), folder, OTHER, out, max_steps=8, save_steps=4)
        work.train(**how)
        return work.model.state_dict()

    whole = train(tmp_path / "run")
    resumed = train(tmp_path / "run", resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, resumed[name], atol=1e-6, rtol=1e-5)


def test_the_best_weights_are_loaded_at_the_end(folder, tmp_path):
    how = {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5, "load_best_model_at_end": True}
    work = trainer(
        AutoModelForCausalLM.from_pretrained(folder), folder, OTHER, tmp_path, max_steps=10, learning_rate=3.0, **how
    )
    first = work.evaluate()["eval_loss"]
    work.train()
    assert work.evaluate()["eval_loss"] == pytest.approx(work.state.best_metric, abs=1e-6)
    assert math.isfinite(first)


def test_accumulated_batches_have_the_gradient_of_one(folder, tmp_path):
    def step(out: Path, **how: Any) -> dict[str, torch.Tensor]:
        model = AutoModelForCausalLM.from_pretrained(folder, dropout=0.0)
        work = trainer(model, folder, OTHER, out, max_steps=1, optim="sgd", learning_rate=0.1, **how)
        work.train_dataset.rows = [row[: 24 - 2 * k] for k, row in enumerate(work.train_dataset.rows[:8])]
        work.train()
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    one = step(tmp_path / "a", per_device_train_batch_size=8)
    four = step(tmp_path / "b", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, four[name], atol=1e-6, rtol=1e-5)


def test_the_loss_is_the_mean_over_labels_in_nats(folder, characters):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), characters.fitted.tokenizer
    text = "two fish blue fish"
    ids = torch.tensor([[0, *tokenizer.encode(text).tolist()]])
    loss = model(ids, labels=ids).loss
    assert float(loss.detach()) == pytest.approx(characters.score(text).nats / len(text), abs=1e-5)
    some = ids.clone()
    some[:, 5:] = -100
    assert float(model(ids, labels=some).loss.detach()) == pytest.approx(characters.score(text[:4]).nats / 4, abs=1e-5)


def test_padding_on_the_left_adds_nothing_to_the_loss(folder):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)(
        [{"input_ids": tokenizer(text, add_special_tokens=False).input_ids} for text in ("two fish blue", "red")]
    )
    assert batch["attention_mask"][1].tolist() == [0] * 10 + [1] * 3
    with torch.no_grad():
        losses = [
            float(model(row[None], labels=row[None]).loss)
            for row in (batch["input_ids"][0], batch["input_ids"][1, 10:])
        ]
        assert float(model(**batch).loss) == pytest.approx((12 * losses[0] + 2 * losses[1]) / 14, abs=1e-6)


def test_training_uses_no_cache_and_predicting_keeps_only_logits(folder, tmp_path):
    work = trainer(AutoModelForCausalLM.from_pretrained(folder), folder, OTHER, tmp_path)
    answer = work.predict(work.eval_dataset)
    assert isinstance(answer.predictions, np.ndarray)
    assert answer.predictions.shape == (len(work.eval_dataset), 24, work.model.config.vocab_size)


@pytest.mark.skipif("CARROUSEL_DATA" not in os.environ, reason="CARROUSEL_DATA names no folder")
def test_a_new_model_of_transformers_learns_a_real_text_and_runs_on_the_engine(tmp_path):
    text = (Path(os.environ["CARROUSEL_DATA"]) / "tinyshakespeare" / "input.txt").read_text()[:60_000]
    train, held_out = text[:54_000], text[54_000:]
    ours = LanguageModel(embedding_size=32, hidden_size=64, max_steps=1).fit(train, progress=silent)
    ours.save(tmp_path / "run")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    before = ours.score(held_out).nats_per_character
    how = {"max_steps": 250, "per_device_train_batch_size": 32, "learning_rate": 8e-3, "save_strategy": "no"}
    work = trainer(model, tmp_path / "run", train, tmp_path / "out", length=48, **how)
    work.eval_dataset = Pieces(work.processing_class, held_out, 48)
    work.train()
    loss = work.evaluate()["eval_loss"]
    work.save_model(str(tmp_path / "trained"))
    after = carrousel.load(tmp_path / "trained").score(held_out).nats_per_character
    baseline = ours.baseline(held_out).nats_per_character  # 7-grams of the same text
    assert before > 3.5
    assert after < 2.2
    assert baseline < 2.4
    assert abs(loss - after) < 0.2  # rows of 48 characters each from nothing, against the state carried
