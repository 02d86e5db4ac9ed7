"""Training of the forecasting network: the only part of forecasting that needs PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.errors import HistoryError
from carrousel.features.learned import Rounding
from carrousel.features.linear import LinearPath
from carrousel.features.patch import PatchSizes
from carrousel.features.window import (
    Grid,
    WindowBatch,
    carry_forward,
    cut,
    normalise,
    offsets,
    series_unit,
    spread,
)
from carrousel.heads.conformal import conformal_offset
from carrousel.heads.quantile import pinball_loss
from carrousel.layers.compiled import multiplies_bfloat16
from carrousel.layers.patch import PatchLSTM
from carrousel.metrics import mae
from carrousel.native import Dtype, chosen
from carrousel.stream import quantiles_of
from carrousel.tasks.backtest import truth
from carrousel.tasks.fitted import FittedForecaster
from carrousel.tasks.plan import Split, learn, training_part
from carrousel.tasks.setting import ForecastSettings
from carrousel.training import History, Report, TrainingSettings, begun, device, seeded, train

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
SHARED = ("maps", "mixture")  # layers of the linear path, which all members have in common
OWN_CALIBRATION = 500  # windows; a series with fewer is calibrated by all series together
CALIBRATION_WINDOWS = 8192  # evenly spread over the validation part
ROUNDING_WINDOWS = 256  # the differences between precisions are small and alike in all windows
VALIDATION_WINDOWS = 4096  # enough for a stable early-stopping score; more only cost time


@dataclass(frozen=True)
class Example:
    """A batch of windows with what followed: truth float32 (N, H, K) in the same units, NaN missing."""

    inputs: WindowBatch
    truth: Tensor


class Windows:
    """Training windows by number, cut by index from one grid; normalised in float64, handed on in float32.

    Parameters
    ----------
    grid : tensors on the training device
    origins : int64 (n,) first row to forecast of each window
    unit : float64 (S, K) of each series
    """

    def __init__(self, grid: Grid, origins: Tensor, unit: Tensor, sizes: PatchSizes) -> None:
        self.grid, self.origins, self.unit, self.sizes = grid, origins, unit, sizes
        steps = offsets(sizes.look_back, sizes.horizon, sizes.patch)
        self.steps = torch.as_tensor(steps, device=origins.device)
        self.whole = bool((origins - sizes.look_back >= grid.first[origins]).all())

    def __len__(self) -> int:
        return len(self.origins)

    def __call__(self, index: Tensor) -> Example:
        origin = self.origins[index]
        batch, ahead = cut(
            self.grid, origin, self.steps, horizon=self.sizes.horizon, patch=self.sizes.patch, whole=self.whole
        )
        owner = self.grid.owner[origin]
        unit = self.unit[owner]
        normalised, level = normalise(batch.target, unit)
        return Example(
            inputs=batch._replace(target=normalised.float()),
            truth=((self.grid.truth[ahead] - level) / unit[:, None]).float(),
        )


def fit_forecaster(
    parts: Split,
    schema: Schema,
    settings: ForecastSettings,
    notes: list[str],
    *,
    start: FittedForecaster | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    progress: Callable[[Report], None] | None = None,
) -> tuple[FittedForecaster, list[History]]:
    """Train a forecaster on the one part of a panel, stop and calibrate it on the other.

    Parameters
    ----------
    start : a trained model to go on from
    notes : what was chosen is added

    Returns
    -------
    the model, and one training history a member of the ensemble

    Raises
    ------
    HistoryError : no window to train on, or none to validate on
    """
    began = time.perf_counter()
    panel = parts.panel
    if start is None:
        path, learned, sizes = learn(parts, schema, settings, notes)
        unit = series_unit(learned.transformed(training_part(parts)), learned.season)
    else:
        path, learned, sizes, unit = None, start.learned, start.sizes, start.unit
    train_origins = parts.train_origins(sizes.look_back, sizes.patch)
    validation_origins = parts.validation_origins(sizes.look_back, sizes.patch)
    if not len(train_origins) or not len(validation_origins):
        raise HistoryError(
            f"fit: expected windows of {sizes.look_back} + {sizes.horizon} rows to train and to validate on, got "
            f"{len(train_origins)} and {len(validation_origins)}; bring more rows or give a shorter look_back"
        )
    fitted = FittedForecaster(
        sizes=sizes,
        levels=settings.levels,
        learned=learned,
        weights={} if start is None else start.weights,
        offset=np.zeros((sizes.series + 1, sizes.horizon, sizes.targets, sizes.quantiles)),
        unit=unit,
        context=panel,
    )
    weights, histories = fit_members(
        learned.grid(panel),
        train_origins=train_origins,
        validation_origins=validation_origins,
        unit=fitted.units(panel),
        path=path,
        sizes=sizes,
        quantiles=quantiles_of(settings.levels),
        dropout=settings.dropout,
        settings=TrainingSettings(
            max_epochs=None,
            max_steps=settings.max_steps,
            minutes=None if settings.minutes is None else settings.minutes / settings.ensemble,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            patience=settings.patience,
            validate_every=max(1, settings.max_steps // 10),
            average=0.99,
            warmup=0.05,
            seed=settings.seed,
        ),
        start=None if start is None else start.weights,
        run_dir=run_dir,
        resume=resume,
        log_dir=log_dir,
        progress=progress,
    )
    fitted = replace(fitted, weights=weights)
    offset, scores = calibrate(fitted, parts, validation_origins)
    losses = rounding(fitted, panel, validation_origins)
    learned = replace(learned, notes=tuple(notes), seconds=time.perf_counter() - began, scores=scores, rounding=losses)
    context = panel if start is None else _remembered(start.context, panel)
    tail = context.take([(s, max(0, int(n) - sizes.look_back), int(n)) for s, n in enumerate(context.lengths)])
    return replace(fitted, offset=offset, learned=learned, context=tail), histories


def calibrate(fitted: FittedForecaster, parts: Split, origins: Index) -> tuple[Floats, dict[str, float]]:
    """Conformal offsets (S + 1, H, K, Q) from the validation part, and the mean absolute errors there."""
    some = origins[_evenly(len(origins), CALIBRATION_WINDOWS)]
    panel, horizon, season = parts.panel, fitted.sizes.horizon, fitted.learned.season
    series = np.searchsorted(panel.starts, some, side="right") - 1
    inside = some - panel.starts[series]
    point, values = fitted.forecast(panel, series, inside)
    y = truth(panel, series, inside, horizon)
    transform, wide = fitted.learned.transform, fitted.spread(panel, series, inside)
    truths, forecasts = transform.apply(y) / wide, transform.apply(values) / wide[..., None]
    row = fitted.learned.series_of(panel.ids)[series]
    pooled = conformal_offset(truths, forecasts, fitted.quantiles)
    offset = np.repeat(pooled[None], fitted.sizes.series + 1, axis=0)
    for s in np.unique(row[row > 0]):
        if (row == s).sum() >= OWN_CALIBRATION:
            offset[s] = conformal_offset(truths[row == s], forecasts[row == s], fitted.quantiles)
    back = panel.starts[series][:, None] + np.maximum(inside - season, 0)[:, None] + np.arange(horizon) % season
    seasonal = carry_forward(panel.target, panel.starts)[back]
    return offset, {"mae": mae(y, point), "mae of the seasonal naive": mae(y, seasonal)}


def rounding(fitted: FittedForecaster, panel: Panel, origins: Index) -> dict[str, Rounding]:
    """What each dtype of this machine's engine makes of the same windows of the validation part."""
    some = origins[_evenly(len(origins), ROUNDING_WINDOWS)]
    series = np.searchsorted(panel.starts, some, side="right") - 1
    inside = some - panel.starts[series]
    y = truth(panel, series, inside, fitted.sizes.horizon)
    if not np.isfinite(y).any():
        return {}
    exact = fitted.forecast(panel, series, inside)[0]
    points = {"float32": exact}
    others: tuple[Dtype, ...] = ("bfloat16",) if chosen() == "numpy" else ("bfloat16", "int8")
    for dtype in others:
        points[dtype] = replace(fitted, dtype=dtype).forecast(panel, series, inside)[0]
    return {
        dtype: Rounding(windows=len(some), mae=mae(y, point), shift=float(np.abs(point - exact).mean()))
        for dtype, point in points.items()
    }


