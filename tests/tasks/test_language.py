"""The language model: the engine agrees with PyTorch and the reference, one text in pieces with the whole."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import carrousel
from carrousel import artifact
from carrousel.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    HistoryError,
    NotTrainedError,
    SettingError,
    WeightsError,
)
from carrousel.features.language import LanguageSizes
from carrousel.features.token import Characters
from carrousel.layers.reference import lstm
from carrousel.tasks import language_fit
from carrousel.tasks.language import FittedLanguage, LanguageModel
from carrousel.tasks.language_fit import Network, Streams, load, mean_loss
from carrousel.tasks.language_setting import LanguageLearned
from carrousel.training import silent

SENTENCES = "the cat sat on the mat. a dog ran to the cat; it sat.\n"
TEXT = "".join(SENTENCES[(7 * k) % 20 :] for k in range(60))
SMALL = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8, "sequence_length": 16, "learning_rate": 1e-2}
# float32 rounds by 6e-8 a step of some hundred; losses are sums of logits of order ten.
FLOAT32 = 2e-5


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Characters, two layers and a projection; tests must not change it."""
    return LanguageModel(**SMALL, num_layers=2, max_steps=150, seed=3).fit(TEXT, progress=silent)


@pytest.fixture(scope="module")
def pairs() -> LanguageModel:
    """Byte pairs, without a projection."""
    pytest.importorskip("tokenizers")
    settings = {**SMALL, "embedding_size": 24}
    return LanguageModel(**settings, level="bpe", vocabulary=280, max_steps=40).fit(TEXT, progress=silent)


def logits(model: LanguageModel, text: str) -> np.ndarray:
    """By PyTorch, (L, V): what is expected at each token of a text."""
    network = Network(model.fitted.sizes).eval()
    load(network, model.fitted.weights)
    ids = np.concatenate([[0], model.fitted.tokenizer.encode(text)])
    with torch.no_grad():
        return network(torch.as_tensor(ids[:-1, None]))[0][:, 0].numpy()


def nats(z: np.ndarray, target: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    return np.log(np.exp(z).sum(-1)) - z[np.arange(len(target)), target]


@pytest.mark.parametrize("which", ["model", "pairs"])
def test_scores_of_the_engine_are_those_of_pytorch(which, request):
    model: LanguageModel = request.getfixturevalue(which)
    text = TEXT[100:400]
    ids = model.fitted.tokenizer.encode(text)
    expected = nats(logits(model, text), ids)
    stream = model.stream()
    found = np.array([token.nats for token in stream.push(text) + stream.finish()])
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32)
    score = model.score(text)
    assert score.nats == pytest.approx(expected.sum(), abs=FLOAT32 * len(ids))
    assert (score.tokens, score.characters, score.unknown) == (len(ids), 300, 0)
    assert model.perplexity(text) == pytest.approx(math.exp(expected.mean()), rel=FLOAT32)


def test_scores_of_the_engine_are_those_of_the_reference(model):
    weights = {name: array.astype(np.float64) for name, array in model.fitted.weights.items()}
    ids = model.fitted.tokenizer.encode(TEXT[:80])
    seen = np.concatenate([[0], ids[:-1]])
    inner = {name.removeprefix("lstm."): array for name, array in weights.items() if name.startswith("lstm.")}
    y = lstm(inner, weights["embedding.weight"][seen][:, None]).output[:, 0]
    z = (y @ weights["projection.weight"].T + weights["projection.bias"]) @ weights["embedding.weight"].T
    expected = nats(z + weights["head.bias"], ids)
    assert model.score(TEXT[:80]).nats == pytest.approx(expected.sum(), abs=80 * FLOAT32)


