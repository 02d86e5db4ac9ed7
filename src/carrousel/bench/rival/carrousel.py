"""Carrousel itself: the native engine, or NumPy where that was not built; and NumPy beside the native one."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.bench.case import DTYPES, Task
from carrousel.bench.rival import Rival, Run, steps_of
from carrousel.engine import Engine, Session
from carrousel.native import Dtype, chosen


class Carrousel(Rival):
    """What everything else is compared with."""

    name = "Carrousel"
    packages = ()
    dtypes = DTYPES

    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        if dtype == "int8" and chosen() == "numpy":
            return None
        weights = {f"lstm.{name}": array for name, array in task.weights.items()}
        session = Engine(task.architecture, weights, dtype=dtype).session(task.case.batch, threads=self.threads)
        return _Chunk(session, task) if task.case.steps > 1 else _Step(session, task)


class Plain(Carrousel):
    """The engine without the compiled module; how many threads it uses is the matrix library's choice."""

    name = "Carrousel in NumPy"
    dtypes = ("float32",)

    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        if chosen() == "numpy":
            return None  # it takes part already
        with _numpy():
            return super().prepare(task, dtype)


class _Step(Run):
    def __init__(self, session: Session, task: Task) -> None:
        self.session, self.steps = session, steps_of(task)
        self.out = np.empty((task.case.batch, task.case.size), np.float32)

    def values(self) -> npt.NDArray[Any]:
        self.session.reset()
        return np.stack([self.session.step(x) for x in self.steps])

    def loop(self, count: int) -> None:
        step, x, out = self.session.step, self.steps[0], self.out
        for _ in repeat(None, count):
            step(x, out)


class _Chunk(Run):
    def __init__(self, session: Session, task: Task) -> None:
        self.session, self.x = session, np.ascontiguousarray(task.x.transpose(1, 0, 2))  # (N, L, H_in)
        self.out = np.empty((*self.x.shape[:2], task.case.size), np.float32)

    def values(self) -> npt.NDArray[Any]:
        self.session.reset()
        return self.session.run(self.x).transpose(1, 0, 2)

    def loop(self, count: int) -> None:
        run, x, out = self.session.run, self.x, self.out
        for _ in repeat(None, count):
            run(x, None, out)


@contextmanager
def _numpy() -> Generator[None]:
    """New engines are NumPy's."""
    before = os.environ.get("CARROUSEL_ISA")
    os.environ["CARROUSEL_ISA"] = "numpy"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CARROUSEL_ISA"]
        else:
            os.environ["CARROUSEL_ISA"] = before


RIVALS = (Carrousel, Plain)
