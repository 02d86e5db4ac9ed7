"""How long the detector takes for a row: one stream from Python, many at once, native and in NumPy; what it remembers.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/detector_speed.py

Every stream has a past of PAST rows, more than three days of them, so that all tables of its state are full, every
member speaks, and the season is told apart.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page

from carrousel import Detector
from carrousel.architecture import LSTM, Architecture, Linear
from carrousel.engine import Engine
from carrousel.online.baseline import feature_count
from carrousel.online.covariate import Scaling
from carrousel.online.forecast import HORIZONS, head_size
from carrousel.online.watch import Watch
from carrousel.tasks.detect_saved import NETWORK

PAST = 1500
KINDS = 16  # different streams, which many streams repeat
CASES = [(1, 1, 0), (1, 8, 0), (1, 1, 3), (100, 1, 0), (1_000, 1, 0), (10_000, 1, 0)]  # streams, variables, covariates
INTERVAL_S = 300.0
HIDDEN = 32  # of the network that Carrousel comes with
MILLION = 1e6


def rows(streams: int, variables: int, count: int, seed: int) -> np.ndarray:
    """Values (count, streams, variables): noise about a wave, as loud in one stream as in another."""
    noise = np.random.default_rng(seed).normal(size=(count, streams, variables))
    wave = np.sin(np.arange(count) * (2 * np.pi * INTERVAL_S / 86_400))
    return 10 * wave[:, None, None] + noise


def grown(engine: Engine, streams: int, variables: int, covariates: int) -> Watch:
    """Streams with a past."""
    scaling = Scaling(np.zeros(covariates), np.ones(covariates)) if covariates else None
    few = Watch(engine, min(streams, KINDS), variables, rate=1e-4, scaling=scaling)
    for number, row in enumerate(rows(few.batch, variables + covariates, PAST, seed=0)):
        said = few.step(row, np.full(few.batch, number * INTERVAL_S))
    assert np.isfinite(said.season).all()
    return few.fork(np.arange(streams) % few.batch)


def network(covariates: int) -> Engine:
    """The network that Carrousel comes with, or one as wide with random weights, which reads covariates as well."""
    if not covariates:
        return Engine.load(NETWORK)
    features, numbers = feature_count(HORIZONS) + covariates, len(HORIZONS) * head_size()
    lstm = LSTM(name="lstm", input_size=features, hidden_size=HIDDEN)
    architecture = Architecture([lstm, Linear(name="head", input_size=HIDDEN, output_size=numbers)])
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in architecture.tensors().items()}
    return Engine(architecture, tensors)


def engines(covariates: int) -> dict[str, Engine]:
    """The network on each engine; the detector takes the twin that fits it."""
    kept = os.environ.pop("CARROUSEL_ISA", None)
    found = {"native": network(covariates)}
    os.environ["CARROUSEL_ISA"] = "numpy"
    found["NumPy"] = network(covariates)
    del os.environ["CARROUSEL_ISA"]
    if kept is not None:
        os.environ["CARROUSEL_ISA"] = kept
    return found


def steps(seconds: float) -> tuple[str, list[list[str]]]:
    """Lines of the table of ``Watch.step``: the twins take turns."""
    lines: list[list[str]] = []
    isa = ""
    for streams, variables, covariates in CASES:
        loaded = engines(covariates)
        isa = loaded["native"].isa
        watches = {name: grown(engine, streams, variables, covariates) for name, engine in loaded.items()}
        values = rows(streams, variables + covariates, 64, seed=1)
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
        line = [f"{streams:,}", str(variables), str(covariates)]
        for name in watches:
            middle = statistics.median(took[name])
            line += [f"{middle * MILLION:,.1f}", f"{min(took[name]) * MILLION:,.1f}", f"{streams / middle:,.0f}"]
        line.append(f"{statistics.median(took['NumPy']) / statistics.median(took['native']):.0f}×")
        lines.append(line)
        print(*line)
    return isa, lines


def updates(seconds: float) -> list[list[str]]:
    """Lines of the table of ``stream().update``, every call timed by itself."""
    start = datetime.datetime(2024, 1, 1)
    rng = np.random.default_rng(2)
    kinds: dict[str, tuple[float, Callable[[int], Any]]] = {
        "no stamp": (INTERVAL_S, lambda _: None),
        "datetime": (INTERVAL_S, lambda at: start + datetime.timedelta(seconds=at)),
        "text": (INTERVAL_S, lambda at: str(start + datetime.timedelta(seconds=at))),
        "datetime64": (INTERVAL_S, lambda at: np.datetime64(start, "s") + np.timedelta64(at, "s")),
        "datetime, each another part of the day": (3600.0, lambda at: start + datetime.timedelta(seconds=at)),
    }
    lines: list[list[str]] = []
    for name, (interval, stamp) in kinds.items():
        stream = Detector.online().stream()
        took: list[float] = []
        number, end = 0, float("inf")
        while time.perf_counter() < end:
            row = {"y": 10 * float(np.sin(number * 2 * np.pi * interval / 86_400)) + float(rng.normal())}
            at = stamp(round(number * interval))
            if at is not None:
                row["ds"] = at
            began = time.perf_counter()
            stream.update(row)
            took.append(time.perf_counter() - began)
            number += 1
            if number == PAST:
                took, end = [], time.perf_counter() + seconds
        middle, late = statistics.median(took), sorted(took)[int(0.99 * len(took))]
        lines.append([name, *(f"{part * MILLION:.1f}" for part in (middle, min(took), late))])
        print(*lines[-1])
    return lines


def resident() -> int:
    """Bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory() -> tuple[list[list[str]], str]:
    """Lines of the table of what a stream remembers, and a sentence on what the process grows by."""
    watch = grown(Engine.load(NETWORK), KINDS, 1, 0)
    parts: dict[str, int] = {}
    for name, array in watch.state.items():
        part = name.partition(".")[0]
        parts[part] = parts.get(part, 0) + array.nbytes // KINDS
    lines = [[part, f"{size:,}"] for part, size in sorted(parts.items(), key=lambda item: -item[1])]
    lines.append(["together", f"{sum(parts.values()):,}"])
    count = 10_000
    before = resident()
    many = watch.fork(np.arange(count) % KINDS)
    for number in range(5):
        many.step(rows(count, 1, 1, seed=number)[0], np.full(count, (PAST + number) * INTERVAL_S))
    among = (resident() - before) / count
    detector, alone = Detector.online(), 1_000
    before = resident()
    streams = [detector.stream() for _ in range(alone)]
    for stream in streams:
        for value in rows(1, 1, 30, seed=3)[:, 0, 0].tolist():
            stream.update({"y": value})
    single = (resident() - before) / alone
    return lines, (
        f"The process grows by {among / 1024:.1f} KiB a stream with {count:,} in one watch, and by "
        f"{single / 1024:.1f} KiB with each of {alone:,} streams as an object of its own, Python's objects and all."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each case and engine")
    seconds = parser.parse_args().seconds
    remembered, grows = memory()
    from_python = updates(seconds)
    isa, lines = steps(seconds)
    header = ["streams", "variables", "covariates"]
    header += ["native, µs", "least, µs", "rows/s", "NumPy, µs", "least, µs", "rows/s", "faster"]
    page.write(
        "detector_speed",
        "The detector's speed",
        [
            f"The whole detector on one core, with the network that Carrousel comes with, after a past of {PAST:,} "
            "rows: members, alarms, season, trend and drift. There is no part of it that is left out of these numbers.",
            "## One stream\n\n`Detector.online().stream().update(row)` from Python: a dictionary in, an `Event` out; "
            "one variable, by the kind of the time stamp. µs:",
            page.table(["stamp", "median", "least", "99 % below"], from_python, left=1),
            "## Many streams\n\nOne call of `Watch.step` from Python: a row of every stream in, the reading of every "
            f"stream out. Native ({isa}) and NumPy took turns; rows/s and faster are those of the medians. With "
            "covariates the network has random weights and is as wide.",
            page.table(header, lines, left=0),
            "## Memory\n\nBytes that a stream of one variable remembers:",
            page.table(["part", "bytes"], remembered, left=1),
            grows,
        ],
        packages=("carrousel", "numpy"),
        seeds="0 of the past, 1 of the rows that were timed",
    )


if __name__ == "__main__":
    main()
