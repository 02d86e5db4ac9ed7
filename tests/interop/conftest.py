"""Language models trained once for all tests of Hugging Face, and their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from carrousel.tasks.classify import Classifier
from carrousel.tasks.language import LanguageModel
from carrousel.training import silent

FISH = "one fish two fish red fish blue fish. " * 40
SETTINGS = {"hidden_size": 24, "embedding_size": 12, "num_layers": 2, "batch_size": 8, "sequence_length": 16}


@pytest.fixture(scope="session")
def characters() -> LanguageModel:
    """Of characters, with a projection; tests must not change it."""
    return LanguageModel(**SETTINGS, learning_rate=1e-2, max_steps=150).fit(FISH, progress=silent)


@pytest.fixture(scope="session")
def pairs() -> LanguageModel:
    """Of byte pairs and of several documents, without a projection, with dropouts."""
    settings = SETTINGS | {"embedding_size": 24, "level": "bpe", "vocabulary": 300}
    model = LanguageModel(**settings, learning_rate=1e-2, max_steps=60, dropout=0.2, variational_dropout=(0.1, 0.0))
    return model.fit([FISH[:400], "zwei Fische, drei Fïsche. " * 20], validation=FISH[:300], progress=silent)


@pytest.fixture(scope="session")
def folder(characters: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return characters.save(tmp_path_factory.mktemp("characters") / "run")


@pytest.fixture(scope="session")
def pairs_folder(pairs: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairs.save(tmp_path_factory.mktemp("pairs") / "run")


QUESTIONS = [
    "who wrote it ?",
    "where is it ?",
    "Who is SHE ?",
    "where was he ?",
    "how many are there ?",
    "how much ?",
]
KINDS = ["person", "place", "person", "place", "number", "number"]


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """Of texts, an ensemble; tests must not change it."""
    return Classifier(hidden_size=8, ensemble=2, max_steps=40).fit(5 * QUESTIONS, 5 * KINDS, progress=silent)


@pytest.fixture(scope="session")
def classifier_folder(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier.save(tmp_path_factory.mktemp("classifier") / "run")
