"""What every translation builds: layers one after the other, and their weights as float32 under our names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from carrousel.architecture import Architecture, Layer, Linear, Scale
from carrousel.errors import ConfigError, SettingError

Array = npt.NDArray[Any]
Activation = Literal["relu", "tanh", "silu", "sigmoid"]
Network = tuple[Architecture, dict[str, npt.NDArray[np.float32]]]


class Chain:
    """The layers met so far; `where` begins the messages."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.layers: list[Layer] = []
        self._weights: dict[str, Array] = {}

    def name(self, wanted: str, kind: str) -> str:
        """A name that the layers do not have yet: the wanted one, behind the kind where it is only a place."""
        parts = [part for part in wanted.replace("/", ".").split(".") if part]
        base = "_".join(parts if parts and not parts[0][0].isdigit() else [kind, *parts])
        taken = {layer.name for layer in self.layers}
        numbered = (f"{base}_{k}" for k in range(2, len(taken) + 3))
        return next(name for name in (base, *numbered) if name not in taken)

    def add(self, layer: Layer, tensors: Mapping[str, Array]) -> None:
        self.layers.append(layer)
        self._weights |= {f"{layer.name}.{tensor}": array for tensor, array in tensors.items()}

    def activate(self, activation: Activation) -> bool:
        """Make an activation part of the Linear before it; False where there is none that lacks one."""
        last = self.layers[-1] if self.layers else None
        if not isinstance(last, Linear) or last.activation is not None:
            return False
        self.layers[-1] = replace(last, activation=activation)
        return True

    def affine(self, weight: Array, bias: Array, name: str) -> None:
        """y = weight * x + bias, each value by itself: part of the Scale or Linear before it, or a Scale."""
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Scale):
            old_weight, old_bias = (self._weights[f"{last.name}.{part}"] for part in ("weight", "bias"))
            self.add_tensors(last, weight=weight * old_weight, bias=weight * old_bias + bias)
        elif isinstance(last, Linear) and not last.bias and last.activation is None and bool(np.all(weight == 1)):
            self.layers[-1] = replace(last, bias=True)
            self.add_tensors(last, bias=bias)
        else:
            layer = Scale(name=self.name(name, "scale"), size=len(weight))
            self.add(layer, {"weight": weight, "bias": bias})

    def add_tensors(self, layer: Layer, **tensors: Array) -> None:
        self._weights |= {f"{layer.name}.{tensor}": array for tensor, array in tensors.items()}

    def finish(self) -> Network:
        """The network.

        Raises
        ------
        ConfigError : no layers, or layers that do not fit each other
        """
        if not self.layers:
            raise ConfigError(f"{self.where}: expected at least one layer, got none")
        try:
            architecture = Architecture(tuple(self.layers))
        except SettingError as error:
            raise ConfigError(f"{self.where}: {error}") from error
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, which the engine names and refuses
            return architecture, {name: np.array(array, np.float32) for name, array in self._weights.items()}


def gates(rows: Array, given: str, wanted: str) -> Array:
    """Blocks of rows, one for each gate in the order `given`, in the order `wanted`: ``gates(W, "ifco", "ifco")``."""
    blocks = dict(zip(given, np.split(np.asarray(rows), len(given)), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted])


def listed(names: Iterable[str]) -> str:
    """``A, B or C``"""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
