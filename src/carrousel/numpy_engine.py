"""The engine in NumPy: what serves where the native one is not built, and what that one is tested against.

Arguments have been checked by ``engine.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Architecture, Layer, Linear
from carrousel.errors import SettingError
from carrousel.kernel import Floats, Ids, Kernel, LSTMKernel, Memory, Record, Span, kernel
from carrousel.native import Dtype

BLOCK = 1 << 20  # float32 values of the widest layer that a run holds at once: 4 MiB stay in the caches
Index = npt.NDArray[np.int64]


class NumpyNetwork:
    """The kernels of all layers that stand in a stack; never changed."""

    isa = "numpy"

    def __init__(self, architecture: Architecture, weights: Mapping[str, Floats], dtype: Dtype) -> None:
        if dtype == "int8":
            raise SettingError(
                "dtype: expected float32 or bfloat16 of the NumPy engine, got 'int8'; the native engine has it"
            )
        if dtype == "bfloat16":
            products = {layer.name for layer in architecture.layers if isinstance(layer, (Linear, LSTM))}
            weights = {
                name: _bfloat16(array) if name.partition(".")[0] in products and ".weight_" in f"{name}_" else array
                for name, array in weights.items()
            }
        kernels: dict[str, Kernel] = {}
        self.routes: dict[str, _Route] = {}
        for name in architecture.stacks:
            for layer in architecture.stack(name):
                if layer.name not in kernels:
                    own = {tensor: weights[f"{layer.name}.{tensor}"] for tensor in layer.tensors()}
                    kernels[layer.name] = kernel(layer, own)
            self.routes[name] = _Route(architecture.stack(name), kernels)
        self.recurrent = {name: item for name, item in kernels.items() if isinstance(item, LSTMKernel)}

    def streams(self, batch: int, threads: int) -> NumpyStreams:
        """Fresh state; how many threads work is the matrix library's choice."""
        return NumpyStreams(self, batch)


class _Route:
    """One stack, ready to run."""

    def __init__(self, layers: Sequence[Layer], kernels: Mapping[str, Kernel]) -> None:
        self.steps = [(layer.name, kernels[layer.name]) for layer in layers]
        self.whole = any(isinstance(v, LSTM) and (v.bidirectional or v.reverse) for v in layers)
        self.widest = max(max(v.widths[0] or 0, v.widths[1]) * (5 if isinstance(v, LSTM) else 1) for v in layers)


