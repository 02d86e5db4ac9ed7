"""Artificial telemetry that obeys commands: columns of 0 and 1 beside the series, and anomalies against them.

On these series the settings of a detector that reads covariates were frozen. The same seed gives the same series in
every version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from carrousel.data.artificial import anomalous, noise, ordinary
from carrousel.data.labelled import LabelledSeries

Floats = npt.NDArray[np.float64]

KINDS = ("mode", "heater", "pulse", "switch", "own", "quiet")
_SHARES = (0.22, 0.2, 0.2, 0.13, 0.13, 0.12)
AGAINST = ("ignored", "unasked", "sluggish", "weak")  # anomalies that only the commands tell
STEP_S = 300  # of the parts of a series that have a day
RESPONSE_ROWS = 400  # the longest that a response lasts


@dataclass(frozen=True, eq=False)
class Plant:
    """What commands do.

    Parameters
    ----------
    kind : one of ``KINDS``
    weights : float64 (C,), of each command; 0 for those that do nothing here
    rows : time constant, or width of a response
    delay : rows from a command to its effect
    gain : of the whole
    """

    kind: str
    weights: Floats
    rows: float
    delay: int
    gain: float

    def respond(self, commands: Floats) -> Floats:
        """What follows from commands (T, C), float64 (T,)."""
        driven = np.zeros(len(commands))
        driven[self.delay :] = commands[: len(commands) - self.delay] @ self.weights
        return self.gain * _RESPONSES[self.kind](driven, self.rows)


def _hold(driven: Floats) -> Floats:
    """The last value that was not 0, 0 before the first."""
    place = np.maximum.accumulate(np.where(driven != 0, np.arange(len(driven)), -1))
    return np.where(place >= 0, driven[place], 0.0)


def _lag(target: Floats, rows: float) -> Floats:
    share = 1 - np.exp(-1 / rows)
    found = accumulate(target.tolist(), lambda y, goal: y + share * (goal - y), initial=0.0)
    return np.fromiter(found, np.float64, len(target) + 1)[1:]


def _pulse(driven: Floats, rows: float) -> Floats:
    x = np.arange(RESPONSE_ROWS)
    shape = np.exp(-x / rows) * np.minimum(x / max(rows / 4, 1) + 0.3, 1)
    return np.convolve(driven, shape)[: len(driven)]


_RESPONSES: Mapping[str, Callable[[Floats, float], Floats]] = {
    "mode": lambda driven, rows: _lag(_hold(driven), rows / 4),
    "heater": lambda driven, rows: _lag(driven, rows),
    "pulse": _pulse,
    "switch": lambda driven, rows: (_hold(driven) > 0).astype(np.float64),
    "own": _pulse,
    "quiet": lambda driven, rows: np.zeros(len(driven)),
}


def _commands(rng: np.random.Generator, rows: int, count: int, *, stay: bool) -> Floats:
    """Columns of 0 and 1 (rows, count): in bundles that come regularly, or at random; on for one row, or for long."""
    found = np.zeros((rows, count))
    usual = float(rng.uniform(25, 250))
    jitter = 0.0 if rng.random() < 0.3 else rng.uniform(0.1, 1.0)
    order = rng.permutation(count)
    at, turn = rng.uniform(0, usual), 0
    while at < rows:
        column = int(order[turn % count]) if rng.random() < 0.8 else int(rng.integers(count))
        length = max(1, int(usual * rng.uniform(0.2, 0.7))) if stay else int(rng.integers(1, 4))
        found[int(at) : int(at) + length, column] = 1
        if rng.random() < 0.3:
            found[int(at) : int(at) + 1, int(rng.integers(count))] = 1
        at += max(3.0, usual * (1 + jitter * rng.normal() * 0.5))
        turn += 1
    return found


def commanded(seed: int, *, anomalies: bool = True) -> LabelledSeries:
    """One series with its commands.

    Parameters
    ----------
    seed : which one
    anomalies : put one or two into the test part; without, the same seed gives another series

    Returns
    -------
    values float64 (T, 1 + C), column 0 the telemetry and the others commands, 0 or 1; `train` likewise, without an
    anomaly; stamps int64, rows; a window from the first to the last row of each anomaly. Some commands do nothing, and
    two come in the test part only

    Examples
    --------
    >>> series = commanded(3)
    >>> series.category, series.train.shape, series.values.shape, series.windows.tolist()
    ('pulse', (2333, 15), (3205, 15), [[2026, 2145]])
    """
    rng = np.random.default_rng([seed, 7])
    before, after = (int(rng.integers(low, high)) for low, high in ((900, 3600), (1500, 4000)))
    rows, count = before + after, int(rng.integers(3, 13))
    kind = KINDS[rng.choice(len(KINDS), p=_SHARES)]
    weights = np.round(rng.normal(size=count), 1) * (rng.random(count) < 0.7)
    weights[int(rng.integers(count))] = rng.choice([-1.0, 1.0])
    plant = Plant(
        kind, weights, float(10 ** rng.uniform(0.3, 1.7)), int(rng.integers(0, 4)), float(rng.uniform(0.5, 2))
    )
    commands = _commands(rng, rows, count, stay=kind == "heater")
    rest = 10 ** rng.uniform(-3.2, -0.8) * noise(rng, rows) if rng.random() < 0.8 else np.zeros(rows)
    if kind == "own":
        _, own, _ = ordinary(rng, rows, STEP_S)
        rest = (own - own.mean()) / max(own.std(), 1e-9) * rng.uniform(0.2, 1)
    elif kind == "quiet" and rng.random() < 0.6:
        rest = np.zeros(rows)
    y = rng.normal() + plant.respond(commands) + rest
    windows: list[tuple[int, int]] = []
    if anomalies:
        for n in range(places := int(rng.choice([1, 1, 2]))):
            first = before + int(after * (n + rng.uniform(0.15, 0.75)) / places)
            length = int(10 ** rng.uniform(1.3, 2.5))
            length = min(length, rows - first - 2, after // (4 * places))
            y = _against(rng, y, plant, commands, first, length)
            windows.append((first - before, first - before + length))
    if rng.random() < 0.3:
        grain = rng.choice([0.002, 0.01, 0.05])
        y = np.round(y / grain) * grain
    late = (rng.random((after, 2)) < 0.004).astype(np.float64)
    columns = np.column_stack([commands, np.concatenate([np.zeros((before, 2)), late])])
    values = np.column_stack([y, columns])
    return LabelledSeries(
        name=f"commanded {seed}",
        category=kind,
        stamps=np.arange(after),
        values=values[before:],
        windows=np.array(windows, np.int64).reshape(-1, 2),
        train=values[:before],
    )


def _against(rng: np.random.Generator, y: Floats, plant: Plant, commands: Floats, first: int, length: int) -> Floats:
    """A copy of the series with an anomaly in rows first:first + length, by chance one against the commands."""
    span = slice(first, first + length)
    size = max(float(np.std(y[:first])), 0.02)
    if plant.kind not in ("quiet", "own") and rng.random() < 0.65:
        usual = plant.respond(commands)
        for kind in rng.permutation(AGAINST):
            off = _changed(rng, plant, commands, span, str(kind)) - usual
            if np.abs(off[span]).max() > 0.4 * size:
                found = y.copy()
                found[span] += off[span]
                return found
    kind = str(rng.choice(["spike", "dip", "shift", "burst", "flat", "variance", "drift", "density"]))
    whole = anomalous(rng, y, first, rows=max(8, length), step_s=STEP_S, kind=kind)
    found = y.copy()
    found[span] = whole[span]
    if np.abs(found - y).max() < 0.4 * size:  # a sensor that is flat anyhow
        found[span] = y[span] + size * rng.choice([-1, 1]) * rng.uniform(0.8, 3)
    return found


def _changed(rng: np.random.Generator, plant: Plant, commands: Floats, span: slice, kind: str) -> Floats:
    """What the plant does where something is wrong in those rows."""
    if kind == "ignored":
        other = commands.copy()
        other[span] = 0
        return plant.respond(other)
    if kind == "unasked":
        other = commands.copy()
        column = int(rng.choice(np.flatnonzero(plant.weights)))
        other[span.start : span.start + max(1, (span.stop - span.start) // 2), column] = 1
        return plant.respond(other)
    if kind == "sluggish":
        return replace(plant, rows=plant.rows * rng.uniform(3, 8)).respond(commands)
    return replace(plant, gain=plant.gain * rng.choice([rng.uniform(0.1, 0.6), rng.uniform(1.5, 2.5)])).respond(
        commands
    )
