"""Timing of rivals that take turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

Loop = Callable[[int], None]
SAMPLE_SECONDS = 2e-3  # of one sample at least: far above the clock's own resolution
LONG_SECONDS = 0.1  # of one call: what it finds in the caches no longer matters
LEAST_ROUNDS, MOST_ROUNDS = 3, 500


def race(loops: Sequence[Loop], seconds: float) -> list[list[float]]:
    """Seconds of one call, a list of samples for each of the loops.

    Parameters
    ----------
    loops : each does so many calls as it is told
    seconds : to spend on all of them together; no less than some rounds are run, however long they take
    """
    counts = [_count(loop) for loop in loops]
    samples: list[list[float]] = [[] for _ in loops]
    order = list(range(len(loops)))
    enabled = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while len(samples[0]) < LEAST_ROUNDS or (time.perf_counter() < end and len(samples[0]) < MOST_ROUNDS):
            for k in order:
                if counts[k] > 1:  # what the one before left in the caches is not this one's to pay for
                    loops[k](1 + counts[k] // 8)
                began = time.perf_counter()
                loops[k](counts[k])
                samples[k].append((time.perf_counter() - began) / counts[k])
            order.reverse()
    finally:
        if enabled:
            gc.enable()
    return samples


def typical(samples: Sequence[float]) -> float:
    """Their median."""
    return float(median(samples))


def _count(loop: Loop) -> int:
    """How many calls make a sample."""
    began = time.perf_counter()
    loop(1)
    if time.perf_counter() - began > LONG_SECONDS:
        return 1
    count = 1
    while True:
        began = time.perf_counter()
        loop(count)
        took = time.perf_counter() - began
        if took >= SAMPLE_SECONDS:
            return count
        count = max(count + 1, min(8 * count, int(1.2 * count * SAMPLE_SECONDS / max(took, 1e-7))))