class NumpyStreams:
    """The state of N rows."""

    def __init__(self, network: NumpyNetwork, batch: int) -> None:
        self.network, self.batch = network, batch
        self._memory: dict[str, Memory] = {}  # made when a layer is first run: an ensemble's fork copies one member

    def step(self, stack: str, x: Floats | Ids, out: Floats) -> None:
        """One step: x (N, H_in), or ids (N,), to out (N, H_out)."""
        route = self.network.routes[stack]
        with np.errstate(all="ignore"):
            out[...] = self._pass(route, x.T[None], [Span(0, 1, self.batch)], self._memories(route), {})[0].T

    def run(
        self,
        stack: str,
        chunk: Floats | Ids,
        counts: Index | None,
        out: Floats,
        record: Mapping[str, Record] | None,
    ) -> None:
        """Several steps: chunk (N, L, H_in), or ids (N, L), to out (N, L, H_out).

        `record` holds zeros (L, D, N, ·) for the gates of each recurrent layer by its name.
        """
        route, steps = self.network.routes[stack], chunk.shape[1]
        lengths = np.full(self.batch, steps) if counts is None else counts
        memories, logs = self._memories(route), record or {}
        order = None if np.all(lengths[:-1] >= lengths[1:]) else np.argsort(-lengths, kind="stable")
        if order is None:
            self._run_sorted(route, chunk, lengths, memories, out, logs)
            return
        sorted_memories = {name: memory.take(order) for name, memory in memories.items()}
        sorted_logs = {name: {k: np.zeros_like(v) for k, v in log.items()} for name, log in logs.items()}
        result = np.empty_like(out)
        self._run_sorted(route, chunk[order], lengths[order], sorted_memories, result, sorted_logs)
        out[order] = result
        for name, memory in memories.items():
            memory.put(order, sorted_memories[name])
        for name, log in sorted_logs.items():
            for gate, array in log.items():
                logs[name][gate][:, :, order] = array

    def _run_sorted(
        self,
        route: _Route,
        chunk: Floats | Ids,
        counts: Index,
        memories: Mapping[str, Memory],
        out: Floats,
        logs: Mapping[str, Record],
    ) -> None:
        """`run` of rows that stand longest first."""
        batch, steps = chunk.shape[:2]
        x = np.moveaxis(chunk, 0, -1)  # (L, E, N), of ids (L, N)
        block = steps if route.whole else max(1, BLOCK // (batch * route.widest))
        with np.errstate(all="ignore"):
            for first in range(0, steps, max(block, 1)):
                last = min(first + block, steps)
                part = {name: {k: v[first:last] for k, v in log.items()} for name, log in logs.items()}
                y = self._pass(route, x[first:last], _spans(counts, first, last), memories, part)
                out[:, first:last] = y.transpose(2, 0, 1)
        if batch and counts[-1] < steps:
            out[np.arange(steps) >= counts[:, None]] = 0

    def _pass(
        self,
        route: _Route,
        x: Any,
        spans: list[Span],
        memories: Mapping[str, Memory],
        logs: Mapping[str, Record],
    ) -> Floats:
        """x (L, E, N), or ids (L, N), through all layers of a stack: (L, F, N)."""
        for name, item in route.steps:
            if isinstance(item, LSTMKernel):
                # Records are (L, D, N, ·) outside, and with the batch innermost as everything else inside.
                log = {gate: array.transpose(0, 1, 3, 2) for gate, array in logs.get(name, {}).items()}
                x = item.run(x, memories[name], spans, log or None)
            else:
                x = item.run(x)
        return x

    def _memories(self, route: _Route) -> dict[str, Memory]:
        return {name: self._remember(name) for name, item in route.steps if isinstance(item, LSTMKernel)}

    def _remember(self, name: str) -> Memory:
        if name not in self._memory:
            self._memory[name] = self.network.recurrent[name].memory(self.batch)
        return self._memory[name]

    def reset(self, rows: Index | None) -> None:
        """Put some rows, or all, back to the initial state."""
        index = slice(None) if rows is None else rows
        for name, memory in self._memory.items():
            self.network.recurrent[name].reset(memory, index)

    def fork(self, rows: Index) -> NumpyStreams:
        """Copies of some rows."""
        streams = NumpyStreams(self.network, len(rows))
        streams._memory = {name: memory.take(rows) for name, memory in self._memory.items()}
        return streams

    def resized(self, batch: int) -> NumpyStreams:
        """The first rows, and fresh ones behind them."""
        streams = NumpyStreams(self.network, batch)
        kept = np.arange(min(batch, self.batch))
        for name, memory in self._memory.items():
            resized = self.network.recurrent[name].memory(batch)
            resized.put(kept, memory.take(kept))
            streams._memory[name] = resized
        return streams

    def state(self) -> dict[str, Floats]:
        """Live views (D, N, ·) by ``{layer}.h`` and ``{layer}.c``."""
        views: dict[str, Floats] = {}
        for name in self.network.recurrent:
            memory = self._remember(name)
            views[f"{name}.h"], views[f"{name}.c"] = memory.h.transpose(0, 2, 1), memory.c.transpose(0, 2, 1)
        return views


def _bfloat16(array: Floats) -> Floats:
    """The nearest values that bfloat16 has, ties to even; never infinite. What they are multiplied with is float32."""
    bits = array.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    finite = (rounded >> np.uint32(23)) & np.uint32(0xFF) != 0xFF
    return (np.where(finite, rounded, bits) & np.uint32(0xFFFF0000)).view(np.float32)


def _spans(counts: Index, first: int, last: int) -> list[Span]:
    """Steps first:last, counted from `first`, in pieces with the same rows alive; counts stand longest first."""
    bounds = np.clip(counts, first, last)
    ends = np.unique(bounds[bounds > first])
    starts = [first, *ends[:-1].tolist()]
    return [
        Span(start - first, end - first, int(np.count_nonzero(bounds >= end)))
        for start, end in zip(starts, ends.tolist(), strict=False)
    ]
