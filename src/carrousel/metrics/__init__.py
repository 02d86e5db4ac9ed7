"""How good a forecast or a detection is: one file per family, NumPy only.

``nab`` and ``vus`` are imported by themselves: their words (``best``, ``score``, ``volume``) say little without them.
"""

from carrousel.metrics.event import EventCounts, alarm_delay, event_counts, false_alarm_rate
from carrousel.metrics.interval import band, coverage, interval_score, width
from carrousel.metrics.point import (
    mae,
    mase,
    mean_observed,
    missing,
    mse,
    naive_scale,
    naive_scales,
    owa,
    rmse,
    rmsse,
    smape,
    wape,
)
from carrousel.metrics.quantile import (
    calibration,
    crps,
    mean_weighted_quantile_loss,
    pinball,
    pinball_by_quantile,
    pit_histogram,
)
from carrousel.metrics.table import ScoreTable, common, per_horizon, per_series, score_table

__all__ = [
    "EventCounts",
    "ScoreTable",
    "alarm_delay",
    "band",
    "calibration",
    "common",
    "coverage",
    "crps",
    "event_counts",
    "false_alarm_rate",
    "interval_score",
    "mae",
    "mase",
    "mean_observed",
    "mean_weighted_quantile_loss",
    "missing",
    "mse",
    "naive_scale",
    "naive_scales",
    "owa",
    "per_horizon",
    "per_series",
    "pinball",
    "pinball_by_quantile",
    "pit_histogram",
    "rmse",
    "rmsse",
    "score_table",
    "smape",
    "wape",
    "width",
]
