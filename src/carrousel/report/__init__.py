"""The report: one self-contained HTML file that shows what a model is worth, beside baselines and on unseen data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import fact, figure, page
from .document import write_page
from .evidence import Evidence

if TYPE_CHECKING:
    from carrousel.tasks.backtest import Backtest
    from carrousel.tasks.forecast import Forecaster

__all__ = ["write_report"]


def write_report(
    path: str | Path,
    *,
    forecaster: Forecaster,
    backtest: Backtest,
    latency_us: npt.ArrayLike | None = None,
    title: str = "Forecast report",
    artifact: str | Path | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write one HTML file with everything in it; it loads nothing from anywhere, and refuses to.

    Parameters
    ----------
    path : the file, replaced if it is there; its folder is made
    forecaster : the trained model
    backtest : its forecasts beside the truth; the report says where they reach into rows that the model has seen
    latency_us : float (n,), microseconds of single ``stream.update`` calls, in the order in which they were made
    title : plain text
    artifact : folder of the saved model, for its size on disk
    facts : more to say about the data, name -> plain text, such as how they were split

    Returns
    -------
    the path written to

    Raises
    ------
    OSError : it could not be written; what stood there is unchanged
    """
    evidence = Evidence(backtest)
    times = np.asarray(() if latency_us is None else latency_us, np.float64)
    seen = fact.overlap(evidence, forecaster)
    view = figure.viewer(evidence)
    figures: page.Figures = {}
    model = fact.model(forecaster, None if artifact is None else Path(artifact))
    data = fact.data(evidence, forecaster) | dict(facts or {})
    notes = list(dict.fromkeys([*forecaster.notes, *backtest.notes]))
    body = [
        page.verdict(evidence, seen),
        page.tiles(fact.tiles(evidence, forecaster, times)),
        page.forecasts(evidence, view),
        page.scores(evidence),
        page.errors(evidence, figures),
        page.calibrated(evidence, figures, seen),
        page.latency(times, figures),
        page.training(forecaster.history, figures, forecaster.settings.ensemble),
        page.about(model, fact.settings(forecaster), data, notes, fact.method(evidence, seen)),
    ]
    return write_page(
        path,
        title=title,
        subtitle=fact.subtitle(evidence),
        body=body,
        data={"figures": figures, "viewer": view},
        footer=fact.versions(),
    )
