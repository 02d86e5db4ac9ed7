"""A detector watches the table that it is fitted to: where its streams go on, and how often it would alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.panel import Panel
from carrousel.online.alarm import HOLD
from carrousel.online.watch import Watch

Arrays = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]

MOST_OFTEN = 1 / HOLD  # onsets a row that one stream can have: each is above so many rows before it
MULTIPLES = (1.0, 2.0, 4.0, 8.0)  # of the promised rate at which alarms are counted
BLOCK_ROWS, RESAMPLES = 200, 400  # of the bootstrap
PRIOR_ALARMS = 8.0  # what the factor's estimate starts from, in alarms as promised
FACTORS = (0.2, 5.0)  # that a table may say


def replay(make: Callable[[int], Watch], panel: Panel) -> tuple[dict[str, Arrays], list[Floats]]:
    """Watch every series of a panel from its first row.

    Parameters
    ----------
    make : a fresh watch of so many streams
    panel : its past covariates, where it has any, are read with the rows

    Returns
    -------
    by series the state of its stream after the last row; and the rarities of onsets in the second half of each
    """
    states: dict[str, Arrays] = {}
    rarities: list[Floats] = []
    for length in np.unique(panel.lengths):
        # Series of equal length pass through together.
        group = np.flatnonzero(panel.lengths == length)
        rows = panel.starts[group][:, None] + np.arange(length)
        values, seconds = np.concatenate([panel.target[rows], panel.past[rows]], axis=2), seconds_of(panel.ds[rows])
        watch = make(len(group))
        if watch.beyond is not None:
            watch.beyond.open()
        rarity = np.ones((length, len(group)))
        for t in range(int(length)):
            readings = watch.step(values[:, t], seconds[:, t])
            rarity[t] = np.where(readings.warming, 1.0, readings.rarity)
        if watch.beyond is not None:
            watch.beyond.close()
        kept = watch.state
        for place, series in enumerate(group):
            states[panel.ids[series]] = {name: array[place].copy() for name, array in kept.items()}
        # In the first half a stream learns what is rare in it, and alarms less than it will.
        rarities += list(rarity[length // 2 :].T)
    return states, rarities


def seconds_of(ds: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Seconds since the epoch of dates; 0 for integers, which have no time of day."""
    return ds.astype("datetime64[s]").astype(np.float64) if ds.dtype.kind == "M" else np.zeros(ds.shape)


def interval_of(panel: Panel) -> float:
    """Seconds from row to row, the median; 0 for integers."""
    steps = [np.diff(seconds_of(panel.ds[panel.rows(s)])) for s in range(len(panel))]
    return float(np.median(np.concatenate(steps)))


def correction(rarity: list[npt.NDArray[np.float64]], promised: float, *, seed: int) -> tuple[float, str]:
    """By what the rarities of onsets must be multiplied so that alarms come as often as promised.

    The rows of the table are resampled in blocks, so that what belongs together stays together (Künsch 1989, The
    Jackknife and the Bootstrap for General Stationary Observations). In each resample the alarms that would have come
    at the promised rate, and at multiples of it, which are seen more often, are counted, as far as onsets can come so
    often: beyond, fewer would always be seen. A prior of ``PRIOR_ALARMS`` as promised keeps a short table from saying
    much.

    Returns
    -------
    the factor, the median of the resamples; and a sentence
    """
    rng = np.random.default_rng(seed)
    blocks = [part for series in rarity for part in np.array_split(series, max(1, len(series) // BLOCK_ROWS))]
    rows = np.array([len(block) for block in blocks])
    levels = promised * np.array([m for m in MULTIPLES if m == 1 or m * promised <= MOST_OFTEN])
    counts = np.array([[(block <= level).sum() for level in levels] for block in blocks])
    drawn = rng.integers(0, len(blocks), (RESAMPLES, len(blocks)))
    seen, expected = counts[drawn].sum(1), rows[drawn].sum(1)[:, None] * levels
    factors = np.median((seen + PRIOR_ALARMS) / (expected + PRIOR_ALARMS), axis=1)
    low, factor, high = np.quantile(factors, [0.05, 0.5, 0.95])
    kept = float(np.clip(factor, *FACTORS))
    far = "" if kept == factor else f", as far as {kept:g} times"
    note = (
        f"on the second half of the table alarms at the promised rate would have come {factor:.2f} times as often as "
        f"promised ({low:.2f} to {high:.2f} by a block bootstrap, 90%); the threshold corrects for that{far}"
    )
    return kept, note
