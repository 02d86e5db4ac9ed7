"""Sessions: the state of an engine's rows between calls, with which they are stepped."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel import native
from carrousel.config import nearest
from carrousel.errors import SettingError, ShapeError
from carrousel.kernel import Floats, Ids, Record
from carrousel.native import NativeStreams
from carrousel.numpy_engine import NumpyStreams
from carrousel.route import check_array, check_ids, check_lengths, check_rows, whole_number

if TYPE_CHECKING:
    from carrousel import _native as native_types
    from carrousel.engine import Engine

Streams = NativeStreams | NumpyStreams


def _step(engine: Engine, streams: Streams, x: Floats | Ids, out: Floats | None, stack: str | None) -> Floats:
    """One step whose arguments are anything: refused in one sentence, or brought into form."""
    route, batch = engine.route(stack), streams.batch
    route.check("x", x, (batch,))
    y = _destination(out, (batch, route.output_size), x, streams)
    if route.whole is not None:
        way = "is bidirectional" if route.whole.bidirectional else "runs backwards"
        raise SettingError(f"step: layer {route.whole.name!r} {way} and needs whole sequences; use run")
    if route.ids is not None:
        check_ids("x", x, route.ids)
    streams.step(route.name, x, y)
    return _delivered(y, out)


def _destination(out: Floats | None, shape: tuple[int, ...], x: npt.NDArray[Any], streams: Streams) -> Floats:
    """Where a call writes: to `out`, or to new memory where that is scattered, or still read as input or state."""
    if out is None:
        return np.empty(shape, np.float32)
    check_array("out", out, shape)
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
        counts = None if lengths is None else check_lengths(lengths, self.batch, steps)
        if route.ids is not None:
            if counts is not None:
                chunk = np.where(np.arange(steps) < counts[:, None], chunk, 0)  # padding may hold anything
            check_ids("chunk", chunk, route.ids)
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
        self._streams.reset(None if rows is None else check_rows(rows, self.batch))

    def fork(self, rows: npt.ArrayLike) -> Session:
        """A session of its own that starts from copies of some rows' states, in that order; repeats are allowed.

        Raises
        ------
        ShapeError : rows is empty or not a list of integers from 0 to N − 1
        """
        index = check_rows(rows, self.batch)
        if not len(index):
            raise ShapeError("rows: expected at least one row, got none")
        return Session(self._engine, self._streams.fork(index))

    def resize(self, batch: int) -> None:
        """Keep the first `batch` rows, or add fresh ones behind those there are; views of ``state`` become stale.

        Raises
        ------
        SettingError : batch is not an integer of at least 1, or a trace is open
        """
        batch = whole_number("batch", batch)
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
            check_array(f"state: {name}", arrays[name], view.shape)
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
