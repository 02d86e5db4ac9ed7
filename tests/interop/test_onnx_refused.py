"""ONNX models that the engine does not have, each refused with one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from carrousel.engine import Engine
from carrousel.errors import ConfigError
from interop.onnx_model import E, H, L, N, W, X, batchwise, build, lstm_node, lstm_parts, node
from interop.sequence import exactly, floats


def plain(*more: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """A bidirectional LSTM to ``Y``, ``Y_h``, ``Y_c``, and what follows it; the model's output is ``y``."""
    parts = lstm_parts("bidirectional", bias=False, peephole=False, start=False)
    node = lstm_node(parts, ("Y", "Y_h", "Y_c"), direction="bidirectional")
    return build([node, *more], {**parts, **constants})


def lstm_with(**attributes: Any) -> onnx.ModelProto:
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    return build([lstm_node(parts, ("y",), **attributes)], parts)


def mixed() -> onnx.ModelProto:
    """Without the Transpose that a bidirectional LSTM needs before its directions join the features."""
    parts = lstm_parts("bidirectional", bias=False, peephole=False, start=False)
    nodes = [lstm_node(parts, direction="bidirectional"), node("Reshape", "Y", "s")]
    return build(nodes, {**parts, "s": np.array([L, N, 2 * H])}, [("x", TensorProto.FLOAT, [L, N, E])])


def backward_state() -> onnx.ModelProto:
    parts = lstm_parts("reverse", bias=False, peephole=False, start=False)
    nodes = [
        lstm_node(parts, ("", "Y_h"), direction="reverse"),
        node("Squeeze", "Y_h", "zero", output="h"),
        node("Gemm", "h", "w"),
    ]
    return build(nodes, {**parts, "zero": np.array([0]), "w": floats(H, 1)})


def several_states() -> onnx.ModelProto:
    parts = lstm_parts("forward", bias=False, peephole=False, start=True)
    parts["initial_c"] = floats(1, N, H)
    return build([lstm_node(parts, ("y",))], parts)


def short() -> onnx.ModelProto:
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    parts["sequence_lens"] = np.array([2, 3, 1], np.int32)
    return build([lstm_node(parts, ("y",))], parts)


