"""Errors of point forecasts.

Arrays are float64 (N, H, K): N windows, H steps, K targets; any other shape does as well where no axis is named.
A truth that is NaN was never observed: it is left out (``missing`` counts them). A forecast that is NaN where a truth
exists makes the score NaN, so that a model is never flattered for what it did not forecast.

``axis`` is that of ``np.mean``: None pools everything into one float; for (N, H, K), ``axis=(0, 2)`` is one score per
horizon and ``axis=(1, 2)`` one per window. A score of no observations at all is NaN.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError, ShapeError

Floats = npt.NDArray[np.float64]
Axis = int | tuple[int, ...] | None
Score = Any  # float where axis is None, else a float64 array: what np.mean gives


def mean_observed(loss: npt.ArrayLike, observed: npt.ArrayLike, axis: Axis = None) -> Score:
    """Mean of a loss over the places where a truth was observed.

    Parameters
    ----------
    loss : float (...)
    observed : bool (...), broadcast to loss
    axis : the axes to average over

    Returns
    -------
    float, or float64 array; NaN where nothing was observed or where an observed place has a NaN loss
    """
    loss = np.asarray(loss, np.float64)
    observed = np.broadcast_to(np.asarray(observed, bool), loss.shape)
    count = observed.sum(axis=axis)
    total = np.where(observed, loss, 0.0).sum(axis=axis)
    mean = np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)
    return float(mean) if mean.ndim == 0 else mean


def pair(y: npt.ArrayLike, forecast: npt.ArrayLike) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Truth, forecast and where a truth was observed; the shapes must agree.

    Raises
    ------
    ShapeError : y and forecast differ in shape
    """
    y, forecast = np.asarray(y, np.float64), np.asarray(forecast, np.float64)
    if y.shape != forecast.shape:
        raise ShapeError(f"forecast: expected the shape of y {y.shape}, got {forecast.shape}; align the two first")
    return y, forecast, ~np.isnan(y)


def missing(y: npt.ArrayLike, axis: Axis = None) -> int | npt.NDArray[np.int64]:
    """Number of truths that were never observed, and that every metric therefore leaves out."""
    count = np.isnan(np.asarray(y, np.float64)).sum(axis=axis)
    return int(count) if np.ndim(count) == 0 else count


