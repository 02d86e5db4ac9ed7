"""Scores that adapt: off they are the plain ones, on they see nothing that comes later, and all shares sum to 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carrousel.errors import SettingError
from carrousel.tasks import dynamic
from carrousel.tasks.adaptive import DynamicEvaluation, NeuralCache
from carrousel.tasks.cache import LENGTH, CacheScorer
from carrousel.tasks.dynamic import DynamicScorer
from carrousel.tasks.language import LanguageModel
from carrousel.tasks.language_fit import Network, load
from carrousel.tasks.surprise import Scorer
from carrousel.training import silent

TEXT = "the cat sat on the mat. a dog ran to the cat; it sat.\n" * 60
LATER = "a mat sat; a mat sat; the dog; a mat sat; the dog ran.\n" * 3
SMALL = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8, "sequence_length": 16, "learning_rate": 1e-2}
# float32 rounds by 6e-8 a step of some hundred; losses are sums of logits of order ten.
FLOAT32 = 2e-5
STRONG = NeuralCache(window=40, theta=0.7, weight=0.3)
FAST = DynamicEvaluation(rate=1e-3, decay=0.02, length=8)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Two layers and a projection; tests must not change it."""
    return LanguageModel(**SMALL, num_layers=2, max_steps=120, seed=1).fit(TEXT, progress=silent)


@pytest.fixture(autouse=True)
def _measured_on_little(monkeypatch):
    monkeypatch.setattr(dynamic, "MEASURED", 20)


def scorer(model: LanguageModel, how: NeuralCache | DynamicEvaluation | None) -> CacheScorer | DynamicScorer | Scorer:
    if isinstance(how, NeuralCache):
        return CacheScorer(model.fitted.engine, how)
    if isinstance(how, DynamicEvaluation):
        return DynamicScorer(model.fitted, how)
    return Scorer(model.fitted.engine, model.fitted.sizes.vocabulary)


def nats(model: LanguageModel, how: NeuralCache | DynamicEvaluation | None, text: str = LATER) -> np.ndarray:
    return scorer(model, how).push(model.fitted.tokenizer.encode(text))