REFUSED = {
    "an unknown operator": (
        lambda: build([node("Softmax", "x")], {}),
        "node 'softmax': expected Add, Cast, Concat, Constant, ConstantOfShape, Div, Dropout, Expand, Gather, Gemm, "
        "Identity, LSTM, MatMul, Mul, Relu, Reshape, Shape, Sigmoid, Slice, Squeeze, Sub, Tanh, Transpose or "
        "Unsqueeze, got 'Softmax'; the engine has no such layer",
    ),
    "an operator of another domain": (
        lambda: build([node("LSTM", "x", domain="com.example")], {}),
        "node 'lstm': expected Add, Cast, Concat, Constant, ConstantOfShape, Div, Dropout, Expand, Gather, Gemm, "
        "Identity, LSTM, MatMul, Mul, Relu, Reshape, Shape, Sigmoid, Slice, Squeeze, Sub, Tanh, Transpose or "
        "Unsqueeze, got 'LSTM'; the engine has no such layer",
    ),
    "a clip": (
        lambda: lstm_with(clip=3.0), "node 'lstm': clip: expected none, got 3; the engine does not clip"
    ),
    "other activations": (
        lambda: lstm_with(activations=["Relu", "Tanh", "Tanh"]),
        "node 'lstm': activations: expected Sigmoid, Tanh, Tanh, got 'Relu', 'Tanh', 'Tanh'; the engine has no others",
    ),
    "an unknown direction": (
        lambda: lstm_with(direction="sideways"),
        "node 'lstm': direction: expected forward, reverse or bidirectional, got 'sideways'",
    ),
    "several initial states": (
        several_states, "node 'lstm': initial_c: expected one state for all rows, got several"
    ),
    "constant lengths": (
        short,
        "node 'lstm': sequence_lens: expected an input, or all steps of every row, got others; use lengths of a run",
    ),
    "a residual connection": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("Add", "m", "x")], {"w": W}),
        "node 'add': expected a chain, got a branch: both inputs come from the model's input",
    ),
    "two branches": (
        lambda: build(
            [node("MatMul", "x", "w", output="m"), node("MatMul", "x", "w", output="n"), node("Mul", "m", "n")],
            {"w": W},
        ),
        "node 'matmul': expected a chain, got a branch: another node takes the same value",
    ),
    "two inputs": (
        lambda: build(
            [node("MatMul", "x", "w", output="m"), node("MatMul", "z", "w", output="n"), node("Add", "m", "n")],
            {"w": W}, [X, ("z", TensorProto.FLOAT, ["L", "N", E])],
        ),
        "node 'matmul': expected one input for the chain, got 'z' beside 'x'",
    ),
    "an output from the middle": (
        lambda: build(
            [node("MatMul", "x", "w", output="m"), node("Tanh", "m")], {"w": W}, outputs=("m", "y")
        ),
        "output 'm': expected the end of the chain, got a value from its middle; keep one output, and states of LSTMs",
    ),
    "an activation of nothing": (
        lambda: build([node("Relu", "x")], {}),
        "node 'relu': expected a Gemm or MatMul before it, of which it becomes part, got none",
    ),
    "the state of both directions as features": (
        lambda: plain(
            node("Transpose", "Y_h", output="t", perm=[1, 0, 2]), node("Reshape", "t", "s", output="r"),
            node("Gemm", "r", "w"), s=np.array([0, -1]), w=floats(2 * H, 1),
        ),
        "node 'gemm': expected the output of the layer before it, got a state or a part of an input",
    ),
    "directions as batch": (
        lambda: plain(node("Reshape", "Y", "s", output="r"), node("MatMul", "r", "w"), s=np.array([0, -1, H]),
                      w=floats(H, 1)),
        "node 'reshape': expected axes of size 1 to go or come, or directions to join the features, "
        "got ('x'[0], 2, 'x'[1], 5) to ('x'[0], -1, 5)",
    ),
    "directions joined across the batch": (
        mixed,
        "node 'reshape': expected axes of size 1 to go or come, or directions to join the features, "
        "got (7, 2, 3, 5) to (7, 3, 10)",
    ),
    "time and batch changed places": (
        lambda: build(
            [
                node("LSTM", "x", "W", "R", output="Y", hidden_size=H), node("Squeeze", "Y", "one", output="s"),
                node("Transpose", "s", output="t", perm=[1, 0, 2]), node("LSTM", "t", "V", "R", hidden_size=H),
            ],
            {"W": floats(1, 4 * H, E), "R": floats(1, 4 * H, H), "V": floats(1, 4 * H, H), "one": np.array([1])},
        ),
        "node 'lstm': X: expected time and batch on the axes that the LSTM before it has them on, got others",
    ),
    "features on another axis": (
        lambda: build([node("Transpose", "x", output="t"), node("MatMul", "t", "w")], {"w": W}),
        "node 'matmul': expected the features on the last axis, got them elsewhere",
    ),
    "a step that is not the last": (
        lambda: plain(node("Gather", "Y", "two", axis=0), two=np.array(2)),
        "node 'gather': expected the last step to be taken, got others",
    ),
    "a last step before any LSTM": (
        lambda: build([node("Gather", "x", "last", output="g"), node("MatMul", "g", "w")],
                      {"w": W, "last": np.array(-1)}),
        "node 'matmul': expected the output of the layer before it, got a state or a part of an input",
    ),
    "a step along the batch": (
        lambda: plain(node("Gather", "Y", "last", axis=2), last=np.array(-1)),
        "node 'gather': expected the last step to be taken along the axis of time behind an LSTM, got another axis",
    ),
    "a step along the batch of the other layout": (
        lambda: batchwise(axis=0),
        "node 'gather': expected the last step to be taken along the axis of time behind an LSTM, got another axis",
    ),
    "several last steps": (
        lambda: plain(node("Slice", "Y", "start", "end"), start=np.array([-2]), end=np.array([1 << 40])),
        "node 'slice': expected the last step to be taken, got others",
    ),
    "the state of a backward run as features": (
        backward_state, "node 'gemm': expected the output of the layer before it, got a state or a part of an input"
    ),
    "every axis of size 1 squeezed": (
        lambda: plain(node("Squeeze", "Y")), "node 'squeeze': axes: expected them to be named, got none"
    ),
    "an axis squeezed that is longer": (
        lambda: plain(node("Squeeze", "Y", "k"), k=np.array([1])),
        "node 'squeeze': axes: expected axes of size 1, got 1, which is directions[0]",
    ),
    "dropout in training": (
        lambda: build([node("Dropout", "x", "r", "t")], {"r": np.float32(0.5), "t": np.array(True)}),
        "node 'dropout': training_mode: expected false, got true; export the model for inference",
    ),
    "values cast to integers": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("Cast", "m", to=TensorProto.INT64)], {"w": W}),
        "node 'cast': to: expected a floating-point type, got another",
    ),
    "a table taken by values": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("Gather", "w", "m")], {"w": W}),
        "node 'gather': expected a table whose rows are taken by the model's input, got another Gather",
    ),
    "weights that are computed": (
        lambda: build([node("LSTM", "x", "w", "w", hidden_size=H)], {},
                      [X, ("w", TensorProto.FLOAT, [1, 4 * H, E])]),
        "node 'lstm': W: expected a constant, got a value that is computed or missing",
    ),
    "weights of another shape": (
        lambda: build([node("LSTM", "x", "W", "R", hidden_size=H)],
                      {"W": floats(1, 4 * H, E), "R": floats(1, 3 * H, H)}),
        "node 'lstm': R: expected (1, 20, 5), got (1, 15, 5)",
    ),
    "widths that do not fit": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("MatMul", "m", "w")], {"w": floats(E, 3)}),
        "stack 'main': 'linear_1' takes 2 values, but 'linear_0' before it gives 3",
    ),
    "no layers": (lambda: build([node("Identity", "x")], {}), "expected at least one layer, got none"),
    "a loop": (
        lambda: build([node("MatMul", "m", "w", output="y"), node("MatMul", "y", "w", output="m")], {"w": W}),
        "node 'matmul': expected values that nodes before it make, got 'm'; the nodes are not in order",
    ),
    "a value made twice": (
        lambda: build([node("MatMul", "x", "w"), node("MatMul", "x", "w")], {"w": W}),
        "expected each value to be made once, got 'y' twice",
    ),
    "an enormous constant": (
        lambda: build(
            [node("Expand", "w", "s", output="v"), node("MatMul", "x", "v")],
            {"w": floats(1, 1), "s": np.array([E, 1 << 40])},
        ),
        "node 'matmul': expected at most 268435456 values, got 2199023255552",
    ),
    "an enormous input": (
        lambda: build([node("Mul", "x", "w")], {"w": np.float32(2)}, [("x", TensorProto.FLOAT, ["N", 1 << 60])]),
        "node 'mul': expected a number of features up to 16777216 that the input declares, got 1152921504606846976",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_chain_of_layers_is_refused_with_one_sentence(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=exactly(f"from_onnx: {message}")):
        Engine.from_onnx(make())
