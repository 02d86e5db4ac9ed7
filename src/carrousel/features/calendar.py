"""Where in the day, week, month and year a time stamp lies: sines and cosines, known for any future stamp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.frequency import Frequency
from carrousel.errors import SettingError

_HOUR, _DAY = 3600.0, 86_400.0
# Mean Gregorian month and year, in seconds.
_LENGTHS = {"hour": _HOUR, "day": _DAY, "week": 7 * _DAY, "month": 2_629_746.0, "year": 31_556_952.0}
# Three harmonics of the week span every profile over seven days; the others give a smooth curve.
_HARMONICS = {"hour": 1, "day": 2, "week": 3, "month": 1, "year": 2}
_STEPS = {
    "s": 1.0,
    "min": 60.0,
    "h": _HOUR,
    "D": _DAY,
    "B": 7 / 5 * _DAY,
    "W": 7 * _DAY,
    "M": _LENGTHS["month"],
    "Q": 3 * _LENGTHS["month"],
    "Y": _LENGTHS["year"],
}


def cycles(frequency: Frequency, rows: int | None = None) -> tuple[str, ...]:
    """The cycles of the calendar that a frequency resolves with four rows or more, shortest first.

    The day of the month counts for daily, working-day and weekly data only; integers have no calendar.

    Parameters
    ----------
    frequency : of the rows
    rows : of the longest training series; cycles that it covers less than twice are left out, because a network takes
        a phase that never returned for a trend

    Returns
    -------
    some of "hour", "day", "week", "month", "year"
    """
    if frequency.integer:
        return ()
    step = frequency.n * _STEPS[frequency.unit]
    found: list[str] = []
    for cycle, length in _LENGTHS.items():
        resolved = 4 * step <= length * 1.001
        if cycle == "month":
            resolved = resolved and step >= _DAY
        if resolved and (rows is None or rows * step >= 2 * length):
            found.append(cycle)
    return tuple(found)


def names(cycles: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of ``calendar``: ``day_sin1``, ``day_cos1``, ``day_sin2``, ..."""
    return tuple(
        f"{cycle}_{wave}{k}" for cycle in cycles for k in range(1, _harmonics(cycle) + 1) for wave in ("sin", "cos")
    )


def calendar(
    ds: npt.NDArray[Any], cycles: Sequence[str], dtype: npt.DTypeLike = np.float32
) -> npt.NDArray[np.floating[Any]]:
    """sin 2πkφ and cos 2πkφ of the phase φ in each cycle, for its harmonics k.

    φ is continuous, except that of the week, which stays the same all day long: what differs between a Friday and a
    Saturday changes at midnight.

    Parameters
    ----------
    ds : datetime64[s] (R,); int64 if there are no cycles
    cycles : from ``cycles``
    dtype : float32 or float64

    Returns
    -------
    (R, C), one column for each of ``names(cycles)``

    Raises
    ------
    SettingError : a cycle that does not exist
    """
    features = np.empty((len(ds), len(names(cycles))), dtype)
    column = 0
    for cycle in cycles:
        k = np.arange(1, _harmonics(cycle) + 1)
        angle = 2 * np.pi * _phase(ds.astype("datetime64[s]"), cycle)[:, None] * k  # (R, harmonics)
        features[:, column : column + 2 * len(k) : 2] = np.sin(angle)
        features[:, column + 1 : column + 2 * len(k) : 2] = np.cos(angle)
        column += 2 * len(k)
    return features


def _phase(ds: npt.NDArray[np.datetime64], cycle: str) -> npt.NDArray[np.float64]:
    """How much of the cycle has passed, in [0, 1)."""
    seconds = ds.astype(np.int64)
    if cycle in ("hour", "day"):
        length = int(_LENGTHS[cycle])
        return seconds % length / length
    if cycle == "week":
        # 1970-01-01 was a Thursday; Monday comes first.
        return (seconds // int(_DAY) + 3) % 7 / 7
    start = ds.astype("datetime64[M]" if cycle == "month" else "datetime64[Y]")
    first, end = (stamp.astype("datetime64[s]").astype(np.int64) for stamp in (start, start + 1))
    return (seconds - first) / (end - first)


def _harmonics(cycle: str) -> int:
    if cycle not in _HARMONICS:
        raise SettingError(f"cycles: expected some of {', '.join(_HARMONICS)}, got {cycle!r}")
    return _HARMONICS[cycle]
