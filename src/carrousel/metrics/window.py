"""Ranges of rows, as labels and detections give them: int (W, 2), each ``start:stop``, ascending, without overlap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.errors import ShapeError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def windows(flags: npt.ArrayLike) -> Ints:
    """The runs of flagged rows.

    Parameters
    ----------
    flags : bool or 0 and 1 (T,)

    Returns
    -------
    int64 (W, 2)

    Raises
    ------
    ShapeError : anything but one yes or no a row

    Examples
    --------
    >>> windows([0, 1, 1, 0, 1]).tolist()
    [[1, 3], [4, 5]]
    """
    given = np.asarray(flags)
    flagged = given.astype(bool)
    if given.ndim != 1 or np.any(flagged != given):
        raise ShapeError(f"flags: expected one 0 or 1 a row, got {given.dtype} {given.shape}; compare scores first")
    return np.flatnonzero(np.diff(flagged, prepend=False, append=False)).reshape(-1, 2).astype(np.int64)


def flags(spans: npt.ArrayLike, rows: int) -> Flags:
    """Whether each of so many rows lies in a window, bool (rows,): the inverse of ``windows``."""
    checked = check(spans, rows)
    edges = np.zeros(rows + 1, np.int64)
    np.add.at(edges, checked[:, 0], 1)
    np.subtract.at(edges, checked[:, 1], 1)
    return np.cumsum(edges[:-1]) > 0


def check(spans: npt.ArrayLike, rows: int | None = None, *, name: str = "windows") -> Ints:
    """Windows as int64 (W, 2), of that form.

    Parameters
    ----------
    spans : int (W, 2); an empty list is no window
    rows : how many there are, where that is known
    name : of the argument, for the message

    Raises
    ------
    ShapeError : another shape or dtype, an empty or overlapping window, or one that reaches beyond the rows
    """
    given = np.asarray(spans)
    if not given.size:
        return np.empty((0, 2), np.int64)
    if given.ndim != 2 or given.shape[1] != 2 or not np.issubdtype(given.dtype, np.integer):
        raise ShapeError(f"{name}: expected int (W, 2), rows start:stop, got {given.dtype} {given.shape}")
    checked = given.astype(np.int64)
    flat = checked.ravel()
    wrong = np.append(flat[:1] < 0, flat[1:] < flat[:-1] + (np.arange(1, len(flat)) % 2))
    if np.any(wrong) or (rows is not None and flat[-1] > rows):
        first = checked[int(np.argmax(wrong)) // 2] if np.any(wrong) else checked[-1]
        within = "" if rows is None else f" within {rows} rows"
        raise ShapeError(
            f"{name}: expected rows start:stop, ascending and without overlap{within}, got {first.tolist()}; "
            "sort them and join those that overlap"
        )
    return checked
