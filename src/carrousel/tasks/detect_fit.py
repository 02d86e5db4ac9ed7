"""Adapting the detector's network to a table, and training the one that Carrousel comes with: both need PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from carrousel import architecture
from carrousel.artifact import Artifact
from carrousel.data.panel import Panel
from carrousel.layers.lstm import LSTM
from carrousel.online.baseline import Baseline, feature_count
from carrousel.online.covariate import Scaling, forward_filled
from carrousel.online.forecast import (
    CANDIDATES,
    GAP,
    HORIZONS,
    LEAST_SPREAD,
    LOG_SPREAD,
    MIDDLE,
    OFFSET,
    QUANTILES,
    head_size,
)
from carrousel.tasks.detect_replay import seconds_of
from carrousel.training import History, Report, TrainingSettings, device, seeded, train

Floats = npt.NDArray[np.float64]

SPAN, WARM = 256, 32  # rows of a training example; of these the first are read but not scored
SMALLEST = 2e-3  # of an example's loss, in spreads of the series: below it nothing is worth learning
FARTHEST = 14.0  # of a truth, through asinh
LEAST_SPAN = 64  # rows of an example of a short series
VALIDATION = 0.2  # the last share of the table
FORGET = 1.5  # bias of a fresh forget gate, so that it begins by remembering (Jozefowicz, Zaremba & Sutskever 2015)


class DetectNetwork(nn.Module):
    """An LSTM from features to the head that ``online.forecast.quantiles`` reads."""

    def __init__(self, hidden_size: int, covariates: int = 0) -> None:
        super().__init__()
        self.lstm = LSTM(feature_count(HORIZONS) + covariates, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, len(HORIZONS) * head_size())
        with torch.no_grad():
            self.lstm.get_parameter("bias_ih_l0")[hidden_size : 2 * hidden_size] = FORGET
            self.head.weight.mul_(0.3)
            self.head.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """Quantiles (N, L, horizons, 7) after each row of features (N, L, F)."""
        hidden, _ = self.lstm(features)
        return quantiles(self.head(hidden), features)


def quantiles(head: Tensor, features: Tensor) -> Tensor:
    """The twin of ``online.forecast.quantiles`` with gradients: head (..., horizons · its size), features (..., F)."""
    numbers = head.unflatten(-1, (len(HORIZONS), head_size()))
    value, zero = features[..., 0], torch.zeros_like(features[..., 0])
    candidates = torch.stack(
        [
            torch.stack([value, zero, features[..., 2 + 2 * h], features[..., 3 + 2 * h]], -1)
            for h in range(len(HORIZONS))
        ],
        -2,
    )
    middle = (numbers[..., :CANDIDATES].softmax(-1) * candidates).sum(-1) + OFFSET * numbers[..., CANDIDATES]
    log_spread = (LOG_SPREAD[0] * numbers[..., CANDIDATES + 1] + LOG_SPREAD[1]).clamp(LEAST_SPREAD, 2.0)
    gaps = nn.functional.softplus(numbers[..., CANDIDATES + 2 :] + GAP) * log_spread.exp()[..., None]
    above = gaps[..., MIDDLE:].cumsum(-1)
    below = gaps[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1)
    return torch.cat([middle[..., None] - below, middle[..., None], middle[..., None] + above], -1)


@dataclass(frozen=True)
class Pace:
    """How an adaptation trains, at the most."""

    max_steps: int
    learning_rate: float
    batch_size: int = 64


READING = Pace(
    max_steps=400, learning_rate=5e-3, batch_size=16
)  # where there are covariates, of which it knows nothing


@dataclass(frozen=True)
class Example:
    """Features float32 (N, L, F) and what followed, through asinh, (N, L, horizons), NaN where nothing did."""

    features: Tensor
    truth: Tensor


class Stretches:
    """Training examples by number: stretches of SPAN rows of R variables."""

    def __init__(self, features: Tensor, truth: Tensor, starts: Tensor, span: int = SPAN) -> None:
        self.features, self.truth, self.starts = features, truth, starts
        self.steps = torch.arange(span, device=features.device)

    def __len__(self) -> int:
        return len(self.starts)

    def __call__(self, index: Tensor) -> Example:
        row, first = self.starts[index].T
        at = first[:, None] + self.steps
        return Example(self.features[row[:, None], at], self.truth[row[:, None], at])


def loss(model: nn.Module, example: Example) -> Tensor:
    """Mean over the examples of the logarithm of their pinball loss: a quiet series counts as much as a wild one."""
    q, truth = model(example.features)[:, WARM:], example.truth[:, WARM:]
    known = truth.isfinite()
    off = torch.where(known, truth, torch.zeros_like(truth))[..., None] - q
    level = torch.tensor(QUANTILES, dtype=q.dtype, device=q.device)
    each = torch.maximum(level * off, (level - 1) * off).mean(-1) * known
    mean = each.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return torch.log(mean + SMALLEST).mean()


def learnable(values: Floats, seconds: Floats) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What the network is told of R series of equal length, and what followed.

    Parameters
    ----------
    values : float64 (R, T), NaN missing
    seconds : float64 (R, T)

    Returns
    -------
    features float32 (R, T, F); truth float32 (R, T, horizons), through asinh in the units of the row, NaN missing
    """
    rows, length = values.shape
    baseline = Baseline(rows, 1)
    features = np.zeros((length, rows, feature_count(HORIZONS)), np.float32)
    mean, scale = np.empty((length, rows)), np.empty((length, rows))
    for t in range(length):
        ok = np.isfinite(values[:, t])
        baseline.update(values[:, t], ok, np.ascontiguousarray(seconds[:, t]))
        baseline.features(ok, HORIZONS, features[t])
        mean[t], scale[t] = baseline.mean, baseline.deviation()
    truth = np.full((length, rows, len(HORIZONS)), np.nan, np.float32)
    for place, horizon in enumerate(HORIZONS):
        ahead = (values.T[horizon:] - mean[:-horizon]) / scale[:-horizon]
        truth[:-horizon, :, place] = np.clip(np.arcsinh(ahead), -FARTHEST, FARTHEST)
    return features.transpose(1, 0, 2), truth.transpose(1, 0, 2)


