"""What the native engine promises beyond NumPy's: the same bits every way, what is not finite, exact refusals."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel import native
from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear, Scale
from carrousel.engine import Engine, Session
from carrousel.errors import SettingError
from network import build, random_array

ISA = native.chosen()
pytestmark = pytest.mark.skipif(ISA == "numpy", reason="the native engine is not built, or CARROUSEL_ISA=numpy")

EPS = float(np.finfo(np.float32).eps)


@st.composite
def layer_lists(draw: st.DrawFn) -> tuple[Layer, ...]:
    """Stacks of every kind of layer and variant, of sizes around the width of a vector."""
    size = st.sampled_from([1, 3, 7, 8, 16, 17, 33, 40])
    width = draw(size)
    layers: list[Layer] = []
    if draw(st.booleans()):
        layers.append(Embedding(name="table", num_embeddings=5, embedding_dim=width))
    else:
        layers.append(Scale(name="scale", size=width))
    for k in range(draw(st.integers(1, 2))):
        hidden = draw(size)
        layers.append(
            LSTM(
                name=f"lstm_{k}", input_size=width, hidden_size=hidden, num_layers=draw(st.integers(1, 2)),
                proj_size=draw(st.integers(0, hidden - 1)), bias=draw(st.booleans()), peephole=draw(st.booleans()),
                coupled=draw(st.booleans()), layer_norm=draw(st.booleans()), trainable_state=draw(st.booleans()),
                zoneout=draw(st.sampled_from([(0.0, 0.0), (0.1, 0.2)])),
            )
        )  # fmt: skip
        width = layers[-1].widths[1]
    out = draw(st.sampled_from([1, 5, 16, 70]))
    activation = draw(st.sampled_from([None, "relu", "tanh", "silu", "sigmoid"]))
    layers.append(Linear(name="head", input_size=width, output_size=out, activation=activation))
    return tuple(layers)


@given(
    layers=layer_lists(),
    dtype=st.sampled_from(["float32", "bfloat16", "int8"]),
    batch=st.integers(1, 60),
    threads=st.integers(1, 3),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    data=st.data(),
)
@settings(max_examples=120, deadline=None)
def test_a_stream_is_the_same_bits_alone_in_chunks_in_any_batch_and_on_any_threads(
    layers, dtype, batch, threads, cuts, data
):
    engine = build(*layers, dtype=dtype)
    ids = isinstance(layers[0], Embedding)
    together = engine.session(batch, threads=threads)
    row = data.draw(st.integers(0, batch - 1))
    stepped, chunked = engine.session(), engine.session()
    for k, length in enumerate(cuts):
        if ids:
            chunk = np.random.default_rng(k).integers(0, 5, (batch, length)).astype(np.int32)
        else:
            chunk = random_array(batch, length, layers[0].size, seed=k)
        lengths = np.random.default_rng(k).integers(0, length + 1, batch)
        whole = together.run(chunk, lengths)[row]
        own = chunk[row : row + 1, : lengths[row]]
        np.testing.assert_array_equal(chunked.run(own)[0], whole[: lengths[row]])
        for t in range(lengths[row]):
            np.testing.assert_array_equal(stepped.step(own[:, t])[0], whole[t])
        assert not whole[lengths[row] :].any()
    for name, array in together.state.items():
        np.testing.assert_array_equal(array[:, row], stepped.state[name][:, 0])
        np.testing.assert_array_equal(array[:, row], chunked.state[name][:, 0])


@given(batch=st.integers(1, 20), length=st.integers(1, 40), threads=st.integers(1, 3), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_bidirectional_stream_is_the_same_bits_alone_and_in_any_batch(batch, length, threads, data):
    engine = build(LSTM(name="both", input_size=6, hidden_size=19, num_layers=2, bidirectional=True))
    x = random_array(batch, length, 6)
    lengths = data.draw(st.lists(st.integers(0, length), min_size=batch, max_size=batch))
    whole = engine.session(batch, threads=threads).run(x, lengths)
    for row, own in enumerate(lengths):
        alone = engine.session().run(x[row : row + 1, :own])
        np.testing.assert_array_equal(alone[0], whole[row, :own])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_of_many_streams_are_the_same_bits_on_any_number_of_threads(threads):
    engine = build(LSTM(name="l", input_size=24, hidden_size=40), Linear(name="h", input_size=40, output_size=3))
    x = random_array(501, 20, 24)
    session, expected = engine.session(501, threads=threads), engine.session(501).run(x)
    out = np.empty((501, 3), np.float32)
    for t in range(20):
        session.step(np.ascontiguousarray(x[:, t]), out)
        np.testing.assert_array_equal(out, expected[:, t])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("batch", [1, 3])
def test_threads_that_share_the_units_of_a_large_cell_give_the_same_bits(dtype, batch):
    layers = (
        LSTM(name="l", input_size=256, hidden_size=300, num_layers=2),
        Linear(name="h", input_size=300, output_size=3),
    )
    engine = build(*layers, dtype=dtype)
    x = random_array(batch, 25, 256)
    expected = engine.session(batch).run(x)
    for threads in (2, 3):
        chunked, stepped = engine.session(batch, threads=threads), engine.session(batch, threads=threads)
        np.testing.assert_array_equal(chunked.run(x), expected)
        for t in range(25):
            np.testing.assert_array_equal(stepped.step(x[:, t]), expected[:, t])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("size", [150, 460])
def test_a_stream_of_a_cell_beyond_the_caches_is_the_same_bits_in_any_batch(dtype, size):
    """Weights of 1.6 and 7.2 MB, as float32: from where on rows pass in larger groups and weights are called for."""
    engine = build(LSTM(name="l", input_size=520, hidden_size=size), dtype=dtype)
    x = random_array(101, 4, 520)
    whole = engine.session(101).run(x)
    np.testing.assert_array_equal(engine.session(101, threads=2).run(x), whole)
    for row in (0, 49, 100):
        np.testing.assert_array_equal(engine.session().run(x[row : row + 1])[0], whole[row])
    few = engine.session(7)
    np.testing.assert_array_equal(np.stack([few.step(x[:7, t]) for t in range(4)], axis=1), whole[:7])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("variant", [{}, {"peephole": True, "zoneout": (0.1, 0.2)}, {"layer_norm": True}])
def test_watching_a_run_or_its_steps_changes_no_bit(dtype, variant):
    engine = build(LSTM(name="l", input_size=9, hidden_size=21, num_layers=2, **variant), dtype=dtype)
    x = random_array(3, 8, 9)
    expected = engine.session(3).run(x)
    session = engine.session(3)
    with session.trace() as trace:
        np.testing.assert_array_equal(session.run(x[:, :5]), expected[:, :5])
        np.testing.assert_array_equal(session.step(x[:, 5]), expected[:, 5])
    np.testing.assert_array_equal(session.run(x[:, 6:]), expected[:, 6:])
    np.testing.assert_array_equal(trace["l.h"][:, 1], expected[:, :6].transpose(1, 0, 2))


def grid() -> np.ndarray:
    """Floats near and far, a million between the saturations, and every power of two."""
    powers = np.float32(2) ** np.arange(-126, 127, dtype=np.float32)
    some = np.concatenate([np.linspace(-20, 20, 1_000_001), np.linspace(-200, 200, 100_001)]).astype(np.float32)
    return np.concatenate([some, powers, -powers, np.float32([0, -0.0, np.inf, -np.inf])])


def test_activations_err_by_less_than_4e_7():
    module, x = native.module(), grid()
    sigmoid, tanh = np.empty_like(x), np.empty_like(x)
    assert module is not None
    module.activations(ISA, x, sigmoid, tanh)
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(sigmoid - exact).max() < 2e-7
    assert np.abs(tanh - np.tanh(x.astype(np.float64))).max() < 4e-7
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()
    assert (np.abs(tanh) <= 1).all()


def test_activations_keep_every_nan():
    bits = np.concatenate([np.arange(0x7F800001, 0x7FFFFFFF, 997), np.arange(0xFF800001, 0xFFFFFFFF, 997)])
    x = bits.astype(np.uint32).view(np.float32)
    sigmoid, tanh = np.empty_like(x), np.empty_like(x)
    native.module().activations(ISA, x, sigmoid, tanh)
    assert np.isnan(sigmoid).all()
    assert np.isnan(tanh).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_its_own_row_and_in_no_other(dtype, poison):
    engine = build(LSTM(name="l", input_size=20, hidden_size=18), dtype=dtype)
    x = random_array(9, 5, 20)
    clean = engine.session(9).run(x)
    x[4, 2, 7] = poison
    dirty = engine.session(9).run(x)
    others = np.arange(9) != 4
    np.testing.assert_array_equal(dirty[others], clean[others])
    np.testing.assert_array_equal(dirty[4, :2], clean[4, :2])
    if dtype == "int8" or np.isnan(poison):  # a float32 gate saturates at infinity; an integer cannot hold it
        assert np.isnan(dirty[4, 2:]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_huge_and_denormal_values_pass(dtype):
    engine = build(
        Linear(name="in", input_size=4, output_size=8), LSTM(name="l", input_size=8, hidden_size=8), dtype=dtype
    )
    for size in (3e38, 1e-38, 1e-45):
        y = engine.session().run(np.full((1, 3, 4), size, np.float32))
        assert np.isfinite(y).all() or size > 1e38


def test_a_carrousel_carries_its_value_exactly():
    """f = 1 and i = 0: the constant error carrousel, over 10,000 steps."""
    architecture = Architecture((LSTM(name="l", input_size=2, hidden_size=20),))
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors().items()}
    weights["l.bias_ih_l0"][:20], weights["l.bias_ih_l0"][20:40] = -1e4, 1e4
    session = Engine(architecture, weights).session()
    start = np.linspace(-3, 3, 20, dtype=np.float32) + np.float32(0.1)
    session.state["l.c"][0, 0] = start
    session.run(random_array(1, 10_000, 2))
    np.testing.assert_array_equal(session.state["l.c"][0, 0], start)


def test_denormals_are_flushed_inside_the_engine_and_nowhere_else():
    engine = build(LSTM(name="l", input_size=4, hidden_size=8))
    tiny = np.float32(1e-40)
    engine.session().run(np.full((1, 3, 4), tiny, np.float32))
    assert np.float32(tiny * np.float32(0.5)) != 0


def test_out_may_be_the_input_or_a_view_of_the_state():
    engine = build(LSTM(name="l", input_size=16, hidden_size=16))
    x = random_array(3, 16)
    expected = engine.session(3).step(x)
    session, both = engine.session(3), x.copy()
    assert session.step(both, both) is both
    np.testing.assert_array_equal(both, expected)
    session = engine.session(3)
    session.step(x, session.state["l.h"][0])
    np.testing.assert_array_equal(session.state["l.h"][0], expected)


def test_views_of_the_state_outlive_their_session():
    engine = build(LSTM(name="l", input_size=4, hidden_size=8))
    session = engine.session(2)
    session.step(random_array(2, 4))
    views, expected = session.state, {name: array.copy() for name, array in session.state.items()}
    session.resize(5)
    del session, engine
    for name, view in views.items():
        np.testing.assert_array_equal(view, expected[name])


def test_a_step_outlives_the_session_it_was_taken_from():
    step = build(LSTM(name="l", input_size=4, hidden_size=8)).session(2).step
    assert step(random_array(2, 4)).shape == (2, 8)
    with pytest.raises(ValueError, match=r"^x: expected float32 \(2, 4\), got \(3, 4\)$"):
        step(random_array(3, 4))


def test_a_second_thread_in_one_session_is_refused_and_harms_nothing():
    engine = build(LSTM(name="l", input_size=64, hidden_size=256))
    session: Session = engine.session(64)
    x, refusals = random_array(64, 40, 64), []
    expected = engine.session(64).run(x)
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(session.run(x)))
    thread.start()
    while thread.is_alive():
        try:
            session.step(x[:, 0])
        except SettingError as error:
            refusals.append(str(error))
    thread.join()
    assert set(refusals) == {"session: expected one call at a time, got another from a second thread"}
    if len(results) == 1 and len(refusals):
        assert results[0].shape == expected.shape


@pytest.mark.parametrize("threads", [0, True, 1.5])
def test_threads_are_a_whole_number(threads):
    with pytest.raises(SettingError, match=r"^threads: expected an integer of at least 1, got"):
        build(Linear(name="l", input_size=1, output_size=1)).session(threads=threads)


def chosen_with(isa: str) -> tuple[int, str]:
    code = (
        "from carrousel import native\ntry: print(native.chosen())\nexcept Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"CARROUSEL_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.returncode, done.stdout.strip()


def test_the_environment_chooses_the_instruction_set():
    sets = native.module().instruction_sets()
    for name, supported, missing, _ in sets:
        _, said = chosen_with(name)
        assert said == name if supported else f"which needs {missing}" in said
    assert chosen_with("")[1] == [name for name, supported, _, _ in sets if supported][-1]
    assert chosen_with("numpy")[1] == "numpy"
    names = ", ".join(name for name, *_ in sets)
    assert chosen_with("sse9")[1] == (
        f"Error CARROUSEL_ISA: expected one of {names}, numpy, got 'sse9'; leave it out to get the best one"
    )


LAYERS = (
    Scale(name="s", size=6),
    LSTM(name="l", input_size=6, hidden_size=50, num_layers=2, peephole=True),
    Linear(name="h", input_size=50, output_size=30, activation="silu"),
)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_instruction_sets_agree(dtype):
    """Sums run in one order everywhere; what differs is whether a product is rounded before it is added.

    Larger weights than these would let such differences grow from step to step.
    """
    code = f"""
import sys, numpy as np
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_engine_native import LAYERS, build, random_array
np.save(sys.argv[1], build(*LAYERS, scale=0.4, dtype={dtype!r}).session(5).run(random_array(5, 30, 6)))
"""
    found = {}
    for name, supported, *_ in native.module().instruction_sets():
        if supported:
            file = f"{os.environ.get('TMPDIR', '/tmp')}/carrousel-{os.getpid()}-{name}.npy"
            environment = os.environ | {"CARROUSEL_ISA": name}
            subprocess.run([sys.executable, "-c", code, file], env=environment, check=True)
            found[name] = np.load(file)
            os.unlink(file)
    if dtype == "bfloat16":
        found.pop("avx512bf16", None)  # whose products are of other factors
    # int8: a last-bit difference may move a value over the edge between two integers, 1/254 of the row's largest.
    atol = 0.02 if dtype == "int8" else 100 * EPS
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=f"{one}, {other}")