def test_a_model_that_cannot_know_anything_has_the_perplexity_of_its_distribution():
    sizes = LanguageSizes(vocabulary=6, embedding_size=2, hidden_size=3, num_layers=1)
    weights = {name: np.zeros(shape, np.float32) for name, shape in sizes.architecture().tensors().items()}
    p = np.array([0.0, 0.0, 0.5, 0.25, 0.125, 0.125])
    weights["head.bias"] = np.log(np.maximum(p, 1e-30)).astype(np.float32)
    learned = LanguageLearned(seconds=0, characters=1, tokens=1, held_out=1, steps=1, epochs=1, validation=0)
    model = LanguageModel()
    model._fitted = FittedLanguage(sizes=sizes, tokenizer=Characters("abcd"), weights=weights, learned=learned)
    score = model.score("aabacdab")
    entropy = -(4 * math.log(0.5) + 2 * math.log(0.25) + 2 * math.log(0.125))
    assert score.nats == pytest.approx(entropy, rel=1e-6)
    assert score.bits_per_character == pytest.approx(14 / 8, rel=1e-6)
    assert score.nats_per_character == pytest.approx(14 / 8 * math.log(2), rel=1e-6)
    assert score.perplexity == pytest.approx(2 ** (14 / 8), rel=1e-6)
    assert model.score("x").unknown == 1


@pytest.mark.parametrize("which", ["model", "pairs"])
def test_surprises_do_not_depend_on_how_a_text_comes(which, request):
    model: LanguageModel = request.getfixturevalue(which)
    text = TEXT[:50] + "übër 😀 " + TEXT[50:90]
    whole, pieces = model.stream(), model.stream()
    expected = whole.push(text) + whole.finish()
    found = [token for character in text for token in pieces.push(character)] + pieces.finish()
    if model.fitted.engine.isa == "numpy":  # whose matrix library adds in an order of its own
        assert [token.text for token in found] == [token.text for token in expected]
        np.testing.assert_allclose([t.nats for t in found], [t.nats for t in expected], atol=FLOAT32)
    else:
        assert found == expected
    joined = "".join(token.text for token in found)
    assert joined == (text if which == "pairs" else "".join(c if c in TEXT else "\ufffd" for c in text))


def test_texts_are_scored_each_from_its_own_beginning(model, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT[:90])
    apart = [model.score(TEXT[:90]), model.score(TEXT[90:150])]
    both = model.score([tmp_path / "a.txt", TEXT[90:150]])
    assert both.nats == pytest.approx(sum(score.nats for score in apart), rel=1e-12)
    assert both.characters == 150
    assert model.score(TEXT[:150]).nats < both.nats


def test_training_makes_it_better_than_chance_and_the_kept_weights_are_the_best_of_the_history(model):
    assert model.score(TEXT[:500]).nats_per_character < 0.5 * math.log(model.fitted.sizes.vocabulary)
    assert model.history is not None
    best = min(row.validation_loss for row in model.history.rows)
    network = Network(model.fitted.sizes).eval()
    load(network, model.fitted.weights)
    held_out = model.fitted.tokenizer.encode(TEXT)[-model.fitted.learned.held_out :]
    with torch.no_grad():
        assert mean_loss(network, torch.as_tensor(held_out)) == pytest.approx(best, rel=1e-6)
    assert model.fitted.learned.validation == best


def test_validation_streams_cost_what_the_engine_says(model, monkeypatch):
    monkeypatch.setattr(language_fit, "VALIDATION_LEAST", 10)
    ids = model.fitted.tokenizer.encode(TEXT[:320])
    network = Network(model.fitted.sizes).eval()
    load(network, model.fitted.weights)
    with torch.no_grad():
        found = mean_loss(network, torch.as_tensor(ids), length=3)
    streams = [model.score(TEXT[10 * k : 10 * k + 10]).nats for k in range(32)]
    assert found == pytest.approx(sum(streams) / 320, rel=FLOAT32)
    monkeypatch.setattr(language_fit, "VALIDATION_TOKENS", 4)
    with torch.no_grad():
        found = mean_loss(network, torch.as_tensor(ids))
    streams = [model.score(TEXT[10 * k : 10 * k + 4]).nats for k in range(32)]
    assert found == pytest.approx(sum(streams) / 128, rel=FLOAT32)
    monkeypatch.setattr(language_fit, "VALIDATION_LEAST", 256)
    with torch.no_grad():
        found = mean_loss(network, torch.as_tensor(ids[:9]))
    assert found == pytest.approx(model.score(TEXT[:4]).nats / 4, rel=FLOAT32)


