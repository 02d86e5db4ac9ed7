"""The engine against the specification and against torch, and the promises of its sessions."""

from __future__ import annotations

import itertools
import re
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear
from carrousel.engine import Engine, Session
from carrousel.errors import ConfigError, SettingError, ShapeError, WeightsError
from carrousel.layers import LSTM as TorchLSTM
from carrousel.layers import reference

# Tolerances. Values are of order 1, so one rounding of float32 is EPS = 2⁻²⁴·2; a gate sums about 20 products here and
# errors of a step pass on through at most 9 steps and 2 layers, contracting: 30 roundings are enough.
EPS = float(np.finfo(np.float32).eps)
CLOSE = 30 * EPS
# Normalisation divides by √(variance + 1e-5): what is small, and its rounding errors with it, grows up to 316-fold.
CLOSE_NORMALISED = CLOSE * 316

H_IN, H = 4, 5


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in architecture.tensors().items()}


def random_array(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build(*layers: Layer, stacks: dict[str, tuple[str, ...]] | None = None, seed: int = 0) -> Engine:
    architecture = Architecture(layers, stacks or {})
    return Engine(architecture, random_weights(architecture, seed))


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


def forecaster() -> Engine:
    """The shape of the forecasting network: one LSTM behind two different inputs, a head behind one of them."""
    return build(
        Linear(name="past", input_size=3, output_size=H_IN, activation="relu"),
        Linear(name="future", input_size=2, output_size=H_IN, bias=False),
        LSTM(name="lstm", input_size=H_IN, hidden_size=H),
        Linear(name="head", input_size=H, output_size=6),
        Embedding(name="series", num_embeddings=7, embedding_dim=2),
        stacks={"encode": ("past", "lstm"), "decode": ("future", "lstm", "head")},
    )


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


def test_fork_copies_rows_in_order_and_is_independent():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H))
    session = engine.session(3)
    session.run(random_array(3, 4, H_IN))
    before = {name: array.copy() for name, array in session.state.items()}
    fork = session.fork([2, 0, 2])
    assert fork.batch == 3
    for name, array in fork.state.items():
        np.testing.assert_array_equal(array, before[name][:, [2, 0, 2]])
    fork.step(random_array(3, H_IN))
    for name, array in session.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_state_is_live_and_restores_a_session_exactly():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, num_layers=2, proj_size=3))
    x = random_array(2, 6, H_IN)
    session = engine.session(2)
    views = session.state
    session.run(x[:, :3])
    saved = {name: array.copy() for name, array in views.items()}
    assert saved["lstm.h"].shape == (2, 2, 3)
    assert saved["lstm.c"].shape == (2, 2, H)
    expected = session.run(x[:, 3:])
    again = engine.session(2)
    again.state = saved
    np.testing.assert_array_equal(again.run(x[:, 3:]), expected)
    session.state["lstm.c"][0, 1] = 7.0
    assert (views["lstm.c"][0, 1] == 7.0).all()


def test_reset_brings_back_the_trained_initial_state_of_the_rows_asked_for():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, trainable_state=True))
    session = engine.session(3)
    session.run(random_array(3, 4, H_IN))
    kept = session.state["lstm.c"][:, 1].copy()
    session.reset([0, 2])
    for row in (0, 2):
        np.testing.assert_array_equal(session.state["lstm.h"][:, row], random_weights(engine.architecture)["lstm.h_0"])
        np.testing.assert_array_equal(session.state["lstm.c"][:, row], random_weights(engine.architecture)["lstm.c_0"])
    np.testing.assert_array_equal(session.state["lstm.c"][:, 1], kept)
    session.reset()
    np.testing.assert_array_equal(session.state["lstm.c"][:, 1], random_weights(engine.architecture)["lstm.c_0"])


def test_resize_keeps_the_first_rows_and_adds_fresh_ones():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H))
    session = engine.session(2)
    session.run(random_array(2, 4, H_IN))
    kept = session.state["lstm.c"].copy()
    session.resize(3)
    np.testing.assert_array_equal(session.state["lstm.c"][:, :2], kept)
    assert not session.state["lstm.c"][:, 2].any()
    session.resize(1)
    np.testing.assert_array_equal(session.state["lstm.c"], kept[:, :1])
    assert session.step(random_array(1, H_IN)).shape == (1, H)


