"""One model, its backtest and its report for all tests of the report, which must not change them."""

from pathlib import Path

import numpy as np
import pytest

from carrousel.report import write_report
from carrousel.tasks.backtest import Backtest
from carrousel.tasks.forecast import Forecaster
from small import SMALL, head, table


@pytest.fixture(scope="package")
def model() -> Forecaster:
    long = table()
    return Forecaster(**SMALL, past="p").fit(head(long, long["ds"] < long["ds"][300]))


@pytest.fixture(scope="package")
def result(model: Forecaster) -> Backtest:
    return model.backtest(table(), windows=7, step=13)


@pytest.fixture(scope="package")
def page(model: Forecaster, result: Backtest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    saved = model.save(folder / "model")
    latency_us = 100.0 + np.arange(300) % 17
    return write_report(
        folder / "report.html", forecaster=model, backtest=result, latency_us=latency_us, artifact=saved
    )
