"""ONNX operators in the engine: the standard's own cases of the LSTM, and onnxruntime's values of graphs around it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.case.node import lstm as standard

from carrousel.engine import Engine
from carrousel.interop.onnx import from_onnx
from interop.onnx_model import E, H, L, N, X, batchwise, build, lstm_node, lstm_parts, run
from interop.sequence import CLOSE, CLOSE_TO_ONNXRUNTIME, assert_gives, floats

# The standard's own cases of the operator.


def standard_cases() -> dict[str, tuple[onnx.NodeProto, list[np.ndarray], list[np.ndarray]]]:
    """Name of each: the node, what it is fed, what it must give."""
    found: dict[str, tuple[onnx.NodeProto, list[np.ndarray], list[np.ndarray]]] = {}

    def expect(node: onnx.NodeProto, inputs: list[np.ndarray], outputs: list[np.ndarray], name: str) -> None:
        found[name] = node, inputs, outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standard, "expect", expect)
        for name in dir(standard.LSTM):
            if name.startswith("export_"):
                getattr(standard.LSTM, name)()
    return found


CASES = standard_cases()


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_standard_passes(name: str) -> None:
    lstm, inputs, expected = CASES[name]
    # The cases feed the weights as inputs; of a trained model they are constants.
    constants = dict(zip([name for name in lstm.input if name != "X"], inputs[1:], strict=True))
    x = ("X", TensorProto.FLOAT, inputs[0].shape)
    model = build([lstm], constants, [x], tuple(filter(None, lstm.output)))
    engine = Engine.from_onnx(model)
    (layer,) = engine.architecture.layers

    batchwise = name == "test_lstm_batchwise"
    session = engine.session(inputs[0].shape[0 if batchwise else 1])
    y = session.run(np.ascontiguousarray(inputs[0] if batchwise else inputs[0].transpose(1, 0, 2)))
    ways = 2 if layer.bidirectional else 1
    y = y.reshape(*y.shape[:2], ways, -1)  # (N, L, D, H)
    found = {
        "Y": y if batchwise else y.transpose(1, 2, 0, 3),
        **{f"Y_{k}": session.state[f"{layer.name}.{k}"].transpose((1, 0, 2) if batchwise else (0, 1, 2)) for k in "hc"},
    }
    names = [output.name for output in model.graph.output]
    assert names
    # onnxruntime refuses the layout of the batchwise case.
    theirs = expected if batchwise else run(model, X=inputs[0])
    for output, value, their in zip(names, expected, theirs, strict=True):
        np.testing.assert_allclose(found[output], value, rtol=0, atol=CLOSE)
        np.testing.assert_allclose(found[output], their, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)


def test_all_cases_of_the_standard_are_here() -> None:
    kinds = ("defaults", "with_initial_bias", "with_peepholes", "batchwise", "reverse", "bidirectional")
    assert {f"test_lstm_{kind}" for kind in kinds} == set(CASES)


# The operator beside onnxruntime.


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("bias", "peephole", "coupled", "start"), list(itertools.product([False, True], repeat=4)), ids=lambda v: f"{v:d}"
)
def test_the_operator_gives_what_onnxruntime_gives(
    direction: str, bias: bool, peephole: bool, coupled: bool, start: bool
) -> None:
    parts = lstm_parts(direction, bias=bias, peephole=peephole, start=start)
    nodes = [
        lstm_node(parts, direction=direction, input_forget=int(coupled)),
        helper.make_node("Transpose", ["Y"], ["t"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    model = build(nodes, {**parts, "shape": np.array([0, 0, -1])})
    x = floats(N, L, E)
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected, atol=CLOSE_TO_ONNXRUNTIME)


def test_shapes_that_the_graph_computes_are_followed() -> None:
    """As PyTorch's newer exporter writes them where the batch is dynamic."""
    parts = lstm_parts("bidirectional", bias=False, peephole=False, start=False)
    numbers = {f"n{k}": np.array([k]) for k in range(6)} | {"rest": np.array([-1]), "half": np.float32(0.5)}
    cuts = [helper.make_node("Slice", ["size", f"n{k}", f"n{k + 1}"], [f"s{k}"]) for k in range(4)]
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], start=1, end=2),
        helper.make_node("Concat", ["n2", "rows", "n5"], ["start"], axis=0),
        helper.make_node("Expand", ["half", "start"], ["h"]),
        helper.make_node("ConstantOfShape", ["start"], ["c"]),
        helper.make_node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["Y"], hidden_size=H, direction="bidirectional"),
        helper.make_node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Shape", ["t"], ["size"]),
        *cuts,
        helper.make_node("Mul", ["s2", "s3"], ["joined"]),
        helper.make_node("Reshape", ["joined", "rest"], ["flat"]),
        helper.make_node("Concat", ["s0", "s1", "flat"], ["new"], axis=0),
        helper.make_node("Reshape", ["t", "new"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    model, x = build(nodes, {**parts, **numbers, "w": floats(2 * H, 3)}), floats(N, L, E)
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_the_forget_rows_of_a_coupled_operator_are_not_looked_at() -> None:
    parts = lstm_parts("forward", bias=True, peephole=True, start=False)
    for name, blocks in (("W", 4), ("R", 4), ("B", 8), ("P", 3)):
        rows = np.split(parts[name], blocks, axis=1)
        for k in range(2, blocks, 4):  # i, o, f, c; peepholes i, o, f
            rows[k] = np.full_like(rows[k], 1e3)
        parts[name] = np.concatenate(rows, axis=1)
    nodes = [lstm_node(parts, input_forget=1), helper.make_node("Squeeze", ["Y", "one"], ["y"])]
    model, x = build(nodes, {**parts, "one": np.array([1])}), floats(N, L, E)
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_the_last_step_can_be_the_hidden_state() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=False)
    nodes = [
        lstm_node(parts, outputs=("", "Y_h")),
        helper.make_node("Squeeze", ["Y_h", "zero"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "b"], ["y"], alpha=0.5, beta=2.0),
    ]
    model = build(nodes, {**parts, "zero": np.array([0]), "w": floats(H, 3), "b": floats(3)})
    x = floats(N, L, E)
    assert_gives(Engine.from_onnx(model), x, run(model, x=x.transpose(1, 0, 2))[0], atol=CLOSE_TO_ONNXRUNTIME)


def test_states_and_lengths_among_the_inputs_are_those_of_the_session() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=False)
    names = ["x", "W", "R", "B", "lengths", "h", "c"]
    nodes = [
        helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], hidden_size=H),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
    ]
    state = ("float", ["D", "N", H])
    inputs = [
        ("h", TensorProto.FLOAT, state[1]),
        ("c", TensorProto.FLOAT, state[1]),
        X,
        ("lengths", TensorProto.INT32, ["N"]),
    ]
    model = build(nodes, {**parts, "one": np.array([1])}, inputs, ("y", "Y_h", "Y_c"))
    x, lengths = floats(N, L, E), np.array([7, 2, 4], np.int32)
    h, c = floats(1, N, H, seed=7), floats(1, N, H, seed=8)
    y, y_h, y_c = run(model, x=x.transpose(1, 0, 2), lengths=lengths, h=h, c=c)
    session = Engine.from_onnx(model).session(N)
    session.state = {"lstm_0.h": h, "lstm_0.c": c}
    np.testing.assert_allclose(session.run(x, lengths).transpose(1, 0, 2), y, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)
    np.testing.assert_allclose(session.state["lstm_0.h"], y_h, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)
    np.testing.assert_allclose(session.state["lstm_0.c"], y_c, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)


