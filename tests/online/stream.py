"""Streams to watch, and the watch of the network that Carrousel comes with."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from carrousel.engine import Engine
from carrousel.online.watch import Readings, Watch
from carrousel.tasks.detect_saved import NETWORK

Floats = npt.NDArray[np.float64]
NAMES = (
    "score",
    "onset",
    "rarity",
    "p_value",
    "warming",
    "alarm",
    "incident",
    "expected",
    "lower",
    "upper",
    "residual",
)


@cache
def engine() -> Engine:
    return Engine.load(NETWORK)


def watch(batch: int = 1, variables: int = 1, *, rate: float = 1 / 500) -> Watch:
    return Watch(engine(), batch, variables, rate=rate)


def clock(length: int, step_s: float = 900.0) -> Floats:
    return np.arange(length) * step_s


def daily(length: int, seed: int, *, step_s: float = 900.0) -> Floats:
    """A daily cycle with noise, as a service has it."""
    noise = np.random.default_rng(seed).normal(size=length)
    return 10 + 3 * np.sin(2 * np.pi * clock(length, step_s) / 86_400) + 0.3 * noise


def feed(watcher: Watch, values: Floats, seconds: Floats) -> dict[str, npt.NDArray[np.generic]]:
    """Every reading of values (T, N, K) at times (T,), stacked along T."""
    readings: list[Readings] = [
        watcher.step(row, np.full(watcher.batch, now)) for row, now in zip(values, seconds, strict=True)
    ]
    return {name: np.stack([getattr(one, name) for one in readings]) for name in (*NAMES, "contributions")}
