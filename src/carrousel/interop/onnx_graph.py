"""The graph of an ONNX model, followed node by node, as the chain of layers that it computes.

Each value is followed as what it means: a `Flow` along the chain with the meaning of its axes, the `State` of an LSTM,
a constant, or the `Dims` of a shape. So nodes that only move axes about vanish, and those that would mix them up do not
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Embedding, Linear
from carrousel.errors import ConfigError
from carrousel.interop.chain import Activation, Array, Chain, Network, gates, listed

FEATURES = "features"
LARGEST = 1 << 28  # elements of a constant that is computed from others: 1 GiB of float32
WIDEST = 1 << 24  # features of an input that only its declaration tells of
FLOATING, INTEGER = (1, 10, 11, 16), (6, 7)  # TensorProto.DataType
ACTIVATIONS: dict[str, Activation] = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Flow:
    """A value of the chain after `version` of its layers; `axes` are names, `source` is the input it still equals."""

    axes: tuple[str, ...]
    version: int
    source: str | None = None
    is_state: bool = False


@dataclass(frozen=True)
class State:
    """States of LSTMs, one for each item along `axis`: a part that is the last step's output is a Flow, others None."""

    parts: tuple[Flow | None, ...] = ()
    axis: int = 0
    given: bool = False


@dataclass(frozen=True)
class Dims:
    """Sizes: numbers, or the names of axes whose size only the caller knows."""

    sizes: tuple[int | str, ...]


Value = Flow | State | Dims | npt.NDArray[Any]


