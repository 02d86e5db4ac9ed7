"""Inference without a deep-learning framework: an immutable Engine, and Sessions with explicit state that step it.

This is the face. Behind it works the native engine (``native.py``) or, where that was not built, NumPy
(``numpy_engine.py``); ``CARROUSEL_ISA`` chooses.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import numpy.typing as npt

from carrousel import artifact, native
from carrousel.architecture import LSTM, Architecture, Embedding, Layer, check_weights
from carrousel.config import nearest
from carrousel.errors import SettingError, ShapeError
from carrousel.kernel import Floats, Ids, Record
from carrousel.native import Dtype, NativeNetwork, NativeStreams
from carrousel.numpy_engine import NumpyNetwork, NumpyStreams

if TYPE_CHECKING:
    from carrousel import _native as native_types

FLOATS, INTEGERS = ("float32",), ("int32", "int64")
Streams = NativeStreams | NumpyStreams


class Engine:
    """A network ready for inference: weights checked and packed once, then never changed.

    Sessions of one engine may run in as many threads as there are sessions.

    Parameters
    ----------
    architecture : Architecture, or its JSON data; a list of layers is one stack of them all
    weights : float32, by the names of ``architecture.tensors()``
    dtype : what the weights of products are stored as. "bfloat16" halves them (3 significant digits; sums stay
        float32) and, where the processor multiplies in it (``isa`` is "avx512bf16"), rounds to it what is multiplied
        with them as well; "int8" quarters them and rounds what is multiplied with them to 8 bits as well, each row of
        weights and of inputs by its own largest magnitude, so no calibration is needed and nothing is clipped

    Raises
    ------
    ConfigError : JSON data that describes no architecture
    WeightsError : a tensor that is missing, unknown, misshapen, not float32 or not finite
    SettingError : an unknown dtype, one that this engine does not have, or a CARROUSEL_ISA that this machine lacks

    Examples
    --------
    >>> import numpy as np
    >>> layers = [{"kind": "linear", "name": "head", "input_size": 2, "output_size": 1}]
    >>> weights = {"head.weight": np.float32([[1, 2]]), "head.bias": np.float32([3])}
    >>> Engine(layers, weights).session().step(np.float32([[10, 20]]))
    array([[53.]], dtype=float32)
    """

    def __init__(
        self,
        architecture: Architecture | Mapping[str, Any] | Sequence[Any],
        weights: Mapping[str, npt.NDArray[Any]],
        *,
        dtype: Dtype = "float32",
    ) -> None:
        self._architecture = Architecture.from_data(architecture)
        check_weights(self._architecture, weights)
        self._dtype: Dtype = check_dtype(dtype)
        isa = native.chosen()
        self._network = (
            NumpyNetwork(self._architecture, weights, dtype)
            if isa == "numpy"
            else NativeNetwork(self._architecture, weights, dtype, isa)
        )
        used = {layer for stack in self._architecture.stacks.values() for layer in stack}
        tables = {name: np.array(v, order="C") for name, v in weights.items() if name.partition(".")[0] not in used}
        for array in tables.values():
            array.flags.writeable = False
        self._tables = MappingProxyType(tables)
        self._routes: dict[str | None, _Route] = {
            name: _Route(name, self._architecture.stack(name)) for name in self._architecture.stacks
        }
        if len(self._routes) == 1:
            self._routes[None] = next(iter(self._routes.values()))

    @classmethod
    def load(cls, path: str | Path, *, dtype: Dtype = "float32") -> Engine:
        """The engine of a saved model.

        Raises
        ------
        ArtifactError : the folder is no artifact, or one that is damaged or too new
        """
        saved = artifact.read(path)
        engine = cls(saved.architecture, saved.weights, dtype=dtype)
        del saved
        native.give_back_memory()
        return engine

    @classmethod
    def from_torch(cls, module: Any, *, dtype: Dtype = "float32") -> Engine:
        """The engine of a PyTorch module, or of a list of modules; see ``carrousel.interop.torch.from_torch``.

        Raises
        ------
        ConfigError : a module that cannot be translated
        WeightsError : a parameter without values, or not finite
        MissingExtraError : PyTorch is not installed
        """
        from carrousel.interop.torch import from_torch

        return cls(*from_torch(module), dtype=dtype)

    @classmethod
    def from_onnx(cls, model: Any, *, dtype: Dtype = "float32") -> Engine:
        """The engine of an ONNX file, or of a ``ModelProto``; see ``carrousel.interop.onnx.from_onnx``.

        Raises
        ------
        ArtifactError : a file that cannot be read (ConfigError: a graph that cannot be translated; WeightsError:
            weights that are damaged or not finite)
        MissingExtraError : onnx is not installed
        """
        from carrousel.interop.onnx import from_onnx

        return cls(*from_onnx(model), dtype=dtype)

    @classmethod
    def from_keras(cls, model: Any, *, dtype: Dtype = "float32") -> Engine:
        """The engine of a Keras model, or of a ``.keras`` file; see ``carrousel.interop.keras.from_keras``.

        Raises
        ------
        ArtifactError : a file that cannot be read (ConfigError: a model that cannot be translated; WeightsError:
            weights that are missing or not finite)
        MissingExtraError : Keras is not installed
        """
        from carrousel.interop.keras import from_keras

        return cls(*from_keras(model), dtype=dtype)

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    @property
    def tables(self) -> Mapping[str, Floats]:
        """The tensors of layers that stand in no stack, for a task to index, read-only; the others are packed."""
        return self._tables

    @property
    def dtype(self) -> Dtype:
        return self._dtype

    @property
    def isa(self) -> str:
        """The instruction set that the kernels use, or "numpy"."""
        return self._network.isa

    def session(self, batch: int = 1, *, threads: int = 1) -> Session:
        """Fresh state for `batch` independent rows.

        Parameters
        ----------
        batch : N
        threads : at most so many share the rows of a call; what comes out does not depend on it

        Raises
        ------
        SettingError : batch or threads is not an integer of at least 1
        """
        return Session(self, self._network.streams(_whole("batch", batch), _whole("threads", threads)))

    def route(self, stack: str | None) -> _Route:
        """What passes through a stack; for sessions."""
        if stack not in self._routes:
            self._architecture.stack(stack)  # says what is wrong with the name
        return self._routes[stack]


class _Route:
    """What one stack takes and gives; `ids` is how many there are where it takes ids, else None."""

    def __init__(self, name: str, layers: Sequence[Layer]) -> None:
        self.name = name
        self.ids = layers[0].num_embeddings if isinstance(layers[0], Embedding) else None
        self.features = () if self.ids is not None else (layers[0].widths[0] or 0,)
        self.output_size = layers[-1].widths[1]
        self.recurrent = [layer for layer in layers if isinstance(layer, LSTM)]
        self.whole = next((v for v in self.recurrent if v.bidirectional or v.reverse), None)

    def check(self, name: str, x: object, shape: tuple[int | str, ...]) -> None:
        """Hold x to a dtype and to a shape before its features, in which L is any length; ids have no features."""
        shape = (*shape, *self.features)
        if isinstance(x, np.ndarray) and x.ndim == len(shape):
            shape = tuple(found if wanted == "L" else wanted for wanted, found in zip(shape, x.shape, strict=True))
        _check_array(name, x, shape, FLOATS if self.ids is None else INTEGERS)

    def records(self, steps: int, batch: int) -> dict[str, Record]:
        """Zeros (L, D, N, ·) for the gates of each recurrent layer."""
        records: dict[str, Record] = {}
        for layer in self.recurrent:
            sizes = dict.fromkeys("ifgoc", layer.hidden_size) | {"h": layer.output_size}
            rows = len(layer.suffixes())
            records[layer.name] = {k: np.zeros((steps, rows, batch, size), np.float32) for k, size in sizes.items()}
        return records


def _step(engine: Engine, streams: Streams, x: Floats | Ids, out: Floats | None, stack: str | None) -> Floats:
    """One step whose arguments are anything: refused in one sentence, or brought into form."""
    route, batch = engine.route(stack), streams.batch
    route.check("x", x, (batch,))
    y = _destination(out, (batch, route.output_size), x, streams)
    if route.whole is not None:
        way = "is bidirectional" if route.whole.bidirectional else "runs backwards"
        raise SettingError(f"step: layer {route.whole.name!r} {way} and needs whole sequences; use run")
    if route.ids is not None:
        _check_ids("x", x, route.ids)
    streams.step(route.name, x, y)
    return _delivered(y, out)


def _destination(out: Floats | None, shape: tuple[int, ...], x: npt.NDArray[Any], streams: Streams) -> Floats:
    """Where a call writes: to `out`, or to new memory where that is scattered, or still read as input or state."""
    if out is None:
        return np.empty(shape, np.float32)
    _check_array("out", out, shape)
    if not out.flags.writeable:
        raise ShapeError("out: expected an array that can be written to, got a read-only one; pass a copy")
    read = (x, *streams.state().values())
    apart = out.flags.c_contiguous and not any(np.may_share_memory(out, array) for array in read)
    return out if apart else np.empty(shape, np.float32)


def _delivered(y: Floats, out: Floats | None) -> Floats:
    if out is None or out is y:
        return y
    out[...] = y
    return out


native.step_otherwise(_step)


class Session:
    """The state of N independent rows between calls; made by ``Engine.session``. One thread at a time.

    With the native engine a row's values are the same bits whatever its neighbours, its place among them, how its time
    was cut into calls, and the number of threads. With NumPy the last bits depend on the shape of a call, since the
    matrix library adds in an order of its own: measured over 100 steps of up to 256 units, by at most 4 · 2⁻²³ (values
    are below 1). What is not finite in a row stays in that row.
    """

    def __init__(self, engine: Engine, streams: Streams) -> None:
        self._engine = engine
        self._streams = streams
        self._trace: dict[str, list[Record]] | None = None
        self._shorten()

    def _shorten(self) -> None:
        """Let `step` be the native session's own while nothing is traced: no Python frame between caller and kernel."""
        if isinstance(self._streams, NativeStreams):
            self.__dict__["step"] = self._streams.bind(self._engine)

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def compiled(self) -> native_types.Session | None:
        """What native code steps in place of ``step``; None with NumPy, and while a trace is open."""
        return self._streams.session if isinstance(self._streams, NativeStreams) and self._trace is None else None

    @property
    def batch(self) -> int:
        """N, the number of rows."""
        return self._streams.batch

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
        if self._trace is None:
            return _step(self._engine, self._streams, x, out, stack)
        route = self._engine.route(stack)
        route.check("x", x, (self.batch,))
        y = _destination(out, (self.batch, route.output_size), x, self._streams)
        y[...] = self.run(x[:, None], stack=stack)[:, 0]
        return _delivered(y, out)

    def run(
        self,
        chunk: Floats | Ids,
        lengths: npt.ArrayLike | None = None,
        out: Floats | None = None,
        *,
        stack: str | None = None,
    ) -> Floats:
        """Several steps of every row; the state stands where each row ends.

        A bidirectional layer runs both ways over the chunk, each from its part of the state.

        Parameters
        ----------
        chunk : float32 (N, L, H_in); ids, int32 or int64 (N, L), where an embedding stands first
        lengths : integers (N,) from 0 to L, how many steps of each row count; all by default
        out : float32 (N, L, H_out) to write to; a new array by default
        stack : name of the stack to pass through; may be left out when there is only one

        Returns
        -------
        float32 (N, L, H_out), 0 beyond a row's length

        Raises
        ------
        ShapeError : another shape or dtype of chunk, lengths or out; a length, or an id within it, out of range
        SettingError : an unknown stack
        """
        route = self._engine.route(stack)
        route.check("chunk", chunk, (self.batch, "L"))
        steps = chunk.shape[1]
        counts = None if lengths is None else _check_lengths(lengths, self.batch, steps)
        if route.ids is not None:
            if counts is not None:
                chunk = np.where(np.arange(steps) < counts[:, None], chunk, 0)  # padding may hold anything
            _check_ids("chunk", chunk, route.ids)
        result = _destination(out, (self.batch, steps, route.output_size), chunk, self._streams)
        records = None if self._trace is None else route.records(steps, self.batch)
        self._streams.run(route.name, chunk, counts, result, records)
        if records is not None and self._trace is not None:
            for name, record in records.items():
                self._trace.setdefault(name, []).append(record)
        return _delivered(result, out)

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Put rows, by default all, back to the initial state: zeros, or the trained one.

        Raises
        ------
        ShapeError : rows is not a list of integers from 0 to N − 1
        """
        self._streams.reset(None if rows is None else _check_rows(rows, self.batch))

    def fork(self, rows: npt.ArrayLike) -> Session:
        """A session of its own that starts from copies of some rows' states, in that order; repeats are allowed.

        Raises
        ------
        ShapeError : rows is empty or not a list of integers from 0 to N − 1
        """
        index = _check_rows(rows, self.batch)
        if not len(index):
            raise ShapeError("rows: expected at least one row, got none")
        return Session(self._engine, self._streams.fork(index))

    def resize(self, batch: int) -> None:
        """Keep the first `batch` rows, or add fresh ones behind those there are; views of ``state`` become stale.

        Raises
        ------
        SettingError : batch is not an integer of at least 1, or a trace is open
        """
        batch = _whole("batch", batch)
        if self._trace is not None:
            raise SettingError("resize: expected no open trace, whose arrays have one number of rows; leave it first")
        self._streams = self._streams.resized(batch)
        self._shorten()

    @property
    def state(self) -> dict[str, Floats]:
        """What the rows remember: live, writable views, valid until ``resize``.

        ``{layer}.h`` float32 (num_layers · directions, N, P) and ``{layer}.c`` (…, N, H), the first axis as in
        ``torch.nn.LSTM``. Assigning a mapping copies its arrays in.

        Raises
        ------
        ShapeError : (on assignment) an array that is missing, unknown, or of another shape or dtype
        """
        return self._streams.state()

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
        self.__dict__.pop("step", None)
        arrays: dict[str, Floats] = {}
        try:
            yield arrays
        finally:
            records, self._trace = self._trace, None
            self._shorten()
            for name, parts in records.items():
                for gate in parts[0]:
                    arrays[f"{name}.{gate}"] = np.concatenate([part[gate] for part in parts])


def _whole(name: str, value: object) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{name}: expected an integer of at least 1, got {value!r}")
    return int(value)


def check_dtype(dtype: str) -> Dtype:
    """The name of how weights may be stored.

    Raises
    ------
    SettingError : an unknown one
    """
    if dtype not in get_args(Dtype):
        raise SettingError(f"dtype: unknown name {dtype!r}; {nearest(str(dtype), get_args(Dtype))}")
    return cast(Dtype, dtype)


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


def _check_rows(rows: npt.ArrayLike, batch: int) -> npt.NDArray[np.int64]:
    index = np.asarray(rows)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise ShapeError(f"rows: expected a list of integers, got {index.dtype} {index.shape}")
    for row in index[(index < 0) | (index >= batch)]:
        raise ShapeError(f"rows: expected values from 0 to {batch - 1}, got {row}")
    return index.astype(np.int64)


def _check_lengths(lengths: npt.ArrayLike, batch: int, steps: int) -> npt.NDArray[np.int64]:
    counts = np.asarray(lengths)
    if counts.shape != (batch,) or counts.dtype.kind not in "iu":
        raise ShapeError(f"lengths: expected integers ({batch},), got {counts.dtype} {counts.shape}")
    for row in np.flatnonzero((counts < 0) | (counts > steps)):
        raise ShapeError(f"lengths: expected values from 0 to {steps}, got {counts[row]} in row {row}")
    return counts.astype(np.int64)
