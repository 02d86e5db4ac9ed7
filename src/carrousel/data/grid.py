"""From rows in any order to the rows of a regular grid: sorted, without duplicates, with NaN in the gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.column import Codes, Floats, say
from carrousel.data.frequency import Frequency
from carrousel.errors import HistoryError, TimeError

# A mistyped year must not ask for a grid of billions of rows.
_SPARSEST, _SMALLEST = 100, 100_000


def sort(
    codes: Codes,
    ds: npt.NDArray[Any],
    values: Floats,
    ids: Sequence[str],
    notes: list[str] | None = None,
    hint: str = "",
) -> tuple[Codes, npt.NDArray[Any], Floats]:
    """Rows by series, then time; rows that say the same twice are dropped.

    Parameters
    ----------
    codes : series of each row, index into ids, (R,)
    ds : stamps (R,)
    values : float64 (R, C)
    ids : names of the series
    notes : takes a sentence on each thing done
    hint : remedy to add if rows contradict each other

    Raises
    ------
    TimeError : two rows of one series and stamp that differ
    """
    ticks = ds.astype(np.int64)
    same, later = np.diff(codes) == 0, np.diff(ticks)
    if np.any((np.diff(codes) < 0) | (same & (later < 0))):
        if np.any(same & (later < 0)):
            say(notes, "rows were not in order of time; they have been sorted")
        order = np.lexsort((ticks, codes))
        codes, ds, ticks, values = codes[order], ds[order], ticks[order], values[order]
    repeated = (np.diff(codes) == 0) & (np.diff(ticks) == 0)
    if not np.any(repeated):
        return codes, ds, values
    second = np.flatnonzero(repeated) + 1
    first, again = values[second - 1], values[second]
    differ = np.any((first != again) & ~(np.isnan(first) & np.isnan(again)), axis=1)
    if np.any(differ):
        row = int(second[np.flatnonzero(differ)[0]])
        raise TimeError(
            f"series {ids[int(codes[row])]!r}: expected one row for each time stamp, got two that differ at {ds[row]} "
            f"({differ.sum()} such pairs in all); keep one or aggregate them, convert local stamps with a "
            f"daylight-saving hour to UTC{hint}"
        )
    say(notes, f"{len(second)} rows that repeat another one were dropped")
    keep = np.concatenate([[True], ~repeated])
    return codes[keep], ds[keep], values[keep]


def observed_span(codes: Codes, observed: npt.NDArray[np.bool_], ids: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Rows from the first to the last observed one of their series, (R,); codes are sorted.

    Raises
    ------
    HistoryError : a series without any observed row
    """
    rows = np.flatnonzero(observed)
    seen, first = np.unique(codes[rows], return_index=True)
    if len(seen) < len(ids):
        bare = [ids[i] for i in np.setdiff1d(np.arange(len(ids)), seen).tolist()]
        raise HistoryError(
            f"series {bare[0]!r}: expected at least one observed target, got none"
            f"{f' ({len(bare)} such series in all)' if len(bare) > 1 else ''}; drop the series or its rows"
        )
    last = np.append(first[1:], len(rows)) - 1
    row = np.arange(len(codes))
    return (row >= rows[first][codes]) & (row <= rows[last][codes])


def fill(
    codes: Codes,
    origins: npt.NDArray[Any],
    ds: npt.NDArray[Any],
    values: Floats,
    ids: Sequence[str],
    frequency: Frequency,
    notes: list[str] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], Floats]:
    """Sorted rows on the grid that starts at each series' origin; stamps without a row get one of NaN.

    Parameters
    ----------
    codes : series of each row (R,)
    origins : first stamp of the grid of each series (S,)
    ds : stamps (R,), none before the origin
    values : float64 (R, C)
    ids : names of the series (S,)
    frequency : of the grid
    notes : takes a sentence on the gaps

    Returns
    -------
    starts (S + 1,), ds (G,), values (G, C)

    Raises
    ------
    TimeError : a stamp beside the grid, or a grid more than a hundred times longer than the rows
    """
    steps, on = frequency.locate(origins[codes], ds)
    if not np.all(on):
        row = int(np.flatnonzero(~on)[0])
        raise TimeError(
            f"series {ids[codes[row]]!r}: expected time stamps that are {frequency.describe()} from "
            f"{origins[codes[row]]} on, got {ds[row]}; correct or resample the stamps, or pass another frequency than "
            f"{frequency.alias!r}"
        )
    counts = np.bincount(codes, minlength=len(ids))
    lengths = np.zeros(len(ids), np.int64)
    np.maximum.at(lengths, codes, steps + 1)
    total = int(lengths.sum())
    starts = np.concatenate([[0], np.cumsum(lengths)])
    missing = lengths - counts
    if not np.any(missing):
        return starts, ds, values
    worst = int(np.argmax(missing))
    if total > max(_SPARSEST * len(ds), _SMALLEST):
        rows = np.flatnonzero(codes == worst)
        stamps = np.append(origins[worst], ds[rows])
        wide = int(np.argmax(np.diff(stamps.astype(np.int64))))
        raise TimeError(
            f"series {ids[worst]!r}: expected few gaps on a grid that is {frequency.describe()}, got {counts[worst]} "
            f"rows for {lengths[worst]} stamps, the widest gap from {stamps[wide]} to {stamps[wide + 1]}; correct the "
            "stamps or pass a coarser frequency"
        )
    filled = np.full((total, values.shape[1]), np.nan)
    filled[starts[codes] + steps] = values
    grid = frequency.shift(np.repeat(origins, lengths), np.arange(total) - np.repeat(starts[:-1], lengths))
    where = f" in {np.count_nonzero(missing)} of {len(ids)} series, most in {ids[worst]!r}" if len(ids) > 1 else ""
    say(notes, f"gaps: {missing.sum()} time stamps without a row became rows of missing values{where}")
    return starts, grid, filled
