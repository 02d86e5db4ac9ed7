"""What a backtest says, worked out once: which models ran, on which windows they are compared, and who wins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.metrics import common, mae, mase, mean_observed, pinball, rmse, smape

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

NAMES = {"naive": "Naive", "seasonal_naive": "Seasonal naive", "ridge": "Ridge", "ets": "ETS", "theta": "Theta"}
NAIVE = ("naive", "seasonal_naive")
COLUMNS = {"mae": "MAE", "rmse": "RMSE", "mase": "MASE", "smape": "sMAPE", "pinball": "Pinball"}
# Errors of series whose usual changes differ by more than this cannot be averaged in their own unit: the largest rules.
COMPARABLE = 10.0


@dataclass(frozen=True)
class Line:
    """One drawn line: a series, or one target of a series where targets are forecast jointly.

    Parameters
    ----------
    windows : int64 (n,), rows of the backtest that belong to it
    """

    name: str
    series: int
    target: int
    windows: Index


class Evidence:
    """Everything that the report says about accuracy, from one backtest.

    Models are compared on the windows that each of them forecast (`used`); calibration, which compares with nothing,
    is measured on every window that was forecast (`own_used`).

    Parameters
    ----------
    backtest : carrousel.tasks.backtest.Backtest, or anything with its attributes
    """

    def __init__(self, backtest: Any) -> None:
        self.backtest = backtest
        self.y: Floats = backtest.y
        self.forecasts: dict[str, Floats] = {
            name: f for name, f in backtest.forecasts.items() if (~np.isnan(f)).all(axis=(1, 2)).any()
        }
        self.own = next(iter(backtest.forecasts))
        self.baselines = tuple(name for name in self.forecasts if name != self.own)
        self.used = np.flatnonzero(common(self.forecasts)) if self.forecasts else np.empty(0, np.int64)
        self.own_used = np.flatnonzero(~np.isnan(backtest.quantile_forecasts).any(axis=(1, 2, 3)))
        self.levels = tuple(sorted(backtest.levels))
        self.metric = self._metric()

    def _metric(self) -> str:
        scale = self.backtest.scale[np.unique(self.backtest.series, return_index=True)[1]]
        usable = scale[scale > 0]
        alike = self.y.shape[2] == 1 and (not len(usable) or usable.max() <= COMPARABLE * usable.min())
        return "mae" if alike or not len(usable) else "mase"

    @property
    def metric_name(self) -> str:
        return COLUMNS[self.metric]

    def name(self, model: str) -> str:
        """How a model is called on the page."""
        return NAMES.get(model, model)

    def inside(self, model: str) -> str:
        """A model's name inside a sentence: naive is a word there, ETS a name."""
        name = self.name(model)
        return name.lower() if model in NAIVE else name

    def style(self, model: str) -> str:
        """The class of a model's colour and dashes, the same in every figure."""
        order = [*NAMES, *(m for m in self.baselines if m not in NAMES)]
        return "s-carrousel" if model == self.own else f"s-{order.index(model) % 6}"

    def error(
        self, model: str, windows: Index | None = None, *, target: int | None = None, metric: str = "", axis: Any = None
    ) -> Any:
        """MAE or MASE of a model, over the compared windows unless others are given; axes are those of (N, H, K)."""
        rows = self.used if windows is None else windows
        columns = slice(None) if target is None else slice(target, target + 1)
        y, forecast = self.y[rows, :, columns], self.forecasts[model][rows, :, columns]
        if (metric or self.metric) == "mae":
            return mae(y, forecast, axis=axis)
        return mase(y, forecast, self.backtest.scale[rows, None, columns], axis=axis)

    @cached_property
    def table(self) -> dict[str, dict[str, float]]:
        """Model → column → score, on the windows that every model forecast."""
        y, quantiles = self.y[self.used], self.backtest.quantiles
        rows: dict[str, dict[str, float]] = {}
        for model, forecasts in self.forecasts.items():
            point = forecasts[self.used]
            # A point forecast is a distribution with all its weight on one value: each of its quantiles is that value.
            bands = np.repeat(point[..., None], len(quantiles), axis=-1)
            if model == self.own:
                bands = self.backtest.quantile_forecasts[self.used]
            rows[model] = {
                "mae": mae(y, point),
                "rmse": rmse(y, point),
                "mase": self.error(model, metric="mase"),
                "smape": smape(y, point),
                "pinball": pinball(y, bands, quantiles),
            }
        return rows

    def winners(self, column: str) -> tuple[str, ...]:
        """The models with the lowest score, to the digits that are shown; none where a score is missing altogether."""
        scores = {model: row[column] for model, row in self.table.items() if not np.isnan(row[column])}
        best = min(scores.values(), default=np.nan)
        return tuple(model for model, score in scores.items() if digits(score) == digits(best))

    def best(self, models: tuple[str, ...]) -> str | None:
        """Of these models the one with the lowest error on the compared windows."""
        scores = {m: self.error(m) for m in models if m in self.forecasts}
        known = {m: score for m, score in scores.items() if not np.isnan(score)}
        return min(known, key=lambda m: known[m]) if known else None

    @cached_property
    def best_naive(self) -> str | None:
        return self.best(NAIVE)

    @cached_property
    def lines(self) -> list[Line]:
        """Every series, or every target of every series, that has windows."""
        panel, series = self.backtest.panel, self.backtest.series
        lines: list[Line] = []
        for s in np.unique(series).tolist():
            windows = np.flatnonzero(series == s)
            for k, target in enumerate(panel.target_names):
                alone = len(panel.target_names) == 1
                name = panel.ids[s] if alone else target if len(panel.ids) == 1 else f"{panel.ids[s]} · {target}"
                lines.append(Line(name, s, k, windows))
        return lines

    def line_error(self, model: str, line: Line) -> float:
        """Error of a model on the compared windows of one line."""
        return self.error(model, np.intersect1d(line.windows, self.used), target=line.target)

    @cached_property
    def ranked(self) -> list[tuple[Line, float]]:
        """Lines with their error relative to the best naive baseline's (without one: their error), best first."""
        ratios: list[tuple[Line, float]] = []
        for line in self.lines:
            own = self.line_error(self.own, line)
            other = 1.0 if self.best_naive is None else self.line_error(self.best_naive, line)
            ratios.append((line, own / other if other > 0 else np.nan))
        return sorted(ratios, key=lambda pair: (np.isnan(pair[1]), pair[1]))

    def spread(self, count: int) -> list[Line]:
        """At most so many lines, evenly from the one forecast best beside naive to the one forecast worst."""
        if len(self.ranked) <= count:
            return self.lines
        chosen = np.linspace(0, len(self.ranked) - 1, count).round().astype(int)
        return [self.ranked[i][0] for i in chosen]

    def quantile(self, probability: float) -> Floats:
        """The forecasts of one quantile on every window, (N, H, K)."""
        column = int(np.argmin(np.abs(np.asarray(self.backtest.quantiles) - probability)))
        return self.backtest.quantile_forecasts[..., column]

    def band(self, level: float) -> tuple[Floats, Floats]:
        """Lower and upper bound of the central band of so many per cent, (N, H, K) each."""
        tail = (1 - level / 100) / 2
        return self.quantile(tail), self.quantile(1 - tail)

    def coverage(self, level: float, axis: Any = None) -> Any:
        """Share of the truths inside the band, on every window that was forecast."""
        lower, upper = (bound[self.own_used] for bound in self.band(level))
        y = self.y[self.own_used]
        return mean_observed((lower <= y) & (y <= upper), ~np.isnan(y), axis)


def digits(value: float, count: int = 3) -> str:
    """A number for reading: three significant digits, no exponent in the usual range, a dash for NaN."""
    if not np.isfinite(value):
        return "–"
    size = abs(value)
    if size and (size >= 1e9 or size < 1e-4):
        return f"{value:.{count - 1}e}".replace("-", "−")
    decimals = max(0, count - 1 - int(np.floor(np.log10(size)))) if size else 0
    return f"{value:,.{decimals}f}".replace("-", "−")


def duration(microseconds: float) -> str:
    """A short time for reading."""
    return f"{digits(microseconds)} µs" if microseconds < 999.5 else f"{digits(microseconds / 1000)} ms"


def percent(share: float) -> str:
    """A share as per cent with one decimal, none where it is zero."""
    return "–" if not np.isfinite(share) else f"{100 * share:.1f}%".replace(".0%", "%").replace("-", "−")
