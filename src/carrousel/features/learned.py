"""What is learned from the training part beside the weights, and a panel seen through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt

from carrousel.config import Range
from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.features.calendar import calendar
from carrousel.features.scaler import Scaler
from carrousel.features.transform import Transform
from carrousel.features.window import Grid, prepare


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What the forecasts lose when the engine stores its weights in another precision, on some validation windows.

    Parameters
    ----------
    windows : compared
    mae : mean absolute error of the point forecast
    shift : mean absolute difference of the point forecast from that of float32 weights
    """

    windows: Annotated[int, Range(1)]
    mae: Annotated[float, Range(0)]
    shift: Annotated[float, Range(0)]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What was learned from the training part beside the weights; `statistics` of config.json.

    Parameters
    ----------
    schema : columns, categories and frequency of the table
    past, future, static : scalers of the covariates
    cycles : of the calendar
    ids : series with an embedding of their own, row 1 of the embedding onwards
    season : seasonal period in rows
    transform : of the target
    flag_missing : missing targets are flagged to the network
    notes : what was inferred and mended, one sentence each
    seconds : training time
    scores : name -> error on the validation part
    rounding : by the engine's dtype, as far as the engine of the training machine had it
    """

    schema: dict[str, object]
    past: Scaler
    future: Scaler
    static: Scaler
    cycles: tuple[str, ...]
    ids: tuple[str, ...]
    season: Annotated[int, Range(1)]
    transform: Transform
    flag_missing: bool
    notes: tuple[str, ...] = ()
    seconds: Annotated[float, Range(0)] = 0.0
    scores: dict[str, float] = field(default_factory=dict[str, float])
    rounding: dict[str, Rounding] = field(default_factory=dict[str, Rounding])

    @cached_property
    def table(self) -> Schema:
        """The schema that reads such tables."""
        return Schema.from_dict(self.schema)

    def series_of(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Rows of the series embedding; 0 for a series that was not there in training."""
        known = {name: row for row, name in enumerate(self.ids, start=1)}
        return np.array([known.get(name, 0) for name in ids], np.int64)

    def transformed(self, panel: Panel) -> Panel:
        """The panel with its targets in the network's unit."""
        return replace(panel, target=self.transform.apply(panel.target))

    def grid(self, panel: Panel) -> Grid:
        """A panel as the network reads it."""
        return prepare(
            self.transformed(panel),
            past=self.past,
            future=self.future,
            static=self.static,
            calendar=calendar(panel.ds, self.cycles),
            series=self.series_of(panel.ids),
            flag_missing=self.flag_missing,
        )