def test_arithmetic_with_constants_becomes_scales_and_biases() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=False, size=3)
    chain = [
        ("Sub", ["x", "mean"]), ("Div", ["", "deviation"]), ("MatMul", ["", "w"]), ("Add", ["b", ""]), ("Tanh", [""]),
        ("Mul", ["", "two"]), ("Sub", ["three", ""]), ("Identity", [""]), ("Dropout", [""]),
    ]  # fmt: skip
    nodes, last = [], "x"
    for k, (op, names) in enumerate(chain):
        nodes.append(helper.make_node(op, [name or last for name in names], [f"v{k}"]))
        last = f"v{k}"
    nodes += [
        helper.make_node("LSTM", [last, "W", "R", "B"], ["Y"], hidden_size=H),
        helper.make_node("Squeeze", ["Y", "one"], ["s"]),
        helper.make_node("MatMul", ["s", "v"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["g"]),
        helper.make_node("Mul", ["g", "p"], ["y"]),
    ]
    constants = {
        "mean": floats(E), "deviation": np.abs(floats(1, 1, E, seed=2)) + 1, "w": floats(E, 3), "b": floats(3),
        "two": np.float32(2), "three": floats(3), "one": np.array([1]), "v": floats(H, 2),
    }  # fmt: skip
    model, x = build(nodes, {**parts, **constants}), floats(N, L, E)
    engine = Engine.from_onnx(model)
    kinds = [layer.kind for layer in engine.architecture.layers]
    assert kinds == ["scale", "linear", "scale", "lstm", "linear"]
    assert engine.architecture.layers[-1].activation == "silu"
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(engine, x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_the_last_step_of_a_batch_first_operator_is_along_its_second_axis() -> None:
    # onnxruntime has no batch-first LSTM; the time-first one with the same weights has the same values.
    parts, x = lstm_parts("forward", bias=False, peephole=False, start=False), floats(N, L, E)
    model = build([lstm_node(parts), helper.make_node("Squeeze", ["Y", "one"], ["y"])], {**parts, "one": np.array([1])})
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(batchwise(axis=1)), x, expected[-1], atol=CLOSE_TO_ONNXRUNTIME)


def stacked(*between: onnx.NodeProto, inputs: list[Any] | None = None, **attributes: Any) -> onnx.ModelProto:
    """Two LSTMs, what stands ``between`` them leading from ``Y`` to ``s``."""
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    nodes = [
        lstm_node(parts, **attributes), *between,
        helper.make_node("LSTM", ["s", "V", "R"], ["Z"], hidden_size=H, **attributes),
        helper.make_node("Squeeze", ["Z", "side"], ["y"]),
    ]  # fmt: skip
    side = np.array([2 if attributes else 1])
    constants = {**parts, "V": floats(1, 4 * H, H, seed=9), "side": side, "shape": np.array([-1, 1, H])}
    return build(nodes, constants, inputs)


def test_two_batch_first_operators_follow_each_other() -> None:
    squeeze, x = helper.make_node("Squeeze", ["Y", "side"], ["s"]), floats(N, L, E)
    (expected,) = run(stacked(squeeze), x=x.transpose(1, 0, 2))
    engine = Engine.from_onnx(stacked(squeeze, layout=1))
    assert_gives(engine, x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_a_batch_of_one_that_a_reshape_keeps_stays_the_batch() -> None:
    reshape, x = helper.make_node("Reshape", ["Y", "shape"], ["s"]), floats(1, L, E)
    model = stacked(reshape, inputs=[("x", TensorProto.FLOAT, [L, 1, E])])
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_what_is_added_behind_a_bias_is_added_to_it() -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["g"]), helper.make_node("Add", ["g", "c"], ["y"])]
    constants = {"w": floats(E, 3), "b": floats(3), "c": floats(3, seed=2)}
    model, x = build(nodes, constants, [("x", TensorProto.FLOAT, ["N", E])]), floats(N, E)
    np.testing.assert_allclose(Engine.from_onnx(model).session(N).step(x), run(model, x=x)[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floating_point_types_become_float32(kind: type) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    w = floats(E, 3).astype(kind)
    elements = {np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE}
    _, weights = from_onnx(build(nodes, {"w": w}, [("x", elements[kind], ["N", "L", E])]))
    np.testing.assert_array_equal(weights["linear_0.weight"], w.T.astype(np.float32))


def test_operators_of_old_versions_have_their_axes_as_attributes() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=True)
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["v"], axes=[0]),
        lstm_node(parts, ("Y",)),
        helper.make_node("Squeeze", ["Y"], ["s"], axes=[1]),
        helper.make_node("Slice", ["s"], ["t"], starts=[-1], ends=[(1 << 31) - 1], axes=[0]),
        helper.make_node("Squeeze", ["t"], ["last"], axes=[0]),
        helper.make_node("MatMul", ["last", "w"], ["y"]),
    ]
    nodes[2].input[0] = "v"
    model, x = build(nodes, {**parts, "w": floats(H, 3)}, opset=9), floats(N, L, E)
    assert_gives(Engine.from_onnx(model), x, run(model, x=x.transpose(1, 0, 2))[0], atol=CLOSE_TO_ONNXRUNTIME)


