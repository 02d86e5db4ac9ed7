"""A detector to work out by hand: a row is an incident while it is more than 5 from the mean of the last 8."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from carrousel.data.schema import Schema
from carrousel.online.state import Field, Online
from carrousel.tasks.detect_setting import DetectSettings, Promise

MEMBERS = ("forecast", "range")
WARM = 8


class Watch(Online):
    """``carrousel.online.watch.Watch`` in miniature, with a memory of eight rows and of how many there were."""

    members = MEMBERS

    def __init__(self, batch: int, variables: int) -> None:
        self.variables = variables
        fields = {
            "ring": Field(shape=(WARM, variables), start=np.nan),
            "rows": Field(dtype="int64"),
            "inside": Field(dtype="bool"),
            "clock": Field(),
        }
        super().__init__(batch, fields)

    def step(self, values: np.ndarray, seconds: np.ndarray) -> SimpleNamespace:
        assert values.shape == (self.batch, self.variables)
        assert values.dtype == seconds.dtype == np.float64
        assert not np.isinf(values).any()
        a = self.arrays
        assert ((seconds > a["clock"]) | (a["rows"] == 0) | (seconds == 0)).all(), "time runs backwards"
        known = ~np.isnan(a["ring"])
        count = known.sum(axis=1)
        expected = np.where(count > 0, np.where(known, a["ring"], 0).sum(axis=1) / np.maximum(count, 1), np.nan)
        residual = values - expected
        size = np.where(np.isnan(residual), 0, np.abs(residual))
        warming = a["rows"] < WARM
        inside = ~warming & (size.max(axis=1) > 5)
        alarm = inside & ~a["inside"]
        observed = ~np.isnan(values).all(axis=1)
        score = np.where(warming | ~observed, np.nan, size.max(axis=1))
        slot = a["rows"] % WARM
        a["ring"][np.arange(self.batch), slot] = values
        a["rows"] += 1
        a["inside"][:] = inside
        a["clock"][:] = seconds
        blank = np.zeros(expected.shape)
        return SimpleNamespace(
            score=score,
            p_value=10.0**-score,
            warming=warming,
            alarm=alarm,
            incident=inside.copy(),
            expected=expected,
            lower=expected - 5,
            upper=expected + 5,
            residual=residual,
            contributions=np.stack([size, size / 2], axis=2),
            level=expected,
            level_lower=expected - 1,
            level_upper=expected + 1,
            slope=blank,
            slope_lower=blank - 1,
            slope_upper=blank + 1,
            season=blank,
            season_lower=blank - 1,
            season_upper=blank + 1,
            change=alarm[:, None] * np.ones(expected.shape, np.int8),
            drift=np.zeros(expected.shape, bool),
        )


class Detector:
    """``carrousel.Detector`` as far as streams need it."""

    def __init__(self, *variables: str, schema: Schema | None = None, false_alarms: str = "1/1000 rows") -> None:
        self.variables, self.schema = variables or ("y",), schema
        self.settings = DetectSettings(false_alarms=false_alarms)
        self.promise = Promise.parse(false_alarms)
        self.ends: dict[str, object] = {}

    def watch(self, batch: int = 1, *, ids: Sequence[str] | None = None) -> Watch:
        watch = Watch(batch if ids is None else len(ids), len(self.variables))
        for row, name in enumerate(ids or ()):
            if name in self.ends:  # fitted on eight rows of 0 and 1
                watch.arrays["ring"][row] = (np.arange(WARM) % 2)[:, None]
                watch.arrays["rows"][row] = WARM
        return watch


def hourly(*variables: str, false_alarms: str = "1/1000 rows", **parts: object) -> Detector:
    """One whose training table had hourly rows."""
    names = variables or ("y",)
    schema = Schema(time="ds", target=names, frequency="h", joint=len(names) > 1, **parts)
    return Detector(*names, schema=schema, false_alarms=false_alarms)