class Graph:
    """A parsed model; `array` reads a tensor and takes words for the place, `where` begins the messages."""

    def __init__(self, model: Any, where: str, array: Callable[[Any, str], Array]) -> None:
        self.graph, self.where, self.array = model.graph, where, array
        self.chain = Chain(where)
        self.version = 0  # of the chain: a value that is older than it leaves the chain
        self.stored = {tensor.name: tensor for tensor in self.graph.initializer}  # read when first needed
        self.values: dict[str, Value] = {}
        self.sizes: dict[str, int] = {}  # of axes, where known
        self.source: str | None = None
        self.time: tuple[str, str] | None = None  # the axes of time and batch
        self.node: Any = None

    def network(self) -> Network:
        """Follow the graph from its inputs to its outputs.

        Raises
        ------
        ConfigError : it is no chain of layers
        """
        self._begin()
        for node in self._needed():
            self.node = node
            try:
                results = self._evaluate(node)
            except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) as error:
                problem = str(error).splitlines()[0] if str(error) else type(error).__name__
                self.refuse(f"expected inputs that fit the operator, got others ({problem})")
            for name, value in zip(node.output, results, strict=False):
                if name:
                    self.values[name] = value
        for output in self.graph.output:
            self._check_output(output.name)
        return self.chain.finish()

    def refuse(self, problem: str) -> NoReturn:
        raise ConfigError(f"{self.where}: node {self.node.name or self.node.output[0]!r}: {problem}")

    def _begin(self) -> None:
        for value in self.graph.input:
            if value.name not in self.stored and value.type.HasField("tensor_type"):
                self.values[value.name] = self._input(value)

    def _input(self, value: Any) -> Flow:
        kind = value.type.tensor_type
        names = [f"{value.name!r}[{k}]" for k in range(len(kind.shape.dim))]
        if names and kind.elem_type not in INTEGER:
            names[-1] = FEATURES
        for name, dim in zip(names, kind.shape.dim, strict=True):
            if name != FEATURES and dim.dim_value > 0:
                self.sizes[name] = dim.dim_value
        if names and kind.elem_type not in INTEGER and kind.shape.dim[-1].dim_value > 0:
            self.sizes[f"{value.name}:{FEATURES}"] = kind.shape.dim[-1].dim_value
        return Flow(tuple(names), 0, value.name)

    def _needed(self) -> list[Any]:
        """The nodes that the outputs depend on, in the order of the file."""
        makers: dict[str, Any] = {}
        for node in self.graph.node:
            for name in filter(None, node.output):
                if name in makers or name in self.values or name in self.stored:
                    raise ConfigError(f"{self.where}: expected each value to be made once, got {name!r} twice")
                makers[name] = node
        wanted, kept = [output.name for output in self.graph.output], set[int]()
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and id(node) not in kept:
                kept.add(id(node))
                wanted.extend(filter(None, node.input))
        return [node for node in self.graph.node if id(node) in kept]

    def _check_output(self, name: str) -> None:
        value = self.values.get(name)
        if isinstance(value, Flow) and not value.is_state and value.version != self.version:
            raise ConfigError(
                f"{self.where}: output {name!r}: expected the end of the chain, got a value from its middle; "
                "keep one output, and states of LSTMs"
            )
        if not isinstance(value, (Flow, State)):
            raise ConfigError(f"{self.where}: output {name!r}: expected the end of the chain, got something else")

    # What nodes are given.

    def value(self, name: str) -> Value:
        if name in self.stored and name not in self.values:
            self.values[name] = self.array(self.stored[name], f"tensor {name!r}")
        if name not in self.values:
            self.refuse(f"expected values that nodes before it make, got {name!r}; the nodes are not in order")
        return self.values[name]

    def inputs(self) -> list[Value | None]:
        return [self.value(name) if name else None for name in self.node.input]

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for attribute in self.node.attribute:
            kinds = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings"}
            value = getattr(attribute, kinds[attribute.type]) if attribute.type in kinds else None
            found[attribute.name] = list(value) if attribute.type in (6, 7, 8) and value is not None else value
        return found

    def take(self, value: Value | None) -> Flow:
        """The chain's end, which the next layer takes."""
        if isinstance(value, State):
            self.refuse("expected the output of the layer before it, got a state or a part of an input")
        if not isinstance(value, Flow):
            self.refuse("expected a value that comes from the model's input, got a constant")
        if value.source is not None and self.source is None:
            self.source = value.source
        if value.source is not None and value.source != self.source:
            self.refuse(f"expected one input for the chain, got {value.source!r} beside {self.source!r}")
        if value.version != self.version:
            self.refuse("expected a chain, got a branch: another node takes the same value")
        return value

    def features(self, value: Value | None) -> Flow:
        """The chain's end, whose last axis are the features and no other axis is theirs."""
        flow = self.take(value)
        if not flow.axes or flow.axes[-1] != FEATURES or self.directions(flow) != 1:
            self.refuse("expected the features on the last axis, got them elsewhere")
        return flow

    def constant(self, value: Value | None, what: str) -> Array:
        if not isinstance(value, np.ndarray):
            self.refuse(f"{what}: expected a constant, got a value that is computed or missing")
        return value

    def numbers(self, value: Value | None, what: str) -> tuple[int | str, ...]:
        """Sizes, from a shape or from constant integers."""
        if isinstance(value, Dims):
            return value.sizes
        array = self.constant(value, what)
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
            self.refuse(f"{what}: expected a few integers, got {array.dtype} {array.shape}")
        return tuple(array.reshape(-1).tolist())

    def whole(self, value: Value | None, what: str) -> list[int]:
        numbers = self.numbers(value, what)
        found = [number for number in numbers if isinstance(number, int)]
        return found if len(found) == len(numbers) else self.refuse(f"{what}: expected constants, got sizes")

    def directions(self, flow: Flow) -> int:
        return max([self.sizes[axis] for axis in flow.axes if axis.startswith("directions")], default=1)

    def width(self, flow: Flow) -> int | None:
        """Size of the axis of features."""
        if flow.version == 0:
            return self.sizes.get(f"{flow.source}:{FEATURES}")
        return self.chain.layers[-1].widths[1] // self.directions(flow)

    def size(self, flow: Flow, axis: str) -> int | str:
        """Of an axis: its number, or its name where only the caller knows it."""
        return (self.width(flow) if axis == FEATURES else self.sizes.get(axis)) or axis

    def unit(self) -> str:
        """A new axis of size 1."""
        name = f"unit[{len(self.sizes)}]"
        self.sizes[name] = 1
        return name

    def grown(self, flow: Flow, axes: Sequence[str] | None = None) -> Flow:
        """The chain's new end."""
        self.version += 1
        return Flow(flow.axes if axes is None else tuple(axes), self.version)

    # The operators.

    def _evaluate(self, node: Any) -> list[Value]:
        method = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if method is None:
            self.refuse(f"expected {listed(sorted(OPERATORS))}, got {node.op_type!r}; the engine has no such layer")
        return method(self, self.inputs(), self.attributes())

    def lstm(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        """Equations of the operator: those of ours, gates in the order i, o, f, c, peepholes in the order i, o, f."""
        x, w, r, b, lengths, h_0, c_0, p = [*inputs, *[None] * 8][:8]
        flow, layout = self.features(x), attributes.get("layout", 0)
        if len(flow.axes) != 3:
            self.refuse(f"X: expected 3 axes, got {len(flow.axes)}")
        time, batch = flow.axes[:2] if layout == 0 else flow.axes[1::-1]
        if self.time not in (None, (time, batch)):
            self.refuse("X: expected time and batch on the axes that the LSTM before it has them on, got others")
        self.time = time, batch
        weight, recurrent = self.constant(w, "W"), self.constant(r, "R")
        direction = (attributes.get("direction") or b"forward").decode(errors="replace")
        ways = 2 if direction == "bidirectional" else 1
        hidden = attributes.get("hidden_size") or recurrent.shape[-1]
        coupled = bool(attributes.get("input_forget", 0))
        self._check_lstm(direction, attributes, ways)
        self._check_lengths(lengths, time)
        layer = LSTM(
            name=f"lstm_{len(self.chain.layers)}", input_size=weight.shape[-1], hidden_size=hidden, bias=b is not None,
            bidirectional=ways == 2, reverse=direction == "reverse", peephole=p is not None, coupled=coupled,
        )  # fmt: skip
        order = "igo" if coupled else "ifgo"
        parts = {"weight_ih": self._part(weight, "W", (ways, 4 * hidden, weight.shape[-1]))}
        parts["weight_hh"] = self._part(recurrent, "R", (ways, 4 * hidden, hidden))
        if b is not None:
            bias = self._part(self.constant(b, "B"), "B", (ways, 8 * hidden))
            parts |= {"bias_ih": bias[:, : 4 * hidden], "bias_hh": bias[:, 4 * hidden :]}
        tensors = {
            name + suffix: gates(array[d], "iofg", order)
            for name, array in parts.items()
            for d, suffix in enumerate(layer.suffixes())
        }
        if p is not None:
            peepholes = self._part(self.constant(p, "P"), "P", (ways, 3 * hidden))
            for d, suffix in enumerate(layer.suffixes()):
                tensors["weight_ch" + suffix] = gates(peepholes[d], "iof", order.replace("g", ""))
        starts = [self._start(value, name, ways, hidden, layout) for value, name in ((h_0, "h"), (c_0, "c"))]
        if any(start is not None and start.any() for start in starts):
            layer = replace(layer, trainable_state=True)
            zeros = np.zeros((ways, hidden), np.float32)
            tensors |= {k: zeros if v is None else v for k, v in zip(("h_0", "c_0"), starts, strict=True)}
        self.chain.add(layer, tensors)
        side = f"directions[{self.version}]"
        self.sizes[side] = ways
        y = self.grown(flow, (time, side, batch, FEATURES) if layout == 0 else (batch, time, side, FEATURES))
        last = Flow((batch, FEATURES), self.version, is_state=True) if direction == "forward" else None
        parts_h = (last, None)[:ways]
        axis = 0 if layout == 0 else 1
        return [y, State(parts_h, axis), State((None,) * ways, axis)]

    def _check_lstm(self, direction: str, attributes: dict[str, Any], ways: int) -> None:
        if direction not in ("forward", "reverse", "bidirectional"):
            self.refuse(f"direction: expected forward, reverse or bidirectional, got {direction!r}")
        names = [name.decode(errors="replace") for name in attributes.get("activations") or ()]
        if names and [name.lower() for name in names] != ["sigmoid", "tanh", "tanh"] * ways:
            self.refuse(f"activations: expected Sigmoid, Tanh, Tanh, got {', '.join(map(repr, names))}; the engine has no others")
        if "clip" in attributes:
            self.refuse(f"clip: expected none, got {attributes['clip']:g}; the engine does not clip")

    def _check_lengths(self, lengths: Value | None, time: str) -> None:
        if isinstance(lengths, Flow) and lengths.source is not None:
            return  # the caller's: `lengths` of a run
        if lengths is None:
            return
        if set(np.unique(self.constant(lengths, "sequence_lens")).tolist()) != {self.sizes.get(time)}:
            self.refuse("sequence_lens: expected an input, or all steps of every row, got others; use lengths of a run")

    def _part(self, array: Array, what: str, shape: tuple[int, ...]) -> Array:
        if array.shape != shape:
            self.refuse(f"{what}: expected {shape}, got {array.shape}")
        return self._small(array)

    def _start(self, value: Value | None, gate: str, ways: int, hidden: int, layout: int) -> Array | None:
        """A constant initial state (ways, H); None where there is none or the caller gives it."""
        what = f"initial_{gate}"
        if value is None or (isinstance(value, State) and value.given):
            return None
        if isinstance(value, Flow) and self._is_given(value):
            return None
        array = self.constant(value, what)
        if array.ndim != 3:
            self.refuse(f"{what}: expected 3 axes, got {array.shape}")
        array = array if layout == 0 else array.transpose(1, 0, 2)
        rows = array.shape[1] if array.strides[1] else 1
        array = np.broadcast_to(array[:, :rows], (ways, rows, hidden))
        if rows < 1 or (array != array[:, :1]).any():
            self.refuse(f"{what}: expected one state for all rows, got several")
        return array[:, 0]

    def matmul(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        flow, weight = self.features(inputs[0]), self.constant(inputs[1], "the second factor")
        return [self._linear(flow, weight.T, None)]

    def gemm(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        a, b, c = [*inputs, None][:3]
        flow, weight = self.features(a), self.constant(b, "B")
        if attributes.get("transA", 0) or len(flow.axes) != 2:
            self.refuse("A: expected 2 axes, the second with the features, got others")
        weight = weight if attributes.get("transB", 0) else weight.T
        bias = None if c is None else self._small(self.constant(c, "C")) * np.float32(attributes.get("beta", 1.0))
        return [self._linear(flow, self._small(weight) * np.float32(attributes.get("alpha", 1.0)), bias)]

    def _linear(self, flow: Flow, weight: Array, bias: Array | None) -> Flow:
        if weight.ndim != 2:
            self.refuse(f"expected a matrix of weights, got {weight.shape}")
        output, size = weight.shape
        name = f"linear_{len(self.chain.layers)}"
        tensors = {"weight": self._small(weight)}
        if bias is not None:
            tensors["bias"] = self._vector(bias, output, flow)
        layer = Linear(name=name, input_size=size, output_size=output, bias=bias is not None)
        self.chain.add(layer, tensors)
        return self.grown(flow)

    def _vector(self, array: Array, size: int, flow: Flow) -> Array:
        """A constant that is one value for each feature, or one for all."""
        if array.size == 1 and array.ndim <= len(flow.axes):
            return np.full(size, array.reshape(()), np.float32)
        if array.shape != (1,) * (array.ndim - 1) + (size,) or array.ndim > len(flow.axes):
            self.refuse(f"expected a constant of {size} values, one for each feature, got {array.shape}")
        return array.reshape(size)

    def arithmetic(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        """Add, Sub, Mul and Div with a constant: part of a Linear or a Scale; x·σ(x); sizes times sizes."""
        op, (a, b) = self.node.op_type, inputs
        if isinstance(a, Flow) and isinstance(b, Flow):
            return [self._silu(a, b)]
        if isinstance(a, Dims) or isinstance(b, Dims):
            pairs = zip(self.numbers(a, "A"), self.numbers(b, "B"), strict=True)
            if op != "Mul":
                self.refuse("expected sizes to be multiplied only")
            return [Dims(tuple(_times(x, y) for x, y in pairs))]
        swapped = not isinstance(a, Flow)
        flow, other = (self.features(b), a) if swapped else (self.features(a), b)
        width = self.width(flow)
        if width is None or width > WIDEST:
            self.refuse(f"expected a number of features up to {WIDEST} that the input declares, got {width}")
        constant = self._vector(self.constant(other, "one of the two"), width, flow).astype(np.float64)
        ones, zeros = np.ones(width), np.zeros(width)
        if op == "Div" and swapped:
            self.refuse("expected a division by a constant, got one of a constant")
        with np.errstate(all="ignore"):  # a division by 0 is infinite, which the engine names and refuses
            weight, bias = {
                "Add": (ones, constant),
                "Sub": (-ones, constant) if swapped else (ones, -constant),
                "Mul": (constant, zeros),
                "Div": (1 / constant, zeros),
            }[op]
            self.chain.affine(weight, bias, f"scale_{len(self.chain.layers)}")
        return [self.grown(flow)]

    def _silu(self, a: Flow, b: Flow) -> Flow:
        old, new = sorted((a, b), key=lambda flow: flow.version)
        last = self.chain.layers[-1] if self.chain.layers else None
        fits = self.node.op_type == "Mul" and new.version == self.version and old.version == new.version - 1
        if not (fits and old.axes == new.axes and isinstance(last, Linear) and last.activation == "sigmoid"):
            self.refuse("expected a chain, got a branch: both inputs come from the model's input")
        self.chain.layers[-1] = replace(last, activation="silu")
        return self.grown(new)

    def activation(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        flow = self.take(inputs[0])
        if not self.chain.activate(ACTIVATIONS[self.node.op_type]):
            self.refuse("expected a Gemm or MatMul before it, of which it becomes part, got none")
        return [self.grown(flow)]

    def gather(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        data, index = inputs
        axis = attributes.get("axis", 0)
        if isinstance(data, np.ndarray) and isinstance(index, Flow):
            flow = self.take(index)
            if axis != 0 or data.ndim != 2 or FEATURES in flow.axes or self.chain.layers:
                self.refuse("expected a table whose rows are taken by the model's input, got another Gather")
            name, (count, size) = f"embedding_{len(self.chain.layers)}", data.shape
            self.chain.add(
                Embedding(name=name, num_embeddings=count, embedding_dim=size), {"weight": self._small(data)}
            )
            return [self.grown(flow, (*flow.axes, FEATURES))]
        numbers = self.whole(index, "indices")
        if isinstance(data, Dims):
            return [Dims(tuple(data.sizes[k] for k in numbers))]
        if isinstance(data, State):
            single = np.ndim(self.constant(index, "indices")) == 0
            if single and data.parts and axis == data.axis and (part := data.parts[numbers[0]]) is not None:
                return [part]
            return [State(given=data.given)]
        if isinstance(data, Flow):
            if self._is_given(data):
                return [State(given=True)]
            axis %= len(data.axes)
            if numbers not in ([-1], [_last(self.size(data, data.axes[axis]))]):
                self.refuse("expected the last step to be taken, got others")
            inserted = (self.unit(),) * np.ndim(self.constant(index, "indices"))
            return [self._last_step(data, axis, inserted)]
        return [np.take(self.constant(data, "data"), self._small(self.constant(index, "indices")), axis)]

    def slice(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        data = inputs[0]
        if len(inputs) == 1:
            names = ("starts", "ends", "axes")
            inputs = [data, *(np.array(attributes[k]) if k in attributes else None for k in names)]
        starts, ends = self.whole(inputs[1], "starts"), self.whole(inputs[2], "ends")
        given_axes, given_steps = [*inputs[3:], None, None][:2]
        axes = list(range(len(starts))) if given_axes is None else self.whole(given_axes, "axes")
        steps = [1] * len(starts) if given_steps is None else self.whole(given_steps, "steps")
        cuts = {axis: slice(*cut) for axis, *cut in zip(axes, starts, ends, steps, strict=True)}
        if isinstance(data, Dims):
            return [Dims(data.sizes[cuts[0]])]
        if isinstance(data, State):
            whole = data.parts and set(cuts) == {data.axis}
            return [replace(data, parts=data.parts[cuts[data.axis]]) if whole else State(given=data.given)]
        if isinstance(data, Flow):
            if self._is_given(data):
                return [State(given=True)]
            (axis, cut), *others = cuts.items()
            size = self.size(data, data.axes[axis])
            to_end = cut.step == 1 and cut.stop >= (size if isinstance(size, int) else (1 << 31) - 1)
            if to_end and cut.start == 0 and not others:
                return [data]
            if others or cut.start not in (-1, _last(size)) or not to_end:
                self.refuse("expected the last step to be taken, got others")
            return [self._last_step(data, axis % len(data.axes), (self.unit(),))]
        array = self.constant(data, "data")
        return [array[tuple(cuts.get(k, cuts.get(k - array.ndim, slice(None))) for k in range(array.ndim))]]

    def _is_given(self, flow: Flow) -> bool:
        """Whether this is an input of the model beside that of the chain, which must then be a state."""
        return flow.source is not None and flow.source != self.source

    def _last_step(self, flow: Flow, axis: int, inserted: tuple[str, ...]) -> Flow:
        if self.time is None or flow.axes[axis] != self.time[0]:
            self.refuse("expected the last step to be taken along the axis of time behind an LSTM, got another axis")
        return replace(flow, axes=(*flow.axes[:axis], *inserted, *flow.axes[axis + 1 :]))

    def transpose(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        (data,) = inputs
        if isinstance(data, State):
            return [State(given=data.given)]
        rank = len(data.axes) if isinstance(data, Flow) else self.constant(data, "data").ndim
        order = attributes.get("perm") or list(range(rank))[::-1]
        if sorted(order) != list(range(rank)):
            self.refuse(f"perm: expected an order of {rank} axes, got {order}")
        if isinstance(data, Flow):
            return [replace(data, axes=tuple(data.axes[k] for k in order))]
        return [self.constant(data, "data").transpose(order)]

    def squeeze(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        data, given = [*inputs, None][:2]
        axes = attributes.get("axes") if given is None else self.whole(given, "axes")
        if isinstance(data, Dims):
            return [data]
        if axes is None:
            self.refuse("axes: expected them to be named, got none")
        if isinstance(data, State):
            single = len(data.parts) == 1 and axes == [data.axis]
            return [part if single and (part := data.parts[0]) is not None else State(given=data.given)]
        if isinstance(data, np.ndarray):
            return [data.squeeze(tuple(axes))]
        flow = data if isinstance(data, Flow) else self.take(data)
        gone = {axis % len(flow.axes) for axis in axes}
        for k in gone:
            if self.size(flow, flow.axes[k]) != 1:
                self.refuse(f"axes: expected axes of size 1, got {k}, which is {flow.axes[k]}")
        return [replace(flow, axes=tuple(axis for k, axis in enumerate(flow.axes) if k not in gone))]

    def unsqueeze(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        data, given = [*inputs, None][:2]
        axes = attributes.get("axes") if given is None else self.whole(given, "axes")
        if axes is None or len(axes) > 8:
            self.refuse(f"axes: expected a few, got {axes}")
        if isinstance(data, Dims):
            return [data]
        if isinstance(data, State):
            return [State(given=data.given)]
        if isinstance(data, np.ndarray):
            return [np.expand_dims(data, tuple(axes))]
        flow = data if isinstance(data, Flow) else self.take(data)
        result = list(flow.axes)
        rank = len(result) + len(axes)
        for k in sorted(axis % rank for axis in axes):
            result.insert(k, self.unit())
        return [replace(flow, axes=tuple(result))]

    def reshape(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        data, given = [*inputs, None][:2]
        target = attributes.get("shape") if given is None else self.numbers(given, "shape")
        if target is None:
            self.refuse("shape: expected one, got none")
        if isinstance(data, State):
            return [State(given=data.given)]
        if isinstance(data, Dims):
            return [data]
        if isinstance(data, np.ndarray):
            shape = [data.shape[k] if size == 0 else size for k, size in enumerate(target)]
            whole = [size for size in shape if isinstance(size, int)]
            return (
                [self._small(data).reshape(whole)] if len(whole) == len(shape) else self.refuse("shape: not constant")
            )
        flow = data if isinstance(data, Flow) else self.take(data)
        if attributes.get("allowzero", 0) and 0 in target:
            self.refuse("allowzero: expected 0, got 1")
        target = [self.size(flow, flow.axes[k]) if size == 0 else size for k, size in enumerate(target)]
        found = self._reshaped(flow, target)
        if found is None:
            old = ", ".join(str(self.size(flow, axis)) for axis in flow.axes)
            new = ", ".join(map(str, target))
            self.refuse(
                f"expected axes of size 1 to go or come, or directions to join the features, got ({old}) to ({new})"
            )
        return [replace(flow, axes=found)]

    def _reshaped(self, flow: Flow, target: Sequence[int | str]) -> tuple[str, ...] | None:
        """The axes behind a Reshape that joins the directions with the features, or drops or adds axes of size 1."""
        sizes = {axis: self.size(flow, axis) for axis in flow.axes}
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
                sizes = {**sizes, FEATURES: _times(sizes[FEATURES], 2)}
            result: list[str] = []
            rest, units = list(kept), list(ones)
            for k, size in enumerate(target):
                free = size == -1 and len(target) - k > len(rest)
                if (size == 1 and not (rest == [FEATURES] and sizes[FEATURES] == 1)) or free:
                    result.append(units.pop(0) if units else self.unit())
                elif rest and (size == -1 or size == sizes[rest[0]]):
                    result.append(rest.pop(0))
                else:
                    break
            if len(result) == len(target) and not rest:
                return tuple(result)
        return None

    def concat(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        if any(isinstance(value, Dims) for value in inputs):
            return [Dims(tuple(size for value in inputs for size in self.numbers(value, "inputs")))]
        states = [value for value in inputs if isinstance(value, State)]
        if states and len(states) == len(inputs):
            axis = attributes.get("axis", 0)
            along = all(state.parts and state.axis == axis for state in states)
            return [State(tuple(part for state in states for part in state.parts) if along else (), axis)]
        arrays = [self.constant(value, "inputs") for value in inputs]
        return [np.concatenate([self._small(array) for array in arrays], attributes.get("axis", 0))]

    def shape(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        (data,) = inputs
        if isinstance(data, Flow):
            sizes = tuple(self.size(data, axis) for axis in data.axes)
        else:
            sizes = self.constant(data, "data").shape
        return [Dims(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))])]

    def expand(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        array, shape = self.constant(inputs[0], "input"), self.numbers(inputs[1], "shape")
        own = (1,) * (len(shape) - array.ndim) + array.shape
        sizes = [old if isinstance(new, str) else new for old, new in zip(own, shape, strict=True)]
        return [np.broadcast_to(array, np.broadcast_shapes(own, tuple(sizes)))]

    def fill(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        tensor = attributes.get("value")
        value = np.zeros(1, np.float32) if tensor is None else self.array(tensor, f"node {self.node.name!r}")
        sizes = [1 if isinstance(size, str) else size for size in self.numbers(inputs[0], "input")]
        return [np.broadcast_to(value.reshape(()), sizes)]

    def literal(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
            if name in attributes:
                value = attributes[name]
                where = f"node {self.node.name or self.node.output[0]!r}"
                return [self.array(value, where) if name == "value" else np.array(value)]
        self.refuse("expected a tensor or numbers, got another kind of constant")

    def same(self, inputs: list[Value | None], attributes: dict[str, Any]) -> list[Value]:
        """Identity, Dropout (of inference), and Cast between types of one kind."""
        value = inputs[0]
        if value is None:
            self.refuse("expected an input, got none")
        training = inputs[2] if self.node.op_type == "Dropout" and len(inputs) > 2 else None
        if training is not None and self.constant(training, "training_mode").any():
            self.refuse("training_mode: expected false, got true; export the model for inference")
        if self.node.op_type == "Cast":
            kind = attributes.get("to")
            if isinstance(value, np.ndarray):
                return [self._small(value).astype(np.float32 if kind in FLOATING else np.int64)]
            if isinstance(value, Flow) and kind in INTEGER and value.source is not None:  # ids that come as floats
                names = tuple(f"{value.source!r}[{k}]" for k in range(len(value.axes)))
                return [replace(value, axes=names)]
            if isinstance(value, Flow) and kind not in FLOATING:
                self.refuse("to: expected a floating-point type, got another")
        return [value]

    def _small(self, array: Array) -> Array:
        if array.size > LARGEST:
            self.refuse(f"expected at most {LARGEST} values, got {array.size}")
        return array


def _times(a: int | str, b: int | str) -> int | str:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else f"{a} * {b}"


def _last(size: int | str) -> int:
    return size - 1 if isinstance(size, int) else -1


Operator = Callable[[Graph, list[Value | None], dict[str, Any]], list[Value]]
OPERATORS: dict[str, Operator] = {
    "LSTM": Graph.lstm,
    "MatMul": Graph.matmul,
    "Gemm": Graph.gemm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), Graph.arithmetic),
    **dict.fromkeys(ACTIVATIONS, Graph.activation),
    "Gather": Graph.gather,
    "Slice": Graph.slice,
    "Transpose": Graph.transpose,
    "Squeeze": Graph.squeeze,
    "Unsqueeze": Graph.unsqueeze,
    "Reshape": Graph.reshape,
    "Concat": Graph.concat,
    "Shape": Graph.shape,
    "Expand": Graph.expand,
    "ConstantOfShape": Graph.fill,
    "Constant": Graph.literal,
    **dict.fromkeys(("Identity", "Cast", "Dropout"), Graph.same),
}
