"""What sessions of an engine promise: state, forks, traces, where they write, and what they refuse."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from carrousel.architecture import LSTM
from carrousel.errors import SettingError, ShapeError
from carrousel.layers import reference
from network import CLOSE, CLOSE_NORMALISED, H_IN, H, build, exactly, forecaster, random_array, random_weights


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
