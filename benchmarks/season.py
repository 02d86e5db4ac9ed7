"""Trend and season told apart on streams with a cycle: false changes, changes found, errors, and what intervals cover.

python benchmarks/season.py
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import page

from carrousel.online.season import Season
from carrousel.online.trend import Trend

Floats = npt.NDArray[np.float64]

STREAMS, ROWS, CHANGE, WINDOW = 60, 12_000, 8_000, 2_000
LATE = 6_000  # rows from which on levels are judged
PERIODS = (24, 100, 288)
CHANGES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "mean + 0.5": lambda x, late: x + 0.5 * late,
    "slope + 0.005": lambda x, late: x + 0.005 * np.cumsum(late, axis=0),
}


def cycle(period: int) -> tuple[Floats, Floats]:
    """Streams of deviation 1 (T, N), four fifths of their variance a wave; and the wave."""
    random = np.random.default_rng([2_026, period])
    wave = 2 * np.sqrt(2) * np.sin(2 * np.pi * (np.arange(ROWS)[:, None] / period + random.uniform(size=STREAMS)))
    return (wave + random.normal(size=wave.shape)) / np.sqrt(5), wave / np.sqrt(5)


def run(x: Floats, period: int, *, apart: bool) -> tuple[npt.NDArray[np.bool_], Floats, Floats, Floats]:
    """Changes, levels, and lower and upper ends of the season, (T, N) each, by the trend with or without the season."""
    season, trend = Season(STREAMS, 1, period=float(period), clock=False), Trend(STREAMS, 1)
    change, level = np.zeros(x.shape, bool), np.zeros(x.shape)
    low, high = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
    nothing = np.zeros(STREAMS)
    for t, row in enumerate(x):
        values = row[:, None].copy()
        said = season.update(values, nothing, nothing)
        low[t], high[t] = said.lower[:, 0], said.upper[:, 0]
        reading = trend.update(season.without(values, said, trend) if apart else values)
        change[t], level[t] = reading.change[:, 0] > 0, reading.level[:, 0]
    return change, level, low, high


def main() -> None:
    rows: list[list[object]] = []
    covered: list[str] = []
    late = (np.arange(ROWS) >= CHANGE)[:, None] * np.ones(STREAMS)
    for period in PERIODS:
        x, wave = cycle(period)
        for name, apart in (("the rows as they are", False), ("without the season", True)):
            change, level, low, high = run(x, period, apart=apart)
            cells = [f"{1e4 * change.mean():.2f}", f"{level[LATE:].std():.3f}"]
            for changed in CHANGES.values():
                found = run(changed(x, late), period, apart=apart)[0][CHANGE : CHANGE + WINDOW]
                hit = found.any(axis=0)
                delay = f", after {np.median(found.argmax(axis=0)[hit]):.0f}" if hit.any() else ""
                cells.append(f"{hit.sum()} of {STREAMS}{delay}")
            rows.append([f"{period} rows", name, *cells])
            if apart:
                inside = (low[LATE:] <= wave[LATE:]) & (wave[LATE:] <= high[LATE:])
                covered.append(f"{inside.mean():.1%} of the rows of a cycle of {period}")
    parts = [
        f"{STREAMS} streams of {ROWS:,} rows and deviation 1 a cycle: a wave that is four fifths of the variance, "
        f"and white noise. At row {CHANGE:,} nothing happens, or one change, which must be found in {WINDOW:,} rows. "
        "The trend promises one false change in 100,000 rows, 0.10 in 10,000.",
        page.table(
            ["cycle", "the line is fitted to", "false changes in 10,000 rows", "error of the level", *CHANGES],
            rows,
            left=2,
        ),
        f"The season's 95% interval holds the wave in {', '.join(covered)}; a cycle of more than 72 rows is told in "
        "parts of several rows, in each of which the wave moves.",
        "What a row costs is on [the page of the detector's speed](detector_speed.md).",
    ]
    page.write("season", "Trend and season", parts, packages=("carrousel", "numpy"), seeds="2026")


if __name__ == "__main__":
    main()
