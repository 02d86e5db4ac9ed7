"""The engine against the specification and against torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.architecture import LSTM, Architecture, Linear
from carrousel.engine import Engine, Session
from carrousel.errors import ConfigError, WeightsError
from carrousel.layers import LSTM as TorchLSTM
from carrousel.layers import reference
from network import CLOSE, CLOSE_NORMALISED, H_IN, H, build, exactly, forecaster, random_array, random_weights

VARIANTS = [
    dict(zip(("peephole", "coupled", "layer_norm", "proj_size", "zoneout", "bias"), values, strict=True))
    for values in itertools.product(
        (False, True), (False, True), (False, True), (0, 3), ((0.0, 0.0), (0.2, 0.1)), (False, True)
    )
]


def name_of(variant: dict[str, object]) -> str:
    return "-".join(f"{key}={value}" for key, value in variant.items() if value) or "none"


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("shape", [(1, False), (2, False), (2, True)], ids=["one layer", "two", "two, both ways"])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_run_agrees_with_the_reference_in_outputs_and_final_state(variant, shape, ragged):
    num_layers, bidirectional = shape
    spec = LSTM(
        name="lstm", input_size=H_IN, hidden_size=H, num_layers=num_layers, bidirectional=bidirectional,
        trainable_state=True, **variant,
    )  # fmt: skip
    engine = build(spec)
    x = random_array(4, 9, H_IN)
    lengths = np.array([3, 9, 0, 5]) if ragged else None

    parameters = {
        name.partition(".")[2]: array.astype(np.float64) for name, array in random_weights(engine.architecture).items()
    }
    expected = reference.lstm(
        parameters, x.astype(np.float64).transpose(1, 0, 2), lengths=lengths, zoneout=spec.zoneout
    )
    session = engine.session(4)
    output = session.run(x, lengths)

    atol = CLOSE_NORMALISED if spec.layer_norm else CLOSE
    np.testing.assert_allclose(output, expected.output.transpose(1, 0, 2), rtol=0, atol=atol)
    np.testing.assert_allclose(session.state["lstm.h"], expected.h_n, rtol=0, atol=atol)
    np.testing.assert_allclose(session.state["lstm.c"], expected.c_n, rtol=0, atol=atol)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_steps_agree_with_one_run(variant):
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, num_layers=2, **variant))
    x = random_array(3, 7, H_IN)
    whole, stepped = engine.session(3), engine.session(3)
    expected = whole.run(x)
    atol = CLOSE_NORMALISED if variant["layer_norm"] else CLOSE
    for t in range(7):
        np.testing.assert_allclose(stepped.step(x[:, t]), expected[:, t], rtol=0, atol=atol)
    for name, array in whole.state.items():
        np.testing.assert_allclose(stepped.state[name], array, rtol=0, atol=atol)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("proj_size", [0, 6])
def test_run_agrees_with_torch_in_float32(bidirectional, proj_size):
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(8, 16, 2, batch_first=True, bidirectional=bidirectional, proj_size=proj_size)
    spec = LSTM(name="l", input_size=8, hidden_size=16, num_layers=2, bidirectional=bidirectional, proj_size=proj_size)
    engine = Engine([spec], {f"l.{name}": value.numpy() for name, value in theirs.state_dict().items()})
    x = random_array(5, 50, 8)
    session = engine.session(5)
    output = session.run(x)
    with torch.no_grad():
        expected, (h_n, c_n) = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(output, expected.numpy(), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(session.state["l.h"], h_n.numpy(), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(session.state["l.c"], c_n.numpy(), rtol=0, atol=CLOSE)


def test_a_trained_layer_runs_in_the_engine_from_its_own_configuration_and_state_dict():
    torch.manual_seed(0)
    layer = TorchLSTM(
        H_IN, H, 2, batch_first=True, dropout=0.3, peephole=True, coupled=True, zoneout=(0.1, 0.2), trainable_state=True
    ).eval()
    spec = LSTM.of("lstm", layer.config())
    engine = Engine([spec], {f"lstm.{name}": value.numpy() for name, value in layer.state_dict().items()})
    x = random_array(2, 6, H_IN)
    with torch.no_grad():
        expected, _ = layer(torch.from_numpy(x))
    np.testing.assert_allclose(engine.session(2).run(x), expected.numpy(), rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (None, lambda y: y),
        ("relu", lambda y: np.maximum(y, 0)),
        ("tanh", np.tanh),
        ("silu", lambda y: y / (1 + np.exp(-y))),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_linear_is_an_affine_map_and_its_activation(activation, function, bias):
    engine = build(Linear(name="head", input_size=4, output_size=3, bias=bias, activation=activation))
    x = random_array(2, 5, 4)
    y = x.astype(np.float64) @ random_weights(engine.architecture)["head.weight"].T + (
        random_weights(engine.architecture)["head.bias"] if bias else 0
    )
    np.testing.assert_allclose(engine.session(2).run(x), function(y), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(engine.session(2).step(x[:, 0]), function(y[:, 0]), rtol=0, atol=CLOSE)


def test_stacks_share_the_state_of_a_layer_that_stands_in_several():
    engine = forecaster()
    past, future = random_array(1, 6, 3), random_array(2, 2, seed=2)
    session = engine.session()
    session.run(past, stack="encode")
    y = session.fork([0, 0]).step(future, stack="decode")

    weights = {name: array.astype(np.float64) for name, array in random_weights(engine.architecture).items()}
    embedded = np.maximum(past[0] @ weights["past.weight"].T + weights["past.bias"], 0)
    own = {name.partition(".")[2]: array for name, array in weights.items() if name.startswith("lstm.")}
    encoded = reference.lstm(own, embedded[:, None])
    for row in range(2):
        step = reference.lstm(own, (future[row] @ weights["future.weight"].T)[None, None], encoded.h_n, encoded.c_n)
        expected = step.output[0, 0] @ weights["head.weight"].T + weights["head.bias"]
        np.testing.assert_allclose(y[row], expected, rtol=0, atol=CLOSE)


@given(batch=st.integers(1, 5), cuts=st.lists(st.integers(0, 4), max_size=6), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=60, deadline=None)
def test_chunks_of_ragged_rows_agree_with_every_row_alone(batch, cuts, seed, data):
    engine = build(
        Linear(name="in", input_size=2, output_size=H_IN, activation="tanh"),
        LSTM(name="lstm", input_size=H_IN, hidden_size=H, num_layers=2),
        Linear(name="head", input_size=H, output_size=2),
        seed=seed,
    )
    together, alone = engine.session(batch), [engine.session() for _ in range(batch)]
    for k, length in enumerate(cuts):
        chunk = random_array(batch, length, 2, seed=seed + k)
        lengths = data.draw(st.lists(st.integers(0, length), min_size=batch, max_size=batch))
        output = together.run(chunk, lengths)
        for row, own in enumerate(lengths):
            expected = alone[row].run(chunk[row : row + 1, :own])[0]
            np.testing.assert_allclose(output[row, :own], expected, rtol=0, atol=CLOSE)
            assert not output[row, own:].any()
    for row, session in enumerate(alone):
        for name, array in session.state.items():
            np.testing.assert_allclose(together.state[name][:, row], array[:, 0], rtol=0, atol=CLOSE)


def test_a_long_run_is_cut_into_blocks_without_a_trace(monkeypatch):
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, num_layers=2))
    x, lengths = random_array(3, 23, H_IN), [23, 4, 11]
    expected = engine.session(3).run(x, lengths)
    monkeypatch.setattr("carrousel.numpy_engine.BLOCK", 3 * 25 * 4)  # four steps of three rows, 25 values wide
    np.testing.assert_allclose(engine.session(3).run(x, lengths), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, np.float32(3e38)])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("batch", [2, 33])
def test_what_is_not_finite_stays_in_its_row(poison, layer_norm, batch):
    engine = build(
        Linear(name="in", input_size=2, output_size=H_IN),
        LSTM(name="lstm", input_size=H_IN, hidden_size=16, peephole=True, layer_norm=layer_norm),
    )
    x = random_array(batch, 6, 2)
    clean = engine.session(batch).run(x)
    x[1, 2] = poison
    session = engine.session(batch)
    dirty = session.run(x)
    others = np.arange(batch) != 1
    np.testing.assert_array_equal(dirty[others], clean[others])
    np.testing.assert_array_equal(dirty[1, :2], clean[1, :2])
    session.reset([1])
    assert np.isfinite(session.run(random_array(batch, 3, 2))).all()


def test_padding_beyond_a_length_is_never_read():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, num_layers=2, bidirectional=True))
    x = random_array(3, 5, H_IN)
    clean = engine.session(3).run(x, [2, 5, 0])
    x[0, 2:], x[2] = np.nan, np.inf
    session = engine.session(3)
    np.testing.assert_array_equal(session.run(x, [2, 5, 0]), clean)
    assert all(np.isfinite(array).all() for array in session.state.values())


def test_engine_does_not_change_when_the_arrays_it_was_given_do():
    architecture = Architecture((Linear(name="head", input_size=2, output_size=1),))
    weights = random_weights(architecture)
    engine = Engine(architecture, weights)
    x = random_array(1, 2)
    before = engine.session().step(x)
    for array in weights.values():
        array[...] = 9
    np.testing.assert_array_equal(engine.session().step(x), before)


def test_engine_refuses_weights_that_do_not_fit():
    layers = [{"kind": "lstm", "name": "lstm", "input_size": 64, "hidden_size": 128}]
    weights = random_weights(Architecture.from_data(layers))
    weights["lstm.weight_hh_l0"] = np.zeros((256, 64), np.float32)
    message = (
        "weights: lstm.weight_hh_l0: expected (512, 128), got (256, 64); "
        "layer 'lstm' has input_size=64, hidden_size=128, num_layers=1, proj_size=0"
    )
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine(layers, weights)
    with pytest.raises(ConfigError, match=r"^architecture: layers\[0\]: missing key 'hidden_size', an integer"):
        Engine([{"kind": "lstm", "name": "lstm", "input_size": 64}], weights)


@pytest.mark.parametrize("batch", [1, 2, 7, 64, 256])
def test_one_stream_is_the_same_alone_in_a_chunk_or_in_a_batch_up_to_rounding(batch):
    engine = build(LSTM(name="lstm", input_size=32, hidden_size=48))
    x = random_array(batch, 40, 32)
    together = engine.session(batch).run(x)
    row = batch // 2
    alone: Session = engine.session()
    stepped = np.stack([alone.step(x[row : row + 1, t])[0] for t in range(40)])
    # A gate sums 80 products of magnitude ~0.5: √80·0.5 ≈ 4.5 roundings of its size; 40 steps do not add up, as the
    # forget gates contract.
    np.testing.assert_allclose(stepped, together[row], rtol=0, atol=2 * CLOSE)
    np.testing.assert_allclose(engine.session().run(x[row : row + 1])[0], together[row], rtol=0, atol=2 * CLOSE)
