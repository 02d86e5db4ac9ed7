"""The operators of ONNX that are layers of ours, or become part of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from carrousel.architecture import LSTM, Linear
from carrousel.interop.chain import Activation, Array, gates
from carrousel.interop.onnx.graph import FEATURES, Dims, Flow, Graph, Operator, State, Value, times

WIDEST = 1 << 24  # features of an input that only its declaration tells of
ACTIVATIONS: Mapping[str, Activation] = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}


def lstm(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    """Equations of the operator: those of ours, gates in the order i, o, f, c, peepholes in the order i, o, f."""
    x, w, r, b, lengths, h_0, c_0, p = [*inputs, *[None] * 8][:8]
    flow, layout = graph.features(x), attributes.get("layout", 0)
    if len(flow.axes) != 3:
        graph.refuse(f"X: expected 3 axes, got {len(flow.axes)}")
    time, batch = flow.axes[:2] if layout == 0 else flow.axes[1::-1]
    if graph.time not in (None, (time, batch)):
        graph.refuse("X: expected time and batch on the axes that the LSTM before it has them on, got others")
    graph.time = time, batch
    weight, recurrent = graph.constant(w, "W"), graph.constant(r, "R")
    direction = (attributes.get("direction") or b"forward").decode(errors="replace")
    ways = 2 if direction == "bidirectional" else 1
    hidden = attributes.get("hidden_size") or recurrent.shape[-1]
    coupled = bool(attributes.get("input_forget", 0))
    _check_lstm(graph, direction, attributes, ways)
    _check_lengths(graph, lengths, time)
    layer = LSTM(
        name=f"lstm_{len(graph.chain.layers)}", input_size=weight.shape[-1], hidden_size=hidden, bias=b is not None,
        bidirectional=ways == 2, reverse=direction == "reverse", peephole=p is not None, coupled=coupled,
    )  # fmt: skip
    order = "igo" if coupled else "ifgo"
    parts = {"weight_ih": _part(graph, weight, "W", (ways, 4 * hidden, weight.shape[-1]))}
    parts["weight_hh"] = _part(graph, recurrent, "R", (ways, 4 * hidden, hidden))
    if b is not None:
        bias = _part(graph, graph.constant(b, "B"), "B", (ways, 8 * hidden))
        parts |= {"bias_ih": bias[:, : 4 * hidden], "bias_hh": bias[:, 4 * hidden :]}
    tensors = {
        name + suffix: gates(array[d], "iofg", order)
        for name, array in parts.items()
        for d, suffix in enumerate(layer.suffixes())
    }
    if p is not None:
        peepholes = _part(graph, graph.constant(p, "P"), "P", (ways, 3 * hidden))
        for d, suffix in enumerate(layer.suffixes()):
            tensors["weight_ch" + suffix] = gates(peepholes[d], "iof", order.replace("g", ""))
    starts = [_start(graph, value, name, ways, hidden, layout) for value, name in ((h_0, "h"), (c_0, "c"))]
    if any(start is not None and start.any() for start in starts):
        layer = replace(layer, trainable_state=True)
        zeros = np.zeros((ways, hidden), np.float32)
        tensors |= {k: zeros if v is None else v for k, v in zip(("h_0", "c_0"), starts, strict=True)}
    graph.chain.add(layer, tensors)
    side = f"directions[{graph.version}]"
    graph.sizes[side] = ways
    y = graph.grown(flow, (time, side, batch, FEATURES) if layout == 0 else (batch, time, side, FEATURES))
    last = Flow((batch, FEATURES), graph.version, is_state=True) if direction == "forward" else None
    parts_h = (last, None)[:ways]
    axis = 0 if layout == 0 else 1
    return [y, State(parts_h, axis), State((None,) * ways, axis)]


def _check_lstm(graph: Graph, direction: str, attributes: dict[str, Any], ways: int) -> None:
    if direction not in ("forward", "reverse", "bidirectional"):
        graph.refuse(f"direction: expected forward, reverse or bidirectional, got {direction!r}")
    names = [name.decode(errors="replace") for name in attributes.get("activations") or ()]
    if names and [name.lower() for name in names] != ["sigmoid", "tanh", "tanh"] * ways:
        graph.refuse(
            f"activations: expected Sigmoid, Tanh, Tanh, got {', '.join(map(repr, names))}; the engine has no others"
        )
    if "clip" in attributes:
        graph.refuse(f"clip: expected none, got {attributes['clip']:g}; the engine does not clip")


def _check_lengths(graph: Graph, lengths: Value | None, time: str) -> None:
    if isinstance(lengths, Flow) and lengths.source is not None:
        return  # the caller's: `lengths` of a run
    if lengths is None:
        return
    if set(np.unique(graph.constant(lengths, "sequence_lens")).tolist()) != {graph.sizes.get(time)}:
        graph.refuse("sequence_lens: expected an input, or all steps of every row, got others; use lengths of a run")


def _part(graph: Graph, array: Array, what: str, shape: tuple[int, ...]) -> Array:
    if array.shape != shape:
        graph.refuse(f"{what}: expected {shape}, got {array.shape}")
    return graph.small(array)


def _start(graph: Graph, value: Value | None, gate: str, ways: int, hidden: int, layout: int) -> Array | None:
    """A constant initial state (ways, H); None where there is none or the caller gives it."""
    what = f"initial_{gate}"
    if value is None or (isinstance(value, State) and value.given):
        return None
    if isinstance(value, Flow) and graph.is_given(value):
        return None
    array = graph.constant(value, what)
    if array.ndim != 3:
        graph.refuse(f"{what}: expected 3 axes, got {array.shape}")
    array = array if layout == 0 else array.transpose(1, 0, 2)
    rows = array.shape[1] if array.strides[1] else 1
    array = np.broadcast_to(array[:, :rows], (ways, rows, hidden))
    if rows < 1 or (array != array[:, :1]).any():
        graph.refuse(f"{what}: expected one state for all rows, got several")
    return array[:, 0]


def matmul(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    flow, weight = graph.features(inputs[0]), graph.constant(inputs[1], "the second factor")
    return [_linear(graph, flow, weight.T, None)]


def gemm(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    a, b, c = [*inputs, None][:3]
    flow, weight = graph.features(a), graph.constant(b, "B")
    if attributes.get("transA", 0) or len(flow.axes) != 2:
        graph.refuse("A: expected 2 axes, the second with the features, got others")
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = None if c is None else graph.small(graph.constant(c, "C")) * np.float32(attributes.get("beta", 1.0))
    return [_linear(graph, flow, graph.small(weight) * np.float32(attributes.get("alpha", 1.0)), bias)]


def _linear(graph: Graph, flow: Flow, weight: Array, bias: Array | None) -> Flow:
    if weight.ndim != 2:
        graph.refuse(f"expected a matrix of weights, got {weight.shape}")
    output, size = weight.shape
    name = f"linear_{len(graph.chain.layers)}"
    tensors = {"weight": graph.small(weight)}
    if bias is not None:
        tensors["bias"] = _vector(graph, bias, output, flow)
    layer = Linear(name=name, input_size=size, output_size=output, bias=bias is not None)
    graph.chain.add(layer, tensors)
    return graph.grown(flow)


def _vector(graph: Graph, array: Array, size: int, flow: Flow) -> Array:
    """A constant that is one value for each feature, or one for all."""
    if array.size == 1 and array.ndim <= len(flow.axes):
        return np.full(size, array.reshape(()), np.float32)
    if array.shape != (1,) * (array.ndim - 1) + (size,) or array.ndim > len(flow.axes):
        graph.refuse(f"expected a constant of {size} values, one for each feature, got {array.shape}")
    return array.reshape(size)


def arithmetic(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    """Add, Sub, Mul and Div with a constant: part of a Linear or a Scale; x·σ(x); sizes times sizes."""
    op, (a, b) = graph.node.op_type, inputs
    if isinstance(a, Flow) and isinstance(b, Flow):
        return [_silu(graph, a, b)]
    if isinstance(a, Dims) or isinstance(b, Dims):
        pairs = zip(graph.numbers(a, "A"), graph.numbers(b, "B"), strict=True)
        if op != "Mul":
            graph.refuse("expected sizes to be multiplied only")
        return [Dims(tuple(times(x, y) for x, y in pairs))]
    swapped = not isinstance(a, Flow)
    flow, other = (graph.features(b), a) if swapped else (graph.features(a), b)
    width = graph.width(flow)
    if width is None or width > WIDEST:
        graph.refuse(f"expected a number of features up to {WIDEST} that the input declares, got {width}")
    constant = _vector(graph, graph.constant(other, "one of the two"), width, flow).astype(np.float64)
    ones, zeros = np.ones(width), np.zeros(width)
    if op == "Div" and swapped:
        graph.refuse("expected a division by a constant, got one of a constant")
    with np.errstate(all="ignore"):  # a division by 0 is infinite, which the engine names and refuses
        weight, bias = {
            "Add": (ones, constant),
            "Sub": (-ones, constant) if swapped else (ones, -constant),
            "Mul": (constant, zeros),
            "Div": (1 / constant, zeros),
        }[op]
        graph.chain.affine(weight, bias, f"scale_{len(graph.chain.layers)}")
    return [graph.grown(flow)]


def _silu(graph: Graph, a: Flow, b: Flow) -> Flow:
    old, new = sorted((a, b), key=lambda flow: flow.version)
    last = graph.chain.layers[-1] if graph.chain.layers else None
    fits = graph.node.op_type == "Mul" and new.version == graph.version and old.version == new.version - 1
    if not (fits and old.axes == new.axes and isinstance(last, Linear) and last.activation == "sigmoid"):
        graph.refuse("expected a chain, got a branch: both inputs come from the model's input")
    graph.chain.layers[-1] = replace(last, activation="silu")
    return graph.grown(new)


def activation(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    flow = graph.take(inputs[0])
    if not graph.chain.activate(ACTIVATIONS[graph.node.op_type]):
        graph.refuse("expected a Gemm or MatMul before it, of which it becomes part, got none")
    return [graph.grown(flow)]


OPERATORS: Mapping[str, Operator] = {
    "LSTM": lstm,
    "MatMul": matmul,
    "Gemm": gemm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    **dict.fromkeys(ACTIVATIONS, activation),
}
