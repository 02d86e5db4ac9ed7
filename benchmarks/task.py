"""The forecasting tasks that the benchmarks share: data, split, test windows."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Task:
    """Series of equal length on an hourly grid, and the windows to forecast.

    values float64 (S, T); rows before ``train_rows`` train, rows from there to the first origin validate (none where
    they are equal: a model takes its validation part out of the training rows); ``origins`` int64 (N,) are the first
    rows to forecast; ``step`` is what lies between two of them.
    """

    name: str
    values: npt.NDArray[np.float64]
    start: str
    train_rows: int
    origins: npt.NDArray[np.int64]
    step: int
    horizon: int
    season: int
    patchtst_input: int  # the one setting that PatchTST has no default for
    description: str

    def truth(self) -> npt.NDArray[np.float64]:
        """What came, float64 (N, H, S)."""
        return np.stack([self.values[:, o : o + self.horizon].T for o in self.origins])

    def frame(self, first: int, last: int) -> dict[str, npt.NDArray[np.generic]]:
        """Rows first:last of every series as a long table."""
        rows = last - first
        stamps = np.datetime64(self.start, "h") + np.arange(first, last)
        return {
            "unique_id": np.repeat([f"s{s:04}" for s in range(len(self.values))], rows),
            "ds": np.tile(stamps, len(self.values)).astype("datetime64[s]"),
            "y": self.values[:, first:last].reshape(-1),
        }

    def save(self, path: Path) -> None:
        """For another interpreter: plain arrays, no pickle."""
        arrays = ("values", "start", "train_rows", "origins", "step", "horizon", "season", "patchtst_input")
        np.savez_compressed(path, **{name: np.asarray(getattr(self, name)) for name in arrays})


def etth1(path: Path, *, horizon: int = 96, step: int = 1) -> Task:
    """ETTh1, multivariate, by the split and scaling that the literature uses.

    Rows 0-8,640 train, -11,520 validate, -14,400 test; every channel z-scored by the training rows; every test window.
    """
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    table = np.array([[float(v) for v in row[1:]] for row in rows])[:14_400]
    scaled = (table - table[:8_640].mean(axis=0)) / table[:8_640].std(axis=0)
    return Task(
        name="ETTh1-96",
        values=np.ascontiguousarray(scaled.T),
        start=rows[0][0],
        train_rows=8_640,
        origins=np.arange(11_520, 14_400 - horizon + 1, step),
        step=step,
        horizon=horizon,
        season=24,
        patchtst_input=512,
        description="ETTh1, 7 channels z-scored by their training rows (0 to 8,640; validation to 11,520; test to "
        f"14,400), horizon {horizon}, test windows every {step} row(s)",
    )


def synthetic(*, series: int = 100, rows: int = 1_000, horizon: int = 24, seed: int = 2_024) -> Task:
    """Hourly series with what makes real ones hard: a season of a day and one of a week, a trend, shifts of the level.

    y = level · (1 + trend) + a day's season + a week's season + shifts + AR(1) noise; level 10 to 1,000 (log-uniform),
    seasons of two harmonics each, 0 to 3 shifts at random rows, shocks of 2 to 8 %, all relative to the level, so that
    the series differ in scale by a factor of a hundred. Seven test windows a series.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    values = np.empty((series, rows))
    for s in range(series):
        level = 10 ** rng.uniform(1, 3)
        wave = np.zeros(rows)
        for period, size in ((24, rng.uniform(0.1, 0.4)), (168, rng.uniform(0.05, 0.2))):
            for harmonic in (1, 2):
                phase = rng.uniform(0, 2 * np.pi)
                wave += size / harmonic * np.sin(2 * np.pi * harmonic * t / period + phase)
        trend = rng.uniform(-0.3, 0.3) * t / rows
        shifts = np.zeros(rows)
        for row in rng.integers(0, rows, rng.integers(0, 4)):
            shifts[row:] += rng.normal(0, 0.2)
        noise, deviation, memory = np.zeros(rows), rng.uniform(0.02, 0.08), rng.uniform(0, 0.8)
        shocks = rng.normal(0, deviation, rows)
        for row in range(1, rows):
            noise[row] = memory * noise[row - 1] + shocks[row]
        values[s] = level * (1 + trend + wave + shifts + noise)
    first = rows - 7 * horizon
    return Task(
        name="synthetic-100",
        values=values,
        start="2024-01-01 00:00:00",
        train_rows=first,
        origins=np.arange(first, rows, horizon),
        step=horizon,
        horizon=horizon,
        season=24,
        patchtst_input=168,
        description=f"{series} synthetic hourly series of {rows:,} rows (seed {seed}): trend, seasons of a day and a "
        f"week, level shifts, AR(1) noise, levels from 10 to 1,000; horizon {horizon}, the last 7 windows of each",
    )
