"""Generation: the same tokens as PyTorch's logits and the rules of sampling give, seed for seed; beams; stops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from carrousel.engine import Engine
from carrousel.errors import SettingError
from carrousel.features.language import LanguageSizes
from carrousel.tasks.generate import Sampling, beam, until
from carrousel.tasks.language import LanguageModel
from carrousel.tasks.language_fit import Network, load
from carrousel.training import silent

TEXT = "one fish two fish red fish blue fish. " * 40
LOGITS = np.log(np.array([0.4, 0.1, 0.3, 0.2], np.float32))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    settings = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8, "sequence_length": 16}
    return LanguageModel(**settings, learning_rate=1e-2, max_steps=120).fit(TEXT, progress=silent)


@pytest.fixture(scope="module")
def network(model: LanguageModel) -> Network:
    network = Network(model.fitted.sizes).eval()
    load(network, model.fitted.weights)
    return network


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [0.4, 0.1, 0.3, 0.2]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 1 / 30, 9 / 30, 4 / 30]),
        ({"temperature": 1e-320}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_k": 9}, [0.4, 0.1, 0.3, 0.2]),
        ({"top_p": 0.3}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 1.0}, [0.4, 0.1, 0.3, 0.2]),
        ({"top_k": 3, "top_p": 0.7}, [4 / 7, 0, 3 / 7, 0]),
        ({"temperature": 0.5, "top_k": 3}, [16 / 29, 0, 9 / 29, 4 / 29]),
    ],
)
def test_probabilities_are_those_of_the_rules(how, expected):
    np.testing.assert_allclose(Sampling(**how).probabilities(LOGITS), expected, rtol=1e-6, atol=1e-12)


def test_a_token_is_where_the_sum_of_the_probabilities_passes_the_number():
    chosen = [Sampling().choose(LOGITS, u) for u in (0.0, 0.39, 0.41, 0.49, 0.51, 0.79, 0.81, 0.999999)]
    assert chosen == [0, 0, 1, 1, 2, 2, 3, 3]
    assert Sampling(temperature=0).choose(np.float32([1, 3, 3]), 0.99) == 1
    assert Sampling().choose(np.float32([-np.inf, 0, -np.inf]), 0.0) == 1
    draws = np.random.default_rng(0).random(5_000)
    counts = np.bincount([Sampling(top_k=3).choose(LOGITS, u) for u in draws], minlength=4)
    np.testing.assert_allclose(counts / 5_000, [4 / 9, 0, 3 / 9, 2 / 9], atol=0.03)  # four standard deviations


@pytest.mark.parametrize("prompt", ["", "two ", "red fish blue"])
@pytest.mark.parametrize("how", [{}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.8}, {"temperature": 0}])
def test_text_of_the_engine_is_that_of_pytorch_seed_for_seed(model, network, prompt, how):
    draws = np.random.default_rng(7)
    tokenizer = model.fitted.tokenizer
    ids, state = torch.as_tensor(np.concatenate([[0], tokenizer.encode(prompt)]))[:, None], None
    expected = b""
    for _ in range(60):
        with torch.no_grad():
            logits, state = network(ids, state)
        z = logits[-1, 0].double()
        z[:2] = -math.inf  # neither an unknown character nor the end of a text that was the only one
        p = torch.softmax(z / (how.get("temperature") or 1), 0)
        if how.get("temperature") == 0:
            p = torch.nn.functional.one_hot(z.argmax(), len(z)).double()
        if "top_k" in how:
            p = p * (p >= p.topk(how["top_k"]).values[-1])
        if "top_p" in how:
            sorted_p, order = p.sort(descending=True)
            p[order[sorted_p.cumsum(0) - sorted_p >= how["top_p"]]] = 0
        token = int(torch.searchsorted((p / p.sum()).cumsum(0), draws.random(), right=True))
        expected += tokenizer.bytes_of(token)
        ids = torch.tensor([[token]])
    assert model.generate(prompt, tokens=60, seed=7, **how) == expected.decode()
    assert len(expected) == 60


def test_a_text_ends_where_the_model_says_so_only_if_it_was_trained_on_several():
    settings = {"hidden_size": 16, "embedding_size": 8, "batch_size": 4, "sequence_length": 8}
    model = LanguageModel(**settings, max_steps=60, learning_rate=0.02)
    model.fit(["ab"] * 100, validation=["ab"] * 9, progress=silent)
    assert model.generate(tokens=50, temperature=0) == "ab"
    assert model.generate(tokens=50, beams=3) == "ab"
    only = LanguageModel(**settings, max_steps=5).fit("ab" * 100, progress=silent)
    assert len(only.generate(tokens=50, seed=0)) == 50
    assert len(only.generate(tokens=50, beams=3)) == 50


def test_pieces_joined_are_the_text_and_the_first_comes_before_the_last_is_drawn(model):
    pieces = model.generate_pieces("one ", tokens=40, seed=1)
    first = next(pieces)
    assert first + "".join(pieces) == model.generate("one ", tokens=40, seed=1)
    assert next(model.generate_pieces(tokens=10**12, seed=1))


def test_seeds_decide(model):
    texts = {model.generate("one ", tokens=40, seed=seed) for seed in range(5)}
    assert len(texts) == 5
    assert model.generate("one ", tokens=40) != model.generate("one ", tokens=40)


def test_two_texts_at_once_do_not_disturb_each_other(model):
    one, two = (model.generate_pieces(tokens=30, seed=seed) for seed in (1, 2))
    mixed = list(zip(one, two, strict=False))
    assert "".join(a for a, _ in mixed).startswith(model.generate(tokens=20, seed=1))
    assert "".join(b for _, b in mixed).startswith(model.generate(tokens=20, seed=2))


def test_a_text_ends_before_a_stop_string_wherever_tokens_cut_it(model):
    whole = model.generate("one ", tokens=60, seed=2)
    for word in (whole[10:14], whole[5], whole[20:35]):
        assert model.generate("one ", tokens=60, seed=2, stop=word) == whole[: whole.index(word)]
    assert model.generate("one ", tokens=60, seed=2, stop=["☃", whole[8:12]]) == whole[: whole.index(whole[8:12])]
    assert model.generate("one ", tokens=60, seed=2, stop="☃") == whole


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_known():
    assert list(until(iter("xaabaac"), ["aac"])) == ["x", "aab"]
    assert list(until(iter("xaab"), ["aac"])) == ["x", "aab"]
    assert list(until(iter(["xaacx"]), ["aac", "c"])) == ["x"]


def every(network: Network, prompt: list[int], length: int, size: int) -> tuple[float, tuple[int, ...]]:
    """The most probable continuation of a length, of all there are, by mean log-probability; an end may come first."""
    best = (-math.inf, ())
    for count in range(length + 1):
        for path in itertools.product(range(2, size), repeat=count):
            tokens = [0, *prompt, *path] + ([0] if count < length else [])
            with torch.no_grad():
                p = network(torch.tensor(tokens[:-1])[:, None])[0][:, 0].double().log_softmax(-1)
            score = sum(
                float(p[len(prompt) + k, tokens[len(prompt) + k + 1]]) for k in range(len(tokens) - 1 - len(prompt))
            )
            best = max(best, (score / (len(tokens) - 1 - len(prompt)), path))
    return best


def test_beams_wide_enough_find_the_most_probable_of_all_texts():
    sizes = LanguageSizes(vocabulary=5, embedding_size=6, hidden_size=8, num_layers=1)
    shapes = sizes.architecture().tensors()
    for seed in range(2):
        draws = np.random.default_rng(seed)  # large weights: what comes next depends on all that came before
        weights = {name: draws.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        weights["head.weight"] = weights["embedding.weight"]
        network, engine = Network(sizes).eval(), Engine(sizes.architecture(), weights)
        load(network, weights)
        for prompt in ([], [2], [3, 4]):
            found = beam(engine, np.array(prompt, np.int64), tokens=4, beams=200, never=np.array([1]))
            assert tuple(found) == every(network, prompt, 4, 5)[1]


def test_beams_find_what_is_at_least_as_probable_as_the_greedy_text(model):
    def cost(text: str) -> float:
        return model.score("two " + text).nats

    greedy = model.generate("two ", tokens=12, temperature=0)
    assert cost(model.generate("two ", tokens=12, beams=6)) <= cost(greedy) + 1e-4
    assert len(model.generate("two ", tokens=12, beams=6)) == 12


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": -1}, "generate: temperature: expected a number of at least 0, got -1"),
        ({"temperature": math.nan}, "temperature: expected a number"),
        ({"top_k": 0}, "top_k: expected an integer of at least 1"),
        ({"top_p": 0.0}, "top_p: expected a number of at most 1 and above 0"),
        ({"top_p": 1.1}, "top_p: expected a number of at most 1"),
        ({"tokens": -1}, "tokens: expected an integer of at least 0, got -1"),
        ({"tokens": 1.5}, "tokens: expected an integer"),
        ({"beams": 0}, "beams: expected an integer of at least 1, got 0"),
        ({"beams": 2, "top_k": 3}, "beams: expected 1 together with top_k, got 2"),
        ({"seed": -1}, "seed: expected an integer of at least 0"),
        ({"stop": ""}, "stop: expected strings that are not empty, got ''"),
        ({"stop": [3]}, "stop: expected strings that are not empty, got 3"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_drawn(model, how, message):
    with pytest.raises(SettingError) as caught:
        model.generate_pieces("one", **how)
    assert message in str(caught.value)