def mae(y: npt.ArrayLike, forecast: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Mean absolute error, mean |y − ŷ|."""
    y, forecast, observed = pair(y, forecast)
    return mean_observed(np.abs(y - forecast), observed, axis)


def mse(y: npt.ArrayLike, forecast: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Mean squared error, mean (y − ŷ)²."""
    y, forecast, observed = pair(y, forecast)
    return mean_observed((y - forecast) ** 2, observed, axis)


def rmse(y: npt.ArrayLike, forecast: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Root mean squared error, the root of ``mse`` over the same axes."""
    return mse(y, forecast, axis=axis) ** 0.5


def smape(y: npt.ArrayLike, forecast: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Symmetric mean absolute percentage error of the M4 competition, in per cent, 0 to 200.

    mean 200·|y − ŷ| / (|y| + |ŷ|), where 0/0 = 0: both exactly zero is a perfect forecast.

    References
    ----------
    Makridakis, Spiliotis & Assimakopoulos 2020, The M4 Competition, §2.
    """
    y, forecast, observed = pair(y, forecast)
    error, size = np.abs(y - forecast), np.abs(y) + np.abs(forecast)
    return mean_observed(
        200.0 * np.divide(error, size, out=np.where(size == 0, 0.0, np.nan), where=size > 0), observed, axis
    )


def wape(y: npt.ArrayLike, forecast: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Weighted absolute percentage error, Σ|y − ŷ| / Σ|y|, as a share: GluonTS' and others' "ND".

    NaN where the truths sum to zero.
    """
    y, forecast, observed = pair(y, forecast)
    error = mean_observed(np.abs(y - forecast), observed, axis)
    size = mean_observed(np.abs(y), observed, axis)
    return ratio(error, size)


def ratio(numerator: Score, denominator: Score) -> Score:
    """numerator / denominator, NaN where the denominator is zero."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return float(out) if out.ndim == 0 else out


def naive_scale(history: npt.ArrayLike, season: int, *, order: int = 1) -> Floats:
    """In-sample error of the seasonal naive forecast, by which MASE and RMSSE are scaled.

    mean |y_t − y_{t−m}|^order over t = m+1 … T, over the pairs of which both were observed.

    Parameters
    ----------
    history : float (T,) or (T, K), what is known before the forecast
    season : m, in rows; 1 for none
    order : 1 for MASE, 2 for RMSSE (whose root is taken of the ratio, not here)

    Returns
    -------
    float64 () or (K,); 0 for a constant or exactly periodic series, NaN where no pair was observed

    Raises
    ------
    SettingError : season < 1, or order neither 1 nor 2
    """
    if season < 1:
        raise SettingError(f"season: expected at least 1 row, got {season}; use 1 for data without a season")
    if order not in (1, 2):
        raise SettingError(f"order: expected 1 (MASE) or 2 (RMSSE), got {order}")
    history = np.asarray(history, np.float64)
    step = np.abs(history[season:] - history[:-season]) ** order
    return np.asarray(mean_observed(step, ~np.isnan(step), axis=0))


def naive_scales(target: npt.ArrayLike, starts: npt.ArrayLike, season: int, *, order: int = 1) -> Floats:
    """``naive_scale`` of every series of a panel.

    Parameters
    ----------
    target : float (R, K), the series one below the other
    starts : int (S + 1,); rows starts[s]:starts[s + 1] are series s
    season, order : see ``naive_scale``

    Returns
    -------
    float64 (S, K)
    """
    target, bounds = np.asarray(target, np.float64), np.asarray(starts, np.int64)
    scales = [naive_scale(target[a:b], season, order=order) for a, b in pairwise(bounds.tolist())]
    return np.stack(scales) if scales else np.empty((0, target.shape[1]))


def _scaled(loss: Floats, observed: npt.NDArray[np.bool_], scale: npt.ArrayLike, axis: Axis) -> Score:
    scale = np.broadcast_to(np.asarray(scale, np.float64), loss.shape)
    usable = scale > 0
    scaled = np.divide(loss, scale, out=np.full(loss.shape, np.nan), where=usable)
    return mean_observed(scaled, observed & usable, axis)


def mase(y: npt.ArrayLike, forecast: npt.ArrayLike, scale: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Mean absolute scaled error: mean |y − ŷ| / scale, each value with the scale of its own series.

    Parameters
    ----------
    y, forecast : float (N, H, K)
    scale : float, broadcast to y: ``naive_scales(...)[series][:, None, :]``. Where it is 0 (a constant history: the
        error has no unit) or NaN (no history), the value is left out; ``ScoreTable.unscaled`` counts such windows
    axis : the axes to average over

    References
    ----------
    Hyndman & Koehler 2006, Another look at measures of forecast accuracy.
    """
    y, forecast, observed = pair(y, forecast)
    return _scaled(np.abs(y - forecast), observed, scale, axis)


def rmsse(y: npt.ArrayLike, forecast: npt.ArrayLike, scale: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Root mean squared scaled error: the root of mean (y − ŷ)² / scale over the same axes.

    As in the M5 competition when ``axis=1`` gives one value per series, to be averaged after the root.

    Parameters
    ----------
    y, forecast : float (N, H, K)
    scale : float, broadcast to y, from ``naive_scales(..., order=2)``; 0 and NaN are left out as in ``mase``
    axis : the axes to average over
    """
    y, forecast, observed = pair(y, forecast)
    return _scaled((y - forecast) ** 2, observed, scale, axis) ** 0.5


def owa(smape: float, mase: float, *, naive2_smape: float, naive2_mase: float) -> float:
    """Overall weighted average of the M4 competition: the mean of sMAPE and MASE, each relative to that of Naive2."""
    return (smape / naive2_smape + mase / naive2_mase) / 2
