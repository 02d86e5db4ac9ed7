"""The cycle of a live stream, a day or whatever repeats: what each part of it adds to the level, with an interval.

A cycle has up to ``BINS`` parts. A pass through one of them is a visit, and its mean is held against the mean of the
latest visits of all parts, which is the mean of exactly one cycle: whatever the cycle's shape, it cancels there, and a
slope adds the same to every part. How far visits of one part differ gives the interval; they are a cycle apart, so that
noise that remembers for less than a cycle does not make it too narrow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.online.state import Field, Online, check_rows_of, number, whole
from carrousel.online.upper import Upper

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.floating] | npt.NDArray[np.uint8]

BINS = 72  # twenty minutes of a day
MEMORY = 30.0  # visits of a part after which it is learnt at a constant rate
LEAST_VISITS = 2  # that are learnt from, of every part, before anything is said
SURE = 3  # visits of a part from which on what is far out is clipped
FAR, FARTHER = 3.0, 6.0  # deviations beyond which a visit is no more learnt from, or believed
PRIOR = 4.0  # visits that the deviation common to all parts counts for, in that of each
QUANTILE = 1.96
CLEAR = 0.5  # share of no noise from which on trend and season are told apart
SETTLED = 10  # rows after which the usual interval is believed, where the cycle follows from it
HUGE = 1e15  # of a visit's distance from the first value: its square is a number in single precision still
DAY_S, WEEK_S = 86_400.0, 604_800.0
FEWEST_PARTS = 4  # rows of a cycle; with fewer there is none
LARGEST = 1e150  # of a value: sums of them are numbers still
# Over the parts of a cycle: of their latest visits, means, variances of a visit and of its mean, squares of the means,
# and how many were visited, and so often that all can be said.
SUMS = ("latest", "mean", "variance", "error", "square", "visited", "known")
_NOTHING = np.array([[np.nan], [np.nan], [0.0]])


class SeasonReading(NamedTuple):
    """What an update says, each float64 (N, K).

    Parameters
    ----------
    season : what this part of the cycle adds to the mean of the cycle; NaN before three cycles were seen
    lower, upper : its 95% interval
    share : of that, how much is no noise, from 0 to 1: the season times its share errs least; 0 while unknown
    """

    season: Floats
    lower: Floats
    upper: Floats
    share: Floats


class Season(Online):
    """Season of N streams of K variables.

    With v the mean of a visit of part j, c the mean of the latest visits of all parts, and n the visits of j so far, at
    most ``MEMORY``:

        d = v − c,  m_j ← m_j + (d − m_j)/n,  V_j ← V_j + ((d − m_j)² (n − 1)/n − V_j)/n

    The season is m_j less the mean of all m, its variance V_j, drawn towards the mean of all V, divided by n.

    Parameters
    ----------
    batch, variables : N, K
    period : of the cycle, in seconds or in rows; 0: a day where rows come at least every six hours, a week where they
        come at least every 42, else none
    clock : whether it is in seconds

    Raises
    ------
    SettingError : a setting outside its range

    References
    ----------
    Seasonal means about a moving average over one cycle: Macaulay 1931, The Smoothing of Time Series; here it looks
    back only. Drawing variances together: Efron & Morris 1973, Stein's Estimation Rule and Its Competitors, JASA 68.

    Examples
    --------
    >>> season = Season(1, 1, period=4.0, clock=False)
    >>> for t in range(40):
    ...     reading = season.update(np.array([[[5.0, 7.0, 9.0, 7.0][t % 4]]]), np.zeros(1), np.zeros(1))
    >>> float(reading.season[0, 0])
    0.0
    """

    def __init__(self, batch: int, variables: int, *, period: float = 0.0, clock: bool = True) -> None:
        self._variables = whole("variables", variables)
        self._period, self._clock = number("period", period, 0.0), clock
        each, parts = (self._variables,), (BINS, self._variables)
        super().__init__(
            batch,
            {
                # The upper bits of float32 numbers: 24 of means and latest visits, 16 of spreads.
                "mean": Field(shape=parts, dtype="uint16", axis=1),
                "latest": Field(shape=parts, dtype="uint16", axis=1),
                "spread": Field(shape=parts, dtype="uint16", axis=1),
                "mean_rest": Field(shape=parts, dtype="uint8", axis=1),
                "latest_rest": Field(shape=parts, dtype="uint8", axis=1),
                "visits": Field(shape=parts, dtype="uint8", axis=1),  # the first of them is not learnt from
                "sums": Field(shape=(len(SUMS), *each), axis=1),
                "origin": Field(shape=each, start=np.nan),
                "visit": Field(shape=(2, *each), axis=1),  # sum and number of the values of this visit
                "said": Field(shape=(3, *each), dtype="float32", axis=1, start=np.nan),
                "apart": Field(shape=each, dtype="bool"),  # the trend is told without the season
                "period": Field(start=self._period or 1.0),
                "parts": Field(dtype="uint8"),
                "part": Field(dtype="int16", start=-1),
                "rows": Field(dtype="int64"),
            },
        )

    def bind(self) -> None:
        arrays, rows = self.arrays, self.batch * self._variables
        # Parts, streams and variables as one dimension: a part of a variable is a cell of it.
        flat = {name: array.reshape(-1) for name, array in arrays.items()}
        self._visits = flat["visits"]
        self._mean, self._latest = Upper(flat["mean"], flat["mean_rest"]), Upper(flat["latest"], flat["latest_rest"])
        self._spread = Upper(flat["spread"])
        self._sums, self._said = arrays["sums"].reshape(len(SUMS), rows), arrays["said"].reshape(3, rows)
        self._origin, self._visit = arrays["origin"].reshape(-1), arrays["visit"].reshape(2, rows)
        self._part, self._parts, self._rows = arrays["part"], arrays["parts"], arrays["rows"]
        self._own = arrays["period"]
        self._all = np.arange(rows)

    def update(self, x: Floats, seconds: Floats, interval: Floats) -> SeasonReading:
        """Take a row of every stream.

        Parameters
        ----------
        x : float64 (N, K), NaN, infinite and values beyond ±1e150 count as missing
        seconds : float64 (N,), since the epoch
        interval : float64 (N,), usual seconds from row to row, 0 where unknown; asked for where the cycle is in seconds

        Raises
        ------
        ShapeError : another shape or dtype of x
        """
        check_rows_of("x", x, (self.batch, self._variables))
        if np.count_nonzero(self._parts) < self.batch:
            self._begin(interval)
        if len(self._all) == 1:
            return self._update_one(x.item(), seconds.item())
        position = seconds if self._clock else self._rows
        parts = np.minimum(self._parts.astype(np.int64), BINS)  # whatever a loaded state says
        own = np.where(self._own > 0, self._own, 1.0)
        part = (position % own / own * parts).astype(np.int64)  # no cycle: part 0 of 0
        part = np.minimum(part, BINS - 1)
        self._rows += 1
        moved = part != self._part
        if np.count_nonzero(moved):
            self._turn(np.flatnonzero(moved), part, parts)
        values = x.reshape(-1)
        there = np.abs(values) <= LARGEST
        self._visit[0] += np.where(there, values, 0.0)
        self._visit[1] += there
        season, half, share = self.arrays["said"].astype(np.float64)
        return SeasonReading(season, season - half, season + half, share)

    def without(self, x: Floats, reading: SeasonReading, trend: Online) -> Floats:
        """The rows (N, K) that a trend is to see: without the season, from where on it is clear that there is one.

        There the trend begins anew: what it took for usual was the cycle.
        """
        apart = self.arrays["apart"]
        fresh = (reading.share > CLEAR) & ~apart
        if np.count_nonzero(fresh):
            trend.forget(fresh)
            apart |= fresh
        if not np.count_nonzero(apart):
            return x
        return x - np.where(apart & (reading.share > 0), reading.share * reading.season, 0.0)

    def _begin(self, interval: Floats) -> None:
        """Say of streams that have no parts yet how many there are."""
        fresh = (self._parts == 0) & (self._rows <= SETTLED)
        if not self._clock:
            parts = np.full(self.batch, _parts(int(self._period)))
        else:
            long = np.where(interval <= WEEK_S / FEWEST_PARTS, WEEK_S, 0.0)
            usual = np.where(interval <= DAY_S / FEWEST_PARTS, DAY_S, long)
            fresh &= (self._rows == SETTLED) & (interval > 0)
            if self._period == 0.0:
                np.copyto(self._own, usual, where=fresh)
            rows = np.rint(self._own / np.where(interval > 0, interval, 1.0))
            parts = np.array([_parts(int(min(number, 1e9))) for number in rows.tolist()], np.int64)
        np.copyto(self._parts, np.where(parts >= FEWEST_PARTS, parts, 0).astype(np.uint8), where=fresh)
        np.copyto(self._part, -1, where=fresh)

    def _turn(self, streams: Ints, part: Ints, parts: Ints) -> None:
        """End the visits of those streams, and say what the part that begins adds."""
        k, one = self._variables, self._variables == 1
        at = streams if one else (streams[:, None] * k + np.arange(k)).reshape(-1)
        before = np.minimum(self._part.astype(np.int64), BINS - 1)
        before, after, parts = (p[streams] if one else np.repeat(p[streams], k) for p in (before, part, parts))
        total, count = self._visit[:, at]
        with np.errstate(all="ignore"):
            value = total / count  # NaN where nothing was observed
            origin = self._origin[at]
            fresh = np.isnan(origin) & (count > 0)
            if np.count_nonzero(fresh):
                origin = np.where(fresh, value, origin)
                self._origin[at] = origin
            ended = (count > 0) & (before >= 0) & (parts > 0)
            visit = np.minimum(np.maximum(value - origin, -HUGE), HUGE)
            if np.count_nonzero(ended) == len(at):
                self._learn(at, before, parts, visit)
            elif np.count_nonzero(ended):
                self._learn(at[ended], before[ended], parts[ended], visit[ended])
            again = after < before
            if np.count_nonzero(again):
                self._add_up(at[again], parts[again])
            self._say(at, after, parts)
        self._visit[:, at] = 0.0
        self._part[streams] = part[streams]

    def _update_one(self, x: float, seconds: float) -> SeasonReading:
        """``update`` of one variable of one stream in plain Python: NumPy on one element costs ten times that."""
        parts, own = min(max(self._parts.item(), 0), BINS), self._own.item()
        own = own if own > 0 else 1.0
        part = min(int((seconds if self._clock else self._rows.item()) % own / own * parts), BINS - 1)
        self._rows[0] += 1
        if part != self._part.item():
            self._turn_one(part, parts)
        if abs(x) <= LARGEST:
            self._visit[0, 0] += x
            self._visit[1, 0] += 1.0
        season, half, share = self._said[:, 0].tolist()
        return SeasonReading(*(np.array([[v]]) for v in (season, season - half, season + half, share)))

    def _turn_one(self, part: int, parts: int) -> None:
        total, count = self._visit[:, 0].tolist()
        before, origin = min(self._part.item(), BINS - 1), self._origin.item()
        if count > 0:
            value = total / count
            if origin != origin:
                origin = value
                self._origin[0] = value
            if before >= 0 and parts > 0:
                self._learn_one(before, parts, min(max(value - origin, -HUGE), HUGE))
        if part < before:
            self._add_up(self._all, np.array([parts]))
        _, mean, common, error, square, _, known = self._sums[:, 0].tolist()
        said: list[float] | None = None
        if known == parts and parts > 0:
            old = self._visits.item(part) - 1.0
            variance = _variance_one(self._spread.item(part), old, common / parts)
            size = square - mean * mean / parts
            said = [
                self._mean.item(part) - mean / parts,
                QUANTILE * _root(variance / max(old, 1.0)),
                1.0 - error / size if size > error else 0.0,
            ]
        self._said[:, 0] = [math.nan, math.nan, 0.0] if said is None else said
        self._visit[:, 0] = 0.0
        self._part[0] = part

    def _learn_one(self, part: int, parts: int, visit: float) -> None:
        visits = float(self._visits.item(part))
        old = visits - 1.0
        m, v, last = self._mean.item(part), self._spread.item(part), self._latest.item(part)
        sums = self._sums[:, 0].tolist()
        deviation = _root(_variance_one(v, old, sums[2] / parts))
        if old >= SURE:
            centre = sums[0] / parts + m
            visit = min(max(visit, centre - FARTHER * deviation), centre + FARTHER * deviation)
        visit = self._latest.put_item(part, visit)
        learns = sums[5] + (visits == 0) == parts and visits > 0
        now = min(visits + 1.0, 2.0 * MEMORY) if learns else 1.0
        self._visits[part] = now
        if learns:
            n = max(min(now - 1.0, MEMORY), 1.0)
            off = visit - (sums[0] + visit - last) / parts - m
            if old >= SURE:
                off = min(max(off, -FAR * deviation), FAR * deviation)
            self._mean.put_item(part, m + off / n)
            self._spread.put_item(part, v + (off * off * (n - 1.0) / n - v) / n)
        became = _share_one(visit, self._mean.item(part), self._spread.item(part), now)
        was = _share_one(last, m, v, visits)
        self._sums[:, 0] = [a + b - c for a, b, c in zip(sums, became, was, strict=True)]

    def _learn(self, at: Ints, part: Ints, parts: Ints, visit: Floats) -> None:
        """Take in a visit of a part, of each of M variables."""
        cell = part * len(self._all) + at
        visits = self._visits[cell].astype(np.float64)
        old = visits - 1.0
        m, v, last = self._mean[cell], self._spread[cell], self._latest[cell]
        sums = self._sums[:, at]
        deviation = np.sqrt(_variance(v, old, sums[2] / parts))
        middle = sums[0] / parts
        reach = np.where(old >= SURE, FARTHER * deviation, np.inf)
        centre = middle + m
        visit = self._latest.put(cell, np.minimum(np.maximum(visit, centre - reach), centre + reach))
        # Only where the latest visits make a whole cycle is their mean free of its shape.
        seen = sums[5] + (visits == 0)
        learns = (seen == parts) & (visits > 0)
        now = np.where(learns, np.minimum(visits + 1.0, 2.0 * MEMORY), 1.0)
        self._visits[cell] = now
        new = now - 1.0
        n = np.maximum(np.minimum(new, MEMORY), 1.0)
        off = visit - (sums[0] + visit - last) / parts - m
        reach = np.where(old >= SURE, FAR * deviation, np.inf)
        off = np.where(learns, np.minimum(np.maximum(off, -reach), reach), 0.0)
        mean = self._mean.put(cell, m + off / n)
        spread = self._spread.put(cell, np.where(learns, v + (off * off * (n - 1.0) / n - v) / n, v))
        self._sums[:, at] = sums + _share(visit, mean, spread, now) - _share(last, m, v, visits)

    def _add_up(self, at: Ints, parts: Ints) -> None:
        """Renew the sums over all parts: what was added and taken away again must not leave its rounding behind."""
        cells = np.arange(BINS)[:, None] * len(self._all) + at
        each = _share(self._latest[cells], self._mean[cells], self._spread[cells], self._visits[cells])
        each[:, np.arange(BINS)[:, None] >= parts] = 0.0
        self._sums[:, at] = np.add.accumulate(each, axis=1)[:, -1]

    def _say(self, at: Ints, part: Ints, parts: Ints) -> None:
        cell = part * len(self._all) + at
        _, mean, common, error, square, _, known = self._sums[:, at]
        old = self._visits[cell] - 1.0
        season = self._mean[cell] - mean / parts
        variance = _variance(self._spread[cell], old, common / parts)
        half = QUANTILE * np.sqrt(variance / np.maximum(old, 1.0))
        size = square - mean * mean / parts
        share = np.where(size > error, 1.0 - error / size, 0.0)
        # Without a cycle parts are 0, as are those that are known.
        there = (known == parts) & (parts > 0)
        self._said[:, at] = np.where(there, (season, half, share), _NOTHING)


def _parts(rows: int) -> int:
    """Of a cycle of so many rows: as many, or as many as divide it where some of at least half of ``BINS`` do."""
    if rows <= BINS:
        return rows
    return next((parts for parts in range(BINS, BINS // 2, -1) if rows % parts == 0), BINS)


def _share(latest: Numbers, mean: Numbers, spread: Numbers, visits: Numbers) -> Floats:
    """What a part adds to ``SUMS``, float64 (7, ...)."""
    latest, mean, spread, visits = (np.asarray(a, np.float64) for a in (latest, mean, spread, visits))
    old = visits - 1.0
    own = np.where(old > 1.0, spread * _unbiased(old), 0.0)
    seen, known = (visits > 0).astype(np.float64), (old >= LEAST_VISITS).astype(np.float64)
    return np.array([latest, mean, own, own / np.maximum(old, 1.0), mean * mean, seen, known])


def _share_one(latest: float, mean: float, spread: float, visits: float) -> tuple[float, ...]:
    old = visits - 1.0
    own = spread * _unbiased_one(old) if old > 1.0 else 0.0
    return latest, mean, own, own / max(old, 1.0), mean * mean, float(visits > 0), float(old >= LEAST_VISITS)


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0 else math.nan


def _unbiased_one(visits: float) -> float:
    n = min(visits, MEMORY)
    return n / max(n - 1.0, 1.0)


def _variance_one(spread: float, visits: float, common: float) -> float:
    own = max(visits - 1.0, 0.0)
    return (PRIOR * common + own * spread * _unbiased_one(visits)) / (PRIOR + own)


def _unbiased(visits: Floats) -> Floats:
    """By what the mean square of so many visits about their mean is to be multiplied."""
    n = np.minimum(visits, MEMORY)
    return n / np.maximum(n - 1.0, 1.0)


def _variance(spread: Floats, visits: Floats, common: Floats) -> Floats:
    """Of the visits of a part about their mean, drawn towards that of all parts, (M,)."""
    own = np.maximum(visits - 1.0, 0.0)
    return (PRIOR * common + own * spread * _unbiased(visits)) / (PRIOR + own)
