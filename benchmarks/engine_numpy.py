"""The NumPy engine beside torch.nn.LSTM on the same weights: one step, sequences, batches, and one whole forecast.

    OMP_NUM_THREADS=1 python benchmarks/engine_numpy.py

Agreement is checked before anything is timed. Rivals take turns, call by call, so that what else the machine does hits
both alike; medians.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from carrousel.architecture import LSTM, Architecture, Linear
from carrousel.engine import Engine

SIZES = (64, 128, 256)
PATCHES, PATCH, AHEAD, HEAD = 20, 48, 4, 24 * 7
SECONDS = 1.5  # for each row of the table


def turns(*rivals: Callable[[], object]) -> list[float]:
    """Median seconds of each rival."""
    times: list[list[float]] = [[] for _ in rivals]
    end = time.perf_counter() + SECONDS
    while len(times[0]) < 3 or time.perf_counter() < end:
        for own, rival in zip(times, rivals, strict=True):
            start = time.perf_counter()
            rival()
            own.append(time.perf_counter() - start)
    return [median(own) for own in times]


class Network(torch.nn.Module):
    """The forecasting network's recurrent part, as torch runs it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.past = torch.nn.Linear(PATCH, size)
        self.lstm = torch.nn.LSTM(size, size, batch_first=True)
        self.head = torch.nn.Linear(size, HEAD)

    def forward(self, patches: torch.Tensor, ahead: torch.Tensor) -> torch.Tensor:
        _, (h, c) = self.lstm(torch.relu(self.past(patches)))
        state = h.repeat(1, len(ahead), 1), c.repeat(1, len(ahead), 1)
        return self.head(self.lstm(ahead[:, None], state)[0][:, 0])


def build(network: Network, size: int) -> Engine:
    layers = (
        Linear(name="past", input_size=PATCH, output_size=size, activation="relu"),
        LSTM(name="lstm", input_size=size, hidden_size=size),
        Linear(name="head", input_size=size, output_size=HEAD),
    )
    stacks = {"encode": ("past", "lstm"), "decode": ("lstm", "head"), "lstm": ("lstm",)}
    return Engine(Architecture(layers, stacks), {k: v.detach().numpy() for k, v in network.state_dict().items()})


def forecast(engine: Engine, network: Network, size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    patches, ahead = random(1, PATCHES, PATCH), random(AHEAD, size)
    session = engine.session()

    def ours() -> np.ndarray:
        session.reset()
        session.run(patches, stack="encode")
        return session.fork([0] * AHEAD).step(ahead, stack="decode")

    def theirs() -> torch.Tensor:
        return network(torch.from_numpy(patches), torch.from_numpy(ahead))

    return ours, theirs


def sequence(engine: Engine, network: Network, batch: int, x: np.ndarray) -> tuple[Callable[[], object], ...]:
    session = engine.session(batch)

    def ours() -> np.ndarray:
        session.reset()
        return session.run(x, stack="lstm")

    return ours, lambda: network.lstm(torch.from_numpy(x))[0]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(f"{processor()}, {torch.get_num_threads()} thread(s), NumPy {np.__version__}, torch {torch.__version__}\n")
    print("| what | H | engine | torch | torch / engine |\n|---|---:|---:|---:|---:|")
    for size in SIZES:
        network = Network(size).eval()
        engine = build(network, size)
        rows = {f"one forecast: {PATCHES} patches, {AHEAD} ahead": forecast(engine, network, size)}
        for batch, length in ((1, 1), (1, 1000), (32, 100), (256, 100), (4096, 20)):
            rows[f"N={batch} L={length}"] = sequence(engine, network, batch, random(batch, length, size))
        for name, (ours, theirs) in rows.items():
            np.testing.assert_allclose(ours(), theirs().numpy(), rtol=0, atol=1e-5)
            a, b = turns(ours, theirs)
            unit, scale = ("µs", 1e6) if min(a, b) < 1e-3 else ("ms", 1e3)
            print(f"| {name} | {size} | {a * scale:.1f} {unit} | {b * scale:.1f} {unit} | {b / a:.2f} |", flush=True)


if __name__ == "__main__":
    main()
