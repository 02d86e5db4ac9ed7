"""Windows of a panel, cut by index from one array, and the normalisation that lets them survive level shifts.

Every function here takes NumPy arrays and PyTorch tensors alike: training and inference cut and normalise windows by
the same lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.data.panel import Panel
from carrousel.features.scaler import NOISE, Scaler, moments

Array = Any  # a NumPy array or a PyTorch tensor


class WindowBatch(NamedTuple):
    """Inputs of N windows: look-back L, horizon H, patches of W steps (n of them behind, M ahead).

    target : (N, L, K) in the units of the panel, gaps carried forward
    past : (N, L, P) standardised covariates known up to now (future ones included), and flags of missing targets
    future : (N, M * W, F) standardised covariates known ahead; zeros beyond the horizon
    calendar_past, calendar_future : (N, n, C), (N, M, C) calendar at the first step of each patch
    static : (N, Q) standardised
    series : int64 (N,) row of the series embedding; 0 stands for a series not seen in training
    """

    target: Array
    past: Array
    future: Array
    calendar_past: Array
    calendar_future: Array
    static: Array
    series: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A panel as the network reads it: R rows, in float arrays without NaN.

    target float64 (R, K), gaps carried forward; truth float64 (R, K), gaps NaN; past (R, P), future (R, F),
    calendar (R, C) float32; static float32 (S, Q); owner int64 (R,), the series of each row; first int64 (R,), the
    first row of that series; series int64 (S,), rows of the series embedding.
    """

    target: Array
    truth: Array
    past: Array
    future: Array
    calendar: Array
    static: Array
    owner: Array
    first: Array
    series: Array

    def map(self, convert: Any) -> Grid:
        """The same grid with `convert` applied to every array, such as a move to a device."""
        return Grid(**{name: convert(getattr(self, name)) for name in self.__dataclass_fields__})