@pytest.mark.parametrize(
    "variant", [{}, {"peephole": True, "layer_norm": True, "coupled": True, "bidirectional": True}]
)
def test_trace_shows_every_gate_of_every_step(variant):
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, **variant))
    x, lengths = random_array(3, 5, H_IN), [2, 5, 3]
    parameters = {
        name.partition(".")[2]: array.astype(np.float64) for name, array in random_weights(engine.architecture).items()
    }
    expected = reference.lstm(parameters, x.astype(np.float64).transpose(1, 0, 2), lengths=lengths).layers[0]
    session = engine.session(3)
    with session.trace() as trace:
        output = session.run(x, lengths)
    for gate in "ifgoch":
        whole = np.stack([getattr(direction, gate) for direction in expected], axis=1)
        np.testing.assert_allclose(trace[f"lstm.{gate}"], whole, rtol=0, atol=CLOSE_NORMALISED)
    np.testing.assert_array_equal(output, engine.session(3).run(x, lengths))  # watching changes nothing


def test_trace_joins_the_steps_of_all_calls():
    engine = forecaster()
    session = engine.session(2)
    with session.trace() as trace:
        session.run(random_array(2, 3, 3), stack="encode")
        session.step(random_array(2, 2), stack="decode")
    assert trace["lstm.i"].shape == (4, 1, 2, H)
    np.testing.assert_array_equal(trace["lstm.c"][-1], session.state["lstm.c"])
    np.testing.assert_array_equal(trace["lstm.h"][-1], session.state["lstm.h"])


def test_sessions_of_one_engine_run_in_threads_as_they_do_alone():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, num_layers=2, layer_norm=True))
    chunks = [random_array(2, 60, H_IN, seed=seed) for seed in range(6)]
    expected = [engine.session(2).run(chunk) for chunk in chunks]
    results: list[list[np.ndarray]] = [[] for _ in chunks]

    def work(k: int) -> None:
        for _ in range(10):
            results[k].append(engine.session(2).run(chunks[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(chunks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own, whole in zip(results, expected, strict=True):
        assert len(own) == 10
        for result in own:
            np.testing.assert_array_equal(result, whole)


def test_engine_does_not_change_when_the_arrays_it_was_given_do():
    architecture = Architecture((Linear(name="head", input_size=2, output_size=1),))
    weights = random_weights(architecture)
    engine = Engine(architecture, weights)
    x = random_array(1, 2)
    before = engine.session().step(x)
    for array in weights.values():
        array[...] = 9
    np.testing.assert_array_equal(engine.session().step(x), before)


def test_step_writes_to_the_array_it_is_given_and_takes_arrays_that_are_not_contiguous():
    engine = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H))
    x, out = random_array(H_IN, 6)[:, ::2].T, np.zeros((3, H), np.float32)
    expected = engine.session(3).step(np.ascontiguousarray(x))
    assert engine.session(3).step(x, out) is out
    np.testing.assert_allclose(out, expected, rtol=0, atol=CLOSE)


def test_run_writes_to_the_array_it_is_given_even_to_its_input_its_state_or_one_that_is_not_contiguous():
    engine = build(LSTM(name="lstm", input_size=H, hidden_size=H))
    x, lengths = random_array(3, 4, H), [4, 0, 2]
    expected = engine.session(3).run(x, lengths)
    for out in (np.full((3, 4, H), 7, np.float32), np.zeros((4, 3, H), np.float32).transpose(1, 0, 2), x.copy()):
        assert engine.session(3).run(out if out.shape == x.shape and (out == x).all() else x, lengths, out) is out
        np.testing.assert_array_equal(out, expected)
    session = build(LSTM(name="lstm", input_size=H, hidden_size=H)).session(1)
    wanted = session.fork([0]).run(x[:1, :1])
    session.run(x[:1, :1], None, session.state["lstm.h"].transpose(1, 0, 2))
    np.testing.assert_array_equal(session.state["lstm.h"][0], wanted[0])


def test_a_run_of_no_steps_gives_no_outputs_and_leaves_the_state():
    session = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H, trainable_state=True)).session(2)
    before = {name: array.copy() for name, array in session.state.items()}
    assert session.run(np.empty((2, 0, H_IN), np.float32)).shape == (2, 0, H)
    for name, array in session.state.items():
        np.testing.assert_array_equal(array, before[name])