def _remembered(before: Panel, now: Panel) -> Panel:
    """The rows of `now`, and those of the series that only `before` has."""
    old = before.take([(s, 0, int(before.lengths[s])) for s, name in enumerate(before.ids) if name not in now.ids])
    joined = {name: np.concatenate([getattr(now, name), getattr(old, name)]) for name in ("ds", "target", "past")}
    return replace(
        now,
        ids=now.ids + old.ids,
        starts=np.concatenate([now.starts, now.starts[-1] + old.starts[1:]]),
        future=np.concatenate([now.future, old.future]),
        static=np.concatenate([now.static, old.static]),
        **joined,
    )


def fit_members(
    grid: Grid,
    *,
    train_origins: Index,
    validation_origins: Index,
    unit: npt.NDArray[np.float64],
    path: LinearPath | None,
    sizes: PatchSizes,
    quantiles: Sequence[float],
    dropout: float,
    settings: TrainingSettings,
    start: Mapping[str, npt.NDArray[np.float32]] | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    log_dir: Path | None = None,
    progress: Callable[[Report], None] | None = None,
) -> tuple[dict[str, npt.NDArray[np.float32]], list[History]]:
    """Train every member of the ensemble from its own seed.

    Parameters
    ----------
    path : the linear forecast that fresh weights start from
    start : weights to go on from instead, as this function returns them

    Returns
    -------
    the architecture's weights, and one training history a member
    """
    place = device()
    tensors = grid.map(lambda array: torch.as_tensor(array, device=place))
    units = torch.as_tensor(unit, device=place)
    levels = torch.tensor(quantiles, dtype=torch.float32, device=place)
    batches = Windows(tensors, torch.as_tensor(train_origins, device=place), units, sizes)
    some = validation_origins[_evenly(len(validation_origins), VALIDATION_WINDOWS)]
    held_out = Windows(tensors, torch.as_tensor(some, device=place), units, sizes)

    def loss(model: nn.Module, example: Example) -> Tensor:
        # A window counts in units of its own spread, or the few wild ones would rule.
        weight = 1.0 / spread(example.inputs.target)
        return pinball_loss(model(*example.inputs), example.truth, levels, weight)

    def validate(model: nn.Module) -> float:
        parts = torch.arange(len(held_out), device=place).split(1024)
        return sum(float(loss(model, held_out(part))) * len(part) for part in parts) / len(held_out)

    # The linear path keeps float32: its error is that of every forecast, and its products are a small part.
    mixed = place.type == "cpu" and multiplies_bfloat16()
    weights: dict[str, npt.NDArray[np.float32]] = {}
    histories: list[History] = []
    for member in range(sizes.members):
        seed = settings.seed + member
        with seeded(seed):
            model = PatchLSTM(sizes, dropout=dropout, mixed=mixed).to(place)
        if path is not None:
            _start(model, batches, path, levels)
        else:
            model.load_state_dict(_member_state(start or {}, member))
        folder = f"member_{member}"
        history = train(
            model,
            batches,
            loss,
            validate,
            replace(settings, seed=seed),
            run_dir=run_dir / folder if run_dir else None,
            resume=resume and (member == 0 or run_dir is None or begun(run_dir / folder)),
            log_dir=log_dir / folder if log_dir else None,
            progress=progress,
        )
        histories.append(history)
        for name, tensor in model.state_dict().items():
            layer, _, rest = name.partition(".")
            layer = layer if layer in SHARED else f"{layer}_{member}"
            weights[f"{layer}.{rest}"] = tensor.cpu().numpy()
    return weights, histories


