"""Many streams watched at once: rows in, readings out; the composition of everything else in this room.

A row passes through five stations, each of which sees the past only: the forecasts made for it earlier, the baseline,
the members' statistics, their p-values, the judgement. Then the network forecasts the rows after it.

Two twins do this: the NumPy files of this room, which say what is done, and where the engine is native, compiled code
(``native_watch.py``) over the same arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.engine import Engine, Session
from carrousel.errors import ShapeError, TimeError
from carrousel.online import covariate, native_watch
from carrousel.online.alarm import Alarm
from carrousel.online.baseline import Baseline, feature_count
from carrousel.online.beyond import Beyond
from carrousel.online.covariate import Covariates, Residuals, Scaling
from carrousel.online.drift import Drift
from carrousel.online.forecast import HORIZONS, Forecast
from carrousel.online.member import MEMBERS, TOPS, Members
from carrousel.online.season import Season
from carrousel.online.state import Online, check_rows
from carrousel.online.tail import Tail
from carrousel.online.trend import Trend

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LARGEST = 1e37  # of a value: the difference of two is a number in single precision
SHORTEST, LONGEST = 1e-3, 1e6  # usual steps between two rows, of a trend


class Readings(NamedTuple):
    """What is said of one row of N streams of K variables by M members.

    Parameters
    ----------
    score : (N,), the surprise of the row, by the rule of ``online.alarm``
    onset : (N,), the score where it is above those of the rows before, else 0
    rarity : (N,), how often a row an onset so large came, 1 where there is none
    p_value : (N,), how likely so large a score was
    warming : (N,), too few rows yet to judge: no alarm
    alarm : (N,), an incident begins
    incident : (N,), the row belongs to an incident
    expected, lower, upper : (N, K), the one-row forecast and its 90% band in the units of the series, NaN where unknown
    residual : (N, K), value − expected
    contributions : (N, K, M), −log₁₀ p of each member
    level, level_lower, level_upper : (N, K), the line under the last rows at this one and its 95% interval, NaN while
        unknown; without the season
    slope, slope_lower, slope_upper : (N, K), its rise a usual step
    season, season_lower, season_upper : (N, K), what this part of the day, or of another cycle, adds
    change : int8 (N, K), decided on this row: 0 none, 1 the level shifted, 2 the slope changed
    drift : (N, K), decided on this row: the values, or the forecast's residuals, are distributed otherwise than before
    """

    score: Floats
    onset: Floats
    rarity: Floats
    p_value: Floats
    warming: Flags
    alarm: Flags
    incident: Flags
    expected: Floats
    lower: Floats
    upper: Floats
    residual: Floats
    contributions: Floats
    level: Floats
    level_lower: Floats
    level_upper: Floats
    slope: Floats
    slope_lower: Floats
    slope_upper: Floats
    season: Floats
    season_lower: Floats
    season_upper: Floats
    change: npt.NDArray[np.int8]
    drift: Flags


RESIDUAL = Readings._fields.index("residual")


class Watch:
    """N streams of K variables, strictly causal: a reading depends on the rows before it and on itself.

    Parameters
    ----------
    engine : the forecasting network, from ``feature_count(HORIZONS)`` features to ``len(HORIZONS) · head_size()``
    batch, variables : N, K
    rate, per_second, factor : as in ``Alarm``
    scaling : of the P columns that are read but not watched, which then stand behind the values; the network takes them
        behind its features
    period, clock : as in ``Season``
    beyond : the share of ``Beyond``, whose alarms then take the place of the promised ones
    """

    release = 3  # of what a state means: one of another release is none

    def __init__(
        self,
        engine: Engine,
        batch: int,
        variables: int,
        *,
        rate: float,
        per_second: bool = False,
        factor: float = 1.0,
        scaling: Scaling | None = None,
        period: float = 0.0,
        clock: bool = True,
        beyond: float | None = None,
    ) -> None:
        self.engine, self.batch, self.variables, self.scaling = engine, batch, variables, scaling
        self.period, self.clock, self.share = period, clock, beyond
        self.members = MEMBERS if scaling is None else MEMBERS + covariate.MEMBERS
        tops = TOPS if scaling is None else TOPS + covariate.TOPS
        self._parts: dict[str, Online] = {
            "baseline": (baseline := Baseline(batch, variables)),
            "forecast": (forecast := Forecast(batch, variables)),
            "members": (members := Members(batch, variables)),
            "tail": (tail := Tail(batch, variables, tops)),
            "alarm": (alarm := Alarm(batch, rate, per_second=per_second, factor=factor)),
            "scores": alarm.scores,
            "onsets": alarm.onsets,
        }
        self.trend, self.drifts = Trend(batch, variables), (Drift(batch, variables), Drift(batch, variables))
        self.season = Season(batch, variables, period=period, clock=clock)
        self._parts |= {"season": self.season, "trend": self.trend}
        self._parts |= {"value_drift": self.drifts[0], "residual_drift": self.drifts[1]}
        self.baseline, self.forecast, self.statistics, self.tail, self.alarm = baseline, forecast, members, tail, alarm
        if scaling is not None:
            self._covariates = Covariates(batch, variables, scaling, feature_count(HORIZONS))
            self._residuals = Residuals(batch, variables)
            self._parts |= {"covariates": self._covariates, "residuals": self._residuals}
        self.beyond = None if beyond is None else Beyond(batch, variables, beyond)
        if self.beyond is not None:
            self._parts["beyond"] = self.beyond
        self.session: Session = engine.session(batch * variables)
        self._allocate()

    def _allocate(self) -> None:
        self._compiled = self.session.compiled
        settings = {"rate": self.alarm.rate, "factor": self.alarm.factor, "per_second": self.alarm.per_second}
        settings["beyond.share"] = self.share or 0.0
        settings |= {"watch.LARGEST": LARGEST, "watch.SHORTEST": SHORTEST, "watch.LONGEST": LONGEST}
        settings |= {"season.period": self.period, "season.clock": self.clock, "trend.memory": self.trend.memory}
        self._native = native_watch.bind(self.session, self.variables, self._parts, settings)
        for part in self._parts.values() if self._native is not None else ():
            part.loosen()

    def step(self, values: Floats, seconds: Floats) -> Readings:
        """Take a row of every stream in.

        Parameters
        ----------
        values : float64 (N, K), or (N, K + P) with covariates, NaN where nothing was observed; what is infinite or
            above 1e37 counts as that
        seconds : float64 (N,), since the epoch; constant where the time of day means nothing

        Raises
        ------
        ShapeError : another shape
        TimeError : seconds that are not finite, or above 1e37
        """
        found = self._compiled_step(values, seconds)
        return self._step_in_numpy(*self._plain(values, seconds)) if found is None else Readings._make(found)

    def _compiled_step(self, values: Floats, seconds: Floats) -> tuple[Any, ...] | None:
        """The fields of Readings by the compiled step; None where there is none, or what it is told is not plain."""
        if self._native is None or self.session.compiled is not self._compiled:
            return None  # a trace needs the session's step
        found = self._native(values, seconds)
        return self._native(*self._plain(values, seconds)) if found is None else found

    def _plain(self, values: Floats, seconds: Floats) -> tuple[Floats, Floats]:
        """Both as contiguous float64 arrays."""
        n, k = self.batch, self.variables + (0 if self.scaling is None else len(self.scaling.mean))
        if values.shape != (n, k) or seconds.shape != (n,):
            raise ShapeError(
                f"values, seconds: expected float64 ({n}, {k}) and ({n},), got {values.shape} and {seconds.shape}"
            )
        values, seconds = np.ascontiguousarray(values, np.float64), np.ascontiguousarray(seconds, np.float64)
        for place in np.flatnonzero(~(np.abs(seconds) <= LARGEST)):
            raise TimeError(f"seconds: expected finite numbers, got {seconds[place]} for stream {place}")
        return values, seconds

    def _step_in_numpy(self, values: Floats, seconds: Floats) -> Readings:
        before = self.baseline.time.copy()
        judged = self._judge(values, seconds)
        x = values if self.scaling is None else np.ascontiguousarray(values[:, : self.variables])
        with np.errstate(all="ignore"):  # what is not finite stays with its stream
            season = self.season.update(x, seconds, self.baseline.interval)
            trend = self.trend.update(self.season.without(x, season, self.trend), self._steps(before))
            of_value, of_residual = self.drifts[0].update(x), self.drifts[1].update(judged[RESIDUAL])
        underneath = (
            trend.level, trend.level_lower, trend.level_upper, trend.slope, trend.lower, trend.upper,
            season.season, season.lower, season.upper, trend.change, of_value.drift | of_residual.drift,
        )  # fmt: skip
        readings = Readings._make((*judged, *underneath))
        if self.beyond is None:
            return readings
        with np.errstate(all="ignore"):
            begins, inside, learns = self.beyond.update(x, np.ascontiguousarray(readings.residual))
        return readings._replace(warming=readings.warming | learns, alarm=begins, incident=inside)

    def _steps(self, before: Floats) -> Floats | None:
        """How many usual steps the row came after the one at `before` (N,); None where all came after one."""
        since, interval = self.baseline.time - before, self.baseline.interval
        if (since == interval).all():
            return None
        known = (since > 0) & (interval > 0)
        return np.where(known, np.clip(since / np.where(known, interval, 1.0), SHORTEST, LONGEST), 1.0)

    def _judge(self, values: Floats, seconds: Floats) -> tuple[Any, ...]:
        """The fields of Readings up to the contributions."""
        n, k, scaling = self.batch, self.variables, self.scaling
        x = np.ascontiguousarray(values[:, :k]).reshape(n * k)
        with np.errstate(invalid="ignore"):
            ok = np.abs(x) <= LARGEST
        baseline, y = self.baseline, np.empty((n * k, len(self.members)))
        if scaling is not None:
            self._foresee(values[:, k:])
        baseline.update(x, ok, seconds)
        y[:, :2], band = self.forecast.take(baseline)
        self.statistics.update(baseline, ok, y[:, 2 : len(MEMBERS)])
        if scaling is not None:
            self._residuals.update(np.where(ok, x - band[:, 1], np.nan), baseline, y[:, len(MEMBERS) :])
        surprise = -np.log10(self.tail.p_values(y))
        surprise[~ok] = 0
        self.tail.learn(ok)
        each = surprise if scaling is None else covariate.grouped(surprise, len(MEMBERS))
        judged = self.alarm.update(each.reshape(n, k, -1), np.atleast_1d(ok.reshape(n, k).any(1)), baseline.interval)
        if scaling is not None:
            baseline.features(ok, HORIZONS, self._covariates.waiting)
        else:
            features = np.empty((n * k, feature_count(HORIZONS)), np.float32)
            baseline.features(ok, HORIZONS, features)
            self.forecast.put(self.session.step(features), baseline, features)
        band = band.reshape(n, k, 3)
        residual = np.where(ok.reshape(n, k), x.reshape(n, k) - band[:, :, 1], np.nan)
        return (
            judged.score, judged.onset, judged.rarity, judged.p_value, judged.warming, judged.alarm, judged.incident,
            band[:, :, 1], band[:, :, 0], band[:, :, 2], residual, surprise.reshape(n, k, -1),
        )  # fmt: skip

    def _foresee(self, given: Floats) -> None:
        """Forecast the row whose covariates (N, P) have come, from what was known after the row before."""
        both = self._covariates.join(given)
        self.forecast.put(self.session.step(both), self.baseline, both, self.baseline.count > 0)

    def fork(self, rows: npt.ArrayLike) -> Watch:
        """A watch of its own with copies of some streams, in that order; repeats are allowed.

        Raises
        ------
        ShapeError : rows is empty or not a list of integers from 0 to N − 1
        """
        index = check_rows(rows, self.batch)
        other = Watch(
            self.engine,
            len(index),
            self.variables,
            rate=self.alarm.rate,
            factor=self.alarm.factor,
            per_second=self.alarm.per_second,
            scaling=self.scaling,
            period=self.period,
            clock=self.clock,
            beyond=self.share,
        )
        own = self.state
        other.load({name: array[index] for name, array in own.items()})
        return other

    def reset(self, rows: npt.ArrayLike | None = None) -> None:
        """Put streams, by default all, back to the state in which nothing was seen.

        Raises
        ------
        ShapeError : rows is not a list of integers from 0 to N − 1
        """
        index = np.arange(self.batch) if rows is None else check_rows(rows, self.batch)
        for part in self._parts.values():
            part.reset(index)
        each = (index[:, None] * self.variables + np.arange(self.variables)).reshape(-1)
        self.session.reset(each)

    @property
    def state(self) -> dict[str, Array]:
        """Everything that the streams remember: live arrays, N first, writable."""
        found: dict[str, Array] = {
            f"{part}.{name}": array for part, online in self._parts.items() for name, array in online.state.items()
        }
        for name, array in self.session.state.items():
            # (rows of the layer's state, N · K, H) with the streams first.
            each = array.reshape(array.shape[0], self.batch, self.variables, array.shape[2])
            found[f"network.{name}"] = np.moveaxis(each, 0, 1)
        return found

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a kept state, bit for bit.

        Raises
        ------
        ShapeError : an array that is missing, unknown, or of another shape or dtype
        """
        own = self.state
        for name in [*state, *own]:
            if name not in own or name not in state:
                raise ShapeError(f"state: array {name!r} is {'unknown' if name not in own else 'missing'}")
            if state[name].shape != own[name].shape or state[name].dtype != own[name].dtype:
                raise ShapeError(
                    f"state, {name}: expected {own[name].dtype} {own[name].shape}, "
                    f"got {state[name].dtype} {state[name].shape}"
                )
        for name, array in own.items():
            array[...] = state[name]
