"""Inference without a deep-learning framework: an immutable Engine, and Sessions with explicit state that step it.

The arithmetic is that of ``kernel.py`` (NumPy); the face does not depend on it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel import artifact
from carrousel.architecture import LSTM, Architecture, Embedding, Layer, check_weights
from carrousel.config import nearest
from carrousel.errors import SettingError, ShapeError
from carrousel.kernel import Floats, Ids, Kernel, LSTMKernel, Memory, Record, Span, kernel

FLOATS, INTEGERS = ("float32",), ("int32", "int64")
BLOCK = 1 << 20  # float32 values of the widest layer that a run holds at once: 4 MiB stay in the caches


class Engine:
    """A network ready for inference: weights checked and packed once, then never changed.

    Sessions of one engine may run in as many threads as there are sessions.

    Parameters
    ----------
    architecture : Architecture, or its JSON data; a list of layers is one stack of them all
    weights : float32, by the names of ``architecture.tensors()``

    Raises
    ------
    ConfigError : JSON data that describes no architecture
    WeightsError : a tensor that is missing, unknown, misshapen, not float32 or not finite

    Examples
    --------
    >>> import numpy as np
    >>> layers = [{"kind": "linear", "name": "head", "input_size": 2, "output_size": 1}]
    >>> weights = {"head.weight": np.float32([[1, 2]]), "head.bias": np.float32([3])}
    >>> Engine(layers, weights).session().step(np.float32([[10, 20]]))
    array([[53.]], dtype=float32)
    """

    def __init__(
        self, architecture: Architecture | Mapping[str, Any] | Sequence[Any], weights: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        self._architecture = Architecture.from_data(architecture)
        check_weights(self._architecture, weights)
        copies = {name: np.array(array, np.float32, order="C") for name, array in weights.items()}
        for array in copies.values():
            array.flags.writeable = False
        self._weights = MappingProxyType(copies)
        kernels: dict[str, Kernel] = {}
        self._routes: dict[str | None, _Route] = {}
        for name in self._architecture.stacks:
            for layer in self._architecture.stack(name):
                if layer.name not in kernels:
                    own = {tensor: copies[f"{layer.name}.{tensor}"] for tensor in layer.tensors()}
                    kernels[layer.name] = kernel(layer, own)
            self._routes[name] = _Route(self._architecture.stack(name), kernels)
        if len(self._routes) == 1:
            self._routes[None] = next(iter(self._routes.values()))
        self._recurrent = {name: item for name, item in kernels.items() if isinstance(item, LSTMKernel)}

    @classmethod
    def load(cls, path: str | Path) -> Engine:
        """The engine of a saved model.

        Raises
        ------
        ArtifactError : the folder is no artifact, or one that is damaged or too new
        """
        saved = artifact.read(path)
        return cls(saved.architecture, saved.weights)

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    @property
    def weights(self) -> Mapping[str, Floats]:
        """Every tensor by name, read-only."""
        return self._weights

    def session(self, batch: int = 1) -> Session:
        """Fresh state for `batch` independent rows.

        Raises
        ------
        SettingError : batch is not an integer of at least 1
        """
        return Session(self, batch)

    def route(self, stack: str | None) -> _Route:
        """How values pass through a stack; for sessions."""
        if stack not in self._routes:
            self._architecture.stack(stack)  # says what is wrong with the name
        return self._routes[stack]

    @property
    def recurrent(self) -> Mapping[str, LSTMKernel]:
        """The layers that have a state; for sessions."""
        return self._recurrent


class _Route:
    """One stack of an engine, ready to run; `ids` is how many there are where it takes ids, else None."""

    def __init__(self, layers: Sequence[Layer], kernels: Mapping[str, Kernel]) -> None:
        self.steps = [(layer.name, kernels[layer.name]) for layer in layers]
        self.ids = layers[0].num_embeddings if isinstance(layers[0], Embedding) else None
        self.features = () if self.ids is not None else (layers[0].widths[0] or 0,)
        self.output_size = layers[-1].widths[1]
        self.whole = next((v for v in layers if isinstance(v, LSTM) and (v.bidirectional or v.reverse)), None)
        self.widest = max(max(v.widths[0] or 0, v.widths[1]) * (5 if isinstance(v, LSTM) else 1) for v in layers)

    def check(self, name: str, x: object, shape: tuple[int | str, ...]) -> None:
        """Hold x to a dtype and to a shape before its features, in which L is any length; ids have no features."""
        shape = (*shape, *self.features)
        if isinstance(x, np.ndarray) and x.ndim == len(shape):
            shape = tuple(found if wanted == "L" else wanted for wanted, found in zip(shape, x.shape, strict=True))
        _check_array(name, x, shape, FLOATS if self.ids is None else INTEGERS)


class Session:
    """The state of N independent rows between calls; made by ``Engine.session``. One thread at a time.

    A row's values do not depend on its neighbours, on its place among them, nor on how its time was cut into calls, but
    their last bits do: the matrix library adds in an order that depends on the shape of the product. Measured over 100
    steps of up to 256 units, they differ by at most 4 · 2⁻²³ (values are below 1); the same calls give the same bits.
    What is not finite in a row stays in that row.
    """

    def __init__(self, engine: Engine, batch: int = 1) -> None:
        self._engine = engine
        self._batch = _whole(batch)
        self._memory: dict[str, Memory] = {}  # made when a layer is first run: an ensemble's fork copies one member
        self._trace: dict[str, list[Record]] | None = None

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def batch(self) -> int:
        """N, the number of rows."""
        return self._batch

    def step(self, x: Floats | Ids, out: Floats | None = None, *, stack: str | None = None) -> Floats:
        """One step of every row.

        Parameters
        ----------
        x : float32 (N, H_in); ids, int32 or int64 (N,), where an embedding stands first
        out : float32 (N, H_out) to write to; a new array by default
        stack : name of the stack to pass through; may be left out when there is only one

        Returns
        -------
        float32 (N, H_out)

        Raises
        ------
        ShapeError : x or out has another shape or dtype, or an id is out of range
        SettingError : an unknown stack, or one with a layer that runs backwards, which needs whole sequences
        """
        route = self._engine.route(stack)
        route.check("x", x, (self._batch,))
        if out is not None:
            _check_array("out", out, (self._batch, route.output_size))
        if route.whole is not None:
            way = "is bidirectional" if route.whole.bidirectional else "runs backwards"
            raise SettingError(f"step: layer {route.whole.name!r} {way} and needs whole sequences; use run")
        if route.ids is not None:
            _check_ids("x", x, route.ids)
        with np.errstate(all="ignore"):
            y = self._pass(route, x.T[None], [Span(0, 1, self._batch)], self._memories(route))[0].T
        if out is None:
            return np.ascontiguousarray(y)
        out[...] = y
        return out

    def run(
        self, chunk: Floats | Ids, lengths: npt.ArrayLike | None = None, *, stack: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Several steps of every row; the state stands where each row ends.

        A bidirectional layer runs both ways over the chunk, each from its part of the state.

        Parameters
        ----------
        chunk : float32 (N, L, H_in); ids, int32 or int64 (N, L), where an embedding stands first
        lengths : integers (N,) from 0 to L, how many steps of each row count; all by default
        stack : name of the stack to pass through; may be left out when there is only one

        Returns
        -------
        float32 (N, L, H_out), 0 beyond a row's length

        Raises
        ------
        ShapeError : another shape or dtype of chunk or lengths; a length, or an id within the lengths, out of range
        SettingError : an unknown stack
        """
        route = self._engine.route(stack)
        route.check("chunk", chunk, (self._batch, "L"))
        steps = chunk.shape[1]
        counts = np.full(self._batch, steps) if lengths is None else _check_lengths(lengths, self._batch, steps)
        if route.ids is not None:
            if lengths is not None:
                chunk = np.where(np.arange(steps) < counts[:, None], chunk, 0)  # padding may hold anything
            _check_ids("chunk", chunk, route.ids)
        memories = self._memories(route)
        order = None if np.all(counts[:-1] >= counts[1:]) else np.argsort(-counts, kind="stable")
        if order is None:
            return self._run_sorted(route, chunk, counts, memories, None)
        sorted_memories = {name: memory.take(order) for name, memory in memories.items()}
        result = np.empty((self._batch, steps, route.output_size), np.float32)
        result[order] = self._run_sorted(route, chunk[order], counts[order], sorted_memories, order)
        for name, memory in memories.items():
            memory.put(order, sorted_memories[name])
        return result

    def _run_sorted(
        self,
        route: _Route,
        chunk: Floats | Ids,
        counts: npt.NDArray[np.intp],
        memories: Mapping[str, Memory],
        order: npt.NDArray[np.intp] | None,
    ) -> Floats:
        """`run` of rows that stand longest first; `order` says where they stood (for the trace)."""
        batch, steps = chunk.shape[:2]
        result = np.empty((batch, steps, route.output_size), np.float32)
        x = np.moveaxis(chunk, 0, -1)  # (L, E, N), of ids (L, N)
        block = steps if route.whole else max(1, BLOCK // (batch * route.widest))
        with np.errstate(all="ignore"):
            for first in range(0, steps, max(block, 1)):
                last = min(first + block, steps)
                y = self._pass(route, x[first:last], _spans(counts, first, last), memories, order)
                result[:, first:last] = y.transpose(2, 0, 1)
        if batch and counts[-1] < steps:
            result[np.arange(steps) >= counts[:, None]] = 0
        return result

    def _pass(
        self,
        route: _Route,
        x: Any,
        spans: list[Span],
        memories: Mapping[str, Memory],
        order: npt.NDArray[np.intp] | None = None,
    ) -> Floats:
        """x (L, E, N), or ids (L, N), through all layers of a stack: (L, F, N)."""
        for name, item in route.steps:
            if isinstance(item, LSTMKernel):
                record = None if self._trace is None else item.record(len(x), x.shape[2])
                x = item.run(x, memories[name], spans, record)
                if record is not None and self._trace is not None:
                    back = slice(None) if order is None else np.argsort(order)
                    self._trace.setdefault(name, []).append({k: v[..., back] for k, v in record.items()})
            else:
                x = item.run(x)
        return x

    def _memories(self, route: _Route) -> dict[str, Memory]:
        return {name: self._remember(name) for name, item in route.steps if isinstance(item, LSTMKernel)}

    def _remember(self, name: str) -> Memory:
        if name not in self._memory:
            self._memory[name] = self._engine.recurrent[name].memory(self._batch)
        return self._memory[name]

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Put rows, by default all, back to the initial state: zeros, or the trained one.

        Raises
        ------
        ShapeError : rows is not a list of integers from 0 to N − 1
        """
        index = slice(None) if rows is None else _check_rows(rows, self._batch)
        for name, memory in self._memory.items():
            self._engine.recurrent[name].reset(memory, index)

    def fork(self, rows: npt.ArrayLike) -> Session:
        """A session of its own that starts from copies of some rows' states, in that order; repeats are allowed.

        Raises
        ------
        ShapeError : rows is empty or not a list of integers from 0 to N − 1
        """
        index = _check_rows(rows, self._batch)
        if not len(index):
            raise ShapeError("rows: expected at least one row, got none")
        session = Session(self._engine, len(index))
        session._memory = {name: memory.take(index) for name, memory in self._memory.items()}
        return session

    def resize(self, batch: int) -> None:
        """Keep the first `batch` rows, or add fresh ones behind those there are; views of ``state`` become stale.

        Raises
        ------
        SettingError : batch is not an integer of at least 1, or a trace is open
        """
        batch = _whole(batch)
        if self._trace is not None:
            raise SettingError("resize: expected no open trace, whose arrays have one number of rows; leave it first")
        kept = np.arange(min(batch, self._batch))
        for name, memory in self._memory.items():
            resized = self._engine.recurrent[name].memory(batch)
            resized.put(kept, memory.take(kept))
            self._memory[name] = resized
        self._batch = batch

    @property
    def state(self) -> dict[str, Floats]:
        """What the rows remember: live, writable views, valid until ``resize``.

        ``{layer}.h`` float32 (num_layers · directions, N, P) and ``{layer}.c`` (…, N, H), the first axis as in
        ``torch.nn.LSTM``. Assigning a mapping copies its arrays in.

        Raises
        ------
        ShapeError : (on assignment) an array that is missing, unknown, or of another shape or dtype
        """
        views: dict[str, Floats] = {}
        for name in self._engine.recurrent:
            memory = self._remember(name)
            views[f"{name}.h"], views[f"{name}.c"] = memory.h.transpose(0, 2, 1), memory.c.transpose(0, 2, 1)
        return views

    @state.setter
    def state(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        views = self.state
        for name in arrays:
            if name not in views:
                raise ShapeError(f"state: unknown array {name!r}; {nearest(name, views)}")
        for name, view in views.items():
            if name not in arrays:
                raise ShapeError(f"state: missing array {name!r}, expected float32 {view.shape}")
            _check_array(f"state: {name}", arrays[name], view.shape)
        for name, view in views.items():
            view[...] = arrays[name]

    @contextmanager
    def trace(self) -> Generator[dict[str, Floats]]:
        """Record every gate of every step until the block ends; the dictionary is filled then.

        ``{layer}.i``, ``.f``, ``.g``, ``.o``, ``.c`` float32 (L, num_layers · directions, N, H) and ``{layer}.h``
        (…, P), over all steps of all calls inside the block; c and h as they are after the step, 0 where a row ended.

        Raises
        ------
        SettingError : a trace is open already
        """
        if self._trace is not None:
            raise SettingError("trace: expected no open trace, got one inside another")
        self._trace = {}
        arrays: dict[str, Floats] = {}
        try:
            yield arrays
        finally:
            records, self._trace = self._trace, None
            for name, parts in records.items():
                for gate in parts[0]:
                    whole = np.concatenate([part[gate] for part in parts])
                    arrays[f"{name}.{gate}"] = np.ascontiguousarray(whole.transpose(0, 1, 3, 2))


def _spans(counts: npt.NDArray[np.intp], first: int, last: int) -> list[Span]:
    """Steps first:last, counted from `first`, in pieces with the same rows alive; counts stand longest first."""
    bounds = np.clip(counts, first, last)
    ends = np.unique(bounds[bounds > first])
    starts = [first, *ends[:-1].tolist()]
    return [
        Span(start - first, end - first, int(np.count_nonzero(bounds >= end)))
        for start, end in zip(starts, ends.tolist(), strict=False)
    ]


def _whole(batch: object) -> int:
    if not isinstance(batch, (int, np.integer)) or isinstance(batch, bool) or batch < 1:
        raise SettingError(f"batch: expected an integer of at least 1, got {batch!r}")
    return int(batch)


def _check_array(name: str, array: object, shape: tuple[int | str, ...], dtypes: tuple[str, ...] = FLOATS) -> None:
    wanted = f"expected {' or '.join(dtypes)} ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    if not isinstance(array, np.ndarray):
        raise ShapeError(f"{name}: {wanted}, got {type(array).__name__}; pass a NumPy array")
    if array.dtype not in dtypes:
        raise ShapeError(f"{name}: {wanted}, got {array.dtype}; convert it with astype(np.{dtypes[-1]})")
    if array.shape != shape:
        raise ShapeError(f"{name}: {wanted}, got {array.shape}")


def _check_ids(name: str, ids: npt.NDArray[Any], count: int) -> None:
    for place in np.argwhere((ids < 0) | (ids >= count)):
        where = ", step ".join(map(str, place.tolist()))
        raise ShapeError(f"{name}: expected ids from 0 to {count - 1}, got {ids[tuple(place)]} in row {where}")


def _check_rows(rows: npt.ArrayLike, batch: int) -> npt.NDArray[np.intp]:
    index = np.asarray(rows)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise ShapeError(f"rows: expected a list of integers, got {index.dtype} {index.shape}")
    for row in index[(index < 0) | (index >= batch)]:
        raise ShapeError(f"rows: expected values from 0 to {batch - 1}, got {row}")
    return index.astype(np.intp)


def _check_lengths(lengths: npt.ArrayLike, batch: int, steps: int) -> npt.NDArray[np.intp]:
    counts = np.asarray(lengths)
    if counts.shape != (batch,) or counts.dtype.kind not in "iu":
        raise ShapeError(f"lengths: expected integers ({batch},), got {counts.dtype} {counts.shape}")
    for row in np.flatnonzero((counts < 0) | (counts > steps)):
        raise ShapeError(f"lengths: expected values from 0 to {steps}, got {counts[row]} in row {row}")
    return counts.astype(np.intp)