def _member_state(weights: Mapping[str, npt.NDArray[np.float32]], member: int) -> dict[str, Tensor]:
    """One member's state_dict out of the ensemble's weights."""
    state: dict[str, Tensor] = {}
    for name, array in weights.items():
        layer, _, rest = name.partition(".")
        base, _, number = layer.rpartition("_")
        if layer in SHARED or number == str(member):
            state[f"{base or layer}.{rest}"] = torch.as_tensor(array.copy())
    return state


def _evenly(count: int, most: int) -> Index:
    """Indices of at most `most` of `count` items, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.empty(0, np.int64)


def _start(model: PatchLSTM, batches: Windows, path: LinearPath, levels: Tensor) -> None:
    """Start from the linear forecast, the linear effect of what is known ahead, and the quantiles of their errors."""
    model.start_from(path, torch.zeros_like(levels))
    example = batches(torch.as_tensor(_evenly(len(batches), 2048), device=levels.device))
    with torch.no_grad():
        error = example.truth - model.eval()(*example.inputs)[..., 0]
        if model.effect is not None:
            known = example.inputs.future[:, : error.shape[1]]
            rows = error.isfinite().all(2)
            x, y = known[rows], error[rows]
            gram = x.T @ x + 0.01 * len(x) * torch.eye(x.shape[1], device=x.device)
            model.effect.weight.copy_(torch.linalg.solve(gram, x.T @ y).T)
            error = error - model.effect(known)
        error = (error / spread(example.inputs.target)).flatten()
        error = error[error.isfinite()]
        quantiles = error[:: max(1, len(error) // 100_000)].quantile(levels) if len(error) > 1 else 0 * levels
        model.start_from(path, quantiles - quantiles.mean())
