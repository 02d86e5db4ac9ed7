"""Standardisation of covariates with statistics of the training part alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NOISE = 1e-9
"""A deviation this small beside the mean is rounding: the column is constant."""


def moments(values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the observed values of each column of (R, C); 0 and 0 of none."""
    seen = np.isfinite(values)
    count = np.maximum(seen.sum(axis=0), 1)  # of no rows at all, mean and deviation are 0
    mean = np.where(seen, values, 0.0).sum(axis=0) / count
    centred = np.where(seen, values - mean, 0.0)
    return mean, np.sqrt((centred * centred).sum(axis=0) / count)


@dataclass(frozen=True)
class Scaler:
    """(x - mean) / deviation per column, clipped; a missing value becomes 0, the training mean.

    A column that is constant in training has deviation 1. Values are clipped at 10 deviations, so that a broken
    sensor's 1e9 cannot take the forecast with it.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    LIMIT = 10.0

    @classmethod
    def fit(cls, values: Floats) -> Scaler:
        """Statistics of the finite values of each column of (R, C)."""
        mean, deviation = moments(values)
        deviation = np.where(deviation > NOISE * np.abs(mean), deviation, 1.0)
        return cls(tuple(mean.tolist()), tuple(deviation.tolist()))

    def apply(self, values: Floats) -> npt.NDArray[np.float32]:
        """Standardise (R, C); float32, finite."""
        scaled = (values - np.asarray(self.mean)) / np.asarray(self.deviation)
        return np.nan_to_num(np.clip(scaled, -self.LIMIT, self.LIMIT), nan=0.0).astype(np.float32)
