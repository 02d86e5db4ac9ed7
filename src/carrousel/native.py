"""The native engine behind ``engine.py``: the compiled module where it was built, and how it is found.

``CARROUSEL_ISA`` forces an instruction set, ``numpy`` the engine without the compiled module.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from carrousel.architecture import Architecture
from carrousel.errors import SettingError
from carrousel.kernel import Floats, Ids, Record

if TYPE_CHECKING:
    from carrousel import _native as native_types

try:
    _native: ModuleType | None = importlib.import_module("carrousel._native")
    why_missing = ""
except ImportError as error:  # installed without a compiler
    _native, why_missing = None, str(error)

Dtype = Literal["float32", "bfloat16", "int8"]
Index = npt.NDArray[np.int64]
GATES = ("i", "f", "g", "o", "c", "h")


def chosen() -> str:
    """The instruction set that new engines use: ``CARROUSEL_ISA``, or the best one; ``numpy`` without the module.

    Raises
    ------
    SettingError : CARROUSEL_ISA names one that is unknown, not built, or not of this processor
    """
    wanted = os.environ.get("CARROUSEL_ISA", "")
    if wanted == "numpy" or (not wanted and _native is None):
        return "numpy"
    if _native is None:
        raise SettingError(
            f"CARROUSEL_ISA: expected 'numpy', got {wanted!r}: the native engine was not built ({why_missing}); "
            "install a C++20 compiler and then the package again"
        )
    return _native.choose_isa(wanted)


def module() -> ModuleType | None:
    """The compiled module, or None."""
    return _native


def give_back_memory() -> None:
    """Return to the system what loading a model took and no longer needs."""
    if _native is not None:
        _native.give_back_memory()


def step_otherwise(function: Callable[..., Floats]) -> None:
    """Say what steps arguments that are not plain arrays of the right shape: (engine, streams, x, out, stack)."""

    def step(session: native_types.Session, x: Any, out: Any, stack: Any) -> Floats:
        engine, network = session.context
        return function(engine, NativeStreams(network, session), x, out, stack)

    if _native is not None:
        _native.set_slow_step(step)


class NativeNetwork:
    """Weights packed for one instruction set; never changed."""

    def __init__(self, architecture: Architecture, weights: Mapping[str, Floats], dtype: Dtype, isa: str) -> None:
        assert _native is not None
        arrays = {name: np.ascontiguousarray(array) for name, array in weights.items()}
        self.model = _native.model(json.dumps(architecture.to_data()), arrays, dtype, isa)
        self.isa = self.model.isa
        self.stacks = {name: k for k, name in enumerate(architecture.stacks)}
        self.layers = {layer.name: k for k, layer in enumerate(architecture.layers)}

    def streams(self, batch: int, threads: int) -> NativeStreams:
        """Fresh state."""
        assert _native is not None
        return NativeStreams(self, _native.session(self.model, batch, threads))


class NativeStreams:
    """The state of N rows."""

    def __init__(self, network: NativeNetwork, session: native_types.Session) -> None:
        self.network, self.session, self.batch = network, session, session.batch

    def step(self, stack: str, x: Floats | Ids, out: Floats) -> None:
        """One step: x (N, H_in), or ids (N,), to out (N, H_out), contiguous memory of its own."""
        self.session.step_checked(self.network.stacks[stack], _in_form(x), out)

    def run(
        self,
        stack: str,
        chunk: Floats | Ids,
        counts: Index | None,
        out: Floats,
        record: Mapping[str, Record] | None,
    ) -> None:
        """Several steps: chunk (N, L, H_in), or ids (N, L), to out (N, L, H_out), contiguous memory of its own.

        `record` holds zeros (L, D, N, ·) for the gates of each recurrent layer by its name.
        """
        traces = None
        if record is not None:
            traces = {self.network.layers[name]: [log[gate] for gate in GATES] for name, log in record.items()}
        lengths = None if counts is None else np.ascontiguousarray(counts, np.int64)
        self.session.run_checked(self.network.stacks[stack], _in_form(chunk), chunk.shape[1], lengths, out, traces)

    def bind(self, engine: object) -> Callable[..., Floats]:
        """The compiled session's own step; what it does not take as it is goes to the function of `step_otherwise`."""
        self.session.context = (engine, self.network)
        return self.session.step

    def reset(self, rows: Index | None) -> None:
        """Put some rows, or all, back to the initial state."""
        self.session.reset(rows)

    def fork(self, rows: Index) -> NativeStreams:
        """Copies of some rows."""
        return NativeStreams(self.network, self.session.fork(rows))

    def resized(self, batch: int) -> NativeStreams:
        """The first rows, and fresh ones behind them."""
        return NativeStreams(self.network, self.session.resized(batch))

    def state(self) -> dict[str, Floats]:
        """Live views (D, N, ·) by ``{layer}.h`` and ``{layer}.c``."""
        return self.session.state()


def _in_form(x: Floats | Ids) -> Floats | npt.NDArray[np.int32]:
    return np.ascontiguousarray(x, np.float32) if x.dtype.kind == "f" else np.ascontiguousarray(x, np.int32)
