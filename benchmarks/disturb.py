"""Calm telemetry with one thing wrong in it, for settings that no label may choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carrousel.data.labelled import LabelledSeries

Floats = npt.NDArray[np.float64]

SHORTEST, LONGEST = 10.0, 250.0  # rows that are wrong
FIRST = 0.3  # of a part, before which all is as it was
VISIBLE = 0.5  # of the deviation: what changes less counts as no disturbance
TRIES = 400


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows start:stop of calm telemetry, what is around them, and how large its values are.

    Parameters
    ----------
    values : float64 (T,), of the whole part
    deviation, reach : of the part before it, above 0
    """

    values: Floats
    start: int
    stop: int
    deviation: float
    reach: float

    @property
    def own(self) -> Floats:
        return self.values[self.start : self.stop]

    def at(self, rows: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> Floats:
        """The part's values at rows, between two of them on a line."""
        return np.interp(rows, np.arange(len(self.values)), self.values)


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _elsewhere(rng: np.random.Generator, one: Stretch) -> Floats:
    first = int(rng.integers(0, len(one.values) - len(one.own)))
    return one.values[first : first + len(one.own)]


def _pace(rng: np.random.Generator, one: Stretch) -> Floats:
    pace = rng.choice([rng.uniform(0.35, 0.7), rng.uniform(1.5, 2.8)])
    return one.at(one.start + np.arange(len(one.own)) * pace)


def _spike(rng: np.random.Generator, one: Stretch) -> Floats:
    found = one.own.copy()
    found[: int(rng.integers(1, 6))] += _sign(rng) * rng.uniform(0.4, 2) * one.reach
    return found


def _stronger(rng: np.random.Generator, one: Stretch) -> Floats:
    middle = np.median(one.own)
    return middle + (one.own - middle) * rng.choice([rng.uniform(0, 0.4), rng.uniform(1.6, 3)])


def _weak(rng: np.random.Generator, one: Stretch) -> Floats:
    before = one.values[max(one.start - 1, 0)]
    return before + (one.own - before) * rng.uniform(0, 0.5)


KINDS: Mapping[str, Callable[[np.random.Generator, Stretch], Floats]] = {
    "from elsewhere": _elsewhere,
    "stuck": lambda rng, one: np.full(len(one.own), one.own[0]),
    "pace": _pace,
    "offset": lambda rng, one: one.own + _sign(rng) * rng.uniform(0.3, 1.5) * one.deviation,
    "stronger or weaker": _stronger,
    "spike": _spike,
    "backwards": lambda rng, one: one.own[::-1],
    "upside down": lambda rng, one: 2 * np.median(one.own) - one.own,
    "noise": lambda rng, one: one.own + rng.normal(size=len(one.own)) * rng.uniform(0.5, 1.5) * one.deviation,
    "late": lambda rng, one: one.at(np.arange(one.start, one.stop) - int(rng.integers(5, 80))),
    "half an answer": _weak,
}


def disturbed(series: LabelledSeries, count: int, *, seed: int) -> list[LabelledSeries]:
    """Copies of a series, each with another disturbance of its column 0 in its later 70%, which it labels.

    Parameters
    ----------
    series : with a training part, and without an anomaly
    count : how many copies; fewer where a series shows no disturbance, since it stands still
    seed : of kind, place, length and size, all drawn anew for each copy
    """
    rng = np.random.default_rng([seed, len(series.values)])
    y, past, found = series.values[:, 0], series.train[:, 0], list[LabelledSeries]()
    reach = max(float(np.ptp(past)), 0.05)
    deviation = max(float(past.std()), 0.05 * reach)
    for _ in range(TRIES):
        if len(found) == count:
            break
        rows = min(int(10 ** rng.uniform(np.log10(SHORTEST), np.log10(LONGEST))), len(y) // 4)
        start = int(rng.integers(int(FIRST * len(y)), len(y) - rows))
        stretch = Stretch(y, start, start + rows, deviation, reach)
        wrong = KINDS[str(rng.choice(list(KINDS)))](rng, stretch)
        off = np.abs(wrong - stretch.own)
        if off.max() < VISIBLE * deviation:
            continue
        values = series.values.copy()
        values[start : start + rows, 0] = wrong
        touched = start + np.flatnonzero(off > 0)[[0, -1]] + np.array([0, 1])
        found.append(replace(series, name=f"{series.name} disturbed", values=values, windows=touched[None]))
    return found