def test_the_softmax_and_the_embedding_stay_one_matrix_through_training(model):
    weights = model.fitted.weights
    assert np.array_equal(weights["head.weight"], weights["embedding.weight"])
    fresh = Network(model.fitted.sizes)
    assert fresh.head.weight is fresh.body.embedding.weight
    assert model.num_parameters == sum(p.numel() for p in fresh.parameters())
    before = model.score(TEXT[:50]).nats
    changed = {**weights, "embedding.weight": weights["embedding.weight"] * 1.1}
    load(fresh, {**changed, "head.weight": changed["embedding.weight"]})
    other = LanguageModel(**SMALL)
    other._fitted = replace(model.fitted, weights=fresh.weights())
    assert abs(other.score(TEXT[:50]).nats - before) > 1e-3


def test_the_same_seed_gives_the_same_model_and_another_one_another():
    def fitted(seed: int) -> LanguageModel:
        return LanguageModel(**SMALL, max_steps=6, seed=seed).fit(TEXT, progress=silent)

    a, b, c = fitted(0), fitted(0), fitted(1)
    for name, array in a.fitted.weights.items():
        assert np.array_equal(array, b.fitted.weights[name])
    assert not np.array_equal(a.fitted.weights["head.weight"], c.fitted.weights["head.weight"])


def test_training_in_bf16_goes_the_way_of_float32():
    def validation(precision: str) -> float:
        model = LanguageModel(**SMALL, max_steps=20, precision=precision).fit(TEXT, progress=silent)
        return model.fitted.learned.validation

    try:
        found = validation("bf16")
    except SettingError as error:
        pytest.skip(str(error))
    exact = validation("float32")
    assert found != exact
    assert found == pytest.approx(exact, abs=0.02)  # bfloat16 has 8 bits: 0.4 % of logits of order one


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path):
    def fit(seen: int, folder: Path, *, resume: bool) -> LanguageModel:
        def stop(report: object) -> None:
            if report.step >= seen:  # type: ignore[attr-defined]
                raise KeyboardInterrupt

        model = LanguageModel(**SMALL, max_steps=24, dropout=0.2)
        return model.fit(TEXT, run_dir=folder, resume=resume, progress=stop if seen else silent)

    whole = fit(0, tmp_path / "whole", resume=False)
    with pytest.MonkeyPatch.context() as patch:
        import carrousel.training.loop as loop

        saved = loop._Run.report
        patch.setattr(loop._Run, "report", lambda run, **how: (run.save(), saved(run, **how)))
        with pytest.raises(KeyboardInterrupt):
            fit(11, tmp_path / "run", resume=False)
    resumed = fit(0, tmp_path / "run", resume=True)
    for name, array in whole.fitted.weights.items():
        assert np.array_equal(array, resumed.fitted.weights[name]), name


