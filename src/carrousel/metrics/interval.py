"""Coverage, width and score of prediction intervals.

A level is a percentage, as in Nixtla's column names: 90 is the band from the 5 % to the 95 % quantile (``lo-90``,
``hi-90``). Missing truths and ``axis`` are treated as in ``carrousel.metrics.point``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError
from carrousel.metrics.point import Axis, Floats, Score, mean_observed, pair


def _check_level(level: float) -> None:
    if not 0 < level < 100:
        raise SettingError(f"level: expected a percentage between 0 and 100, got {level}; 90 is the 90 % interval")


def band(forecast: npt.ArrayLike, quantiles: npt.ArrayLike, level: float) -> tuple[Floats, Floats]:
    """The two quantiles that bound an interval.

    Parameters
    ----------
    forecast : float (..., Q)
    quantiles : float (Q,), probabilities
    level : percentage, 90 for the quantiles 0.05 and 0.95

    Returns
    -------
    (lower, upper), each float64 (...)

    Raises
    ------
    SettingError : the level is outside (0, 100), or one of its quantiles was not forecast
    """
    _check_level(level)
    forecast, q = np.asarray(forecast, np.float64), np.asarray(quantiles, np.float64)
    tail = (1 - level / 100) / 2
    columns = [np.flatnonzero(np.abs(q - p) < 1e-9) for p in (tail, 1 - tail)]
    if not all(len(found) for found in columns):
        raise SettingError(
            f"level {level:g}: expected the quantiles {tail:g} and {1 - tail:g}, got {q.tolist()}; "
            "ask for a level whose quantiles were forecast"
        )
    lower, upper = (forecast[..., found[0]] for found in columns)
    return lower, upper


def coverage(y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Share of truths inside [lower, upper], bounds included; ideally level / 100."""
    y, lower, observed = pair(y, lower)
    upper = pair(y, upper)[1]
    inside = np.where(np.isnan(lower) | np.isnan(upper), np.nan, (lower <= y) & (y <= upper))
    return mean_observed(inside, observed, axis)


def width(lower: npt.ArrayLike, upper: npt.ArrayLike, *, axis: Axis = None) -> Score:
    """Mean width of the intervals, in the unit of y, whether or not a truth was observed."""
    lower, upper, _ = pair(lower, upper)
    return mean_observed(upper - lower, np.True_, axis)


def interval_score(
    y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, level: float, *, axis: Axis = None
) -> Score:
    """Winkler's interval score: width plus 2/α times the distance by which a truth falls outside, α = 1 − level/100.

    Parameters
    ----------
    y, lower, upper : float (...)
    level : percentage, 90 for a 90 % interval
    axis : the axes to average over

    Raises
    ------
    SettingError : the level is outside (0, 100)

    References
    ----------
    Winkler 1972; Gneiting & Raftery 2007, eq. 43.
    """
    _check_level(level)
    y, lower, observed = pair(y, lower)
    upper = pair(y, upper)[1]
    alpha = 1 - level / 100
    outside = np.maximum(lower - y, 0) + np.maximum(y - upper, 0)
    return mean_observed(upper - lower + 2 / alpha * outside, observed, axis)