def states(model: LanguageModel, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By PyTorch in float32: the last layer's h (L, H) and p (L, V) of what comes next."""
    network = Network(model.fitted.sizes)
    load(network, model.fitted.weights)
    seen = torch.as_tensor(np.concatenate([[0], ids[:-1]]))[:, None]
    with torch.no_grad():
        h, _ = network.body.lstm(network.body.scale * network.body.embedding(seen))
        logits = network(seen)[0][:, 0].double()
    return h[:, 0].double().numpy(), torch.softmax(logits, -1).numpy()


def test_a_cache_is_what_its_equations_say(model):
    ids = model.fitted.tokenizer.encode(LATER)
    h, p = states(model, ids)
    expected = []
    for t, target in enumerate(ids):
        window = range(max(0, t - STRONG.window), t)
        mass = {i: np.exp(STRONG.theta * h[t] @ h[i]) for i in window}
        share = sum(m for i, m in mass.items() if ids[i] == target) / sum(mass.values()) if mass else None
        mixed = p[t, target] if share is None else (1 - STRONG.weight) * p[t, target] + STRONG.weight * share
        expected.append(-np.log(mixed))
    np.testing.assert_allclose(nats(model, STRONG), expected, rtol=0, atol=FLOAT32)


def test_without_weight_or_rate_the_scores_are_the_plain_ones(model):
    plain = nats(model, None)
    assert np.array_equal(nats(model, NeuralCache(weight=0)), plain)
    for rule in ("rms", "sgd"):
        still = DynamicEvaluation(rule=rule, rate=0, decay=0.5, length=8)
        np.testing.assert_allclose(nats(model, still), plain, rtol=0, atol=FLOAT32)
    score = model.score(LATER)
    assert model.score(LATER, cache=NeuralCache(weight=0)) == score
    assert score.nats == pytest.approx(plain.sum())


@pytest.mark.parametrize("how", [STRONG, FAST, DynamicEvaluation(rule="sgd", rate=0.1, decay=0.01, length=8)])
def test_what_comes_later_changes_nothing_before(model, how):
    whole = nats(model, how)
    for cut in (1, 7, 8, 9, 61):
        other = nats(model, how, LATER[:cut] + "zebra the the")[:cut]
        np.testing.assert_allclose(other, whole[:cut], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("how", [STRONG, FAST, DynamicEvaluation(rule="sgd", rate=0.1, length=8)])
def test_the_probabilities_of_all_tokens_sum_to_one(model, how):
    ids = model.fitted.tokenizer.encode(LATER)
    for cut in (0, 1, 45):
        total = 0.0
        for token in range(model.fitted.sizes.vocabulary):
            last = scorer(model, how).push(np.append(ids[:cut], token))[-1]
            total += float(np.exp(-last))
        assert total == pytest.approx(1, abs=FLOAT32)


@pytest.mark.parametrize("how", [STRONG, FAST])
def test_how_a_text_is_cut_into_calls_does_not_matter(model, how):
    ids = model.fitted.tokenizer.encode(LATER)
    pieces = scorer(model, how)
    found = np.concatenate([pieces.push(ids[:3]), pieces.push(ids[3:3]), pieces.push(ids[3:30]), pieces.push(ids[30:])])
    np.testing.assert_allclose(found, nats(model, how), rtol=0, atol=FLOAT32)
    assert len(ids) < LENGTH
    long = np.tile(ids, 1 + 2 * LENGTH // len(ids))
    singly = scorer(model, STRONG)
    parts = [singly.push(long[first : first + 50]) for first in range(0, len(long), 50)]
    np.testing.assert_allclose(np.concatenate(parts), scorer(model, STRONG).push(long), rtol=0, atol=FLOAT32)


def test_dynamic_evaluation_takes_the_steps_of_its_equations(model):
    ids = model.fitted.tokenizer.encode(LATER)[:24]
    for rule in ("sgd", "rms"):
        how = DynamicEvaluation(rule=rule, rate=1e-2, decay=0.1, length=8)
        network = Network(model.fitted.sizes).double()
        load(network, model.fitted.weights)
        parameters = list(network.parameters())
        trained = [p.detach().clone() for p in parameters]
        root = [torch.ones_like(p) for p in parameters]
        pull = [torch.full_like(p, 0.1) for p in parameters]

        def run(tokens, state, network=network):
            tokens = torch.as_tensor(np.asarray(tokens, np.int64))
            logits, after = network(tokens[:-1, None], state)
            return torch.nn.functional.cross_entropy(logits[:, 0], tokens[1:], reduction="none"), after.detach()

        if rule == "rms":
            known, state, squares = model.fitted.tokens[-160:], None, [torch.zeros_like(p) for p in parameters]
            for first in range(0, 159, 8):
                loss, state = run(known[first : first + 9], state)
                for square, g in zip(squares, torch.autograd.grad(loss.mean(), parameters), strict=True):
                    square += g**2 / 20
            root = [square.sqrt() for square in squares]
            mean = torch.cat([r.flatten() for r in root]).mean()
            pull = [(0.1 * r / mean).clamp(max=1) for r in root]
            root = [r + mean for r in root]
        expected, state, before = [], None, 0
        for first in range(0, 24, 8):
            loss, after = run([before, *ids[first : first + 8]], state)
            expected += loss.tolist()
            gradients = torch.autograd.grad(loss.mean(), parameters)
            with torch.no_grad():
                for p, g, r, k, start in zip(parameters, gradients, root, pull, trained, strict=True):
                    p -= 1e-2 * g / r
                    p += k * (start - p)
            state, before = after, ids[first + 7]
        found = DynamicScorer(model.fitted, how).push(ids)
        # A step of 1e-2 on weights of order 0.1 magnifies what float32 rounds in the gradients.
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * FLOAT32)


def test_both_help_on_a_text_that_repeats_itself_and_leave_the_model_alone(model):
    before = {name: array.copy() for name, array in model.fitted.weights.items()}
    plain = model.score(LATER)
    cached, followed = model.score(LATER, cache=STRONG), model.score(LATER, dynamic=FAST)
    assert cached.nats < 0.9 * plain.nats
    assert followed.nats < 0.95 * plain.nats
    assert (cached.tokens, cached.characters) == (plain.tokens, plain.characters)
    assert model.score(LATER) == plain
    for name, array in model.fitted.weights.items():
        assert np.array_equal(array, before[name])


def test_each_text_has_a_cache_of_its_own(model):
    apart = model.score(LATER, cache=STRONG).nats
    assert model.score([LATER, LATER], cache=STRONG).nats == pytest.approx(2 * apart)


def test_settings_outside_their_ranges_are_one_sentence(model):
    with pytest.raises(SettingError, match="cache: weight: expected a number of at least 0 and of at most 1, got 2"):
        NeuralCache(weight=2)
    with pytest.raises(SettingError, match="dynamic: rule: expected one of 'rms', 'sgd', got 'adam'"):
        DynamicEvaluation(rule="adam")
    with pytest.raises(SettingError, match="score: expected cache or dynamic, got both"):
        model.score(LATER, cache=STRONG, dynamic=FAST)
