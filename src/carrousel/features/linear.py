"""The linear path: a few linear maps from the look-back to the horizon, mixed for each series by what served it best.

A ridge fitted to many series at once is right on average; the seasonal means need no fitting and do not fail. Which of
them a series should trust is measured on its own validation part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.errors import HistoryError
from carrousel.features.ridge import fit_ridge

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Block = tuple[Index, int, Floats, Floats]
Blocks = Callable[[], Iterable[Block]]
"""Makes blocks of windows: series (n,), target k, look-back x (n, L), what followed y (n, H), NaN where missing."""

WEEK = 7  # seasons; a day is the season of most data whose long cycle is a week
SHARPNESS = 4  # of the mixture; 1 hardly tells maps apart, and the best map alone is worse than their mean


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearPath:
    """ŷ - l = Σ_e m_e·W_e (x - l), with the last value l of each window and the mixture m of its series.

    Parameters
    ----------
    weight : float64 (E, H, L)
    mixture : float64 (S + 1, K, E), rows that add up to 1; row 0, their mean, is for series that were not there
    penalty : of the ridge, relative to the mean eigenvalue of its Gram matrix
    """

    weight: Floats
    mixture: Floats
    penalty: float

    @property
    def look_back(self) -> int:
        return self.weight.shape[2]

    def predict(self, x: Floats, series: Index, k: int) -> Floats:
        """Forecast windows (n, L) of target k of some rows of the mixture, (n, H)."""
        x = x[:, -self.look_back :]
        level = x[:, -1:]
        each = np.einsum("ehl,nl->neh", self.weight, x - level, optimize=True)
        return level + np.einsum("ne,neh->nh", self.mixture[series, k], each)


def fit_linear_path(
    train: Blocks,
    validation: Blocks,
    *,
    look_backs: list[int],
    season: int,
    unit: Floats,
) -> LinearPath:
    """Fit the maps on training windows; choose look-back, penalty and mixture on validation windows.

    Maps: a ridge that gives all windows the same weight in units of their seasonal differences, one in units of their
    series, the last season, and the mean of the last three weeks (seasons, where a week is longer than the look-back).

    m_e ∝ (mean absolute error of map e on the series' validation windows)^-4

    Parameters
    ----------
    train, validation : blocks with the longest look-back
    look_backs : to choose from
    season : period in rows
    unit : float64 (S, K) of each series

    Raises
    ------
    HistoryError : not one complete training window
    """

    def scaled(blocks: Blocks, length: int | None, *, by_window: bool) -> Iterator[tuple[Floats, Floats, Floats]]:
        for owner, k, x, y in blocks():
            scale = unit[owner, k][:, None]
            if by_window:
                scale = np.maximum(_seasonal_change(x, season), scale / 20)
            yield (x if length is None else x[:, -length:]), y, scale

    first = fit_ridge(
        Again(lambda: scaled(train, None, by_window=True)),
        validation=Again(lambda: scaled(validation, None, by_window=True)),
        lookbacks=look_backs,
        scaled=False,
        refit=False,
    )
    horizon, length = first.weight.shape
    second = fit_ridge(
        Again(lambda: scaled(train, length, by_window=False)),
        validation=Again(lambda: scaled(validation, length, by_window=False)),
        scaled=False,
        refit=False,
    )
    maps = [first.weight, second.weight]
    long = season * WEEK if season * WEEK <= length else season
    for period, repeats in ((season, 1), (long, 3)):
        if period <= length and season > 1:
            maps.append(seasonal_mean(length, horizon, period, min(repeats, length // period)))
    weight = np.stack(maps)
    mixture = _mixture(weight, validation, unit)
    return LinearPath(weight=weight, mixture=mixture, penalty=first.penalty)


def seasonal_mean(look_back: int, horizon: int, period: int, repeats: int) -> Floats:
    """The map (H, L) whose forecast is the mean of the same phase in the last periods."""
    weight = np.zeros((horizon, look_back))
    for h in range(horizon):
        for j in range(repeats):
            weight[h, look_back - period * (j + 1) + h % period] += 1 / repeats
    return weight


def _seasonal_change(x: Floats, season: int) -> Floats:
    """Mean absolute seasonal difference of each window (n, L), (n, 1); of a short one, step by step."""
    lag = season if season < x.shape[1] else 1
    return np.abs(x[:, lag:] - x[:, :-lag]).mean(axis=1, keepdims=True) if lag < x.shape[1] else np.zeros((len(x), 1))


def _mixture(weight: Floats, validation: Blocks, unit: Floats) -> Floats:
    """Rows of the mixture, (S + 1, K, E), from each map's error on each series' validation windows."""
    total = np.zeros((*unit.shape, len(weight)))
    count = np.zeros(unit.shape)
    length = weight.shape[2]
    for owner, k, x, y in validation():
        x = x[:, -length:]
        each = np.einsum("ehl,nl->neh", weight, x - x[:, -1:], optimize=True) + x[:, -1:, None]
        error = np.abs(each - y[:, None])  # (n, E, H)
        seen = np.isfinite(y)
        np.add.at(total[:, k], owner, np.where(seen[:, None], error, 0.0).sum(axis=2))
        np.add.at(count[:, k], owner, seen.sum(axis=1))
    known = count > 0
    if not known.any():
        raise HistoryError("fit: expected an observed value in the validation part, got none; give a later table")
    error = total / np.maximum(count, 1)[..., None]
    error = np.maximum(error, 1e-6 * unit[..., None])  # a map that is right to the last bit is not infinitely better
    share = np.where(known[..., None], (error / error.min(axis=2, keepdims=True)) ** -SHARPNESS, 0.0)
    share = share / np.maximum(share.sum(axis=2, keepdims=True), 1e-300)
    mean = share.sum(axis=0) / np.maximum(known.sum(axis=0), 1)[:, None]  # (K, E)
    mean = np.where(mean.sum(axis=1, keepdims=True) > 0, mean, 1 / len(weight))
    return np.concatenate([mean[None], np.where(known[..., None], share, mean[None])])


@dataclass(frozen=True)
class Again:
    """Makes a fresh iterator each time it is gone through."""

    make: Callable[[], Iterable[tuple[Floats, Floats, Floats]]]

    def __iter__(self) -> Iterator[tuple[Floats, Floats, Floats]]:
        return iter(self.make())