def test_ids_may_come_as_floats_that_the_graph_casts() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["y"]),
    ]
    model = build(nodes, {"t": floats(7, 3)}, [("x", TensorProto.FLOAT, ["N", "L"])])
    ids = np.random.default_rng(0).integers(0, 7, (N, L))
    assert_gives(Engine.from_onnx(model), ids, run(model, x=ids.astype(np.float32))[0])


def test_constants_are_followed_through_the_nodes_that_shape_them() -> None:
    w = floats(2, 3, E)
    nodes = [
        helper.make_node("Constant", [], ["k"], value_ints=[1]),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Gather", ["w", "k"], ["a"]),  # (1, 3, E)
        helper.make_node("Squeeze", ["a", "zeros"], ["b"]),
        helper.make_node("Unsqueeze", ["b", "zeros"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Slice", ["d", "zeros", "three", "zeros"], ["e"]),
        helper.make_node("Concat", ["e", "e"], ["f"], axis=0),
        helper.make_node("Cast", ["f"], ["g"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["g"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    numbers = {"zeros": np.array([0]), "three": np.array([3]), "shape": np.array([3, -1])}
    model, x = build(nodes, {"w": w, **numbers}), floats(N, L, E)
    (expected,) = run(model, x=x)
    assert_gives(Engine.from_onnx(model), x, expected)
