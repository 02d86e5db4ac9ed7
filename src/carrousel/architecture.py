"""The network as plain data: its layers and how they follow each other, which gives the shape of every tensor."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from carrousel.config import Range, check, from_dict, nearest, to_dict
from carrousel.errors import ConfigError, SettingError, WeightsError

Size = Annotated[int, Range(1)]
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: a subclass is a kind of layer, found by its `kind`; its tensors are stored as ``{name}.{tensor}``."""

    kind: ClassVar[str]
    name: str

    def __post_init__(self) -> None:
        check(self, where=f"layer {self.name!r}")
        if not self.name or "." in self.name:
            raise SettingError(f"layer {self.name!r}: expected a name that is not empty and has no dot")

    @property
    def widths(self) -> tuple[int | None, int]:
        """Last dimension of what comes in and of what goes out; None of ids, which are integers without one."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Shape]:
        """Shape of each of the layer's tensors."""
        raise NotImplementedError

    def to_data(self) -> dict[str, Any]:
        return {"kind": self.kind, **to_dict(self)}


@dataclass(frozen=True, kw_only=True)
class Linear(Layer):
    """y = a(W x + b), parameters as in ``torch.nn.Linear``."""

    kind: ClassVar[str] = "linear"
    input_size: Size
    output_size: Size
    bias: bool = True
    activation: Literal["relu", "tanh", "silu", "sigmoid"] | None = None

    @property
    def widths(self) -> tuple[int, int]:
        return self.input_size, self.output_size

    def tensors(self) -> dict[str, Shape]:
        bias: dict[str, Shape] = {"bias": (self.output_size,)} if self.bias else {}
        return {"weight": (self.output_size, self.input_size), **bias}


@dataclass(frozen=True, kw_only=True)
class Scale(Layer):
    """y = weight * x + bias, each value by itself: how a standardisation becomes part of a model."""

    kind: ClassVar[str] = "scale"
    size: Size

    @property
    def widths(self) -> tuple[int, int]:
        return self.size, self.size

    def tensors(self) -> dict[str, Shape]:
        return {"weight": (self.size,), "bias": (self.size,)}


@dataclass(frozen=True, kw_only=True)
class Embedding(Layer):
    """A table of vectors, as in ``torch.nn.Embedding``: first in a stack, which then takes ids, or for a task to index.

    An id is an integer from 0 to num_embeddings − 1.
    """

    kind: ClassVar[str] = "embedding"
    num_embeddings: Size
    embedding_dim: Size

    @property
    def widths(self) -> tuple[None, int]:
        return None, self.embedding_dim

    def tensors(self) -> dict[str, Shape]:
        return {"weight": (self.num_embeddings, self.embedding_dim)}