X, CHUNK = np.zeros((2, H_IN), np.float32), np.zeros((2, 3, H_IN), np.float32)
READ_ONLY = np.zeros((2, 3, 5), np.float32)
READ_ONLY.flags.writeable = False
REFUSED = {
    "step with another dtype": (
        lambda s: s.step(X.astype(float)), ShapeError,
        "x: expected float32 (2, 4), got float64; convert it with astype(np.float32)",
    ),
    "step with another shape": (lambda s: s.step(X[:1]), ShapeError, "x: expected float32 (2, 4), got (1, 4)"),
    "step with a list": (
        lambda s: s.step([1.0]), ShapeError, "x: expected float32 (2, 4), got list; pass a NumPy array"
    ),
    "step into another shape": (
        lambda s: s.step(X, np.zeros((2, 4), np.float32)), ShapeError, "out: expected float32 (2, 5), got (2, 4)"
    ),
    "run with a flat chunk": (lambda s: s.run(X), ShapeError, "chunk: expected float32 (2, L, 4), got (2, 4)"),
    "run with another width": (
        lambda s: s.run(CHUNK[..., :3]), ShapeError, "chunk: expected float32 (2, 3, 4), got (2, 3, 3)"
    ),
    "run with lengths of floats": (
        lambda s: s.run(CHUNK, [1.0, 2.0]), ShapeError, "lengths: expected integers (2,), got float64 (2,)"
    ),
    "run with a length too long": (
        lambda s: s.run(CHUNK, [1, 4]), ShapeError, "lengths: expected values from 0 to 3, got 4 in row 1"
    ),
    "run with a negative length": (
        lambda s: s.run(CHUNK, [-1, 3]), ShapeError, "lengths: expected values from 0 to 3, got -1 in row 0"
    ),
    "run into another shape": (
        lambda s: s.run(CHUNK, None, np.zeros((2, 3, 4), np.float32)), ShapeError,
        "out: expected float32 (2, 3, 5), got (2, 3, 4)"
    ),
    "step into a read-only array": (
        lambda s: s.step(X, READ_ONLY[:, 0]), ShapeError,
        "out: expected an array that can be written to, got a read-only one; pass a copy"
    ),
    "run into a read-only array": (
        lambda s: s.run(CHUNK, None, READ_ONLY), ShapeError,
        "out: expected an array that can be written to, got a read-only one; pass a copy"
    ),
    "an unknown stack": (
        lambda s: s.step(X, stack="mian"), SettingError, "stack: unknown name 'mian'; did you mean 'main'?"
    ),
    "fork of no rows": (lambda s: s.fork([]), ShapeError, "rows: expected at least one row, got none"),
    "fork of a row that is not there": (
        lambda s: s.fork([0, 2]), ShapeError, "rows: expected values from 0 to 1, got 2"
    ),
    "reset of a negative row": (lambda s: s.reset([-1]), ShapeError, "rows: expected values from 0 to 1, got -1"),
    "reset of a mask": (
        lambda s: s.reset([True, False]), ShapeError, "rows: expected a list of integers, got bool (2,)"
    ),
    "resize to nothing": (lambda s: s.resize(0), SettingError, "batch: expected an integer of at least 1, got 0"),
    "state without an array": (
        lambda s: setattr(s, "state", {"lstm.h": np.zeros((1, 2, 5), np.float32)}), ShapeError,
        "state: missing array 'lstm.c', expected float32 (1, 2, 5)",
    ),
    "state with an unknown array": (
        lambda s: setattr(s, "state", {**s.state, "lstm.d": X}), ShapeError,
        "state: unknown array 'lstm.d'; did you mean 'lstm.h'?",
    ),
    "state of another batch": (
        lambda s: setattr(s, "state", {k: v[:, :1] for k, v in s.state.items()}), ShapeError,
        "state: lstm.h: expected float32 (1, 2, 5), got (1, 1, 5)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_session_refuses_what_does_not_fit_with_one_sentence(call, error, message):
    session = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H)).session(2)
    with pytest.raises(error, match=exactly(message)):
        call(session)


def test_a_session_refuses_traces_that_cannot_be_joined():
    session = build(LSTM(name="lstm", input_size=H_IN, hidden_size=H)).session(2)
    with session.trace():
        with (
            pytest.raises(SettingError, match=r"^trace: expected no open trace, got one inside another$"),
            session.trace(),
        ):
            pass
        with pytest.raises(SettingError, match=r"^resize: expected no open trace"):
            session.resize(3)


def test_bidirectional_layers_refuse_single_steps():
    session = build(LSTM(name="both", input_size=H_IN, hidden_size=H, bidirectional=True)).session()
    message = "step: layer 'both' is bidirectional and needs whole sequences; use run"
    with pytest.raises(SettingError, match=exactly(message)):
        session.step(X[:1])


def test_several_stacks_need_a_name():
    with pytest.raises(SettingError, match=r"^stack: expected one of encode, decode, got None$"):
        forecaster().session().step(X[:1])


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
