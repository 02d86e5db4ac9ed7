"""The operators of ONNX that move axes about, take parts, or work on shapes and constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from carrousel.architecture import Embedding
from carrousel.interop.onnx.graph import FEATURES, INTEGER, Dims, Flow, Graph, Operator, State, Value, times

FLOATING = (1, 10, 11, 16)  # TensorProto.DataType: float32, float16, float64, bfloat16


def gather(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    data, index = inputs
    axis = attributes.get("axis", 0)
    if isinstance(data, np.ndarray) and isinstance(index, Flow):
        flow = graph.take(index)
        if axis != 0 or data.ndim != 2 or FEATURES in flow.axes or graph.chain.layers:
            graph.refuse("expected a table whose rows are taken by the model's input, got another Gather")
        name, (count, size) = f"embedding_{len(graph.chain.layers)}", data.shape
        graph.chain.add(Embedding(name=name, num_embeddings=count, embedding_dim=size), {"weight": graph.small(data)})
        return [graph.grown(flow, (*flow.axes, FEATURES))]
    numbers = graph.whole(index, "indices")
    if isinstance(data, Dims):
        return [Dims(tuple(data.sizes[k] for k in numbers))]
    if isinstance(data, State):
        single = np.ndim(graph.constant(index, "indices")) == 0
        if single and data.parts and axis == data.axis and (part := data.parts[numbers[0]]) is not None:
            return [part]
        return [State(given=data.given)]
    if isinstance(data, Flow):
        if graph.is_given(data):
            return [State(given=True)]
        axis %= len(data.axes)
        if numbers not in ([-1], [_last(graph.size(data, data.axes[axis]))]):
            graph.refuse("expected the last step to be taken, got others")
        inserted = (graph.unit(),) * np.ndim(graph.constant(index, "indices"))
        return [_last_step(graph, data, axis, inserted)]
    return [np.take(graph.constant(data, "data"), graph.small(graph.constant(index, "indices")), axis)]


def slice_(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    data = inputs[0]
    if len(inputs) == 1:
        names = ("starts", "ends", "axes")
        inputs = [data, *(np.array(attributes[k]) if k in attributes else None for k in names)]
    starts, ends = graph.whole(inputs[1], "starts"), graph.whole(inputs[2], "ends")
    given_axes, given_steps = [*inputs[3:], None, None][:2]
    axes = list(range(len(starts))) if given_axes is None else graph.whole(given_axes, "axes")
    steps = [1] * len(starts) if given_steps is None else graph.whole(given_steps, "steps")
    cuts = {axis: slice(*cut) for axis, *cut in zip(axes, starts, ends, steps, strict=True)}
    if isinstance(data, Dims):
        return [Dims(data.sizes[cuts[0]])]
    if isinstance(data, State):
        whole = data.parts and set(cuts) == {data.axis}
        return [replace(data, parts=data.parts[cuts[data.axis]]) if whole else State(given=data.given)]
    if isinstance(data, Flow):
        if graph.is_given(data):
            return [State(given=True)]
        (axis, cut), *others = cuts.items()
        size = graph.size(data, data.axes[axis])
        to_end = cut.step == 1 and cut.stop >= (size if isinstance(size, int) else (1 << 31) - 1)
        if to_end and cut.start == 0 and not others:
            return [data]
        if others or cut.start not in (-1, _last(size)) or not to_end:
            graph.refuse("expected the last step to be taken, got others")
        return [_last_step(graph, data, axis % len(data.axes), (graph.unit(),))]
    array = graph.constant(data, "data")
    return [array[tuple(cuts.get(k, cuts.get(k - array.ndim, slice(None))) for k in range(array.ndim))]]


def _last_step(graph: Graph, flow: Flow, axis: int, inserted: tuple[str, ...]) -> Flow:
    if graph.time is None or flow.axes[axis] != graph.time[0]:
        graph.refuse("expected the last step to be taken along the axis of time behind an LSTM, got another axis")
    return replace(flow, axes=(*flow.axes[:axis], *inserted, *flow.axes[axis + 1 :]))


def transpose(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    (data,) = inputs
    if isinstance(data, State):
        return [State(given=data.given)]
    rank = len(data.axes) if isinstance(data, Flow) else graph.constant(data, "data").ndim
    order = attributes.get("perm") or list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        graph.refuse(f"perm: expected an order of {rank} axes, got {order}")
    if isinstance(data, Flow):
        return [replace(data, axes=tuple(data.axes[k] for k in order))]
    return [graph.constant(data, "data").transpose(order)]


def squeeze(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    data, given = [*inputs, None][:2]
    axes = attributes.get("axes") if given is None else graph.whole(given, "axes")
    if isinstance(data, Dims):
        return [data]
    if axes is None:
        graph.refuse("axes: expected them to be named, got none")
    if isinstance(data, State):
        single = len(data.parts) == 1 and axes == [data.axis]
        return [part if single and (part := data.parts[0]) is not None else State(given=data.given)]
    if isinstance(data, np.ndarray):
        return [data.squeeze(tuple(axes))]
    flow = data if isinstance(data, Flow) else graph.take(data)
    gone = {axis % len(flow.axes) for axis in axes}
    for k in gone:
        if graph.size(flow, flow.axes[k]) != 1:
            graph.refuse(f"axes: expected axes of size 1, got {k}, which is {flow.axes[k]}")
    return [replace(flow, axes=tuple(axis for k, axis in enumerate(flow.axes) if k not in gone))]


def unsqueeze(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    data, given = [*inputs, None][:2]
    axes = attributes.get("axes") if given is None else graph.whole(given, "axes")
    if axes is None or len(axes) > 8:
        graph.refuse(f"axes: expected a few, got {axes}")
    if isinstance(data, Dims):
        return [data]
    if isinstance(data, State):
        return [State(given=data.given)]
    if isinstance(data, np.ndarray):
        return [np.expand_dims(data, tuple(axes))]
    flow = data if isinstance(data, Flow) else graph.take(data)
    result = list(flow.axes)
    rank = len(result) + len(axes)
    for k in sorted(axis % rank for axis in axes):
        result.insert(k, graph.unit())
    return [replace(flow, axes=tuple(result))]


def reshape(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    data, given = [*inputs, None][:2]
    target = attributes.get("shape") if given is None else graph.numbers(given, "shape")
    if target is None:
        graph.refuse("shape: expected one, got none")
    if isinstance(data, State):
        return [State(given=data.given)]
    if isinstance(data, Dims):
        return [data]
    if isinstance(data, np.ndarray):
        shape = [data.shape[k] if size == 0 else size for k, size in enumerate(target)]
        whole = [size for size in shape if isinstance(size, int)]
        return [graph.small(data).reshape(whole)] if len(whole) == len(shape) else graph.refuse("shape: not constant")
    flow = data if isinstance(data, Flow) else graph.take(data)
    if attributes.get("allowzero", 0) and 0 in target:
        graph.refuse("allowzero: expected 0, got 1")
    target = [graph.size(flow, flow.axes[k]) if size == 0 else size for k, size in enumerate(target)]
    found = _reshaped(graph, flow, target)
    if found is None:
        old = ", ".join(str(graph.size(flow, axis)) for axis in flow.axes)
        new = ", ".join(map(str, target))
        graph.refuse(
            f"expected axes of size 1 to go or come, or directions to join the features, got ({old}) to ({new})"
        )
    return [replace(flow, axes=found)]


def _reshaped(graph: Graph, flow: Flow, target: Sequence[int | str]) -> tuple[str, ...] | None:
    """The axes behind a Reshape that joins the directions with the features, or drops or adds axes of size 1."""
    sizes = {axis: graph.size(flow, axis) for axis in flow.axes}
    axes = [axis for axis in flow.axes if sizes[axis] != 1 or axis == FEATURES]
    joined = [axis for axis in axes if not axis.startswith("directions")]
    pairs = [k for k, axis in enumerate(axes) if axis.startswith("directions")]
    candidates = [axes]
    if pairs and axes[pairs[0] + 1 :] == [FEATURES] and isinstance(sizes[FEATURES], int):
        candidates.append(joined)
    ones = [axis for axis in flow.axes if sizes[axis] == 1 and axis != FEATURES]
    ones.sort(key=lambda axis: axis.startswith(("directions", "unit")))  # the input's own axes go on first
    for kept in candidates:
        if kept is joined and kept is not axes:
            sizes = {**sizes, FEATURES: times(sizes[FEATURES], 2)}
        result: list[str] = []
        rest, units = list(kept), list(ones)
        for k, size in enumerate(target):
            free = size == -1 and sum(other != 1 for other in target[k:]) > len(rest)
            if (size == 1 and not (rest == [FEATURES] and sizes[FEATURES] == 1)) or free:
                result.append(units.pop(0) if units else graph.unit())
            elif rest and (size == -1 or size == sizes[rest[0]]):
                result.append(rest.pop(0))
            else:
                break
        if len(result) == len(target) and not rest:
            return tuple(result)
    return None


def concat(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    if any(isinstance(value, Dims) for value in inputs):
        return [Dims(tuple(size for value in inputs for size in graph.numbers(value, "inputs")))]
    states = [value for value in inputs if isinstance(value, State)]
    if states and len(states) == len(inputs):
        axis = attributes.get("axis", 0)
        along = all(state.parts and state.axis == axis for state in states)
        return [State(tuple(part for state in states for part in state.parts) if along else (), axis)]
    arrays = [graph.constant(value, "inputs") for value in inputs]
    return [np.concatenate([graph.small(array) for array in arrays], attributes.get("axis", 0))]


def shape(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    (data,) = inputs
    if isinstance(data, Flow):
        sizes = tuple(graph.size(data, axis) for axis in data.axes)
    else:
        sizes = graph.constant(data, "data").shape
    return [Dims(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))])]


def expand(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    array, shape = graph.constant(inputs[0], "input"), graph.numbers(inputs[1], "shape")
    own = (1,) * (len(shape) - array.ndim) + array.shape
    sizes = [old if isinstance(new, str) else new for old, new in zip(own, shape, strict=True)]
    return [np.broadcast_to(array, np.broadcast_shapes(own, tuple(sizes)))]


def fill(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    tensor = attributes.get("value")
    value = np.zeros(1, np.float32) if tensor is None else graph.array(tensor, f"node {graph.node.name!r}")
    sizes = [1 if isinstance(size, str) else size for size in graph.numbers(inputs[0], "input")]
    return [np.broadcast_to(value.reshape(()), sizes)]


def literal(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        if name in attributes:
            value = attributes[name]
            where = f"node {graph.node.name or graph.node.output[0]!r}"
            return [graph.array(value, where) if name == "value" else np.array(value)]
    graph.refuse("expected a tensor or numbers, got another kind of constant")


def same(graph: Graph, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
    """Identity, Dropout (of inference), and Cast between types of one kind."""
    value = inputs[0]
    if value is None:
        graph.refuse("expected an input, got none")
    training = inputs[2] if graph.node.op_type == "Dropout" and len(inputs) > 2 else None
    if training is not None and graph.constant(training, "training_mode").any():
        graph.refuse("training_mode: expected false, got true; export the model for inference")
    if graph.node.op_type == "Cast":
        kind = attributes.get("to")
        if isinstance(value, np.ndarray):
            return [graph.small(value).astype(np.float32 if kind in FLOATING else np.int64)]
        if isinstance(value, Flow) and kind in INTEGER and value.source is not None:  # ids that come as floats
            names = tuple(f"{value.source!r}[{k}]" for k in range(len(value.axes)))
            return [replace(value, axes=names)]
        if isinstance(value, Flow) and kind not in FLOATING:
            graph.refuse("to: expected a floating-point type, got another")
    return [value]


def _last(size: int | str) -> int:
    return size - 1 if isinstance(size, int) else -1


OPERATORS: Mapping[str, Operator] = {
    "Gather": gather,
    "Slice": slice_,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Reshape": reshape,
    "Concat": concat,
    "Shape": shape,
    "Expand": expand,
    "ConstantOfShape": fill,
    "Constant": literal,
    **dict.fromkeys(("Identity", "Cast", "Dropout"), same),
}
