"""The cycle of a table's rows."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.data.schema import Schema
from carrousel.tasks.detect_cycle import cycle_of


def asked(ds: np.ndarray, y: np.ndarray, season: int | None = None) -> tuple[int, str]:
    schema = Schema.infer({"ds": ds, "y": y})
    return cycle_of(schema.read({"ds": ds, "y": y}), schema.grid, season)


def waves(rows: int, period: float, *, noise: float = 0.5, slope: float = 0.0, seed: int = 0) -> np.ndarray:
    t = np.arange(rows)
    saw = np.sin(2 * np.pi * t / period) + 0.5 * np.sin(6 * np.pi * t / period)
    return saw + slope * t + noise * np.random.default_rng(seed).normal(size=rows)


def test_the_frequency_says_it():
    hours = np.datetime64("2024-01-01", "h") + np.arange(300)
    assert asked(hours, np.random.default_rng(0).normal(size=300)) == (24, "season: 24 rows make a day")


@pytest.mark.parametrize("period", [7, 24, 50, 288])
def test_rows_without_a_clock_say_it_themselves(period):
    rows = np.arange(8 * period if period > 20 else 200)
    found, said = asked(rows, waves(len(rows), period, slope=0.01))
    assert abs(found - period) <= period // 200
    assert said == f"season: a cycle of {found} rows was found in 1 of 1 series"


def test_noise_walks_and_constants_have_none():
    random = np.random.default_rng(0)
    for y in (random.normal(size=900), random.normal(size=900).cumsum(), np.full(900, 3.0)):
        assert asked(np.arange(900), y) == (0, "season: no cycle was found in the table")


def test_gaps_do_not_hide_it():
    y = waves(600, 30)
    y[100:130] = np.nan
    assert asked(np.arange(600), y)[0] == 30


def test_the_user_knows_best():
    assert asked(np.arange(600), waves(600, 30), 12) == (12, "season: 12 rows, as told")
    assert asked(np.arange(600), waves(600, 30), 1) == (0, "season: none, as told")


def test_waves_that_lose_their_phase_are_no_cycle():
    random = np.random.default_rng(1)
    y = np.zeros(3000)
    for t in range(2, 3000):
        y[t] = 2 * 0.985 * np.cos(2 * np.pi / 30) * y[t - 1] - 0.985**2 * y[t - 2] + random.normal()
    assert asked(np.arange(3000), y)[0] == 0
