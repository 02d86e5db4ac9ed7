"""Models trained once for all tests of the tasks."""

import numpy as np
import pytest

from carrousel.tasks.forecast import Forecaster
from small import SMALL, table


@pytest.fixture(scope="session")
def long_table() -> dict[str, np.ndarray]:
    return table()


@pytest.fixture(scope="session")
def model(long_table: dict[str, np.ndarray]) -> Forecaster:
    """Trained once on past covariates; tests must not change it."""
    return Forecaster(**SMALL, past="p").fit(long_table)


@pytest.fixture(scope="session")
def future_model(long_table: dict[str, np.ndarray]) -> Forecaster:
    """Trained once on covariates of every kind."""
    return Forecaster(**SMALL, past="p", future="f", static="q").fit(long_table)
