"""Train the network that a detector starts from, on artificial series only, and write it into the package.

python benchmarks/detector_network.py --output src/carrousel/online/network
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import page
import torch
from torch import nn

from carrousel.architecture import LSTM, Architecture, Linear
from carrousel.artifact import Artifact, save
from carrousel.data.artificial import artificial
from carrousel.online.baseline import feature_count
from carrousel.online.forecast import HORIZONS, QUANTILES
from carrousel.tasks.detect_fit import (
    SMALLEST,
    DetectNetwork,
    fit_network,
    learnable,
    starts,
    weights_of,
)
from carrousel.training import seeded

Features = npt.NDArray[np.float32]
TRAIN, VALIDATE = 100_000, 900_000  # first seeds; the settings were frozen on others
HELD_OUT = 150  # series to validate on
ROWS = 2000
SETTLED = 200  # rows from which on a forecast counts: by then a stream's habits are known

CARD = """# The network that a detector starts from

An LSTM of {hidden} units that forecasts the distribution of a stream's next values, {horizons} rows ahead: {count}
quantiles each, around a mixture of the last value, the mean, and the habits of the day and the week
(`carrousel.online.forecast`).

It was trained on {series:,} artificial series (`carrousel.data.artificial`, seeds from {first:,} on, every third with
anomalies, {rows:,} rows each) in {steps:,} steps by `benchmarks/detector_network.py`, seed {seed}. No real series had a
part in it, and none of any benchmark.

On {held_out} artificial series of other seeds, from row {settled} on:

{table}

Its licence is that of Carrousel.
"""


def examples(first: int, count: int) -> tuple[Features, Features]:
    """Features and what followed, of so many series from a seed on."""
    values, seconds = np.empty((count, ROWS)), np.empty((count, ROWS))
    for place, seed in enumerate(range(first, first + count)):
        series = artificial(seed, anomalies=seed % 3 == 0, rows=ROWS + (seed * 37) % 200)
        values[place] = series.values[:ROWS, 0]
        seconds[place] = series.stamps[:ROWS].astype(np.float64)
    return learnable(values, seconds)


def judge(model: nn.Module, features: Features, truth: Features) -> tuple[list[float], list[tuple[float, float]]]:
    """Mean logarithm of the pinball loss at each horizon, and the shares of rows below the 5 % and 95 % quantiles.

    The network reads each series from its first row on, as it does when it watches.
    """
    with torch.no_grad():
        q = model.eval()(torch.from_numpy(features))[:, SETTLED:]
    known = torch.from_numpy(truth[:, SETTLED:])
    there = known.isfinite()
    off = torch.where(there, known, torch.zeros_like(known))[..., None] - q
    level = torch.tensor(QUANTILES)
    pinball = torch.maximum(level * off, (level - 1) * off).mean(-1) * there
    loss = torch.log(pinball.mean(1) + SMALLEST).mean(0)
    below = ((known[..., None] < q) & there[..., None]).sum((0, 1)) / there.sum((0, 1))[:, None]
    return loss.tolist(), [(float(row[1]), float(row[-2])) for row in below]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--series", type=int, default=2304, help="to train on (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--hidden", type=int, default=32, help="units (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="peak (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    held_out, known = examples(VALIDATE, HELD_OUT), examples(TRAIN, options.series)
    with seeded(options.seed):
        model = DetectNetwork(options.hidden)

    def validate(network: nn.Module) -> float:
        losses, below = judge(network, *held_out)
        print(f"mean log pinball loss {losses}, rows below 5 % and 95 % {below}", flush=True)
        return sum(losses)

    spans = starts([(place, 0, ROWS) for place in range(options.series)])
    history = fit_network(
        model, *known, spans, spans[:1], minutes=None, max_steps=options.steps, learning_rate=options.learning_rate,
        seed=options.seed, validate=validate, progress=lambda report: None,
    )  # fmt: skip
    losses, below = judge(model, *held_out)
    rows = [
        ["mean logarithm of the pinball loss", *(f"{loss:.4f}" for loss in losses)],
        ["rows below the 5 % quantile", *(f"{100 * low:.1f} %" for low, _ in below)],
        ["rows below the 95 % quantile", *(f"{100 * high:.1f} %" for _, high in below)],
    ]
    card = CARD.format(
        hidden=options.hidden, horizons=" and ".join(map(str, HORIZONS)), count=len(QUANTILES), series=options.series,
        first=TRAIN, rows=ROWS, steps=history.best_step, seed=options.seed, held_out=HELD_OUT, settled=SETTLED,
        table=page.table(["", *(f"{horizon} ahead" for horizon in HORIZONS)], rows),
    )  # fmt: skip
    print(f"wrote {write(options.output, model, card)}")


def write(path: Path, model: DetectNetwork, card: str) -> Path:
    """An artifact of the network alone: who loads it brings the settings of a detector."""
    hidden = model.head.in_features
    lstm = LSTM(name="lstm", input_size=feature_count(HORIZONS), hidden_size=hidden)
    head = Linear(name="head", input_size=hidden, output_size=model.head.out_features)
    architecture = Architecture(layers=(lstm, head), stacks={"main": ("lstm", "head")})
    artifact = Artifact(
        task="detect",
        architecture=architecture,
        weights=weights_of(model),
        settings={},
        card=card,
        model_class="CarrouselDetector",
    )
    return save(path, artifact, overwrite=True)


if __name__ == "__main__":
    main()
