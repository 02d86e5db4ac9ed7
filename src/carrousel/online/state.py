"""What every online component remembers: arrays with a row a stream, changed in place, saved and restored whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.errors import SettingError, ShapeError

Array = npt.NDArray[Any]
_BOUND: dict[frozenset[str], frozenset[str]] = {}

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "uint16", "int8", "uint8", "bool")


@dataclass(frozen=True)
class Field:
    """One array of a component's state.

    Parameters
    ----------
    shape : what a stream has of it, without N
    dtype : one of ``DTYPES``
    start : the value that every element of a fresh stream has
    axis : where N stands among the dimensions in memory. Statistics that lie before it, (S, N, K), are each contiguous,
        so that one call over many streams is fast; ``state`` shows the array with N first all the same
    """

    shape: tuple[int, ...] = ()
    dtype: str = "float64"
    start: float = 0.0
    axis: int = 0


class Online:
    """N streams' statistics, updated in place row by row.

    A subclass hands its fields to this constructor and finds them as ``self.arrays``, in memory order. ``bind`` is the
    place to keep views of them and scratch arrays: it is called whenever they are allocated, by the constructor and by
    ``fork``. All else that a subclass keeps must be settings, which never change: nothing that was seen may be
    remembered outside the fields, and nothing derived from them kept over an update, for they may be written to from
    outside.

    The same inputs give the same bits whatever the other rows are. That excludes sums along an axis (NumPy adds in an
    order that depends on the shape, N = 1 being special), products of matrices, and functions whose vector form
    differs from their scalar one; ``+ - * / sqrt``, comparisons, minima, maxima and ``accumulate`` are safe.

    Parameters
    ----------
    batch : N, the number of streams
    fields : by name

    Raises
    ------
    SettingError : batch is not an integer of at least 1
    """

    arrays: dict[str, Array]

    def __init__(self, batch: int, fields: Mapping[str, Field]) -> None:
        self._batch = whole("batch", batch)
        self._fields = dict(fields)
        self._allocate()

    def bind(self) -> None:
        """Make views of ``self.arrays`` and scratch arrays for the present number of rows."""

    def _allocate(self) -> None:
        self.arrays = {}
        for name, field in self._fields.items():
            shape = (*field.shape[: field.axis], self._batch, *field.shape[field.axis :])
            self.arrays[name] = np.full(shape, field.start, field.dtype)
        before, kept = set(vars(self)), vars(self).get("_bound", frozenset())
        self.bind()
        names = frozenset(kept | (set(vars(self)) - before))
        self._bound = _BOUND.setdefault(names, names)  # one set for all components of a kind

    def loosen(self) -> None:
        """Let go of what ``bind`` made, for where compiled code updates the fields: made again once it is asked for."""
        for name in self._bound:
            vars(self).pop(name, None)

    if not TYPE_CHECKING:  # which would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            if name not in vars(self).get("_bound", ()):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            self.bind()
            return vars(self)[name]

    @property
    def batch(self) -> int:
        """N, the number of streams."""
        return self._batch

    @property
    def state(self) -> dict[str, Array]:
        """What the streams remember: the live arrays, N first, writable; updates change them in place."""
        return {name: np.moveaxis(self.arrays[name], field.axis, 0) for name, field in self._fields.items()}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a state that was kept, bit for bit; nothing is changed if any of its arrays does not fit.

        Raises
        ------
        ShapeError : an array that is missing, unknown, or of another shape or dtype
        """
        views = self.state
        for name in state:
            if name not in views:
                raise ShapeError(f"state: unknown array {name!r}; {nearest(name, views)}")
        for name, view in views.items():
            if name not in state:
                raise ShapeError(f"state: expected an array {name!r}, got none; load what the same component kept")
            given = state[name]
            if given.dtype != view.dtype or given.shape != view.shape:
                raise ShapeError(
                    f"state, {name}: expected {view.dtype} {view.shape}, got {given.dtype} {given.shape}; "
                    "load into a component of the same batch, variables and settings"
                )
        for name, view in views.items():
            view[...] = state[name]

    def fork(self, rows: npt.ArrayLike) -> Self:
        """A component of its own with copies of some streams' rows, in that order; repeats are allowed.

        Raises
        ------
        ShapeError : rows is empty or not a list of integers from 0 to N − 1
        """
        index = check_rows(rows, self._batch)
        if not len(index):
            raise ShapeError("rows: expected at least one row, got none")
        other = copy.copy(self)
        other._batch = len(index)
        other._allocate()
        for name, view in other.state.items():
            view[...] = self.state[name][index]
        return other

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Put streams, by default all, back to the state in which nothing was seen.

        Raises
        ------
        ShapeError : rows is not a list of integers from 0 to N − 1
        """
        index = slice(None) if rows is None else check_rows(rows, self._batch)
        for name, view in self.state.items():
            view[index] = self._fields[name].start

    def forget(self, where: npt.NDArray[np.bool_]) -> None:
        """Put single variables back to the state in which nothing was seen, where all arrays end with (N, K).

        Parameters
        ----------
        where : bool (N, K)
        """
        for name, array in self.arrays.items():
            array[..., where] = self._fields[name].start


def whole(name: str, value: object, least: int = 1) -> int:
    """An integer of at least so much.

    Raises
    ------
    SettingError : anything else
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise SettingError(f"{name}: expected an integer of at least {least}, got {value!r}")
    return int(value)


def number(name: str, value: object, low: float, high: float = np.inf) -> float:
    """A finite number in a closed range.

    Raises
    ------
    SettingError : anything else
    """
    given = float(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else np.nan
    if not low <= given <= high or given == np.inf:
        bound = f"of at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
        raise SettingError(f"{name}: expected a number {bound}, got {value!r}")
    return given


def check_rows_of(name: str, array: object, shape: tuple[int, ...]) -> None:
    """Refuse what is not a float64 array of that shape.

    Raises
    ------
    ShapeError : it is not
    """
    if not isinstance(array, np.ndarray):
        raise ShapeError(f"{name}: expected a float64 array {shape}, got {type(array).__name__}; np.asarray makes one")
    if array.dtype != np.float64 or array.shape != shape:
        raise ShapeError(f"{name}: expected float64 {shape}, got {array.dtype} {array.shape}")


def check_rows(rows: npt.ArrayLike, batch: int) -> npt.NDArray[np.int64]:
    index = np.asarray(rows)
    if not index.size and index.ndim == 1:
        return np.empty(0, np.int64)
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
        raise ShapeError(f"rows: expected a list of integers, got {index.dtype} {index.shape}")
    if index.min() < 0 or index.max() >= batch:
        raise ShapeError(f"rows: expected integers from 0 to {batch - 1}, got {index.min()} to {index.max()}")
    return index.astype(np.int64)
