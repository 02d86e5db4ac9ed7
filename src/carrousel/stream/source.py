"""What a stream needs of a detector: the shapes that ``carrousel.tasks.detect`` and ``carrousel.online.watch`` have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from carrousel.data.schema import Schema

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Readings(Protocol):
    """What a watch says of one row of each of N streams; see ``carrousel.online.watch.Readings``."""

    @property
    def score(self) -> Floats: ...
    @property
    def p_value(self) -> Floats: ...
    @property
    def warming(self) -> Flags: ...
    @property
    def alarm(self) -> Flags: ...
    @property
    def incident(self) -> Flags: ...
    @property
    def expected(self) -> Floats: ...
    @property
    def lower(self) -> Floats: ...
    @property
    def upper(self) -> Floats: ...
    @property
    def residual(self) -> Floats: ...
    @property
    def contributions(self) -> Floats: ...
    @property
    def level(self) -> Floats: ...
    @property
    def level_lower(self) -> Floats: ...
    @property
    def level_upper(self) -> Floats: ...
    @property
    def slope(self) -> Floats: ...
    @property
    def slope_lower(self) -> Floats: ...
    @property
    def slope_upper(self) -> Floats: ...
    @property
    def season(self) -> Floats: ...
    @property
    def season_lower(self) -> Floats: ...
    @property
    def season_upper(self) -> Floats: ...
    @property
    def change(self) -> npt.NDArray[np.int8]: ...
    @property
    def drift(self) -> Flags: ...


NAMES = tuple(name for name in vars(Readings) if not name.startswith("_"))


class Watch(Protocol):
    """N streams of K variables, judged row by row."""

    @property
    def members(self) -> tuple[str, ...]: ...
    @property
    def batch(self) -> int: ...
    @property
    def variables(self) -> int: ...
    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]: ...
    def step(self, values: Floats, seconds: Floats) -> Any: ...
    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None: ...
    def fork(self, rows: npt.ArrayLike) -> Self: ...


class Source(Protocol):
    """A detector that can watch streams."""

    @property
    def schema(self) -> Schema | None: ...
    @property
    def variables(self) -> tuple[str, ...]: ...
    def watch(self, batch: int = 1, *, ids: Sequence[str] | None = None) -> Any: ...


def ends(detector: Source) -> Mapping[str, Any]:
    """The last stamp of every series that the detector was fitted on, by name: its streams go on from there."""
    return getattr(detector, "ends", {})


BY_VARIABLE = (
    "expected", "lower", "upper", "residual", "level", "level_lower", "level_upper", "slope", "slope_lower",
    "slope_upper", "season", "season_lower", "season_upper", "change", "drift",
)  # fmt: skip

_OF_VARIABLE = attrgetter(*BY_VARIABLE)


def by_variable(readings: Readings) -> list[list[Any]]:
    """What was said of the first stream's variables: BY_VARIABLE as plain values, K each."""
    said = _OF_VARIABLE(readings)
    if said[0].size == 1:
        return [[array.item()] for array in said]
    return [array[0].tolist() for array in said]
