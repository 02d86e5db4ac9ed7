"""The cycle of a table's rows: the frequency says it, or the rows themselves do, by their autocorrelation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.online.season import FEWEST_PARTS

Floats = npt.NDArray[np.float64]

CYCLES = 3  # that a table must hold
LEAST = 0.3  # correlation of rows a cycle apart
ALIKE = 0.85  # of the highest correlation: the shortest cycle that has so much is it, not one of its multiples
EXPLAINED = 0.2  # share of the last third's variance that the shape of the first two explains
LONGEST_ROWS = 200_000  # the last so many are looked at


def cycle_of(panel: Panel, grid: Frequency, season: int | None) -> tuple[int, str]:
    """Rows of the cycle that trend and season are told apart by, 0 for none; and a sentence.

    Parameters
    ----------
    panel : the table; it is asked where the frequency says nothing
    grid : its frequency
    season : what the user said
    """
    if season is not None:
        return (season, f"season: {season} rows, as told") if season >= FEWEST_PARTS else (0, "season: none, as told")
    if grid.season >= FEWEST_PARTS:
        return grid.season, f"season: {grid.season_reason}"
    if not grid.integer:
        return 0, f"season: {grid.season_reason}"
    found = [_found(panel.target[panel.rows(s), k]) for s in range(len(panel)) for k in range(panel.target.shape[1])]
    known = np.array([rows for rows in found if rows])
    if len(known) * 2 <= len(found):
        return 0, "season: no cycle was found in the table"
    rows, count = np.unique(known, return_counts=True)
    best = int(rows[count.argmax()])
    return best, f"season: a cycle of {best} rows was found in {int(count.max())} of {len(found)} series"


def _found(values: Floats) -> int:
    """Rows of the cycle of a series, float64 (T,) with NaN; 0 for none."""
    known = np.isfinite(values)
    if known.sum() < CYCLES * FEWEST_PARTS:
        return 0
    place = np.flatnonzero(known)
    y = np.interp(np.arange(len(values)), place, values[place])[-LONGEST_ROWS:]
    rows = len(y)
    y = y - np.polyval(np.polyfit(np.arange(rows), y, 1), np.arange(rows))
    if y.std() <= 1e-9 * (1 + np.abs(values[place]).max()):
        return 0
    power = np.abs(np.fft.rfft(y, 2 * rows)) ** 2
    correlation = np.fft.irfft(power)[: rows // CYCLES + 2]
    correlation = correlation / correlation[0] * (rows / (rows - np.arange(len(correlation))))
    apart = np.flatnonzero(correlation <= 0)  # until then rows are alike because they are near
    if not len(apart):
        return 0
    first = max(int(apart[0]), FEWEST_PARTS)
    late = correlation[first:]
    if not len(late) or (best := late.max()) < LEAST:
        return 0
    near = first + int(np.argmax(late >= ALIKE * best))
    rows_a_cycle = near + int(correlation[near : near + near // 4 + 1].argmax())
    return rows_a_cycle if _explains(y, rows_a_cycle) else 0


def _explains(y: Floats, rows: int) -> bool:
    """Whether the mean shape of the cycle in the first two thirds explains enough of the last."""
    border = 2 * len(y) // 3
    phase = np.arange(len(y)) % rows
    count = np.bincount(phase[:border], minlength=rows)
    shape = np.bincount(phase[:border], y[:border], rows) / np.maximum(count, 1)
    late = y[border:] - y[border:].mean()
    shape = shape - shape.mean()
    return float(((late - shape[phase[border:]]) ** 2).mean()) <= (1 - EXPLAINED) * float((late**2).mean())