def starts(spans: list[tuple[int, int, int]], span: int = SPAN) -> npt.NDArray[np.int64]:
    """Row and first step of every example in spans ``(row, first, last)``, half of each overlapping the next."""
    found = [(row, at) for row, a, b in spans for at in range(a, b - span + 1, span // 2)]
    return np.array(found, np.int64).reshape(-1, 2)


def adapt(
    artifact: Artifact,
    panel: Panel,
    *,
    scaling: Scaling | None = None,
    minutes: float,
    seed: int,
    progress: Callable[[Report], None] | None = None,
) -> tuple[Artifact, History | None]:
    """Train the network further on a panel, and keep it if it forecasts the panel's last part better.

    With covariates, `scaling` being theirs, it reads those of the row that it forecasts; it begins as if they said
    nothing.

    Returns
    -------
    the artifact with the better weights; the training curve, None where the panel is too short to train on
    """
    most = int(panel.lengths.max())
    values, seconds = _columns(panel, most)
    features, truth = learnable(values, seconds)
    span, pace = SPAN, Pace(max_steps=2000, learning_rate=5e-4)
    if scaling is not None:
        features = np.concatenate([features, _of_next(panel, most, scaling)], axis=2)
        artifact = _widened(artifact, len(scaling.mean))
        span, pace = max(LEAST_SPAN, min(SPAN, int(VALIDATION * most))), READING
    lengths = np.repeat(panel.lengths, panel.target.shape[1])
    border = (lengths * (1 - VALIDATION)).astype(int)
    before = starts([(row, 0, int(end)) for row, end in enumerate(border)], span)
    after = starts(
        [(row, max(0, int(a) - WARM), int(b)) for row, (a, b) in enumerate(zip(border, lengths, strict=True))], span
    )
    if not len(before) or not len(after):
        return artifact, None
    hidden = artifact.weights["lstm.weight_hh_l0"].shape[1]
    with seeded(seed):
        model = DetectNetwork(hidden, 0 if scaling is None else len(scaling.mean))
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in artifact.weights.items()})
    history = fit_network(
        model, features, truth, before, after, span=span, minutes=minutes, max_steps=pace.max_steps,
        batch_size=pace.batch_size, learning_rate=pace.learning_rate, seed=seed, progress=progress,
    )  # fmt: skip
    return replace(artifact, weights=weights_of(model)), history


