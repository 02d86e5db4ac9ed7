"""How long the detector takes for a row: one stream, many streams, native and in NumPy; what a stream remembers.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/detector_speed.py

Every stream has a past of PAST rows, so that all tables of its state are full and every member speaks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
import page

from carrousel.engine import Engine
from carrousel.online.watch import Watch
from carrousel.tasks.detect_saved import NETWORK

PAST = 1500
KINDS = 16  # different streams, which many streams repeat
CASES = [(1, 1), (1, 8), (100, 1), (1_000, 1), (10_000, 1)]  # streams, variables
INTERVAL_S = 300.0
MILLION = 1e6


def rows(streams: int, variables: int, count: int, seed: int) -> np.ndarray:
    """Values (count, streams, variables): noise about a wave, as loud in one stream as in another."""
    noise = np.random.default_rng(seed).normal(size=(count, streams, variables))
    wave = np.sin(np.arange(count) * (2 * np.pi * INTERVAL_S / 86_400))
    return 10 * wave[:, None, None] + noise


def grown(engine: Engine, streams: int, variables: int) -> Watch:
    """Streams with a past."""
    few = Watch(engine, min(streams, KINDS), variables, rate=1e-4)
    for number, row in enumerate(rows(few.batch, variables, PAST, seed=0)):
        few.step(row, np.full(few.batch, number * INTERVAL_S))
    return few.fork(np.arange(streams) % few.batch)


def engines() -> dict[str, Engine]:
    """The network on each engine; the detector takes the twin that fits it."""
    kept = os.environ.pop("CARROUSEL_ISA", None)
    found = {"native": Engine.load(NETWORK)}
    os.environ["CARROUSEL_ISA"] = "numpy"
    found["NumPy"] = Engine.load(NETWORK)
    del os.environ["CARROUSEL_ISA"]
    if kept is not None:
        os.environ["CARROUSEL_ISA"] = kept
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each case and engine")
    seconds = parser.parse_args().seconds
    loaded = engines()
    lines: list[list[str]] = []
    state = 0.0
    for streams, variables in CASES:
        watches = {name: grown(engine, streams, variables) for name, engine in loaded.items()}
        values = rows(streams, variables, 64, seed=1)
        clock = PAST
        took: dict[str, list[float]] = {name: [] for name in watches}
        step = dict.fromkeys(watches, 1)
        end = time.perf_counter() + seconds * len(watches)
        while time.perf_counter() < end or len(took["NumPy"]) < 5:
            for name, watch in watches.items():  # in turns, each for about as long
                for _ in range(step[name]):
                    row, at = values[clock % len(values)], np.full(streams, clock * INTERVAL_S)
                    start = time.perf_counter()
                    watch.step(row, at)
                    took[name].append(time.perf_counter() - start)
                    clock += 1
                step[name] = max(1, round(0.02 / statistics.median(took[name])))
        if variables == 1:
            state = sum(array.nbytes for array in watches["native"].state.values()) / streams
        line = [f"{streams:,}", str(variables)]
        for name in watches:
            middle = statistics.median(took[name])
            line += [f"{middle * MILLION:,.1f}", f"{min(took[name]) * MILLION:,.1f}", f"{streams / middle:,.0f}"]
        line.append(f"{statistics.median(took['NumPy']) / statistics.median(took['native']):.0f}×")
        lines.append(line)
        print(*line)
    isa = loaded["native"].isa
    text = (
        "One call of `Watch.step` from Python: a row of every stream in, the reading of every stream out, with the "
        f"network that Carrousel comes with. Native ({isa}) and NumPy took turns, after a past of {PAST:,} rows. A "
        f"stream of one variable remembers {state / 1024:.1f} KiB. rows/s and faster are those of the medians."
    )
    header = ["streams", "variables", "native, µs", "least, µs", "rows/s", "NumPy, µs", "least, µs", "rows/s", "faster"]
    page.write(
        "detector_speed",
        "The detector's speed",
        [text, page.table(header, lines, left=0)],
        packages=("carrousel", "numpy"),
        seeds="0 of the past, 1 of the rows that were timed",
    )


if __name__ == "__main__":
    main()
