"""Errors and calibration of quantile forecasts.

``forecast`` is float64 (..., Q) beside ``y`` (...), usually (N, H, K, Q) beside (N, H, K); ``quantiles`` are the Q
probabilities, ascending in (0, 1). Missing truths and ``axis`` are treated as in ``carrousel.metrics.point``; axis
counts the axes of ``y``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics.point import Axis, Floats, Score, mean_observed, ratio


def _checked(
    y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]:
    y, forecast, q = (np.asarray(a, np.float64) for a in (y, forecast, quantiles))
    if q.ndim != 1 or not len(q) or q[0] <= 0 or q[-1] >= 1 or np.any(np.diff(q) <= 0):
        raise SettingError(f"quantiles: expected probabilities between 0 and 1 in ascending order, got {q.tolist()}")
    if forecast.shape != (*y.shape, len(q)):
        raise ShapeError(
            f"forecast: expected {(*y.shape, len(q))}, the shape of y and one column a quantile, got {forecast.shape}"
        )
    return y, forecast, q, ~np.isnan(y)


def _losses(
    y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The loss of every quantile (..., Q), and where a truth was observed (...)."""
    y, forecast, q, observed = _checked(y, forecast, quantiles)
    error = y[..., None] - forecast
    return np.maximum(q * error, (q - 1) * error), observed


def pinball(y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Quantile loss ρ_τ(y − q) = max(τ·(y − q), (τ − 1)·(y − q)), averaged over all quantiles.

    Parameters
    ----------
    y : float (...)
    forecast : float (..., Q)
    quantiles : float (Q,)
    axis : axes of y to average over

    Raises
    ------
    ShapeError, SettingError : shapes that do not fit, probabilities outside (0, 1) or not ascending

    References
    ----------
    Koenker & Bassett 1978, Regression quantiles.
    """
    losses, observed = _losses(y, forecast, quantiles)
    return mean_observed(losses.mean(-1), observed, axis)


def pinball_by_quantile(y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike) -> Floats:
    """Mean quantile loss of each quantile, float64 (Q,); parameters and errors as for ``pinball``."""
    losses, observed = _losses(y, forecast, quantiles)
    return mean_observed(losses, observed[..., None], tuple(range(observed.ndim)))


def mean_weighted_quantile_loss(y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike) -> float:
    """Mean over the quantiles of 2·Σ ρ_τ / Σ|y|: what GluonTS calls ``mean_wQuantileLoss``, a share of the truth.

    Parameters and errors as for ``pinball``.
    """
    size = np.abs(np.asarray(y, np.float64))
    return ratio(2 * pinball(y, forecast, quantiles), mean_observed(size, ~np.isnan(size)))


def crps(y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Continuous ranked probability score 2·∫₀¹ ρ_τ(y − F⁻¹(τ)) dτ, in the unit of y, from the quantiles at hand.

    The integral is a sum over cells: each quantile stands for the probabilities nearer to it than to its neighbours,
    the outer two for the tails as well. With only the median it is the absolute error. Parameters and errors as for
    ``pinball``.

    References
    ----------
    Laio & Tamea 2007, eq. 12; Gneiting & Raftery 2007.
    """
    losses, observed = _losses(y, forecast, quantiles)
    q = np.asarray(quantiles, np.float64)
    cells = np.diff([0.0, *(q[1:] + q[:-1]) / 2, 1.0])
    return mean_observed(2 * (losses @ cells), observed, axis)


def calibration(y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike, *, axis: Axis = None) -> Floats:
    """Share of truths at or below each quantile, float64 (..., Q); the nominal share is ``quantiles``.

    Parameters and errors as for ``pinball``.
    """
    y, forecast, _, observed = _checked(y, forecast, quantiles)
    below = np.where(np.isnan(forecast), np.nan, y[..., None] <= forecast)
    axes = tuple(range(y.ndim)) if axis is None else tuple(a % y.ndim for a in np.atleast_1d(axis).tolist())
    return mean_observed(below, observed[..., None], axes)


def pit_histogram(y: npt.ArrayLike, forecast: npt.ArrayLike, quantiles: npt.ArrayLike) -> Floats:
    """Probability integral transform as a histogram: share of truths between each pair of neighbouring quantiles.

    Float64 (Q + 1,), summing to 1, where a calibrated forecast gives ``np.diff([0, *quantiles, 1])``. Quantiles that
    cross are counted as they stand, so that a share can come out negative: sort them first.
    """
    below = calibration(y, forecast, quantiles)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))
