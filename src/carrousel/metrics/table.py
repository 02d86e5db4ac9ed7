"""Models beside each other: all of them scored on the same windows, or the comparison would mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from carrousel.errors import ShapeError
from carrousel.metrics.interval import band, coverage, interval_score, width
from carrousel.metrics.point import Floats, Score, mae, mase, missing, mse, smape, wape
from carrousel.metrics.quantile import crps, mean_weighted_quantile_loss


def per_series(metric: Callable[..., Score], series: npt.ArrayLike, *arrays: npt.ArrayLike) -> dict[int, Score]:
    """A metric of each series.

    Parameters
    ----------
    metric : called with the rows of every array that belong to one series
    series : int (N,), the series of each window
    arrays : (N, ...), what the metric takes: y, forecast, ...

    Returns
    -------
    {series: score}, ascending; the pooled score is their mean only where the series have equally many observations
    """
    series = np.asarray(series)
    rows = [np.asarray(a) for a in arrays]
    return {int(s): metric(*(a[series == s] for a in rows)) for s in np.unique(series)}


def per_horizon(metric: Callable[..., Score], *arrays: npt.ArrayLike) -> Floats:
    """A metric of each step ahead.

    Parameters
    ----------
    metric : called with one step of every array, its second axis kept with length 1
    arrays : (N, H, ...); one whose second axis has length 1 (a scale) is handed over whole

    Returns
    -------
    float64 (H,)
    """
    steps = [np.asarray(a) for a in arrays]
    horizon = max(a.shape[1] for a in steps)
    return np.array([metric(*(a if a.shape[1] == 1 else a[:, h : h + 1] for a in steps)) for h in range(horizon)])


def common(forecasts: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.bool_]:
    """The windows that every model forecast in full, bool (N,).

    A model without a single full window (it failed on the data altogether) is left aside, so that it does not empty
    the table; its own row will be NaN.
    """
    windows = [np.asarray(f, np.float64) for f in forecasts.values()]
    full = np.stack([~np.isnan(f).reshape(len(f), -1).any(axis=1) for f in windows])  # (models, N)
    return np.asarray(full[full.any(axis=1)].all(axis=0) & full.any())


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores of several models on the same windows.

    Parameters
    ----------
    rows : model → metric → score: mae, mse, rmse, smape, wape, mase (with a scale), and for quantile forecasts crps,
        wql and, per level, coverage-90, width-90, interval_score-90
    windows : how many windows were scored: those that every model forecast
    windows_given : how many there were
    missing : truths in the scored windows that were never observed
    unscaled : scored windows left out of MASE because the history of a target has no scale (constant, or too short)
    """

    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    windows: int
    windows_given: int
    missing: int
    unscaled: int


def score_table(
    y: npt.ArrayLike,
    forecasts: Mapping[str, npt.ArrayLike],
    *,
    scale: npt.ArrayLike | None = None,
    quantile_forecasts: Mapping[str, npt.ArrayLike] | None = None,
    quantiles: npt.ArrayLike = (),
    levels: tuple[float, ...] = (),
) -> ScoreTable:
    """Score every model on the windows that all of them forecast.

    Parameters
    ----------
    y : float (N, H, K)
    forecasts : model → point forecast, float (N, H, K)
    scale : float (N, K), that of each window's series (``naive_scales(...)[series]``), or None for no MASE
    quantile_forecasts : model → float (N, H, K, Q), for the models that have them; their names stand in forecasts too
    quantiles : float (Q,)
    levels : percentages of the intervals to score

    Raises
    ------
    ShapeError : a forecast whose shape is not that of y, or a quantile forecast without a point forecast
    """
    y = np.asarray(y, np.float64)
    quantile_forecasts = quantile_forecasts or {}
    if unknown := sorted(set(quantile_forecasts) - set(forecasts)):
        raise ShapeError(f"quantile_forecasts: {unknown} expected among the point forecasts {sorted(forecasts)} too")
    for name, forecast in forecasts.items():
        if np.shape(forecast) != y.shape:
            raise ShapeError(f"forecasts[{name!r}]: expected the shape of y {y.shape}, got {np.shape(forecast)}")
    chosen = common(forecasts)
    truth = y[chosen]
    scales = None if scale is None else np.asarray(scale, np.float64)[chosen]
    rows: dict[str, dict[str, float]] = {}
    for name, forecast in forecasts.items():
        point = np.asarray(forecast, np.float64)[chosen]
        row: dict[str, float] = {"mae": mae(truth, point), "mse": mse(truth, point)}
        row |= {"rmse": float(np.sqrt(row["mse"])), "smape": smape(truth, point), "wape": wape(truth, point)}
        if scales is not None:
            row["mase"] = mase(truth, point, scales[:, None, :])
        if name in quantile_forecasts:
            bands = np.asarray(quantile_forecasts[name], np.float64)[chosen]
            row["crps"] = crps(truth, bands, quantiles)
            row["wql"] = mean_weighted_quantile_loss(truth, bands, quantiles)
            for level in levels:
                lower, upper = band(bands, quantiles, level)
                row[f"coverage-{level:g}"] = coverage(truth, lower, upper)
                row[f"width-{level:g}"] = width(lower, upper)
                row[f"interval_score-{level:g}"] = interval_score(truth, lower, upper, level)
        rows[name] = row
    return ScoreTable(
        rows=rows,
        windows=int(chosen.sum()),
        windows_given=len(y),
        missing=int(missing(truth)),
        unscaled=0 if scales is None else int((~(scales > 0)).any(axis=1).sum()),
    )