def _widened(artifact: Artifact, covariates: int) -> Artifact:
    """The network with so many more inputs, whose weights are 0."""
    inputs = artifact.weights["lstm.weight_ih_l0"]
    nothing = np.zeros((len(inputs), covariates), np.float32)
    lstm, *rest = artifact.architecture.layers
    assert isinstance(lstm, architecture.LSTM)
    wider = replace(lstm, input_size=lstm.input_size + covariates)
    return replace(
        artifact,
        architecture=replace(artifact.architecture, layers=(wider, *rest)),
        weights={**artifact.weights, "lstm.weight_ih_l0": np.concatenate([inputs, nothing], axis=1)},
    )


def _of_next(panel: Panel, most: int, scaling: Scaling) -> npt.NDArray[np.float32]:
    """The covariates of the row behind each row, as the network reads them, float32 (S · K, T, P); 0 behind the end."""
    k = panel.target.shape[1]
    found = np.zeros((len(panel), most, len(scaling.mean)), np.float32)
    for series in range(len(panel)):
        known = forward_filled(scaling(panel.past[panel.rows(series)]))
        found[series, : len(known) - 1] = known[1:]
    return np.repeat(found, k, axis=0)


def fit_network(
    model: DetectNetwork,
    features: npt.NDArray[np.float32],
    truth: npt.NDArray[np.float32],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    *,
    minutes: float | None,
    max_steps: int,
    learning_rate: float,
    seed: int,
    span: int = SPAN,
    batch_size: int = 64,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Callable[[Report], None] | None = None,
) -> History:
    """Train a network on the examples `before`, keep the best by those `after`: ``best_step`` 0 if none was better.

    `validate` judges the network instead, the less the better, where something else than those examples should.
    """
    place = device()
    model.to(place)
    arrays = torch.as_tensor(features, device=place), torch.as_tensor(truth, device=place)
    batches, held_out = (Stretches(*arrays, torch.as_tensor(part, device=place), span) for part in (before, after))

    def by_examples(network: nn.Module) -> float:
        parts = torch.arange(len(held_out), device=place).split(256)
        return sum(float(loss(network, held_out(part))) * len(part) for part in parts) / len(held_out)

    judge = validate or by_examples
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        start = judge(model.eval())
    history = train(
        model,
        batches,
        loss,
        judge,
        TrainingSettings(
            max_epochs=None,
            max_steps=max_steps,
            minutes=minutes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=1e-3,
            validate_every=max(1, max_steps // 10),
            patience=4,
            average=0.99,
            warmup=0.1,
            seed=seed,
        ),
        progress=progress,
    )
    if history.best_validation is None or history.best_validation >= start:
        model.load_state_dict(first)
        history.best_step, history.best_validation = 0, start
    return history


def weights_of(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """By the names of the architecture."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def _columns(panel: Panel, most: int) -> tuple[Floats, Floats]:
    """Every variable of every series as a row of equal length, float64 (S · K, T): values, NaN behind the end."""
    k = panel.target.shape[1]
    values, seconds = np.full((len(panel) * k, most), np.nan), np.zeros((len(panel) * k, most))
    for series in range(len(panel)):
        rows = panel.rows(series)
        length = rows.stop - rows.start
        values[series * k : (series + 1) * k, :length] = panel.target[rows].T
        clock = seconds_of(panel.ds[rows])
        seconds[series * k : (series + 1) * k, :length] = clock
        seconds[series * k : (series + 1) * k, length:] = clock[-1]
    return values, seconds
