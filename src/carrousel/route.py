"""What a stack of an engine takes and gives, and the one sentence for every argument of a session that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Embedding, Layer
from carrousel.errors import SettingError, ShapeError
from carrousel.kernel import Record

FLOATS, INTEGERS = ("float32",), ("int32", "int64")


class Route:
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
        check_array(name, x, shape, FLOATS if self.ids is None else INTEGERS)

    def records(self, steps: int, batch: int) -> dict[str, Record]:
        """Zeros (L, D, N, ·) for the gates of each recurrent layer."""
        records: dict[str, Record] = {}
        for layer in self.recurrent:
            sizes = dict.fromkeys("ifgoc", layer.hidden_size) | {"h": layer.output_size}
            rows = len(layer.suffixes())
            records[layer.name] = {k: np.zeros((steps, rows, batch, size), np.float32) for k, size in sizes.items()}
        return records


def whole_number(name: str, value: object) -> int:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{name}: expected an integer of at least 1, got {value!r}")
    return int(value)


def check_array(name: str, array: object, shape: tuple[int | str, ...], dtypes: tuple[str, ...] = FLOATS) -> None:
    wanted = f"expected {' or '.join(dtypes)} ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    if not isinstance(array, np.ndarray):
        raise ShapeError(f"{name}: {wanted}, got {type(array).__name__}; pass a NumPy array")
    if array.dtype not in dtypes:
        raise ShapeError(f"{name}: {wanted}, got {array.dtype}; convert it with astype(np.{dtypes[-1]})")
    if array.shape != shape:
        raise ShapeError(f"{name}: {wanted}, got {array.shape}")


def check_ids(name: str, ids: npt.NDArray[Any], count: int) -> None:
    for place in np.argwhere((ids < 0) | (ids >= count)):
        where = ", step ".join(map(str, place.tolist()))
        raise ShapeError(f"{name}: expected ids from 0 to {count - 1}, got {ids[tuple(place)]} in row {where}")


def check_rows(rows: npt.ArrayLike, batch: int) -> npt.NDArray[np.int64]:
    index = np.asarray(rows)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise ShapeError(f"rows: expected a list of integers, got {index.dtype} {index.shape}")
    for row in index[(index < 0) | (index >= batch)]:
        raise ShapeError(f"rows: expected values from 0 to {batch - 1}, got {row}")
    return index.astype(np.int64)


def check_lengths(lengths: npt.ArrayLike, batch: int, steps: int) -> npt.NDArray[np.int64]:
    counts = np.asarray(lengths)
    if counts.shape != (batch,) or counts.dtype.kind not in "iu":
        raise ShapeError(f"lengths: expected integers ({batch},), got {counts.dtype} {counts.shape}")
    for row in np.flatnonzero((counts < 0) | (counts > steps)):
        raise ShapeError(f"lengths: expected values from 0 to {steps}, got {counts[row]} in row {row}")
    return counts.astype(np.int64)
