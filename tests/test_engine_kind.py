"""The kinds of layers beside the plain LSTM and Linear: scales, embeddings before a stack, LSTMs that run backwards."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from carrousel import artifact
from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear, Scale
from carrousel.engine import Engine
from carrousel.errors import ConfigError, SettingError, ShapeError
from carrousel.layers import reference

# One rounding of float32 is EPS; values are of order 1, gates sum about 20 products, and 7 steps contract: as in
# test_engine.py, 30 roundings are enough.
EPS = float(np.finfo(np.float32).eps)
CLOSE = 30 * EPS

V, E, H = 7, 4, 5


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    random, shapes = np.random.default_rng(seed), architecture.tensors().items()
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes}


def build(*layers: Layer, seed: int = 0) -> Engine:
    architecture = Architecture(layers)
    return Engine(architecture, random_weights(architecture, seed))


def floats(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def speller() -> Engine:
    return build(
        Embedding(name="table", num_embeddings=V, embedding_dim=E),
        LSTM(name="lstm", input_size=E, hidden_size=H),
        Linear(name="head", input_size=H, output_size=2, activation="sigmoid"),
    )


def without_table(engine: Engine) -> Engine:
    """The same network on vectors, which the other tests hold to the reference."""
    weights = {
        name: array for name, array in random_weights(engine.architecture).items() if not name.startswith("table.")
    }
    return Engine(Architecture(engine.architecture.layers[1:]), weights)


def test_scale_multiplies_and_shifts_each_value_by_itself():
    engine = build(Scale(name="scale", size=3), Linear(name="head", input_size=3, output_size=2))
    x = floats(2, 5, 3)
    w = {name: array.astype(np.float64) for name, array in random_weights(engine.architecture).items()}
    expected = (x * w["scale.weight"] + w["scale.bias"]) @ w["head.weight"].T + w["head.bias"]
    session = engine.session(2)
    np.testing.assert_allclose(session.run(x), expected, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(session.step(x[:, 3]), expected[:, 3], rtol=0, atol=CLOSE)


def test_sigmoid_reaches_its_ends_without_overflow():
    engine = Engine(
        [Linear(name="head", input_size=1, output_size=1, bias=False, activation="sigmoid")],
        {"head.weight": np.float32([[1]])},
    )
    x = np.float32([[[-1e30], [-2], [0], [0.5], [1e30]]])
    expected = [0, 1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-0.5)), 1]
    np.testing.assert_allclose(engine.session().run(x)[0, :, 0], expected, rtol=0, atol=2 * EPS)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_ids_give_what_their_vectors_give_with_state_carried_over_calls(dtype):
    engine = speller()
    ids = np.random.default_rng(2).integers(0, V, (3, 7)).astype(dtype)
    x = random_weights(engine.architecture)["table.weight"][ids]
    ours, theirs = engine.session(3), without_table(engine).session(3)
    for lengths in (None, [2, 7, 0]):
        np.testing.assert_array_equal(ours.run(ids, lengths), theirs.run(x, lengths))
        np.testing.assert_array_equal(ours.step(ids[:, 1]), theirs.step(x[:, 1]))
    for name, array in theirs.state.items():
        np.testing.assert_array_equal(ours.state[name], array)


def test_an_embedding_alone_is_a_stack():
    engine = build(Embedding(name="table", num_embeddings=V, embedding_dim=E))
    ids = np.array([[0, 6], [3, 3], [1, 0]])
    np.testing.assert_array_equal(engine.session(3).run(ids), random_weights(engine.architecture)["table.weight"][ids])
    np.testing.assert_array_equal(
        engine.session(3).step(ids[:, 1]), random_weights(engine.architecture)["table.weight"][[6, 3, 0]]
    )


def test_ids_beyond_a_length_are_never_read():
    engine = speller()
    ids = np.random.default_rng(2).integers(0, V, (3, 5))
    clean = engine.session(3).run(ids, [2, 5, 0])
    ids[0, 2:], ids[2] = -1, 2**62
    np.testing.assert_array_equal(engine.session(3).run(ids, [2, 5, 0]), clean)


def test_a_run_of_ids_without_steps_gives_no_outputs():
    assert speller().session(2).run(np.empty((2, 0), np.int64)).shape == (2, 0, 2)


IDS = np.zeros((2, 3), np.int64)
WRONG = IDS + np.array([[0, 0, 0], [0, 7, -1]])
REFUSED = {
    "an id too large": (
        lambda s: s.step(np.array([0, 7])), "x: expected ids from 0 to 6, got 7 in row 1"
    ),
    "a negative id": (
        lambda s: s.step(np.int32([-1, 7])), "x: expected ids from 0 to 6, got -1 in row 0"
    ),
    "an id too large in a run": (
        lambda s: s.run(WRONG), "chunk: expected ids from 0 to 6, got 7 in row 1, step 1"
    ),
    "an id too large within a length": (
        lambda s: s.run(WRONG, [0, 2]), "chunk: expected ids from 0 to 6, got 7 in row 1, step 1"
    ),
    "floats": (
        lambda s: s.step(np.zeros(2, np.float32)),
        "x: expected int32 or int64 (2,), got float32; convert it with astype(np.int64)",
    ),
    "bytes": (
        lambda s: s.run(IDS.astype(np.uint8)),
        "chunk: expected int32 or int64 (2, 3), got uint8; convert it with astype(np.int64)",
    ),
    "a list": (
        lambda s: s.run([[1], [2]]), "chunk: expected int32 or int64 (2, L), got list; pass a NumPy array"
    ),
    "an axis of features": (
        lambda s: s.run(IDS[..., None]), "chunk: expected int32 or int64 (2, L), got (2, 3, 1)"
    ),
    "a sequence for a step": (lambda s: s.step(IDS), "x: expected int32 or int64 (2,), got (2, 3)"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_ids_that_do_not_fit_are_refused_with_one_sentence_before_anything_is_computed(call, message):
    session = speller().session(2)
    session.step(IDS[:, 0])
    before = {name: array.copy() for name, array in session.state.items()}
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        call(session)
    for name, array in session.state.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("peephole", [False, True])
def test_a_reverse_layer_is_the_second_direction_of_a_bidirectional_one(peephole, ragged):
    engine = build(LSTM(name="l", input_size=E, hidden_size=H, reverse=True, peephole=peephole, trainable_state=True))
    x, lengths = floats(3, 6, E), [2, 6, 3] if ragged else None
    own = {
        name.partition(".")[2]: array.astype(np.float64) for name, array in random_weights(engine.architecture).items()
    }
    both = {}
    for name, array in own.items():
        if name in ("h_0", "c_0"):
            both[name] = np.concatenate([np.zeros_like(array), array])
        else:
            both |= {name: np.zeros_like(array), f"{name}_reverse": array}
    expected = reference.lstm(both, x.astype(np.float64).transpose(1, 0, 2), lengths=lengths)
    session = engine.session(3)
    with session.trace() as trace:
        y = session.run(x, lengths)
    np.testing.assert_allclose(y, expected.output.transpose(1, 0, 2)[..., H:], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(session.state["l.h"], expected.h_n[1:], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(session.state["l.c"], expected.c_n[1:], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(trace["l.f"][:, 0], expected.layers[0][1].f, rtol=0, atol=CLOSE)


def test_a_stack_of_reverse_layers_runs_each_of_them_backwards():
    engine = build(LSTM(name="l", input_size=E, hidden_size=H, num_layers=2, reverse=True))
    forward = Engine([LSTM(name="l", input_size=E, hidden_size=H, num_layers=2)], random_weights(engine.architecture))
    x = floats(2, 6, E)
    expected = forward.session(2).run(np.ascontiguousarray(x[:, ::-1]))
    np.testing.assert_allclose(engine.session(2).run(x), expected[:, ::-1], rtol=0, atol=CLOSE)


def test_reverse_layers_refuse_single_steps():
    session = build(LSTM(name="back", input_size=E, hidden_size=H, reverse=True)).session()
    with pytest.raises(SettingError, match=r"^step: layer 'back' runs backwards and needs whole sequences; use run$"):
        session.step(floats(1, E))


def test_a_layer_is_reverse_or_bidirectional():
    message = "layer 'l': reverse: expected false in a bidirectional layer, got true; it runs both ways"
    with pytest.raises(SettingError, match=f"^{message}$"):
        LSTM(name="l", input_size=1, hidden_size=1, reverse=True, bidirectional=True)


def test_an_embedding_stands_only_first_in_a_stack():
    message = "stack 'main': 'table' takes ids and can only stand first, but 'in' stands before it"
    with pytest.raises(SettingError, match=f"^{message}$"):
        build(
            Linear(name="in", input_size=2, output_size=E), Embedding(name="table", num_embeddings=V, embedding_dim=E)
        )


def test_an_unknown_activation_and_an_unknown_key_are_refused():
    layers = [{"kind": "linear", "name": "head", "input_size": 1, "output_size": 1, "activation": "sigmoidal"}]
    message = (
        "architecture: layers[0]: activation: expected one of 'relu', 'tanh', 'silu', 'sigmoid' or null, "
        "got 'sigmoidal'"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Architecture.from_data(layers)
    message = "architecture: layers[0]: unknown key 'sice'; did you mean 'size'?"
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Architecture.from_data([{"kind": "scale", "name": "s", "sice": 3}])


def test_every_kind_of_layer_comes_back_from_an_artifact(tmp_path: Path):
    engine = build(
        Embedding(name="table", num_embeddings=V, embedding_dim=E),
        Scale(name="scale", size=E),
        LSTM(name="lstm", input_size=E, hidden_size=H, reverse=True),
        Linear(name="head", input_size=H, output_size=2, activation="sigmoid"),
    )
    model = artifact.Artifact(
        task="forecast", architecture=engine.architecture, weights=random_weights(engine.architecture), settings={}
    )
    artifact.save(tmp_path / "model", model)
    again = Engine.load(tmp_path / "model")
    assert again.architecture == engine.architecture
    ids = np.random.default_rng(2).integers(0, V, (2, 5))
    np.testing.assert_array_equal(again.session(2).run(ids), engine.session(2).run(ids))
