"""Telemanom's network on Carrousel's LSTM, trained with the settings that its authors publish.

python benchmarks/telemanom_network.py FOLDER --seed 0

writes the forecasts of all 27 channels, one file each, and leaves out those that lie there. It takes about 50 minutes
of one core; ``benchmarks/msl.py --forecasts FOLDER`` reads them.

As there: two layers of 80 units, of which the last one's last output alone forecasts the ten rows that follow; windows
of 250 rows, shuffled, of which a fifth, overlapping the others, tells when to stop; at most 35 passes, and 10 after the
last one that gained 0.0003; the weights of the last pass. Other than there: the gates are logistic and not piecewise
linear, as Keras's were in 2018, a layer has torch's two biases, and the arithmetic is Carrousel's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from telemanom import AHEAD, LOOK_BACK, Forecasts
from torch import Tensor, nn

from carrousel.data.labelled import LabelledSeries, msl
from carrousel.layers.lstm import LSTM
from carrousel.training import seeded

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HIDDEN, DROPOUT, RATE, EPSILON = 80, 0.3, 1e-3, 1e-7
EPOCHS, BATCH, LEARNT, PATIENCE, GAIN = 35, 64, 0.8, 10, 3e-4
READ = 256  # windows forecast at a time


class Network(nn.Module):
    """Forecasts the telemetry of the next ten rows, (N, 10), from telemetry and commands of 250, (N, 250, inputs)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first, self.second = LSTM(inputs, HIDDEN, batch_first=True), LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.dropout, self.head = nn.Dropout(DROPOUT), nn.Linear(HIDDEN, AHEAD)
        for layer in (self.first, self.second):  # as Keras begins
            nn.init.xavier_uniform_(layer.get_parameter("weight_ih_l0"))
            nn.init.orthogonal_(layer.get_parameter("weight_hh_l0"))
            for name in ("bias_ih_l0", "bias_hh_l0"):
                nn.init.zeros_(layer.get_parameter(name))
            nn.init.ones_(layer.get_parameter("bias_ih_l0")[HIDDEN : 2 * HIDDEN])
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.first(x)
        y, _ = self.second(self.dropout(y))
        return self.head(self.dropout(y[:, -1]))


class Windows:
    """All windows of a part, float64 (T, inputs), and what came after each."""

    def __init__(self, rows: Floats) -> None:
        self.rows = torch.from_numpy(rows.astype(np.float32))
        self.count = len(rows) - LOOK_BACK - AHEAD

    def before(self, at: Ints) -> Tensor:
        return self.rows[torch.from_numpy(at)[:, None] + torch.arange(LOOK_BACK)]

    def after(self, at: Ints) -> Tensor:
        return self.rows[torch.from_numpy(at)[:, None] + torch.arange(LOOK_BACK, LOOK_BACK + AHEAD), 0]

    def forecast(self, model: Network, at: Ints) -> Tensor:
        model.eval()
        with torch.no_grad():
            return torch.cat([model(self.before(at[start : start + READ])) for start in range(0, len(at), READ)])


def trained(part: Windows, *, seed: int) -> Network:
    """A network that has learnt a training part."""
    random = np.random.default_rng(seed)
    shuffled = random.permutation(part.count)
    learnt, held = np.split(shuffled, [int(LEARNT * part.count)])
    with seeded(seed):
        model = Network(part.rows.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), RATE, eps=EPSILON)
        best, since = np.inf, 0
        for _ in range(EPOCHS):
            model.train()
            random.shuffle(learnt)
            for start in range(0, len(learnt), BATCH):
                at = learnt[start : start + BATCH]
                loss = ((model(part.before(at)) - part.after(at)) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            error = float(((part.forecast(model, held) - part.after(held)) ** 2).mean())
            best, since = (error, 0) if error < best - GAIN else (best, since + 1)
            if since >= PATIENCE:
                break
    return model


def forecasts(series: LabelledSeries, *, seed: int, folder: Path | None = None) -> tuple[Forecasts, Forecasts]:
    """Those of the training part, which the network has learnt, and those of the test part.

    Parameters
    ----------
    series : with the telemetry in column 0
    seed : of weights, order and dropout
    folder : where forecasts are kept; without one they are made each time
    """
    file = folder / f"{series.name}-{seed}.npz" if folder else None
    if file and file.exists():
        with np.load(file) as kept:
            before, after = kept["train"], kept["test"]
    else:
        model = trained(Windows(series.train), seed=seed)
        before, after = (
            part.forecast(model, np.arange(part.count))[:, 0].double().numpy()
            for part in (Windows(series.train), Windows(series.values))
        )
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, train=before, test=after)
    return Forecasts.of(before, series.train[:, 0]), Forecasts.of(after, series.values[:, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the forecasts, a file a channel")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args()
    for one in msl():
        clock = time.perf_counter()
        _, part = forecasts(one, seed=options.seed, folder=options.folder)
        share = part.error.mean() / np.ptp(part.ahead)
        print(f"{one.name}: error {share:.4f} of the range, {time.perf_counter() - clock:.0f} s", flush=True)


if __name__ == "__main__":
    main()
