"""The forecasts that every model has to beat, made in the same backtest and from the same rows.

A baseline at an origin sees the rows before it and nothing else. Gaps in that history are interpolated, since none of
these methods knows a gap; a method that fails leaves NaN and a note, never an exception: a table without one baseline
is worth more than no table.
"""

from __future__ import annotations

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.errors import HistoryError, SettingError, require
from carrousel.features.ridge import Block, Ridge, fit_ridge, windows
from carrousel.metrics import naive_scale

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Local = Callable[[Floats, int, int], Floats]  # history (T,), horizon, season → (H,)

LOCAL_ROWS = 500  # what a local method looks back on, or ten seasons if that is more: ETS takes time linear in it
RIDGE_WINDOWS = 50_000  # enough for 480 x 96 weights, about a second on one core
RIDGE_LOOKBACK = 720  # rows at most


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Forecasts of every baseline at every origin.

    Parameters
    ----------
    forecasts : name → float64 (N, H, K); NaN where a method was not run or failed
    notes : what a reader of the table has to know, one sentence each
    seconds : name → wall time, imports included
    """

    forecasts: dict[str, Floats]
    notes: tuple[str, ...]
    seconds: dict[str, float]


def naive(history: Floats, horizon: int, season: int = 1) -> Floats:
    """The last value, repeated: (T,) → (H,)."""
    return np.full(horizon, history[-1])


def seasonal_naive(history: Floats, horizon: int, season: int) -> Floats:
    """The last season, repeated: (T,) → (H,). With less than one season of history it is the naive forecast."""
    return np.resize(history[-season:], horizon) if len(history) >= season else naive(history, horizon)


def naive2(history: Floats, horizon: int, season: int) -> Floats:
    """The naive forecast of the seasonally adjusted series: what OWA is relative to.

    Multiplicative classical decomposition where the autocorrelation at the season passes a 90 % test, as in the M4
    competition's code; otherwise, and where the history is not positive, the naive forecast.

    References
    ----------
    Makridakis, Spiliotis & Assimakopoulos 2020, The M4 Competition, appendix.
    """
    if not _seasonal(history, season) or history.min() <= 0:
        return naive(history, horizon)
    width = season if season % 2 else season + 1
    kernel = np.full(width, 1 / season)
    if season % 2 == 0:
        kernel[[0, -1]] /= 2  # 2×m moving average, centred on a row
    half = width // 2
    ratio = np.full(len(history), np.nan)
    ratio[half : len(history) - half] = history[half : len(history) - half] / np.convolve(history, kernel, "valid")
    phase = np.arange(len(history)) % season
    index = np.array([np.nanmean(ratio[phase == p]) for p in range(season)])
    index /= index.mean()
    ahead = index[np.arange(len(history), len(history) + horizon) % season]
    return history[-1] / index[phase[-1]] * ahead


def _seasonal(history: Floats, season: int) -> bool:
    if season == 1 or len(history) < 3 * season:
        return False
    x = history - history.mean()
    variance = x @ x
    if variance == 0:
        return False
    correlation = np.array([x[lag:] @ x[:-lag] for lag in range(1, season + 1)]) / variance
    limit = 1.645 * math.sqrt((1 + 2 * np.sum(correlation[:-1] ** 2)) / len(history))
    return bool(abs(correlation[-1]) > limit)


def ets(history: Floats, horizon: int, season: int) -> Floats:
    """Exponential smoothing, ETS(A, Ad, A): additive, so that zeros and negative values are no matter.

    One fixed form with fitted smoothing weights instead of a search over thirty: the search takes ten times as long
    and on hourly data often settles on a form without a season. Without a season where there are fewer than three.
    """
    models = require("statsforecast.models", extra="train", purpose="the ETS baseline")
    form = "AAA" if season > 1 and len(history) >= 3 * season else "AAN"
    return _mean(models.AutoETS(season_length=season, model=form, damped=True), history, horizon)


def theta(history: Floats, horizon: int, season: int) -> Floats:
    """The standard Theta method, the winner of the M3 competition."""
    models = require("statsforecast.models", extra="train", purpose="the Theta baseline")
    return _mean(models.Theta(season_length=season), history, horizon)


def _mean(model: Any, history: Floats, horizon: int) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsforecast divides by zero on constant series and copes with it
        return np.asarray(model.forecast(y=history, h=horizon)["mean"], np.float64)


METHODS: dict[str, Local] = {"naive": naive, "seasonal_naive": seasonal_naive, "ets": ets, "theta": theta}
NAMES = ("naive", "seasonal_naive", "ets", "theta", "ridge")
SLOW = ("ets", "theta")  # tens of milliseconds a fit; they come with statsforecast


def baselines(
    target: npt.ArrayLike,
    starts: npt.ArrayLike,
    origins: npt.ArrayLike,
    *,
    horizon: int,
    season: int,
    models: Sequence[str] | None = None,
    fit_rows: npt.ArrayLike | None = None,
    fits: int | None = 100,
) -> Baselines:
    """Forecast with every baseline at every origin.

    Parameters
    ----------
    target : float (R, K), the series one below the other, NaN where nothing was observed
    starts : int (S + 1,); rows starts[s]:starts[s + 1] are series s
    origins : int (N,), rows of the table: the first row to forecast, whose series has at least one row before it
    horizon, season : in rows; season 1 for none
    models : some of ``NAMES``; None for all that the installed packages allow
    fit_rows : int (S,), how many rows from the start of each series ridge may be fitted on; None for all before the
        first origin of that series, of the series that have one
    fits : ETS and Theta are run on at most so many histories each, at evenly spaced origins (the same for both), and
        leave NaN at the others; None for all. ``carrousel.metrics.score_table`` then compares on the common ones

    Raises
    ------
    SettingError : an unknown model, a horizon or season below 1, an origin outside the table or without history
    MissingExtraError : ETS or Theta asked for by name where statsforecast is not installed
    """
    table, bounds = np.asarray(target, np.float64), np.asarray(starts, np.int64)
    first_rows = np.asarray(origins, np.int64)
    notes: list[str] = []
    chosen = _chosen(models, notes)
    if horizon < 1 or season < 1:
        raise SettingError(f"horizon and season: expected at least 1 row each, got {horizon} and {season}")
    series = np.searchsorted(bounds, first_rows, side="right") - 1
    inside = (first_rows >= 0) & (first_rows < len(table))
    if not inside.all() or np.any(first_rows == bounds[series]):
        raise SettingError(
            f"origins: expected rows of the table, 0 to {len(table) - 1}, each with history before it in its series"
        )
    begins = bounds[series]
    if np.isnan(table).any():
        notes.append("Gaps in the history were interpolated linearly for the baselines.")
    forecasts: dict[str, Floats] = {}
    seconds: dict[str, float] = {}
    for name in chosen:
        clock = time.perf_counter()
        if name == "ridge":
            ends = _fit_ends(bounds, first_rows, series, fit_rows)
            forecasts[name] = _ridge(table, bounds, ends, first_rows, begins, horizon, season, notes)
        else:
            run = _budget(name, len(first_rows), table.shape[1], fits, notes)
            forecasts[name] = _local(name, table, first_rows, begins, run, horizon, season, notes)
        seconds[name] = time.perf_counter() - clock
    return Baselines(forecasts=forecasts, notes=tuple(notes), seconds=seconds)


def _chosen(models: Sequence[str] | None, notes: list[str]) -> tuple[str, ...]:
    if models is not None:
        if unknown := [name for name in models if name not in NAMES]:
            raise SettingError(f"models: expected some of {', '.join(NAMES)}, got {', '.join(unknown)}")
        if any(name in SLOW for name in models):
            require("statsforecast", extra="train", purpose="the ETS and Theta baselines")
        return tuple(models)
    if importlib.util.find_spec("statsforecast") is None:
        notes.append("ETS and Theta were left out: statsforecast is not installed; pip install 'carrousel[train]'.")
        return tuple(name for name in NAMES if name not in SLOW)
    return NAMES


def _budget(name: str, origins: int, targets: int, fits: int | None, notes: list[str]) -> Index:
    if name not in SLOW or fits is None or origins * targets <= fits:
        return np.arange(origins)
    run = np.unique(np.linspace(0, origins - 1, max(1, fits // targets)).round().astype(np.int64))
    notes.append(f"{name} was run at {len(run)} evenly spaced origins of {origins}, for its cost.")
    return run


def _local(
    name: str, table: Floats, first_rows: Index, begins: Index, run: Index, horizon: int, season: int, notes: list[str]
) -> Floats:
    forecast = np.full((len(first_rows), horizon, table.shape[1]), np.nan)
    reach = max(10 * season, LOCAL_ROWS)
    failures: list[str] = []
    for n in run:
        past = table[max(begins[n], first_rows[n] - reach) : first_rows[n]]
        for k in range(table.shape[1]):
            try:
                forecast[n, :, k] = METHODS[name](interpolate(past[:, k]), horizon, season)
            except Exception as error:  # whatever a library raises on a series it cannot take
                failures.append(str(error) or type(error).__name__)
    if failures:
        notes.append(f"{name} failed on {len(failures)} of {len(run) * table.shape[1]} histories: {failures[0]}.")
    return forecast


def interpolate(values: Floats) -> Floats:
    """Fill gaps on a straight line, those at either end with the nearest value, (T,) → (T,).

    Raises
    ------
    HistoryError : no value at all
    """
    seen = np.flatnonzero(~np.isnan(values))
    if len(seen) == len(values) > 0:
        return values
    if not len(seen):
        raise HistoryError("history: expected at least one observed value, got none")
    return np.interp(np.arange(len(values)), seen, values[seen])


def _fit_ends(bounds: Index, first_rows: Index, series: Index, fit_rows: npt.ArrayLike | None) -> Index:
    """The row after the last that ridge may see, of each series."""
    if fit_rows is not None:
        return np.minimum(bounds[:-1] + np.asarray(fit_rows, np.int64), bounds[1:])
    ends = bounds[1:].copy()
    np.minimum.at(ends, series, first_rows)
    return np.where(np.isin(np.arange(len(ends)), series), ends, bounds[:-1])


def _ridge(
    table: Floats,
    bounds: Index,
    ends: Index,
    first_rows: Index,
    begins: Index,
    horizon: int,
    season: int,
    notes: list[str],
) -> Floats:
    forecast = np.full((len(first_rows), horizon, table.shape[1]), np.nan)
    fitted = [table[a:b, k] for a, b in zip(bounds[:-1], ends, strict=True) for k in range(table.shape[1])]
    try:
        model = fit_series(fitted, horizon, season)
    except HistoryError:
        notes.append("ridge was left out: the series are too short for a window of look-back and horizon to fit on.")
        return forecast
    lookback = model.weight.shape[1]
    notes.append(f"ridge: look-back {lookback} and penalty {model.penalty:g} chosen on the last part of its history.")
    for n, (begin, first) in enumerate(zip(begins, first_rows, strict=True)):
        past = table[max(begin, first - lookback) : first]
        if not np.isnan(past).all(axis=0).any():
            x = np.stack([interpolate(column) for column in past.T])  # (K, up to L)
            x = np.pad(x, ((0, 0), (lookback - x.shape[1], 0)), mode="edge")
            forecast[n] = model.predict(x).T
    return forecast


def fit_series(series: Sequence[Floats], horizon: int, season: int) -> Ridge:
    """Fit one ridge map to several series, its look-back and penalty chosen on the last fifth of each.

    Each series is weighted by the error of its own seasonal naive forecast, the unit of MASE, though not by less than
    a tenth of its standard deviation: an almost periodic series would rule the rest.

    Parameters
    ----------
    series : float (T,) each, NaN where nothing was observed
    horizon, season : in rows

    Raises
    ------
    HistoryError : no window fits into any of the series
    """
    usable = [values for values in series if np.any(~np.isnan(values))]
    longest = max((len(values) for values in usable), default=0)
    # What is left for the look-back in nine series of ten, after the horizon and the last fifth for validation.
    usual = int(np.quantile([len(v) for v in usable], 0.1)) if usable else 0
    room = min(max(usual * 4 // 5 - 2 * horizon, 1), max(longest - horizon, 1), RIDGE_LOOKBACK)
    period = season if season > 1 else max(horizon // 2, 1)
    lookbacks = sorted({min(n * period, room) for n in (2, 7, 14, 20)})
    total = sum(max(len(values) - lookbacks[-1] - horizon + 1, 0) for values in usable)
    stride = max(1, total // RIDGE_WINDOWS)
    while math.gcd(stride, season) > 1:  # every phase of the season
        stride += 1

    def blocks(validation: bool) -> Iterator[Block]:
        for values in usable:
            split = len(values) - max(len(values) // 5, horizon)
            if split < lookbacks[-1] + horizon:  # too short to be cut in two: all of it for the fit
                split = len(values)
            part = values[split - lookbacks[-1] :] if validation else values[:split]
            if (validation and split == len(values)) or np.isnan(part).all() or np.isnan(values[:split]).all():
                continue
            scale = np.fmax(naive_scale(values[:split], season), 0.1 * np.nanstd(values[:split])) or 1.0
            x, _ = windows(interpolate(part) / scale, lookbacks[-1], horizon)
            _, y = windows(part / scale, lookbacks[-1], horizon)
            yield x[::stride], y[::stride]

    return fit_ridge(blocks(validation=False), validation=blocks(validation=True), lookbacks=lookbacks, scaled=False)
