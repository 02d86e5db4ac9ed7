"""Detectors of one line each, which any other should beat: scores float64 (T,) of values (T,), causal, no settings.

And the rule of alarm of ``carrousel.online.beyond`` without a network, which says what the network is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from carrousel.online.beyond import Beyond

Floats = npt.NDArray[np.float64]

ROLLING_ROWS = 100


def chance(values: Floats) -> Floats:
    """Uniform random numbers."""
    return np.random.default_rng(0).random(len(values))


def last_change(values: Floats) -> Floats:
    """The last change, in deviations of all changes before it."""
    change = np.diff(_filled(values), prepend=values[:1])
    rows = np.arange(len(values))
    return _in_deviations(change, np.zeros_like(rows), rows)


def three_sigma(values: Floats) -> Floats:
    """The value's distance from the mean of the hundred rows before it, in their deviations."""
    rows = np.arange(len(values))
    return _in_deviations(_filled(values), np.maximum(rows - ROLLING_ROWS, 0), rows)


def _in_deviations(values: Floats, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> Floats:
    """|value − mean| / deviation, both of the rows first:last, int64 (T,); 0 where they are fewer than three."""
    values = values - values[0]  # sums of squares of a small series on a high level would lose their digits
    total, square = (np.append(0.0, np.cumsum(power)) for power in (values, values**2))
    count = np.maximum(last - first, 1)
    mean = (total[last] - total[first]) / count
    deviation = np.sqrt(np.maximum((square[last] - square[first]) / count - mean**2, 0))
    score = np.abs(values - mean) / np.maximum(deviation, 1e-9 * (1 + np.abs(values).max()))
    return np.where(last - first < 3, 0.0, score)


def _filled(values: Floats) -> Floats:
    """With what is missing filled by the last value, the first by 0."""
    seen = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values)), -1))
    return np.where(seen >= 0, values[seen], 0.0)


SIMPLE: Mapping[str, Callable[[Floats], Floats]] = {
    "random": chance,
    "last change in deviations": last_change,
    "rolling 3 sigma": three_sigma,
}


def beyond_last(train: Floats, values: Floats, share: float) -> npt.NDArray[np.bool_]:
    """Rows of incidents, bool (N, T), where the row before is the forecast of each.

    Parameters
    ----------
    train : float64 (R,), what is calm
    values : float64 (N, T), each of which goes on after it
    share : as of ``Beyond``
    """
    rule = Beyond(len(values), 1, share)
    rows = np.concatenate([np.broadcast_to(train, (len(values), len(train))), values], axis=1)
    change = np.diff(rows, axis=1, prepend=np.nan)
    inside = np.zeros(rows.shape, bool)
    rule.open()
    for t in range(rows.shape[1]):
        if t == len(train):
            rule.close()
        _, inside[:, t], _ = rule.update(np.ascontiguousarray(rows[:, t : t + 1]), change[:, t : t + 1])
    return inside[:, len(train) :]
