"""Season, trend and drift of the compiled step: the bits of the NumPy classes, which specify them."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel import native
from carrousel.online.watch import Readings, Watch
from online.test_watch_native import engine, specified, table

pytestmark = pytest.mark.skipif(native.chosen() == "numpy", reason="the native engine is not built, or is not to run")

# Made of + − · / √ and comparisons alone, so that both twins round alike; only what the forecast leaves of the values
# passes through functions, which differ in their last places, before its drift is asked for.
EXACT = ("level", "level_lower", "level_upper", "slope", "slope_lower", "slope_upper", "season", "season_lower")
PARTS = ("season.", "trend.", "value_drift.")
CYCLES = [{}, {"period": 24.0, "clock": False}, {"period": 100.7, "clock": False}, {"clock": False}]


def same_bits(a: np.ndarray, b: np.ndarray, name: str) -> None:
    __tracebackhide__ = True
    np.testing.assert_array_equal(a, b, name)  # which takes one NaN for another, and −0 for 0


def run(values: np.ndarray, seconds: np.ndarray, **cycle: object) -> list[Readings]:
    streams, variables = values.shape[1:]
    network = engine(2)
    one, two = (Watch(network, streams, variables, rate=1e-2, **cycle) for _ in range(2))  # pyright: ignore
    specified(two)
    readings: list[Readings] = []
    for row, (x, time) in enumerate(zip(values, seconds, strict=True)):
        a, b = one.step(x, time), two.step(x, time)
        for name in (*EXACT, "season_upper", "change"):
            same_bits(getattr(a, name), getattr(b, name), f"{name} of row {row}")
        np.testing.assert_array_equal(a.drift, b.drift, f"drift of row {row}")
        readings.append(a)
    for name, array in one.state.items():
        if name.startswith(PARTS):
            same_bits(array, two.state[name], name)
    return readings


@pytest.mark.parametrize("cycle", CYCLES)
def test_season_and_trend_say_what_numpy_says(cycle: dict[str, object]):
    values, seconds = table(700, 16, 2, seed=5)
    said = run(values, seconds, **cycle)
    assert sum(int((reading.change > 0).sum()) for reading in said) > 5
    if cycle != {"clock": False}:
        assert np.isfinite([reading.season for reading in said]).any()


def test_steps_bends_and_drifts_are_found_alike():
    rows, rng = 8_000, np.random.default_rng(2)
    t = np.arange(rows)
    noise = rng.normal(size=(rows, 8))
    noise[:, 1] += 4 * (t > 5_000)  # a step
    noise[:, [2, 6, 7]] += 0.005 * np.maximum(t - 4_000, 0)[:, None]  # bends
    noise[:, 3] *= 1 + 3 * (t > 5_000)  # louder
    noise[:, 4] += 3 * np.sin(t * np.pi / 12)  # a day
    noise[rng.random(noise.shape) < 0.02] = np.nan
    noise[:, 5] = np.round(noise[:, 5])  # ties
    seconds = (3600.0 * t + 900.0 * np.where(rng.random(rows) < 0.1, rng.random(rows), 0))[:, None] * np.ones(8)
    said = run(noise[:, :, None], seconds)
    changes = np.array([reading.change[:, 0] for reading in said])
    assert 1 in changes[:, 1]
    assert 2 in changes[:, [2, 6, 7]]
    assert np.array([reading.drift[:, 0] for reading in said])[:, 1:4].any(0).all()
