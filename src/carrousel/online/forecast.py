"""The network's quantiles of what comes next, kept until it has come, and how far beyond them it was.

Values pass through asinh((x − mean) / spread): linear near the mean, logarithmic far from it, so that a network of
bounded units copes with any unit and any tail. For each horizon the head gives ``head_size`` numbers: four logits that
mix the candidates *last value, mean, habit of the day, habit of the week*, an offset from the mixture, the logarithm of
the spread, and the gaps between the quantiles in units of it. A fresh stream thus starts from sensible forecasts, and
the network says which candidate holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.online.baseline import MOST, Baseline
from carrousel.online.state import Field, Online

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

HORIZONS = (1, 8)  # rows ahead
QUANTILES = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)
MIDDLE = len(QUANTILES) // 2
CANDIDATES = 4
OFFSET, LOG_SPREAD, LEAST_SPREAD, GAP = 0.3, (2.0, -1.5), -9.0, 0.5413  # softplus(0.5413) = 1
_P = np.array(QUANTILES)
_LOG_STEP = float(np.log(QUANTILES[1] / QUANTILES[0]))


def head_size() -> int:
    """Numbers that the head gives for each horizon."""
    return CANDIDATES + 2 + len(QUANTILES) - 1


def quantiles(head: npt.NDArray[np.floating], candidates: Floats) -> Floats:
    """Quantiles out of what the head says.

    Parameters
    ----------
    head : float (..., head_size())
    candidates : float (..., 4), the last value, the mean (0) and the habits of day and week, through asinh

    Returns
    -------
    float64 (..., 7), ascending
    """
    head = head.astype(np.float64)
    logits = head[..., :CANDIDATES]
    share = np.exp(logits - logits.max(-1, keepdims=True))
    weighted = np.add.accumulate(share * candidates, -1)[..., -1] / np.add.accumulate(share, -1)[..., -1]
    middle = weighted + OFFSET * head[..., CANDIDATES]
    spread = np.exp(np.clip(LOG_SPREAD[0] * head[..., CANDIDATES + 1] + LOG_SPREAD[1], LEAST_SPREAD, 2.0))
    gaps = np.logaddexp(head[..., CANDIDATES + 2 :] + GAP, 0) * spread[..., None]
    return _apart(middle[..., None], gaps)


def _apart(middle: Floats, gaps: Floats) -> Floats:
    """Quantiles (..., 7) with that one in the middle (..., 1), and these gaps (..., 6) between them."""
    above = middle + np.add.accumulate(gaps[..., MIDDLE:], -1)
    below = middle - np.add.accumulate(gaps[..., MIDDLE - 1 :: -1], -1)
    return np.concatenate([below[..., ::-1], middle, above], -1)


def surprise(z: Floats, q: Floats) -> Floats:
    """−ln(2 min(F, 1 − F)) at z, for the distribution F with the quantiles q: 0 at the median, 1 where e⁻¹ is beyond.

    Between two quantiles F is linear; beyond the outer ones its tails are exponential, as steep as within the last two.

    Parameters
    ----------
    z : float64 (...)
    q : float64 (..., 7), ascending
    """
    k = (z[..., None] > q).sum(-1)
    left = np.clip(k - 1, 0, len(_P) - 2)
    a = np.take_along_axis(q, left[..., None], -1)[..., 0]
    b = np.take_along_axis(q, left[..., None] + 1, -1)[..., 0]
    f = _P[left] + (_P[left + 1] - _P[left]) * np.clip((z - a) / np.maximum(b - a, 1e-9), 0, 1)
    inner = -np.log(np.maximum(2 * np.minimum(f, 1 - f), 1e-12))
    below = (q[..., 0] - z) / np.maximum((q[..., 1] - q[..., 0]) / _LOG_STEP, 1e-4)
    above = (z - q[..., -1]) / np.maximum((q[..., -1] - q[..., -2]) / _LOG_STEP, 1e-4)
    outer = np.maximum(np.maximum(below, above), 0) - np.log(2 * _P[0])
    return np.where((k == 0) | (k == len(_P)), outer, inner)


class Forecast(Online):
    """Forecasts of N streams of K variables that wait for their rows."""

    def __init__(self, batch: int, variables: int) -> None:
        self.variables = variables
        length, waiting = max(HORIZONS), sum(HORIZONS)  # of each horizon as many forecasts wait as it is long
        super().__init__(
            batch,
            {
                "middle": Field((waiting, variables), "float32"),
                "gaps": Field((waiting, variables, len(QUANTILES) - 1), "float16"),  # between the quantiles
                "mean": Field((length, variables)),
                "scale": Field((length, variables), "float32"),
                "made": Field((), "int64"),
            },
        )

    def bind(self) -> None:
        self._row = np.arange(self.batch)

    def take(self, baseline: Baseline) -> tuple[Floats, Floats]:
        """The forecasts of the row that `baseline` has just taken in.

        Returns
        -------
        statistics float64 (R, 2), log(1 + surprise) at each horizon, 0 where there was no forecast; band float64
        (R, 3), 5%, 50% and 95% of the one-row forecast in the units of the series, NaN where there was none
        """
        made, length = self.arrays["made"], max(HORIZONS)
        rows = self.batch * self.variables
        out = np.empty((rows, len(HORIZONS)))
        band = np.empty((rows, 3))
        for place, horizon in enumerate(HORIZONS):
            slot = (made - horizon) % length
            at = sum(HORIZONS[:place]) + made % horizon
            middle = self.arrays["middle"][self._row, at].reshape(rows, 1).astype(np.float64)
            q = _apart(middle, self.arrays["gaps"][self._row, at].reshape(rows, -1).astype(np.float64))
            mean = self.arrays["mean"][self._row, slot].reshape(-1)
            scale = self.arrays["scale"][self._row, slot].reshape(-1).astype(np.float64)
            there = scale > 0
            z = np.arcsinh((baseline.value - mean) / np.where(there, scale, 1))
            out[:, place] = np.where(there & baseline.each(made >= horizon), np.log1p(surprise(z, q)), 0)
            if place == 0:
                band[...] = mean[:, None] + scale[:, None] * np.sinh(q[:, [1, MIDDLE, -2]])
                band[~(there & baseline.each(made >= 1))] = np.nan
        return out, band

    def put(
        self,
        head: npt.NDArray[np.float32],
        baseline: Baseline,
        features: npt.NDArray[np.float32],
        there: Flags | None = None,
    ) -> None:
        """Keep what the head says after a row, float32 (R, 2 · head_size()), whose `features` are (R, F).

        `there`, bool (R,), tells for which variables it is a forecast: by default for all.
        """
        rows = self.batch * self.variables
        numbers = head.reshape(rows, len(HORIZONS), head_size())
        candidates = np.zeros((rows, len(HORIZONS), CANDIDATES))
        candidates[:, :, 0] = features[:, :1]
        candidates[:, :, 2:] = features[:, 2 : 2 + 2 * len(HORIZONS)].reshape(rows, len(HORIZONS), 2)
        made = self.arrays["made"]
        slot = made % max(HORIZONS)
        found = quantiles(numbers, candidates)
        gaps = np.clip(np.diff(found), -MOST, MOST).astype(np.float32).astype(np.float16)
        for place, horizon in enumerate(HORIZONS):
            at = sum(HORIZONS[:place]) + made % horizon
            self.arrays["middle"][self._row, at] = found[:, place, MIDDLE].reshape(self.batch, -1)
            self.arrays["gaps"][self._row, at] = gaps[:, place].reshape(self.batch, self.variables, -1)
        self.arrays["mean"][self._row, slot] = baseline.mean.reshape(self.batch, -1)
        scale = baseline.deviation() if there is None else np.where(there, baseline.deviation(), 0.0)
        self.arrays["scale"][self._row, slot] = scale.reshape(self.batch, -1)
        made += 1
