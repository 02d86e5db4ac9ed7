"""Telemanom's procedure with Carrousel's LSTM: a network a channel that reads the commands, thresholds by windows.

Written from the paper and the published settings, without its code: Hundman, Constantinou, Laporte, Colwell &
Soderstrom 2018, Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding, KDD. It is not
causal: a window
of 2,100 smoothed errors is judged as a whole, and what is found is extended by 100 rows on both sides.

The network is trained on stretches of the training part, scored at each of their rows, instead of on windows of 250
rows scored at their end; that is the same task in a hundredth of the time.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from carrousel.layers.lstm import LSTM
from carrousel.metrics.window import windows
from carrousel.training import seeded

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HIDDEN, AHEAD, DROPOUT = 80, 10, 0.3
LOOK_BACK = 250  # rows that come before the first error
BATCH, WINDOW, BUFFER = 70, 30, 100  # rows judged at a time; batches in a window; rows joined to what is found
SMOOTHING, PRUNE, LEAST = 0.05, 0.13, 0.05  # of a window; of an error above the next smaller; of the values' range
STEPS, EVERY, PATIENCE, SPAN, FIRST = 300, 20, 8, 300, 50  # of the training; rows of a stretch and the first one scored


class Network(nn.Module):
    """Two layers of LSTM that forecast the telemetry of the next ten rows from telemetry and commands."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first, self.second = LSTM(inputs, HIDDEN, batch_first=True), LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.dropout, self.head = nn.Dropout(DROPOUT), nn.Linear(HIDDEN, AHEAD)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.first(x)
        y, _ = self.second(self.dropout(y))
        return self.head(self.dropout(y))


def forecast(train: Floats, values: Floats, *, seed: int) -> Floats:
    """One-row forecasts of column 0 of the test part, float64 (T,); the network learns from the training part only."""
    both = np.concatenate([train, values]).astype(np.float32)
    rows, border = len(train), int(0.8 * len(train))
    ahead = np.stack([np.append(both[h:, 0], np.full(h, np.nan, np.float32)) for h in range(1, AHEAD + 1)], -1)
    x, truth = torch.from_numpy(both), torch.from_numpy(ahead)
    span = min(SPAN, rows // 2, (border - AHEAD) // 2)
    first, steps = min(FIRST, span // 3), torch.arange(span)
    with seeded(seed):
        model = Network(both.shape[1])
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        best, kept, since = np.inf, model.state_dict(), 0
        for step in range(1, STEPS + 1):
            model.train()
            at = torch.randint(0, border - AHEAD - span + 1, (16,))[:, None] + steps
            loss = ((model(x[at])[:, first:] - truth[at][:, first:]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % EVERY:
                continue
            with torch.no_grad():
                found = model.eval()(x[None, : rows - AHEAD])[0, border - AHEAD :]
            error = float(((found - truth[border - AHEAD : rows - AHEAD]) ** 2).mean())
            since += 1
            if error < best:
                best, kept, since = error, copy.deepcopy(model.state_dict()), 0
            if since > PATIENCE:
                break
    model.load_state_dict(kept)
    with torch.no_grad():
        return model.eval()(x[None])[0, rows - 1 : -1, 0].double().numpy()


def smoothed(error: Floats, rows: int) -> Floats:
    """The exponentially weighted mean of errors, float64 (T,), weights of the first rows adding up to 1."""
    keep = 1 - 2 / (rows + 1)
    total = weight = 0.0
    found = np.empty(len(error))
    for row, value in enumerate(error.tolist()):
        total, weight = keep * total + value, keep * weight + 1
        found[row] = total / weight
    return found


def detect(expected: Floats, values: Floats) -> Ints:
    """The events of a test part, rows start:stop, int64 (W, 2)."""
    y, yhat = values[LOOK_BACK:], expected[LOOK_BACK:]
    error = smoothed(np.abs(yhat - y), int(BATCH * WINDOW * SMOOTHING))
    error[:LOOK_BACK] = error[: 2 * LOOK_BACK].mean()
    rows, length = len(y), BATCH * WINDOW
    flags = np.zeros(len(values), bool)
    last = max((rows - length) // BATCH, 0)
    for number in range(last + 1):
        start, stop = number * BATCH, rows if number == last else number * BATCH + length
        part, sensed = error[start:stop], y[start:stop]
        new = np.arange(stop - start) >= (LOOK_BACK if number == 0 else stop - start - BATCH)
        reach = float(np.subtract(*np.percentile(sensed, [95, 5])))
        if part.max() <= LEAST or (part.std() <= LEAST * sensed.std() and part.max() <= LEAST * reach):
            continue
        for side in (part, 2 * part.mean() - part):  # errors that are too large, and too small
            for first, end in _sequences(side, new, reach):
                flags[LOOK_BACK + start + first : LOOK_BACK + start + end] = True
    return windows(flags)


def _widened(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.convolve(rows, np.ones(2 * BUFFER - 1))[BUFFER - 1 : BUFFER - 1 + len(rows)] > 0.5


def _threshold(error: Floats) -> float:
    """The threshold above the mean that takes most of mean and deviation away with the fewest rows."""
    mean, deviation = error.mean(), error.std()
    best, found = 0.0, mean + 12 * deviation
    for z in np.arange(2.5, 12, 0.5):
        level = mean + z * deviation
        below, above = error[error < level], _widened(error > level)
        if not above.any() or not len(below):
            continue
        count = len(windows(above))
        worth = ((mean - below.mean()) / mean + (deviation - below.std()) / deviation) / (count**2 + above.sum())
        if worth >= best and count <= 5 and above.mean() < 0.5:
            best, found = worth, level
    return float(found)


def _sequences(error: Floats, new: npt.NDArray[np.bool_], reach: float) -> list[list[int]]:
    """What of a window is anomalous, after those were taken out that hardly exceed what is left."""
    above = _widened((error >= _threshold(error)) & (error > LEAST * reach)) & new
    spans = windows(above).tolist()
    if not spans:
        return []
    calm = float(error[~above].max()) if not above.all() else 0.0
    ranked = sorted(spans, key=lambda span: -error[span[0] : span[1]].max())
    peaks = [float(error[a:b].max()) for a, b in ranked] + [calm]
    kept = 0
    for place in range(len(ranked)):
        if (peaks[place] - peaks[place + 1]) / peaks[place] >= PRUNE:
            kept = place + 1
    return ranked[:kept]
