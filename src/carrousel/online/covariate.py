"""Columns that are read but not watched: what a row's covariates say before its values are judged, and what is left.

A command, a temperature or a timetable explains values that would be strange without it. The network forecasts a row
when its covariates are known and its values are not; two members then judge what the forecast leaves.

=========  ===========================================================================================================
residual   the distance from the forecast of this row, in usual such distances
sustained  the mean of the last distances, which grows where a little is wrong for long
=========  ===========================================================================================================

References
----------
Smoothed errors of a network that reads commands: Hundman, Constantinou, Laporte, Colwell & Soderstrom 2018, Detecting
Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding, KDD (§3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from carrousel.online.baseline import SETTLED, Baseline
from carrousel.online.state import Field, Online

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Features = npt.NDArray[np.float32]

MEMBERS = ("residual", "sustained")
TOPS = (6.0, 4.0)
SUSTAINED_ROWS = 64.0
MOST = 30.0  # usual distances that one row adds to the sustained ones
MEMORY = 2000.0  # rows after which the usual distance is learnt at a constant rate
GRAIN = 0.02  # of the spread of the series: no distance is usual that is smaller


class Scaling(NamedTuple):
    """Of covariates, each float64 (P,), by the training part; a scale of 0: it never varied, so it is not read."""

    mean: Floats
    scale: Floats

    def __call__(self, values: Floats) -> Floats:
        """Values (..., P) as the network reads them: asinh of the distance from the mean in deviations; NaN remains."""
        known = self.scale > 0
        off = np.arcsinh((values - self.mean) / np.where(known, self.scale, 1.0))
        return np.where(known, off, 0.0)


def scaling_of(values: Floats, *, names: Sequence[str] = (), notes: list[str] | None = None) -> Scaling:
    """Mean and deviation of covariates (R, P), NaN left out; `notes` takes a sentence on those that are not read."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(0), 1)
    clean = np.where(known, values, 0.0)
    mean = clean.sum(0) / count
    scale = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(0) / count)
    scale = np.where(scale > 1e-12 * np.abs(mean), scale, 0.0)
    still = [name for name, size in zip(names, scale, strict=False) if not size]
    if still and notes is not None:
        few = ", ".join(still[:5]) + (f" and {len(still) - 5} more" if len(still) > 5 else "")
        notes.append(f"covariates that never vary in the table are not read: {few}")
    return Scaling(mean, scale)


def forward_filled(scaled: Floats) -> Floats:
    """Scaled covariates (T, P) with what is missing as it was last, 0 before the first: as ``Covariates`` has it."""
    known = np.isfinite(scaled)
    place = np.maximum.accumulate(np.where(known, np.arange(len(scaled))[:, None], -1), axis=0)
    return np.where(place >= 0, np.take_along_axis(scaled, np.maximum(place, 0), axis=0), 0.0)


class Covariates(Online):
    """What is known of the covariates of N streams, and the features that wait for those of the next row.

    Parameters
    ----------
    batch, variables : N, K
    scaling : of the P covariates
    features : F
    """

    def __init__(self, batch: int, variables: int, scaling: Scaling, features: int) -> None:
        self.variables, self.scaling = variables, scaling
        fields = {"last": Field((len(scaling.mean),), "float32"), "waiting": Field((variables, features), "float32")}
        super().__init__(batch, fields)

    def bind(self) -> None:
        waiting = self.arrays["waiting"]
        self.waiting: Features = waiting.reshape(-1, waiting.shape[2])
        self._both = np.empty((len(self.waiting), waiting.shape[2] + len(self.scaling.mean)), np.float32)

    def join(self, given: Floats) -> Features:
        """The features of the last row beside the covariates of this one (N, P); a missing one is as it was last."""
        last = self.arrays["last"]
        with np.errstate(all="ignore"):
            scaled = self.scaling(given)
        np.copyto(last, scaled, where=np.isfinite(scaled))
        self._both[:, : self.waiting.shape[1]] = self.waiting
        self._both[:, self.waiting.shape[1] :] = np.repeat(last, self.variables, axis=0)
        return self._both


class Residuals(Online):
    """The statistics of what forecasts leave, of N streams of K variables."""

    def __init__(self, batch: int, variables: int) -> None:
        each = (variables,)
        super().__init__(batch, {"usual": Field(each), "sustained": Field(each), "seen": Field(each)})

    def bind(self) -> None:
        self._usual, self._sustained, self._seen = (self.arrays[n].reshape(-1) for n in ("usual", "sustained", "seen"))

    def update(self, residual: Floats, baseline: Baseline, out: Floats) -> None:
        """The statistics of residuals (R,), NaN where there is none, into `out` float64 (R, 2), and learn from them."""
        ok = np.isfinite(residual)
        size = np.abs(np.where(ok, residual, 0.0))
        usual, seen = self._usual, self._seen
        ratio = size / np.maximum(usual, GRAIN * baseline.scale)
        old = seen > SETTLED
        out[:, 0] = np.where(ok & old, np.log1p(ratio), 0.0)
        rate = np.maximum(1 / (seen + 1), 1 / SUSTAINED_ROWS) * ok
        self._sustained += rate * (np.minimum(ratio, MOST) - self._sustained)
        out[:, 1] = np.where(old, np.log1p(self._sustained), 0.0)
        reach = np.where(old, 10 * usual + GRAIN * baseline.scale, np.inf)
        usual += np.maximum(1 / (seen + 1), 1 / MEMORY) * ok * (np.minimum(size, reach) - usual)
        seen += ok


def grouped(surprise: Floats, members: int) -> Floats:
    """Surprises (R, M) in which residual and forecast are one, the larger of them: both judge one forecast."""
    found = np.delete(surprise, members, axis=1)
    found[:, 0] = np.maximum(found[:, 0], surprise[:, members])
    return found
