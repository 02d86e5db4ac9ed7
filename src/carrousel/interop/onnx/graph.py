"""The graph of an ONNX model, followed node by node, as the chain of layers that it computes.

Each value is followed as what it means: a `Flow` along the chain with the meaning of its axes, the `State` of an LSTM,
a constant, or the `Dims` of a shape. So nodes that only move axes about vanish, and those that would mix them up do not
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from carrousel.errors import ConfigError
from carrousel.interop.chain import Array, Chain, Network, listed

FEATURES = "features"
LARGEST = 1 << 28  # elements of a constant that is computed from others: 1 GiB of float32
INTEGER = (6, 7)  # TensorProto.DataType: int32, int64


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
Operator = Callable[["Graph", list[Value | None], dict[str, Any]], list[Value]]


class Graph:
    """A parsed model; `where` begins the messages, `array` reads a tensor and takes words for its place."""

    def __init__(
        self, model: Any, where: str, array: Callable[[Any, str], Array], operators: Mapping[str, Operator]
    ) -> None:
        self.graph, self.where, self.array, self.operators = model.graph, where, array, operators
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

    def is_given(self, flow: Flow) -> bool:
        """Whether this is an input of the model beside that of the chain, which must then be a state."""
        return flow.source is not None and flow.source != self.source

    def small(self, array: Array) -> Array:
        if array.size > LARGEST:
            self.refuse(f"expected at most {LARGEST} values, got {array.size}")
        return array

    def _evaluate(self, node: Any) -> list[Value]:
        method = self.operators.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if method is None:
            self.refuse(
                f"expected {listed(sorted(self.operators))}, got {node.op_type!r}; the engine has no such layer"
            )
        return method(self, self.inputs(), self.attributes())


def times(a: int | str, b: int | str) -> int | str:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else f"{a} * {b}"