@dataclass(frozen=True, kw_only=True)
class LSTM(Layer):
    """What inference must know of a ``carrousel.layers.LSTM``; parameter names and shapes are that layer's.

    With `reverse` every layer runs from the last step to the first, as a bidirectional one's second direction does.
    """

    kind: ClassVar[str] = "lstm"
    input_size: Size
    hidden_size: Size
    num_layers: Size = 1
    bias: bool = True
    bidirectional: bool = False
    reverse: bool = False
    proj_size: Annotated[int, Range(0)] = 0
    peephole: bool = False
    coupled: bool = False
    layer_norm: bool = False
    zoneout: tuple[Annotated[float, Range(0, 1)], Annotated[float, Range(0, 1)]] = (0.0, 0.0)
    trainable_state: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proj_size >= self.hidden_size:
            raise SettingError(
                f"layer {self.name!r}: proj_size: expected less than hidden_size={self.hidden_size}, "
                f"got {self.proj_size}; 0 means no projection"
            )
        if self.reverse and self.bidirectional:
            raise SettingError(
                f"layer {self.name!r}: reverse: expected false in a bidirectional layer, got true; it runs both ways"
            )

    @classmethod
    def of(cls, name: str, config: Mapping[str, Any]) -> LSTM:
        """The layer of a ``carrousel.layers.LSTM``'s configuration, without what only training needs (dropout, ...)."""
        known = {field.name for field in fields(cls)} - {"name"}
        return cls(name=name, **{key: value for key, value in config.items() if key in known})

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """P: size of h, the projection's when there is one."""
        return self.proj_size or self.hidden_size

    @property
    def widths(self) -> tuple[int, int]:
        return self.input_size, self.directions * self.output_size

    def suffixes(self) -> list[str]:
        """One suffix for each layer and direction, in the order of the state's rows: ``_l0``, ``_l0_reverse``, ..."""
        ways = ("", "_reverse")[: self.directions]
        return [f"_l{k}{way}" for k in range(self.num_layers) for way in ways]

    def tensors(self) -> dict[str, Shape]:
        size, out = self.hidden_size, self.output_size
        gates = (3 if self.coupled else 4) * size
        shapes: dict[str, Shape] = {}
        for row, s in enumerate(self.suffixes()):
            first = row < self.directions
            shapes[f"weight_ih{s}"] = (gates, self.input_size if first else self.directions * out)
            shapes[f"weight_hh{s}"] = (gates, out)
            if self.bias:
                shapes[f"bias_ih{s}"] = shapes[f"bias_hh{s}"] = (gates,)
            if self.proj_size:
                shapes[f"weight_hr{s}"] = (out, size)
            if self.peephole:
                shapes[f"weight_ch{s}"] = (gates - size,)
            if self.layer_norm:
                shapes[f"gain_ih{s}"] = shapes[f"gain_hh{s}"] = (gates,)
                shapes[f"gain_c{s}"] = (size,)
                if self.bias:
                    shapes[f"bias_c{s}"] = (size,)
        if self.trainable_state:
            shapes["h_0"] = (len(self.suffixes()), out)
            shapes["c_0"] = (len(self.suffixes()), size)
        return shapes


def kinds() -> dict[str, type[Layer]]:
    """Every kind of layer by name: the subclasses of Layer, so that declaring one is all that it takes."""
    return {cls.kind: cls for cls in Layer.__subclasses__()}


