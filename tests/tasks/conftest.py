"""Models trained once for all tests of the tasks."""

import numpy as np
import pytest

from carrousel.tasks.classify import Classifier
from carrousel.tasks.forecast import Forecaster
from carrousel.training import silent
from small import SMALL, table
from tasks import classified


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


@pytest.fixture(scope="session")
def text() -> Classifier:
    """Both ways; tests must not change it."""
    return Classifier(**classified.SMALL).fit(classified.TEXTS, classified.TYPES, progress=silent)


@pytest.fixture(scope="session")
def one_way() -> Classifier:
    return Classifier(**classified.SMALL, bidirectional=False, num_layers=2).fit(
        classified.TEXTS, classified.TYPES, progress=silent
    )


@pytest.fixture(scope="session")
def numbers() -> Classifier:
    """Trained so little that the sequences' likeness to each other has a say."""
    x, y = classified.waves()
    return Classifier(**{**classified.SMALL, "max_steps": 20}, window=3).fit(x, y, progress=silent)


@pytest.fixture(scope="session")
def numbers_one_way() -> Classifier:
    x, y = classified.waves()
    return Classifier(**classified.SMALL, window=3, bidirectional=False).fit(x, y, progress=silent)


@pytest.fixture(scope="session")
def steps() -> Classifier:
    """Whether the first variable is above the second, at every step."""
    x, _ = classified.waves()
    return Classifier(**classified.SMALL, steps=True).fit(x, classified.above(x), progress=silent)