def carry_forward(values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Fill each gap with the last value seen in its series; rows before the first one take that first value.

    Parameters
    ----------
    values : float64 (R, K), gaps NaN
    starts : int64 (S + 1,) first row of each series, and the end

    Returns
    -------
    float64 (R, K); a series without any value is 0
    """
    rows = len(values)
    owner_start = np.repeat(starts[:-1], np.diff(starts))[:, None]
    seen = np.isfinite(values)
    latest = np.maximum.accumulate(np.where(seen, np.arange(rows)[:, None], -1), axis=0)
    earliest = np.minimum.accumulate(np.where(seen, np.arange(rows)[:, None], rows)[::-1], axis=0)[::-1]
    owner_end = np.repeat(starts[1:], np.diff(starts))[:, None]
    source = np.where(latest >= owner_start, latest, np.where(earliest < owner_end, earliest, -1))
    filled = np.take_along_axis(np.vstack([values, np.zeros((1, values.shape[1]))]), source, axis=0)
    return np.where(source < 0, 0.0, filled)


def prepare(panel: Panel, *, past: Scaler, future: Scaler, static: Scaler, calendar: npt.NDArray[np.float32],
            series: npt.NDArray[np.int64], flag_missing: bool) -> Grid:  # fmt: skip
    """Put a panel on the network's grid.

    Parameters
    ----------
    panel : history, with rows ahead (targets NaN) where covariates ahead are known
    past, future, static : scalers fitted on the training part
    calendar : float32 (R, C) of the panel's time stamps
    series : int64 (S,) rows of the series embedding
    flag_missing : add one past covariate a target that is 1 where its value is missing
    """
    owner = np.repeat(np.arange(len(panel)), panel.lengths)
    ahead = future.apply(panel.future)
    behind = [past.apply(panel.past), ahead]
    if flag_missing:
        behind.append(np.isnan(panel.target).astype(np.float32))
    return Grid(
        target=carry_forward(panel.target, panel.starts),
        truth=panel.target,
        past=np.concatenate(behind, axis=1),
        future=ahead,
        calendar=calendar,
        static=static.apply(panel.static),
        owner=owner,
        first=panel.starts[:-1][owner],
        series=series,
    )


def cut(
    grid: Grid, origin: Array, steps: Array, *, horizon: int, patch: int, whole: bool = False
) -> tuple[WindowBatch, Array]:
    """Cut windows by index.

    Parameters
    ----------
    grid : R rows
    origin : int64 (N,) the first row to forecast; a window that would begin before its series repeats its first row
    steps : int64 (L + M * patch,), from -L to M * patch - 1, on the device of the grid
    whole : no window begins before its series; the past is then copied window by window instead of row by row, which
        takes a fifth of the time

    Returns
    -------
    WindowBatch, and the rows ahead (N, H) as an index into the grid
    """
    ahead = -(-horizon // patch) * patch
    look_back = len(steps) - ahead
    last = len(grid.target) - 1
    beyond = origin[:, None] + steps[look_back:]
    within = beyond[:, :horizon]
    inside = (steps[look_back:] < horizon)[None, :, None]  # a last patch reaching past the horizon reads zeros there
    beyond = beyond.clip(max=last)
    owner = grid.owner[origin]
    if whole:
        behind = origin - look_back
        target, past, calendar_past = (
            _stretches(array, behind, look_back, every)
            for array, every in ((grid.target, 1), (grid.past, 1), (grid.calendar, patch))
        )
    else:
        behind = (origin[:, None] + steps[:look_back]).clip(min=grid.first[origin][:, None])
        target, past, calendar_past = grid.target[behind], grid.past[behind], grid.calendar[behind[:, ::patch]]
    batch = WindowBatch(
        target=target,
        past=past,
        future=grid.future[beyond] * inside,
        calendar_past=calendar_past,
        calendar_future=grid.calendar[beyond[:, ::patch]],
        static=grid.static[owner],
        series=grid.series[owner],
    )
    return batch, within


def _stretches(array: Array, first: Array, length: int, every: int) -> Array:
    """From each first row of (R, C) on, every ``every``-th of ``length`` rows: (N, ⌈length / every⌉, C)."""
    if isinstance(array, np.ndarray):
        view = np.lib.stride_tricks.sliding_window_view(array, length, axis=0).swapaxes(1, 2)
        return view[first, ::every]
    # It takes half as long as an index in brackets.
    return array.unfold(0, length, 1).transpose(1, 2)[:, ::every].index_select(0, first)


def offsets(look_back: int, horizon: int, patch: int) -> npt.NDArray[np.int64]:
    """The `steps` that `cut` takes: rows of a window relative to its origin."""
    return np.arange(-look_back, -(-horizon // patch) * patch)


def normalise(target: Array, unit: Array) -> tuple[Array, Array]:
    """Windows relative to their last value, in the unit of their series.

    A shift of the series shifts the forecast and changes nothing else.

    Parameters
    ----------
    target : float64 (N, L, K)
    unit : float64 (N, K)

    Returns
    -------
    normalised float64 (N, L, K), level (N, 1, K)

    References
    ----------
    Zeng et al. 2023 (NLinear).
    """
    level = target[:, -1:]
    return (target - level) / unit[:, None], level


def spread(target: Array) -> Array:
    """Standard deviation of windows (N, L, K), (N, 1, K): how much a window moves.

    At least 0.05, so that in units of the series a window without change does not make a forecast certain.
    """
    centred = target - target.mean(1, keepdims=True)
    return (centred * centred).mean(1, keepdims=True).clip(min=0.0025) ** 0.5


def series_unit(panel: Panel, season: int) -> npt.NDArray[np.float64]:
    """``unit_of`` each series, (S, K)."""
    units = [unit_of(panel.target[panel.rows(s)], season) for s in range(len(panel))]
    return np.stack(units) if units else np.empty((0, panel.target.shape[1]))


def unit_of(values: npt.NDArray[np.float64], season: int) -> npt.NDArray[np.float64]:
    """The unit in which a series (n, K) is seen and its errors are counted, (K,), never 0.

    It is the error of the seasonal naive forecast in sample, so that a strong regular season does not hide what is left
    to learn; at least a twentieth of the standard deviation.

    References
    ----------
    Hyndman & Koehler 2006 (§3), the denominator of the scaled error.
    """
    mean, deviation = moments(values)
    change, _ = moments(np.abs(values[season:] - values[:-season]))
    return np.maximum(np.maximum(change, deviation / 20), NOISE * np.maximum(np.abs(mean), 1.0))