@dataclass(frozen=True)
class Architecture:
    """Layers, and named stacks: each a route from an input through some of the layers, in order.

    A layer may stand in several stacks; its weights, and its state in a session, are then shared by all of them.

    Parameters
    ----------
    layers : each with a name of its own
    stacks : names of layers by name of the stack; by default one stack ``main`` of all the layers

    Raises
    ------
    SettingError : two layers of one name, a stack that names an unknown layer or whose widths do not fit
    """

    layers: tuple[Layer, ...]
    stacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise SettingError(f"layers: expected a name of its own for each, got {name!r} twice")
        stacks = {k: tuple(v) for k, v in self.stacks.items()} if self.stacks else {"main": tuple(names)}
        object.__setattr__(self, "stacks", stacks)
        for name in stacks:
            self._check_stack(name)

    def _check_stack(self, name: str) -> None:
        layers = list(self.stack(name))
        if not layers:
            raise SettingError(f"stack {name!r}: expected at least one layer, got none")
        for before, after in itertools.pairwise(layers):
            out, into = before.widths[1], after.widths[0]
            if into is None:
                raise SettingError(
                    f"stack {name!r}: {after.name!r} takes ids and can only stand first, "
                    f"but {before.name!r} stands before it"
                )
            if out != into:
                raise SettingError(
                    f"stack {name!r}: {after.name!r} takes {into} values, but {before.name!r} before it gives {out}"
                )

    def stack(self, name: str | None = None) -> tuple[Layer, ...]:
        """The layers of a stack; its name may be left out when there is only one."""
        stacks = self.stacks
        if name is None:
            if len(stacks) != 1:
                raise SettingError(f"stack: expected one of {', '.join(stacks)}, got None")
            name = next(iter(stacks))
        if name not in stacks:
            raise SettingError(f"stack: unknown name {name!r}; {nearest(name, stacks)}")
        layers = {layer.name: layer for layer in self.layers}
        for layer in stacks[name]:
            if layer not in layers:
                raise SettingError(f"stack {name!r}: unknown layer {layer!r}; {nearest(layer, layers)}")
        return tuple(layers[layer] for layer in stacks[name])

    def tensors(self) -> dict[str, Shape]:
        """Shape of every tensor of the network, as ``{layer}.{tensor}``."""
        return {f"{layer.name}.{name}": shape for layer in self.layers for name, shape in layer.tensors().items()}

    def to_data(self) -> dict[str, Any]:
        """JSON data that ``from_data`` builds an equal architecture from."""
        stacks = {name: list(layers) for name, layers in self.stacks.items()}
        return {"layers": [layer.to_data() for layer in self.layers], "stacks": stacks}

    @classmethod
    def from_data(cls, data: Any, *, where: str = "architecture") -> Architecture:
        """An architecture from JSON data: ``{"layers": [...], "stacks": {...}}`` or only the list of layers.

        Raises
        ------
        ConfigError : a key or value that does not fit
        """
        if isinstance(data, Architecture):
            return data
        outline = from_dict(_Outline, {"layers": data} if isinstance(data, (list, tuple)) else data, where=where)
        layers = tuple(_layer(item, f"{where}: layers[{k}]") for k, item in enumerate(outline.layers))
        try:
            return cls(layers, outline.stacks)
        except SettingError as error:
            raise ConfigError(f"{where}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Outline:
    layers: tuple[object, ...]
    stacks: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def _layer(data: object, where: str) -> Layer:
    if isinstance(data, Layer):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise ConfigError(f"{where}: expected an object with a string 'kind', got {data!r:.60}")
    if data["kind"] not in kinds():
        raise ConfigError(f"{where}: kind: unknown kind {data['kind']!r}; {nearest(data['kind'], kinds())}")
    cls = kinds()[data["kind"]]
    return from_dict(cls, {key: value for key, value in data.items() if key != "kind"}, where=where)


def check_weights(
    architecture: Architecture,
    weights: Mapping[str, npt.NDArray[Any]],
    *,
    where: str = "weights",
) -> None:
    """Hold weights to what the architecture implies.

    Raises
    ------
    WeightsError : a tensor that is missing, unknown, misshapen, not float32 or not finite
    """
    check_shapes(architecture, {name: (array.shape, str(array.dtype)) for name, array in weights.items()}, where=where)
    for name, array in weights.items():
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise WeightsError(f"{where}: {name}: expected finite values, got {bad} of {array.size} NaN or infinite")


def check_shapes(architecture: Architecture, found: Mapping[str, tuple[Shape, str]], *, where: str) -> None:
    """The part of `check_weights` that needs no values: `found` holds shape and dtype name of each tensor."""
    expected = architecture.tensors()
    for name in expected:
        if name not in found:
            raise WeightsError(f"{where}: missing tensor {name!r}, expected {expected[name]}")
    for name, (shape, dtype) in found.items():
        if name not in expected:
            raise WeightsError(f"{where}: unknown tensor {name!r}; {nearest(name, expected)}")
        if tuple(shape) != expected[name]:
            raise WeightsError(
                f"{where}: {name}: expected {expected[name]}, got {tuple(shape)}; {_sizes(architecture, name)}"
            )
        if dtype != "float32":
            raise WeightsError(f"{where}: {name}: expected float32, got {dtype}")


def _sizes(architecture: Architecture, tensor: str) -> str:
    """Why a shape is expected: the sizes that the tensor's layer was declared with."""
    layer = next(layer for layer in architecture.layers if layer.name == tensor.partition(".")[0])
    sizes = {key: value for key, value in to_dict(layer).items() if type(value) is int}
    return f"layer {layer.name!r} has {', '.join(f'{key}={value}' for key, value in sizes.items())}"
