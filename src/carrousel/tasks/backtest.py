"""Rolling-origin backtest: every forecast beside its truth and beside the baselines, in the units of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.errors import HistoryError, SettingError
from carrousel.metrics import ScoreTable, naive_scale, score_table
from carrousel.stream import forecast_columns

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """N forecasts from past origins, H steps of K targets each.

    Parameters
    ----------
    panel : the whole table
    frequency, season, horizon, levels : of the forecasts
    series : int64 (N,) index into the panel's ids
    origins : int64 (N,) first row forecast, counted within its series
    ds : (N, H) stamps; cutoff : (N,) stamp of the last row known
    y : float64 (N, H, K), NaN where nothing was observed
    forecasts : name -> float64 (N, H, K): "Carrousel" first, then the baselines (NaN where one was not run)
    quantiles : (Q,); quantile_forecasts : float64 (N, H, K, Q), of Carrousel
    scale : float64 (N, K), the scale of MASE: the in-sample error of the seasonal naive before the first origin
    notes : what a reader of the numbers should know
    """

    panel: Panel
    frequency: Frequency
    season: int
    horizon: int
    levels: tuple[float, ...]
    series: Index
    origins: Index
    ds: npt.NDArray[Any]
    cutoff: npt.NDArray[Any]
    y: Floats
    forecasts: dict[str, Floats]
    quantiles: tuple[float, ...]
    quantile_forecasts: Floats
    scale: Floats
    notes: tuple[str, ...] = ()

    def table(self) -> ScoreTable:
        """Every model on the windows that all of them forecast."""
        return score_table(
            self.y,
            self.forecasts,
            scale=self.scale,
            quantile_forecasts={"Carrousel": self.quantile_forecasts},
            quantiles=self.quantiles,
            levels=self.levels,
        )

    def frame(self, *, joint: bool, id_name: str = "unique_id", time_name: str = "ds") -> dict[str, npt.NDArray[Any]]:
        """One row a step of a window (and target): id, ds, cutoff, y, Carrousel and its bands."""
        n, h, k = self.y.shape
        values = forecast_columns(self.forecasts["Carrousel"], self.quantile_forecasts, self.quantiles, self.levels)
        names = target_ids(self.panel, self.series, joint=joint)  # (N, K)
        columns: dict[str, npt.NDArray[Any]] = {
            id_name: np.broadcast_to(names[:, :, None], (n, k, h)).reshape(-1),
            time_name: np.broadcast_to(self.ds[:, None], (n, k, h)).reshape(-1),
            "cutoff": np.broadcast_to(self.cutoff[:, None, None], (n, k, h)).reshape(-1),
        }
        for name, array in {"y": self.y, **values}.items():
            columns[name] = array.transpose(0, 2, 1).reshape(-1)
        return columns


def target_ids(panel: Panel, series: Index, *, joint: bool) -> npt.NDArray[Any]:
    """What each target of each forecast is called in a long frame, (N, K): its series; jointly, its target."""
    names = np.array(panel.ids, dtype=object)[series][:, None]
    if not joint:
        return names
    targets = np.array(panel.target_names, dtype=object)[None]
    return np.broadcast_to(targets, (len(series), targets.shape[1])) if len(panel) == 1 else names + "/" + targets


def rolling_origins(lengths: Index, *, horizon: int, windows: int, step: int, least: int = 1) -> tuple[Index, Index]:
    """The last `windows` origins of each series, `step` rows apart, whose whole horizon lies within the series.

    Returns
    -------
    series, origins : int64 (N,); series too short for any window are left out

    Raises
    ------
    SettingError : windows or step below 1
    HistoryError : no series is long enough
    """
    for name, value in (("windows", windows), ("step", step)):
        if value < 1:
            raise SettingError(f"{name}: expected at least 1, got {value}")
    back = np.arange(windows - 1, -1, -1) * step
    origins = lengths[:, None] - horizon - back
    series, which = np.nonzero(origins >= least)
    if not len(series):
        raise HistoryError(
            f"backtest: expected a series of at least {least + horizon} rows, got {int(lengths.max())} at most; "
            "shorten the horizon or bring more rows"
        )
    return series.astype(np.int64), origins[series, which].astype(np.int64)


def truth(panel: Panel, series: Index, origins: Index, horizon: int) -> Floats:
    """What followed each origin, (N, H, K); NaN past the end of the series."""
    rows = (panel.starts[series] + origins)[:, None] + np.arange(horizon)
    inside = rows < panel.starts[series + 1][:, None]
    return np.where(inside[..., None], panel.target[np.where(inside, rows, 0)], np.nan)


def mase_scales(panel: Panel, series: Index, origins: Index, season: int) -> Floats:
    """In-sample seasonal-naive error of each window's series before its first origin, (N, K)."""
    scales = np.full((len(panel), panel.target.shape[1]), np.nan)
    for s in np.unique(series):
        first = origins[series == s].min()
        scales[s] = naive_scale(panel.target[panel.rows(int(s))][:first], season)
    return scales[series]