@pytest.mark.parametrize("length", [5, 7, 100])
def test_an_epoch_reads_every_stream_from_its_start_in_order_each_token_once(length):
    tokens = np.random.default_rng(0).integers(1, 9, 103)
    streams = Streams(torch.as_tensor(tokens), 4, length, seed=0)
    for epoch in (0, 1):
        order = streams.order(epoch).view(-1, 4)
        chunks = [streams(row) for row in order]
        assert [chunk.fresh for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        target = torch.cat([chunk.target for chunk in chunks])
        seen = torch.cat([chunk.seen for chunk in chunks])
        assert target.shape == (25, 4)
        assert (seen[0] == 0).all()
        assert torch.equal(seen[1:], target[:-1])
        ring = np.concatenate([tokens, tokens])
        (place,) = [k for k in range(103) if np.array_equal(ring[k : k + 100], target.T.reshape(-1).numpy())][:1]
        assert (place == 0) == (epoch == 0)


def test_streams_of_several_documents_begin_with_what_stands_before_them():
    tokens = torch.tensor([3, 4, 0, 5, 6, 0])
    streams = Streams(tokens, 2, 3, seed=0)
    chunk = streams(streams.order(0))
    assert chunk.seen.T.tolist() == [[0, 3, 4], [0, 5, 6]]
    assert Streams(tokens[:5], 2, 2, seed=0)(torch.arange(2)).seen.T.tolist() == [[6, 3], [4, 0]]


@pytest.mark.parametrize("which", ["model", "pairs"])
def test_a_saved_model_is_the_same_to_the_bit(which, request, tmp_path):
    model: LanguageModel = request.getfixturevalue(which)
    loaded = carrousel.load(model.save(tmp_path / "run"))
    assert isinstance(loaded, LanguageModel)
    assert loaded.settings == model.settings
    assert loaded.score(TEXT[:200]) == model.score(TEXT[:200])
    assert loaded.baseline(TEXT[:200]) == model.baseline(TEXT[:200])
    assert loaded.generate("the ", tokens=30, seed=5) == model.generate("the ", tokens=30, seed=5)
    again = loaded.save(tmp_path / "again")
    for name in ("model.safetensors", "context.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert "| parameters |" in (again / "README.md").read_text()


def test_a_folder_whose_parts_do_not_fit_each_other_is_refused(model, tmp_path):
    good = artifact.read(model.save(tmp_path / "run"))

    def refused(error: type[Exception], message: str, **changes: object) -> None:
        with pytest.raises(error, match=message):
            LanguageModel.from_artifact(replace(good, **changes))  # type: ignore[arg-type]

    statistics = dict(good.statistics)
    refused(ConfigError, "expected sizes and learned, got", statistics={"sizes": statistics["sizes"]})
    other = {**statistics, "sizes": {**statistics["sizes"], "hidden_size": 25}}
    refused(ConfigError, "does not describe the layers", statistics=other)
    refused(ConfigError, "expected a checksum of tokenizer.json", extras={})
    small = {"tokenizer.json": Characters("a").to_json()}
    refused(ConfigError, "expected 19 tokens as the network has, got 3", extras=small)
    refused(WeightsError, "expected tokens, uint8 or int32", context={"tokens": np.zeros(3)})
    refused(WeightsError, "expected tokens, uint8 or int32", context=None)
    refused(WeightsError, "expected from 0 to 18, got others", context={"tokens": np.array([3, 19], np.uint8)})
    weights = {**good.weights, "head.weight": good.weights["head.weight"] + 1}
    refused(WeightsError, "head.weight: expected embedding.weight", weights=weights)
    refused(ConfigError, "settings: unknown key 'sixe'", settings={**good.settings, "sixe": 1})


def test_a_tokenizer_that_was_changed_is_refused(model, tmp_path):
    file = model.save(tmp_path / "run") / "tokenizer.json"
    file.write_text(file.read_text().replace('"a": ', '"ä": '))
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: expected the contents that were saved, got others"):
        carrousel.load(tmp_path / "run")


def test_text_that_was_trained_on_is_recognised(model):
    assert model.trained_on(TEXT[200:700])
    assert not model.trained_on("cats and dogs " * 30)
    assert not model.trained_on("the cat")


def test_baseline_is_that_of_the_training_part(model):
    from carrousel.tasks.ngram import KneserNey

    tokens = model.fitted.tokenizer.encode(TEXT)[: model.fitted.learned.tokens]
    expected = KneserNey(tokens, model.fitted.sizes.vocabulary, 7).scorer()(model.fitted.tokenizer.encode("a cat. "))
    assert model.baseline("a cat. ").nats == pytest.approx(expected.sum(), rel=1e-12)


def test_each_of_several_documents_has_an_end(tmp_path):
    (tmp_path / "a.txt").write_text("abab" * 30)
    model = LanguageModel(**SMALL, max_steps=1)
    model.fit([tmp_path / "a.txt", "baba" * 20], validation="abba", progress=silent)
    tokens = model.fitted.tokens
    assert (len(tokens), np.flatnonzero(tokens == 0).tolist()) == (202, [120, 201])
    assert model.fitted.learned.held_out == 4


def test_what_cannot_be_trained_on_is_one_sentence(tmp_path):
    model = LanguageModel(**SMALL, max_steps=1)
    with pytest.raises(NotTrainedError, match="call fit"):
        model.generate("a")
    with pytest.raises(DataError, match="it is empty"):
        model.fit("")
    with pytest.raises(HistoryError, match="expected at least 2 tokens to train on"):
        model.fit("ab")
    with pytest.raises(SettingError, match=r"validation: expected a share above 0 and below 1, or texts, got 1\.5"):
        model.fit(TEXT, validation=1.5)
    with pytest.raises(SettingError, match="did you mean 'hidden_size'"):
        LanguageModel(hidden_sise=3)
    with pytest.raises(SettingError, match="dropout: expected a number of at least 0 and below 1, got 1"):
        LanguageModel(dropout=1)
    with pytest.raises(SettingError, match="level: expected one of 'char', 'bpe', got 'word'"):
        LanguageModel(level="word")
