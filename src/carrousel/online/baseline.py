"""What a stream usually is: level, spread, the habits of its day and week, and how far each of these errs.

Everything else measures surprise in these units. All are running means whose weight falls as 1 / n until it reaches a
floor, so that a young stream learns at once and an old one forgets slowly; what is far out is clipped before it is
learnt, so that an incident does not become the habit.

Habits are float16 numbers of spreads about a level that both follow the stream, in great strides. What is rounded is
rounded to either side in turn: a habit would stand still else where a visit moves it by less than half a step.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from carrousel.online.state import Field, Online

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

T = TypeVar("T", bound=np.generic)

DAY, WEEK = 48, 168  # habits of each half hour of the day, and of each hour of the week
DAY_S = 86_400.0
PREDICTORS = ("last", "mean", "day", "week")
MEMORY, ERROR_MEMORY = 800.0, 500.0  # rows after which level and spread, and errors, are learnt at a constant rate
DAY_MEMORY, WEEK_MEMORY = 50, 20  # the same for habits, in visits of one bin
SETTLED = 50  # rows from which on outliers are clipped
NEAR, ALIKE = 8.0, 16.0  # spreads, and times, that the stream moves before the habits are told from where it is
MOST = 65504.0  # of a habit: the largest float16
STEP, GOLDEN = 2.0**-10, 0.6180339887498949  # of what is rounded, at most; that share of a step more at each row


class Baseline(Online):
    """Level, spread and habits of N streams of K variables.

    After ``update`` there stand, for the R = N · K variables of all streams one below the other: ``predicted`` and
    ``error`` float64 (R, 4), what each predictor of ``PREDICTORS`` had said of the row and its usual absolute error
    until then, ``scale`` (R,) as it was before the row, and ``value`` (R,), the row with what is missing filled by the
    last value.
    """

    def __init__(self, batch: int, variables: int) -> None:
        self.variables = variables
        each = (variables,)
        super().__init__(
            batch,
            {
                "count": Field(each),
                "mean": Field(each),
                "spread": Field(each),
                "last": Field(each),
                "previous": Field(each),
                "error": Field((variables, 4), "float32"),
                "origin": Field(each),
                "unit": Field(each),
                "day": Field((variables, DAY), "float16"),  # habits less `origin`, in `unit`
                "week": Field((variables, WEEK), "float16"),
                "day_visits": Field((variables, DAY), "uint8"),
                "week_visits": Field((variables, WEEK), "uint8"),
                "time": Field(),
                "interval": Field(),
            },
        )

    def bind(self) -> None:
        rows = self.batch * self.variables
        flat = {name: array.reshape(-1) for name, array in self.arrays.items()}
        self.count, self.mean, self.spread = flat["count"], flat["mean"], flat["spread"]
        self.last, self.previous = flat["last"], flat["previous"]
        self.error = self.arrays["error"].reshape(rows, 4)
        self.origin, self.unit = flat["origin"], flat["unit"]
        self._day, self._week = flat["day"], flat["week"]
        self._day_visits, self._week_visits = flat["day_visits"], flat["week_visits"]
        self.time, self.interval = flat["time"], flat["interval"]
        self._day_row, self._week_row = np.arange(rows) * DAY, np.arange(rows) * WEEK
        self.predicted, self.usual = np.empty((rows, 4)), np.empty((rows, 4))
        self.scale, self.value = np.empty(rows), np.empty(rows)

    def each(self, of_streams: npt.NDArray[T]) -> npt.NDArray[T]:
        """A value a stream (N,) as a value a variable (R,)."""
        return of_streams if self.variables == 1 else np.repeat(of_streams, self.variables)

    def update(self, x: Floats, ok: Flags, seconds: Floats) -> None:
        """Take a row in.

        Parameters
        ----------
        x : float64 (R,)
        ok : bool (R,), what of it was observed
        seconds : float64 (N,), since the epoch; anything constant where the time of day means nothing
        """
        first = ok & (self.count == 0)
        np.copyto(self.mean, x, where=first)
        np.copyto(self.last, x, where=first)
        value, predicted, usual = self.value, self.predicted, self.usual
        np.copyto(value, self.last)
        np.copyto(value, x, where=ok)
        day, week = self._bins(seconds)
        predicted[:, 0], predicted[:, 1] = self.last, self.mean
        self._habits(day, week, predicted[:, 2], predicted[:, 3])
        np.copyto(usual, self.error)
        scale = self._scale(self.scale)
        self._tick(seconds)
        self.count += ok
        off = np.abs(value[:, None] - predicted)
        young = self.count <= SETTLED
        limit = 10 * usual
        limit += 0.5 * scale[:, None]
        np.copyto(limit, np.inf, where=young[:, None])
        rate = np.maximum(1 / np.maximum(self.count - 1, 1), 1 / ERROR_MEMORY) * (ok & (self.count > 1))
        np.minimum(off, limit, out=off)
        off -= usual
        off *= rate[:, None]
        self.error += off
        moved = value - self.mean
        reach = np.where(young, np.inf, 6 * scale)
        np.clip(moved, -reach, reach, out=moved)
        rate = np.maximum(1 / np.maximum(self.count, 1), 1 / MEMORY) * ok
        self.mean += rate * moved
        np.abs(moved, out=moved)
        moved -= self.spread
        moved *= rate
        moved[self.count <= 1] = 0
        self.spread += moved
        self._follow(self.deviation())
        self._learn(self._day, self._day_visits, day, ok, DAY_MEMORY)
        self._learn(self._week, self._week_visits, week, ok, WEEK_MEMORY)
        np.copyto(self.previous, self.last)
        np.copyto(self.last, value)

    def deviation(self) -> Floats:
        """Mean absolute deviation as of the last row, float64 (R,), above 0 for a constant too."""
        return self._scale(np.empty(len(self.mean)))

    def _scale(self, out: Floats) -> Floats:
        np.abs(self.mean, out=out)
        out *= 1e-9
        out += self.spread
        out += 1e-12
        return out

    def _tick(self, seconds: Floats) -> None:
        step = np.maximum(seconds - self.time, 0)
        rows = self.arrays["count"].max(axis=1)
        usual = self.interval + 0.05 * (np.minimum(step, 3 * self.interval) - self.interval)
        np.copyto(self.interval, np.where(rows < 2, np.where(rows < 1, 0.0, step), usual))
        np.copyto(self.time, seconds)

    def _bins(self, seconds: Floats) -> tuple[Ints, Ints]:
        """Where the habits of a time lie in the flat tables, int64 (R,) each."""
        day = ((seconds % DAY_S) * (DAY / DAY_S)).astype(np.int64)
        week = ((seconds % (7 * DAY_S)) * (WEEK / (7 * DAY_S))).astype(np.int64)
        return self.each(np.minimum(day, DAY - 1)) + self._day_row, self.each(
            np.minimum(week, WEEK - 1)
        ) + self._week_row

    def _habits(self, day: Ints, week: Ints, of_day: Floats, of_week: Floats) -> None:
        """The habits of bins, as far as they are known: else the day's for the week, the mean for the day."""
        known_day = self.origin + self.unit * self._day[day].astype(np.float64)
        known_week = self.origin + self.unit * self._week[week].astype(np.float64)
        of_day[...] = np.where(self._day_visits[day] > 0, known_day, self.mean)
        of_week[...] = np.where(self._week_visits[week] > 0, known_week, of_day)

    def _follow(self, scale: Floats) -> None:
        """Tell the habits from the present mean and spread (R,), where these are far from those before."""
        far = np.abs(self.mean - self.origin) > NEAR * self.unit
        far |= (scale > ALIKE * self.unit) | (self.unit > ALIKE * scale)
        if not far.any():
            return
        rows = np.flatnonzero(far)
        origin, unit, mean, scale = (a[rows, None] for a in (self.origin, self.unit, self.mean, scale))
        for habits, visits, bins in ((self._day, self._day_visits, DAY), (self._week, self._week_visits, WEEK)):
            each = habits.reshape(-1, bins)
            moved = (origin + unit * each[rows].astype(np.float64) - mean) / scale
            each[rows] = np.where(visits.reshape(-1, bins)[rows] > 0, _rounded(moved), 0)
        self.origin[rows], self.unit[rows] = mean[:, 0], scale[:, 0]

    def _learn(
        self, habits: npt.NDArray[np.float16], visits: npt.NDArray[np.uint8], place: Ints, ok: Flags, memory: int
    ) -> None:
        rows = slice(None) if ok.all() else ok
        place, value, origin, unit = place[rows], self.value[rows], self.origin[rows], self.unit[rows]
        before = visits[place]
        habit = np.where(before > 0, origin + unit * habits[place].astype(np.float64), value)
        seen = np.minimum(before + 1, memory).astype(np.uint8)
        visits[place] = seen
        habit += (value - habit) / seen
        turn = self.count[rows] * GOLDEN
        habits[place] = _rounded((habit - origin) / unit * (1 + STEP * (turn - np.floor(turn) - 0.5)))

    def features(self, ok: Flags, horizons: tuple[int, ...], out: npt.NDArray[np.float32]) -> None:
        """What the forecasting network is told after a row: float32 (R, F), F as ``feature_count`` says."""
        scale = self.deviation()
        columns = [np.arcsinh((self.last - self.mean) / scale), np.arcsinh((self.last - self.previous) / scale)]
        known: list[Floats] = []
        habit = np.empty((2, len(scale)))
        for horizon in horizons:
            day, week = self._bins(self.time + horizon * self.interval)
            self._habits(day, week, habit[0], habit[1])
            columns += list(np.arcsinh((habit - self.mean) / scale))
            if not known:
                known = [np.minimum(self._day_visits[day] / 10, 1), np.minimum(self._week_visits[week] / 5, 1)]
        errors = np.log(np.maximum(self.error / scale[:, None], 1e-3))
        columns += list(np.clip(errors / 2, -3.5, 1.0).T)
        columns += [*known, np.minimum(self.count / 1000, 1), ~ok]
        for place, column in enumerate(columns):
            out[:, place] = column


def feature_count(horizons: tuple[int, ...]) -> int:
    """F: value and change, habits at each horizon, four usual errors, how well known, how old, whether missing."""
    return 2 + 2 * len(horizons) + 4 + 4


def _rounded(habit: Floats) -> npt.NDArray[np.float16]:
    return np.clip(habit, -MOST, MOST).astype(np.float32).astype(np.float16)
