"""The linear map from a look-back window to the horizon, shared by all series and solved in closed form.

It is a baseline in its own right and the linear path that the network corrects. The look-back is seen relative to a
centre of its own (its last value, or its mean), so that a shift of the level shifts the forecast and nothing else:

    ŷ = c + W (x − c)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from carrousel.errors import HistoryError, SettingError, ShapeError

Floats = npt.NDArray[np.float64]
Block = tuple[npt.ArrayLike, npt.ArrayLike] | tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
"""Windows x (n, L), what followed y (n, H), and where it is given the scale (n, 1) that each is divided by."""
Center = Literal["last", "mean"]

PENALTIES: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
BLOCK_VALUES = 1 << 20  # look-back values normalised at a time: 8 MiB


@dataclass(frozen=True, kw_only=True, eq=False)
class Ridge:
    """A fitted linear map.

    Parameters
    ----------
    weight : float64 (H, L)
    center : "last" or "mean", what is subtracted from a window and added to its forecast
    penalty : the chosen one, relative to the mean eigenvalue of the Gram matrix
    losses : (look-back, penalty) → mean squared error on the validation windows, in units of the normalised windows;
        empty where there was nothing to choose
    windows : how many windows the weight was fitted on
    """

    weight: Floats
    center: Center
    penalty: float
    losses: dict[tuple[int, float], float]
    windows: int

    def predict(self, x: npt.ArrayLike) -> Floats:
        """Forecast from look-back windows, (..., L) → (..., H), in the unit of x; NaN in a window makes NaN.

        Raises
        ------
        ShapeError : the windows are not L long
        """
        x = np.asarray(x, np.float64)
        if x.shape[-1:] != self.weight.shape[1:]:
            raise ShapeError(f"x: expected windows of {self.weight.shape[1]} values, got {x.shape}")
        c = centre(x, self.center)
        return c + (x - c) @ self.weight.T


def centre(x: Floats, center: Center) -> Floats:
    """What a window is seen relative to, (..., L) → (..., 1)."""
    return x[..., -1:] if center == "last" else x.mean(axis=-1, keepdims=True)


def windows(values: npt.ArrayLike, lookback: int, horizon: int) -> tuple[Floats, Floats]:
    """Every window of one series with what followed it, as views: nothing is copied.

    Parameters
    ----------
    values : float64 (T,)
    lookback, horizon : L, H in rows

    Returns
    -------
    x (n, L), y (n, H), n = max(T − L − H + 1, 0)
    """
    values = np.asarray(values, np.float64)
    if len(values) < lookback + horizon:
        return np.empty((0, lookback)), np.empty((0, horizon))
    cut = np.lib.stride_tricks.sliding_window_view(values, lookback + horizon)
    return cut[:, :lookback], cut[:, lookback:]


@dataclass(eq=False)
class _Moments:
    """Sums over normalised windows: all that a least-squares fit, and its error on these windows, depend on."""

    xx: Floats  # (L, L)
    xy: Floats  # (L, H)
    yy: float
    windows: int

    @classmethod
    def of(cls, blocks: Iterable[Block], center: Center, scaled: bool) -> _Moments | None:
        total: _Moments | None = None
        for x, y, scale in _checked(blocks):
            found = None if scaled or center != "last" else cls._of_stretch(x, y, scale)
            for part in cls._of_pieces(x, y, scale, center, scaled) if found is None else (found,):
                if total is None:
                    total = part
                    continue
                total.xx += part.xx
                total.xy += part.xy
                total.yy += part.yy
                total.windows += part.windows
        return total

    @classmethod
    def _of_pieces(cls, x: Floats, y: Floats, scale: Floats | None, center: Center, scaled: bool) -> Iterator[_Moments]:
        """A block in pieces of bounded memory, without the windows in which a value is missing."""
        step = max(1, BLOCK_VALUES // x.shape[1])
        for first in range(0, len(x), step):
            at = slice(first, first + step)
            whole = ~(np.isnan(x[at]).any(axis=1) | np.isnan(y[at]).any(axis=1))
            if not whole.all():
                at = first + np.flatnonzero(whole)
            if whole.any():
                a, b = _normalised(x[at], y[at], None if scale is None else scale[at], center, scaled)
                yield cls(a.T @ a, a.T @ b, float(np.vdot(b, b)), len(a))

    @classmethod
    def _of_stretch(cls, x: Floats, y: Floats, scale: Floats | None) -> _Moments | None:
        """The same sums of many windows that follow each other row by row in one series; None of others.

        With v the rows from the first window's first to the last truth, and A_ij = Σ_n v_{n+i} v_{n+j},

            A_{i+1,j+1} = A_ij + v_{N+i} v_{N+j} − v_i v_j

        so that only the first row of A costs a pass over all windows. Relative to each window's last value, l = L − 1:

            Σ_n (v_{n+i} − v_{n+l}) (v_{n+j} − v_{n+l}) = A_ij − A_il − A_lj + A_ll
        """
        (N, L), size = x.shape, x.shape[1] + y.shape[1]
        if size >= N or x.strides[0] != x.strides[1] or y.strides[0] != y.strides[1]:
            return None
        if scale is not None and (scale != scale[0]).any():
            return None
        v = np.concatenate([x[0], y[:, 0], y[-1, 1:]])
        if np.isnan(v).any() or (x[1:, -1] != y[:-1, 0]).any():
            return None
        v -= v.mean()  # a level far from 0 would cost digits
        upper = np.zeros((size, size))
        upper[0] = np.correlate(v, v[:N], "valid")
        ends = np.outer(v[N:], v[N:]) - np.outer(v[: size - 1], v[: size - 1])
        for i in range(size - 1):
            upper[i + 1, i + 1 :] = upper[i, i:-1] + ends[i, i:]
        whole = upper + np.triu(upper, 1).T
        last = whole[L - 1]
        whole = whole - last - last[:, None] + last[L - 1]
        if scale is not None:
            whole /= scale[0] ** 2
        return cls(whole[:L, :L].copy(), whole[:L, L:].copy(), float(np.trace(whole[L:, L:])), N)

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy, self.windows + other.windows)

    def recent(self, lookback: int) -> _Moments:
        """The sums of the same windows with their look-back cut to its last values: a corner of the larger ones."""
        return _Moments(self.xx[-lookback:, -lookback:], self.xy[-lookback:], self.yy, self.windows)

    def weights(self, penalties: Sequence[float]) -> Iterator[Floats]:
        """W (H, L) of every penalty from one eigendecomposition: Wᵀ = (XᵀX + λ·tr(XᵀX)/L)⁻¹ XᵀY."""
        values, vectors = np.linalg.eigh(self.xx)
        values = np.maximum(values, 0.0)  # a Gram matrix has none below; rounding does
        size = values.mean() or 1.0  # all windows constant: nothing moves, W = 0
        rotated = vectors.T @ self.xy
        for penalty in penalties:
            yield (vectors @ (rotated / (values + penalty * size)[:, None])).T

    def error(self, weight: Floats) -> float:
        """Mean squared error of a weight on these windows: Σ‖y − Wx‖² = Σy² − 2 tr(W XᵀY) + tr(W XᵀX Wᵀ)."""
        squared = self.yy - 2 * np.vdot(weight.T, self.xy) + np.vdot(weight.T, self.xx @ weight.T)
        return float(squared) / (self.windows * len(weight))


def _checked(blocks: Iterable[Block]) -> Iterator[tuple[Floats, Floats, Floats | None]]:
    for x, y, *rest in blocks:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        scale = np.asarray(rest[0], np.float64) if rest else None
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or (scale is not None and scale.shape != (len(x), 1)):
            raise ShapeError(
                f"block: expected windows x (n, L) and y (n, H), and a scale (n, 1) or none, got {x.shape}, {y.shape} "
                f"and {None if scale is None else scale.shape}"
            )
        yield x, y, scale


def _normalised(x: Floats, y: Floats, scale: Floats | None, center: Center, scaled: bool) -> tuple[Floats, Floats]:
    c = centre(x, center)
    x, y = x - c, y - c
    if scale is not None:
        x /= scale
        y /= scale
    if not scaled:
        return x, y
    # The scale is only a weight in the fit (W is homogeneous), so it may see y: with x alone, a window that is almost
    # constant before a jump would outweigh all others.
    energy = (np.square(x).sum(axis=1) + np.square(y).sum(axis=1)) / (x.shape[1] + y.shape[1])
    moving = energy > 0  # a constant window says nothing about W
    size = np.sqrt(energy[moving])[:, None]
    return x[moving] / size, y[moving] / size


def fit_ridge(
    blocks: Iterable[Block],
    *,
    validation: Iterable[Block] = (),
    penalties: Sequence[float] = PENALTIES,
    lookbacks: Sequence[int] = (),
    center: Center = "last",
    scaled: bool = True,
    refit: bool = True,
) -> Ridge:
    """Fit W with the penalty, and the look-back, that do best on the validation windows.

    One pass over each: the Gram matrix XᵀX and XᵀY are summed in float64 over blocks, so memory is L² + L·H however
    many windows there are, and every choice, and its validation error, comes out of the same sums.

    Parameters
    ----------
    blocks : pairs (x (n, L), y (n, H)) of raw values, of any number of series; windows with NaN are left out; or
        triples with a scale (n, 1) above 0, by which each window is divided
    validation : the same, of later windows; without any, the first penalty and look-back are taken
    penalties : λ > 0, in units of the mean eigenvalue of XᵀX
    lookbacks : lengths up to L to choose from, the rows nearest to the forecast; none for L alone
    center : "last" (as NLinear: the forecast shrinks to the last value) or "mean" (of the window; takes no lookbacks)
    scaled : give every window the same weight whatever its amplitude, so that large series do not rule small ones;
        False for series that share one unit
    refit : fit the chosen penalty once more on the validation windows as well

    Raises
    ------
    SettingError : no penalties, one that is not positive, a look-back that does not fit, an unknown centre
    ShapeError : blocks that are not (n, L) and (n, H), and (n, 1) where there is a scale
    HistoryError : not one complete window to fit on

    References
    ----------
    Hoerl & Kennard 1970; the centring: Zeng et al. 2023, Are Transformers effective for time series forecasting?
    """
    if not penalties or min(penalties) <= 0:
        raise SettingError(f"penalties: expected at least one, all above 0, got {list(penalties)}")
    if center not in ("last", "mean"):
        raise SettingError(f"center: expected 'last' or 'mean', got {center!r}")
    if lookbacks and center == "mean":
        raise SettingError(
            "lookbacks: expected none with center='mean', whose value depends on the look-back; use 'last'"
        )
    train = _Moments.of(blocks, center, scaled)
    if train is None:
        raise HistoryError(
            "fit_ridge: expected at least one complete window to fit on, got none; shorten the look-back or the horizon"
        )
    longest = len(train.xx)
    if lookbacks and not 0 < min(lookbacks) <= max(lookbacks) <= longest:
        raise SettingError(
            f"lookbacks: expected lengths from 1 to {longest}, those of the windows, got {list(lookbacks)}"
        )
    later = _Moments.of(validation, center, scaled)
    choices = [(lookback, penalty) for lookback in lookbacks or (longest,) for penalty in penalties]
    losses: dict[tuple[int, float], float] = {}
    if later is not None and len(choices) > 1:
        for lookback in lookbacks or (longest,):
            after = later.recent(lookback)
            weights = train.recent(lookback).weights(penalties)
            losses |= {(lookback, p): after.error(w) for p, w in zip(penalties, weights, strict=True)}
    lookback, penalty = min(losses, key=losses.__getitem__) if losses else choices[0]
    chosen = (train + later if later is not None and refit else train).recent(lookback)
    (weight,) = chosen.weights([penalty])
    return Ridge(weight=weight, center=center, penalty=penalty, losses=losses, windows=chosen.windows)
