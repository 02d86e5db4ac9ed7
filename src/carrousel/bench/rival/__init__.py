"""Who is timed: one file an adapter, found by being in this folder.

Such a file holds ``RIVALS``, classes that derive from ``Rival``. What is not installed is left out.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from carrousel.bench.case import Task
from carrousel.native import Dtype


class Run(ABC):
    """One rival on one task."""

    @abstractmethod
    def values(self) -> npt.NDArray[Any]:
        """Outputs (L, N, H) of the task's inputs, from a state of zeros: in one call, or step by step."""

    @abstractmethod
    def loop(self, count: int) -> None:
        """So many of the calls that are timed, with as little around them as Python allows."""


class Rival(ABC):
    """An engine; made once for all tasks.

    Parameters
    ----------
    threads : that it may use
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    dtypes: ClassVar[tuple[Dtype, ...]]

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @abstractmethod
    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        """Get ready; None where it has no way to do such a task."""


@dataclass(frozen=True)
class Missing:
    """A rival that cannot take part, and why."""

    name: str
    why: str


def discover() -> tuple[list[type[Rival]], list[Missing]]:
    """Those that can take part, and those whose packages are not installed."""
    found: list[type[Rival]] = []
    missing: list[Missing] = []
    for entry in sorted(pkgutil.iter_modules(__path__), key=lambda entry: entry.name):
        for rival in importlib.import_module(f"{__name__}.{entry.name}").RIVALS:
            lacking = [package for package in rival.packages if find_spec(package) is None]
            if lacking:
                missing.append(Missing(rival.name, f"{' and '.join(lacking)} not installed"))
            else:
                found.append(rival)
    return found, missing


def steps_of(task: Task) -> list[npt.NDArray[np.float32]]:
    """The inputs (N, H_in) of each step, contiguous."""
    return [np.ascontiguousarray(x) for x in task.x]
