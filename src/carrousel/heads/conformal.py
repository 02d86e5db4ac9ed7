"""Split-conformal calibration: widen or narrow bands until they hold what they promise on data kept from training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
POOL_BELOW = 100  # truths a step; with fewer, a tail quantile of one step alone is noise and all steps are pooled


def conformal_offset(truth: Floats, values: Floats, quantiles: Sequence[float]) -> Floats:
    """What to add to each quantile so that every central band covers its share of held-out truths.

    For the band (lo, hi) of level α:  E = max(lo - y, y - hi);  offset = the ⌈(n + 1)·α⌉-th smallest E, taken
    downwards at lo and upwards at hi, step by step of the horizon.

    Parameters
    ----------
    truth : (N, H, K), NaN where nothing was observed
    values : (N, H, K, Q) in the same unit
    quantiles : (Q,) ascending, symmetric about 0.5

    Returns
    -------
    (H, K, Q); 0 at the median, and everywhere without a truth

    References
    ----------
    Romano, Patterson & Candès 2019, Conformalized quantile regression (§4).
    """
    offset = np.zeros(values.shape[1:])
    for low in range(len(quantiles) // 2):
        high = len(quantiles) - 1 - low
        error = np.maximum(values[..., low] - truth, truth - values[..., high])  # (N, H, K)
        if len(truth) < POOL_BELOW:
            pooled = error.reshape(-1, error.shape[2])
            move = np.broadcast_to(_upper_quantile(pooled, quantiles[high] - quantiles[low]), offset.shape[:2])
        else:
            flat = error.reshape(len(error), -1)
            move = _upper_quantile(flat, quantiles[high] - quantiles[low]).reshape(offset.shape[:2])
        offset[..., low], offset[..., high] = -move, move
    return offset


def _upper_quantile(error: Floats, share: float) -> Floats:
    """The ⌈(n + 1)·share⌉-th smallest of each column's n errors, the largest if there are too few; 0 of none."""
    ordered = np.sort(error, axis=0)  # NaN last
    count = np.isfinite(error).sum(axis=0)
    rank = np.clip(np.ceil((count + 1) * share).astype(int), 1, np.maximum(count, 1)) - 1
    return np.where(count > 0, np.take_along_axis(ordered, rank[None], axis=0)[0], 0.0)
