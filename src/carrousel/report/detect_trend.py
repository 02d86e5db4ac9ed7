"""The figures of what a series does underneath: level, slope and season, each with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.tasks.detect_table import Judged

from .detect_figure import BUCKETS, LEFT, axis, rows_of, ticks
from .figure import Spec, numbers, seconds

Ints = npt.NDArray[np.int64]

CLOSE = 400  # the last rows, of which the season is drawn


def level(judged: Judged, series: int, k: int) -> Spec | None:
    """The level without the season; None where none was read."""
    rows = rows_of(judged, series)
    return _part(judged, series, k, "level", f"{judged.variables[k]}, level", _thinned(rows))


def slope(judged: Judged, series: int, k: int) -> Spec | None:
    """The slope and the changes; None where no trend was read."""
    rows = rows_of(judged, series)
    spec = _part(judged, series, k, "slope", f"{judged.variables[k]}, slope per row", _thinned(rows))
    if spec is None:
        return None
    spec["marks"].append({"kind": "rule", "style": "", "y": 0})
    changed = rows[judged.change[rows, k] > 0]
    if len(changed):
        kinds = ("", "level changes", "slope changes")
        tips = [kinds[int(c)] for c in judged.change[changed, k]]
        x = seconds(judged.ds[changed])
        change = {"kind": "spans", "name": "Change", "style": "s-1", "x0": x, "x1": x, "tips": tips, "rank": 2}
        spec["marks"].insert(0, change)
    return spec


def season(judged: Judged, series: int, k: int) -> Spec | None:
    """What the parts of the cycle add, in the last rows; None where no cycle was read."""
    rows = rows_of(judged, series)[-CLOSE:]
    spec = _part(judged, series, k, "season", f"{judged.variables[k]}, season", rows)
    if spec is not None:
        spec["marks"].append({"kind": "rule", "style": "", "y": 0})
    return spec


def _thinned(rows: Ints) -> Ints:
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), BUCKETS)).astype(int)]


def _part(judged: Judged, series: int, k: int, name: str, label: str, drawn: Ints) -> Spec | None:
    """One of level, slope and season with its interval."""
    values, low, high = (getattr(judged, field)[drawn, k] for field in (name, f"{name}_lower", f"{name}_upper"))
    if np.isnan(values).all():
        return None
    ends = np.concatenate([low, high, values])
    least, most = np.nanquantile(ends, [0.01, 0.99])
    x = seconds(judged.ds[drawn])

    def within(part: npt.NDArray[np.float64]) -> list[Any]:
        return numbers(np.clip(part, least, most))

    return {
        "label": f"{name.capitalize()} of {judged.variables[k]} of {judged.ids[series]}",
        "height": 190,
        "x": axis(judged),
        "y": {"label": label, "left": LEFT} | ({"ticks": ticks(least, most)} if most > least else {}),
        "marks": [
            {
                "kind": "band",
                "name": "95% interval",
                "style": "s-level b0",
                "x": x,
                "lo": within(low),
                "hi": within(high),
            },
            {"kind": "line", "name": name, "style": "s-level", "x": x, "y": within(values)},
        ],
    }
