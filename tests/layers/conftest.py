"""What the tests of the layers share: the variants, and how far two computations of one thing may lie apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import carrousel.layers.compiled as compiled
from carrousel.layers import backend
from layers import emulation


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Every test draws the same numbers in every run and whatever ran before it."""
    torch.manual_seed(20)
    np.random.seed(20)  # noqa: NPY002 - keras draws from it


@pytest.fixture
def native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled training kernels; where they were not built, or CARROUSEL_ISA=numpy, their contract in NumPy."""
    if compiled.unavailable():
        emulate(monkeypatch)


def emulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "kernels", emulation)
    monkeypatch.delenv("CARROUSEL_ISA", raising=False)


@pytest.fixture(params=["torch", "native"])
def each_backend(request: pytest.FixtureRequest, native_kernels: None) -> Iterator[str]:
    with backend(request.param):
        yield request.param
