"""Artificial streams as machines, services and sensors give them, with and without anomalies.

Settings of a detector have to be frozen on something, and a benchmark is not it: what was tuned on the series that are
scored says little of the next one. These series are drawn from a seed, as many as one likes. Their distribution is part
of what was frozen, so the order of the random draws is fixed: the same seed gives the same series in every version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from carrousel.data.labelled import LabelledSeries
from carrousel.errors import SettingError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_S = 86_400
QUARTERS = 96  # of an hour in a day: the resolution of a daily shape
STEPS_S = (60, 300, 300, 300, 300, 1800, 3600)
ROWS = (2000, 4032, 4032, 4032, 7200, 10000)
FEWEST_ROWS = 300
SHAPES = ("level", "daily", "bursts", "wander", "counts", "jobs", "sawtooth", "switching")
_SHARES = (0.16, 0.28, 0.14, 0.12, 0.1, 0.08, 0.06, 0.06)


def artificial(
    seed: int, *, anomalies: bool = True, rows: int | None = None, step_s: int | None = None
) -> LabelledSeries:
    """One series.

    Parameters
    ----------
    seed : which one
    anomalies : put none to four into it; without, the same seed gives another series
    rows : T, drawn from about 1,800 to 11,000 by default
    step_s : seconds from row to row, drawn from one minute to an hour by default

    Returns
    -------
    stamps datetime64[s], K = 1, the category one of ``SHAPES``. A window lies around the first row of each anomaly, as
    wide as the Numenta benchmark makes it: a tenth of the rows for all windows together. A few series have rows missing

    Raises
    ------
    SettingError : fewer than 300 rows, or a step below 1

    Examples
    --------
    >>> series = artificial(6, rows=1000, step_s=300)
    >>> series.category, series.values.shape, series.windows.tolist()
    ('daily', (1000, 1), [[503, 553], [792, 842]])
    """
    if rows is not None and rows < FEWEST_ROWS:
        raise SettingError(f"rows: expected at least {FEWEST_ROWS}, got {rows}")
    if step_s is not None and step_s < 1:
        raise SettingError(f"step_s: expected at least 1, got {step_s}")
    rng = np.random.default_rng(seed)
    step = int(step_s or rng.choice(STEPS_S))
    length = rows or int(np.clip(rng.choice(ROWS) * rng.uniform(0.9, 1.1), 1500, 11000))
    shape, y, seconds = ordinary(rng, length, step)
    windows: list[tuple[int, int]] = []
    if anomalies and (count := int(rng.choice([0, 1, 1, 2, 2, 3, 4]))):
        width = max(10, int(0.1 * length / count))
        for first in _places(rng, count, width, length):
            y = anomalous(rng, y, first, rows=max(8, int(width * rng.uniform(0.1, 0.6))), step_s=step)
            windows.append((first - width // 2, first - width // 2 + width))
    if rng.random() < 0.06:
        y[rng.random(length) < 0.02] = np.nan
    return LabelledSeries(
        name=f"artificial {seed}",
        category=shape,
        stamps=seconds.astype("datetime64[s]"),
        values=y[:, None],
        windows=np.array(windows, np.int64).reshape(-1, 2),
        train=np.empty((0, 1)),
    )


def _places(rng: np.random.Generator, count: int, width: int, length: int) -> list[int]:
    """First rows of so many anomalies, behind the benchmark's probation and so far apart that no windows meet."""
    start = min(int(0.15 * length), 750)
    places: list[int] = []
    for _ in range(200):
        first = int(rng.integers(start + width // 2 + 5, length - width // 2 - 5))
        if all(abs(first - place) > 1.6 * width for place in places):
            places.append(first)
        if len(places) == count:
            break
    return sorted(places)


def ordinary(rng: np.random.Generator, rows: int, step_s: int) -> tuple[str, Floats, Ints]:
    """A series without anomalies: its shape, values float64 (rows,), seconds int64 (rows,)."""
    seconds = np.arange(rows) * step_s + rng.integers(7) * DAY_S
    shape = SHAPES[rng.choice(len(SHAPES), p=_SHARES)]
    quarter = (seconds % DAY_S) / DAY_S * QUARTERS
    habit = daily_shape(rng)
    smooth = np.interp(quarter, np.arange(QUARTERS + 1), np.append(habit, habit[0]))
    stepped = step_s < 3600 and rng.random() < 0.5
    season = habit[quarter.astype(int) % QUARTERS] if stepped else smooth
    week = np.ones(rows)
    if rng.random() < 0.5:
        week = np.where((seconds // DAY_S) % 7 >= 5, rng.uniform(0.2, 0.9), 1.0)
    unit = 10 ** rng.uniform(-1, 3)
    height = rng.uniform(0.2, 3)
    y = _DRAWN[shape](rng, rows, season, week, height)
    counted = shape == "counts"
    if rng.random() < 0.15:
        y = y + rng.normal() * 0.3 * np.linspace(0, 1, rows)
    if rng.random() < 0.12 and not counted:  # rare spikes that belong to the series
        y = y + np.where(rng.random(rows) < 0.003, rng.gamma(2, size=rows) * y.std(), 0)
    if rng.random() < 0.35:
        y = np.maximum(y, 0)
    if rng.random() < 0.25 and not counted:  # as a sensor rounds
        grain = np.quantile(np.abs(y), 0.9) / rng.choice([20, 100, 500])
        y = np.round(y / grain) * grain if grain else y
    return shape, y * (1.0 if counted else unit), seconds


def noise(rng: np.random.Generator, rows: int) -> Floats:
    """Noise of deviation 1, by chance normal, heavy-tailed, skewed, autocorrelated, or of changing size."""
    kind = rng.integers(6)
    if kind == 0:
        drawn = rng.normal(size=rows)
    elif kind == 1:
        drawn = rng.standard_t(rng.uniform(2.5, 6), size=rows)
    elif kind == 2:
        drawn = rng.laplace(size=rows)
    elif kind == 3:
        drawn = rng.gamma(rng.uniform(0.3, 2), size=rows)
        drawn = drawn - drawn.mean()
    elif kind == 4:
        memory = rng.uniform(0.3, 0.98)
        drawn = _remember(rng.normal(size=rows), memory) * np.sqrt(1 - memory * memory)
    else:
        drawn = rng.normal(size=rows) * np.exp(0.5 * wander(rng, rows, 50))
    return drawn / max(drawn.std(), 1e-9)


def wander(rng: np.random.Generator, rows: int, memory_rows: float) -> Floats:
    """A first-order autoregression of deviation 1 that remembers for so many rows."""
    memory = np.exp(-1 / memory_rows)
    shocks = rng.normal(size=rows)
    return _remember(shocks * np.sqrt(1 - memory * memory), float(memory), rng.normal())


def _remember(shocks: Floats, memory: float, start: float = 0.0) -> Floats:
    found = accumulate(shocks.tolist(), lambda before, shock: memory * before + shock, initial=start)
    return np.fromiter(found, np.float64, len(shocks) + 1)[1:]


def daily_shape(rng: np.random.Generator) -> Floats:
    """The shape of a day, from 0 to 1, float64 (96,): waves, a plateau, bumps, an arc, or a comb."""
    x = np.arange(QUARTERS) / QUARTERS
    kind = rng.integers(5)
    if kind == 0:
        shape = np.zeros(QUARTERS)
        for harmonic in range(1, 5):
            shape = shape + rng.normal() / harmonic * np.sin(2 * np.pi * (harmonic * x + rng.random()))
    elif kind == 1:
        first, last = sorted(rng.random(2))
        shape = ((x > first) & (x < last)).astype(np.float64)
    elif kind == 2:
        shape = np.zeros(QUARTERS)
        for _ in range(rng.integers(1, 4)):
            height = rng.uniform(0.3, 1)
            shape = shape + height * np.exp(-0.5 * ((x - rng.random()) / rng.uniform(0.02, 0.1)) ** 2)
    elif kind == 3:
        shape = np.abs(np.sin(np.pi * (x + rng.random())))
    else:
        phase = (x * rng.integers(2, 12) + rng.random()) % 1
        shape = np.where(phase < rng.uniform(0.05, 0.5), 1.0, 0.0)
    shape = shape - shape.min()
    return shape / max(shape.max(), 1e-9)


# One function a shape; season and week are float64 (rows,), the one from 0 to 1, the other 1 but at weekends.


def _level(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    return 1 + rng.uniform(0.01, 0.5) * noise(rng, rows)


def _daily(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    y = rng.uniform(0, 1) + height * season * week
    size = 10 ** rng.uniform(-2.5, -0.4)
    drawn = size * noise(rng, rows)
    return y + (drawn * np.sqrt(np.abs(y) + 0.01) if rng.random() < 0.5 else drawn)


def _bursts(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    y = rng.uniform(0, 0.3) + 10 ** rng.uniform(-3, -1.3) * noise(rng, rows)
    rate = 10 ** rng.uniform(-2.7, -1)
    chance = rng.random(rows)
    hit = chance < rate * (season * 2 if rng.random() < 0.3 else 1)
    width = rng.integers(1, 7)
    size = np.where(hit, rng.gamma(rng.uniform(0.8, 6), size=rows), 0) / 3
    return y + np.convolve(size, np.exp(-np.arange(width) / max(width / 2, 0.5)))[:rows]


def _wander(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    y = 2 + rng.uniform(0.2, 1) * wander(rng, rows, rng.uniform(50, 1500))
    y = y + 10 ** rng.uniform(-2.5, -1) * noise(rng, rows)
    return y + height * 0.5 * season if rng.random() < 0.4 else y


def _counts(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    rate = rng.uniform(0.2, 60) * (0.1 + season * week)
    if rng.random() < 0.5:
        rate = rate * np.exp(0.3 * wander(rng, rows, 20))
    return rng.poisson(rate).astype(np.float64)


def _jobs(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    period = int(rng.integers(6, 200))
    y = rng.uniform(0.02, 0.3) + 10 ** rng.uniform(-3, -1.5) * noise(rng, rows)
    width = max(1, int(period * rng.uniform(0.02, 0.4)))
    jitter = rng.random() < 0.4
    at = 0
    while at < rows:
        y[at : at + width] += 1 + (0.2 * rng.normal() if jitter else 0)
        at += period + (int(rng.integers(-1, 2)) if jitter else 0)
    return y


def _sawtooth(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    period = rng.integers(50, 800)
    return (np.arange(rows) % period) / period + 0.02 * noise(rng, rows)


def _switching(rng: np.random.Generator, rows: int, season: Floats, week: Floats, height: float) -> Floats:
    y = np.empty(rows)
    levels = rng.uniform(0, 1, rng.integers(2, 4))
    at = 0
    while at < rows:
        stay = int(rng.exponential(rng.uniform(20, 300))) + 1
        y[at : at + stay] = rng.choice(levels)
        at += stay
    return y + 10 ** rng.uniform(-3, -1) * noise(rng, rows)


_Draw = Callable[[np.random.Generator, int, Floats, Floats, float], Floats]
_DRAWN: Mapping[str, _Draw] = dict(
    zip(SHAPES, (_level, _daily, _bursts, _wander, _counts, _jobs, _sawtooth, _switching), strict=True)
)


@dataclass(frozen=True, eq=False)
class Site:
    """Where an anomaly goes, and what the rows before it are like.

    Parameters
    ----------
    first, rows : where it begins; about how long it is
    per_day : rows of a day
    day : the same, or `rows` where a day has 800 or more
    low, high : the 1 % and 99 % quantiles of the thousand rows before
    mean, middle, deviation : of the same rows
    reach : high − low, at least the deviation
    grain : the usual size of a change from row to row
    sign : up, thrice as often as down
    """

    first: int
    rows: int
    per_day: float
    day: int
    low: float
    high: float
    mean: float
    middle: float
    deviation: float
    reach: float
    grain: float
    sign: int

    def part(self, y: Floats, rows: int) -> Floats:
        """So many rows from the first one on."""
        return y[self.first : self.first + rows]


def anomalous(
    rng: np.random.Generator, y: Floats, first: int, *, rows: int, step_s: int, kind: str | None = None
) -> Floats:
    """A copy of a series with an anomaly that begins at a row; the rows before it are as they were.

    Parameters
    ----------
    y : float64 (T,), nothing missing
    first : row, at least 20
    rows : about how long it lasts, at least 8; some kinds are shorter, some last up to six times as long, or for ever
    step_s : seconds from row to row, which say how long a day is
    kind : one of ``KINDS``, drawn by default
    """
    named = str(rng.choice(list(KINDS))) if kind is None else kind
    before = y[max(0, first - 1000) : first]
    low, high = np.quantile(before, [0.01, 0.99])
    deviation = max(before.std(), 1e-3 * (abs(before.mean()) + 1e-6))
    change = np.median(np.abs(np.diff(before))) * 1.5
    per_day = DAY_S / step_s
    site = Site(
        first=first,
        rows=rows,
        per_day=per_day,
        day=int(per_day) if per_day < 800 else rows,
        low=low,
        high=high,
        mean=before.mean(),
        middle=float(np.median(before)),
        deviation=deviation,
        reach=max(high - low, deviation),
        grain=max(change, 0.05 * deviation),
        sign=int(rng.choice([-1, 1], p=[0.25, 0.75])),
    )
    changed = y.copy()
    KINDS[named](rng, changed, site)
    return changed


# One function a kind, which changes rows from ``at.first`` on in place.


def _spike(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, int(rng.integers(1, 5)))
    part[:] = at.high + at.reach * rng.uniform(0.3, 3)


def _dip(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, int(rng.integers(1, 8)))
    part[:] = at.low - at.reach * rng.uniform(0.2, 1.5) if rng.random() < 0.5 else min(0, at.low)


def _shift(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, len(y) if rng.random() < 0.5 else int(rng.integers(at.rows, 6 * at.rows)))
    part += at.sign * rng.uniform(1, 4) * max(at.deviation, at.grain)


def _burst(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, int(rng.integers(4, max(5, at.rows // 2))))
    part += at.reach * rng.uniform(0.3, 1.5) * np.abs(rng.normal(size=len(part)) + 1)


def _drop(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, int(rng.integers(3, at.rows)))
    part[:] = 0 if rng.random() < 0.6 else at.low


def _flat(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, int(rng.integers(max(5, at.rows // 3), 2 * at.rows)))
    part[:] = part[0]


def _variance(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, at.rows)
    if rng.random() < 0.5:
        part[:] = at.mean + (part - at.mean) * rng.uniform(2, 5)
    else:
        part += rng.normal(size=len(part)) * at.reach * rng.uniform(0.3, 1)


def _no_season(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, at.day)
    part[:] = rng.choice([at.low, at.high, at.mean, at.middle]) + at.grain * rng.normal(size=len(part))


def _amplify(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, at.day)
    part[:] = at.low + (part - at.low) * rng.uniform(1.4, 2.5)


def _drift(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, int(rng.integers(at.rows, 4 * at.rows)))
    part += at.sign * at.reach * rng.uniform(0.5, 2) * np.linspace(0, 1, len(part))


def _density(rng: np.random.Generator, y: Floats, at: Site) -> None:
    part = at.part(y, at.rows)
    chance = rng.random(len(part))
    often = chance < rng.uniform(0.1, 0.4)
    np.copyto(part, rng.uniform(0.6, 1.1) * at.high, where=often)


def _phase(rng: np.random.Generator, y: Floats, at: Site) -> None:
    delay = rng.integers(max(2, int(at.per_day * 0.15)), max(3, int(at.per_day * 0.5)))
    y[at.first :] = np.roll(y, delay)[at.first :]


KINDS: Mapping[str, Callable[[np.random.Generator, Floats, Site], None]] = {
    "spike": _spike,
    "dip": _dip,
    "shift": _shift,
    "burst": _burst,
    "drop": _drop,
    "flat": _flat,
    "variance": _variance,
    "no season": _no_season,
    "amplify": _amplify,
    "drift": _drift,
    "density": _density,
    "phase": _phase,
}
