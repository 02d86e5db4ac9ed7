"""Hands the components' arrays and this room's constants to the compiled twin of a watch's step (native/watch.h).

The NumPy files remain the specification; the twin serves where the engine is native. It writes to the very arrays that
the components own, so state kept from one twin is state for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel import native
from carrousel.engine import Session
from carrousel.online import alarm, baseline, beyond, covariate, drift, forecast, member, onset, season, tail, trend
from carrousel.online.state import Online

Floats = npt.NDArray[np.float64]
Step = Callable[[Floats, Floats], tuple[npt.NDArray[Any], ...] | None]

MODULES: tuple[ModuleType, ...] = (
    alarm, baseline, beyond, covariate, drift, forecast, member, onset, season, tail, trend,
)  # fmt: skip


def bind(session: Session, variables: int, parts: Mapping[str, Online], settings: Mapping[str, float]) -> Step | None:
    """The compiled step over these components, or None where the session is not native.

    It takes values (N, K + P) and seconds (N,) and returns the fields of ``Readings`` in their order, new arrays; or
    None, having changed nothing, where these are not contiguous float64 arrays of those shapes, or a time is none.

    Parameters
    ----------
    session : of N · K rows
    variables : K
    parts : by the names of ``Watch.state``; their arrays must be neither replaced nor resized afterwards
    settings : what the constants of the modules do not say, by name

    Raises
    ------
    SettingError : the engine's network is not from as many features to as many numbers, or a constant does not fit
    """
    module, compiled = native.module(), session.compiled
    if module is None or compiled is None:
        return None
    numbers = {name: (float(value),) for name, value in settings.items()}
    for source in MODULES:
        numbers |= constants(source)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for part, online in parts.items():
        arrays |= {f"{part}.{name}": array for name, array in online.arrays.items()}
        if isinstance(online, trend.Trend | drift.Drift):
            arrays[f"{part}.table"] = online.table
        elif isinstance(online, covariate.Covariates):
            for name, array in online.scaling._asdict().items():
                arrays[f"{part}.{name}"] = np.array(array, np.float64)
    return module.watch(compiled, variables, numbers, arrays).step


def constants(module: ModuleType) -> dict[str, tuple[float, ...]]:
    """The numbers of a module that are written in capitals, by ``{module}.{NAME}``; tables one row after the other."""
    found: dict[str, tuple[float, ...]] = {}
    for name, value in vars(module).items():
        if name.isupper() and isinstance(value, int | float | np.number | tuple):
            numbers = np.ravel(np.asarray(value))
            if numbers.dtype.kind in "if":
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = tuple(numbers.astype(float).tolist())
    return found
