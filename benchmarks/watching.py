"""Series streamed row by row through a detector, for the benchmarks of detection: what it said of every row."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.online.watch import Watch

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Said:
    """What a detector said of the T rows of a series of K variables; the fields are those of ``Readings``."""

    score: Floats
    onset: Floats
    p_value: Floats
    warming: Flags
    alarm: Flags
    incident: Flags
    contributions: npt.NDArray[np.float32]


ROW = ("score", "onset", "p_value", "warming", "alarm", "incident")


def stream(watch: Watch, series: Sequence[tuple[Floats, Floats]], *, name: str) -> list[Said]:
    """Feed every stream of a watch its series, all at once, each until it ends.

    Parameters
    ----------
    watch : of as many streams as there are series
    series : values (T, K), with covariates behind them if it reads any, and seconds (T,), in their order
    name : for the line on the terminal that says how far it is
    """
    lengths = np.array([len(values) for values, _ in series])
    order = np.argsort(-lengths, kind="stable")
    watch = watch.fork(order)  # the longest first: those that go on are then always the first ones
    longest, width = int(lengths.max()), series[0][0].shape[1]
    values = np.full((longest, len(series), width), np.nan)
    seconds = np.zeros((longest, len(series)))
    for place, number in enumerate(order):
        rows = lengths[number]
        values[:rows, place], seconds[:rows, place] = series[number]
    columns: dict[str, list[npt.NDArray[np.generic]]] = {field: [] for field in (*ROW, "contributions")}
    clock = told = time.perf_counter()
    for t in range(longest):
        going = int((lengths > t).sum())
        if going < watch.batch:
            watch = watch.fork(np.arange(going))
        readings = watch.step(values[t, :going], np.ascontiguousarray(seconds[t, :going]))
        for field in ROW:
            columns[field].append(getattr(readings, field))
        columns["contributions"].append(readings.contributions.astype(np.float32))
        if (now := time.perf_counter()) - told > 5:
            told = now
            print(f"\r{name}: row {t:,} of {longest:,}, {now - clock:.0f} s", end="", file=sys.stderr, flush=True)
    print(f"\r{name}: {lengths.sum():,} rows in {time.perf_counter() - clock:.0f} s", file=sys.stderr, flush=True)
    found: list[Said | None] = [None] * len(series)
    for place, number in enumerate(order):
        rows = lengths[number]
        found[number] = Said(**{field: np.array([row[place] for row in columns[field][:rows]]) for field in columns})
    return [said for said in found if said is not None]


def seconds_of(stamps: npt.NDArray[np.generic]) -> Floats:
    """Seconds since the epoch of dates; 0 for rows' numbers, which have no time of day."""
    if stamps.dtype.kind != "M":
        return np.zeros(len(stamps))
    return stamps.astype("datetime64[s]").astype(np.float64)
