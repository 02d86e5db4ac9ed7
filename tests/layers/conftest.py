"""What the tests of the layers share: the variants, and how far two computations of one thing may lie apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Every test draws the same numbers in every run and whatever ran before it."""
    torch.manual_seed(20)
    np.random.seed(20)  # noqa: NPY002 - keras draws from it
