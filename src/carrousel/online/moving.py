"""Moving averages of blocks of rows at several scales: gains, and how far they wander where blocks are independent.

What is divided by that variance has the long-run variance of the blocks for its mean, whatever their dependence, and
that is learnt from the stream itself (self-normalisation: Shao & Zhang 2010, Testing for Change Points in Time Series,
JASA 105, §2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Moving(NamedTuple):
    """What depends on nothing but how many blocks k there were, each (J, longest + 1).

    Parameters
    ----------
    gain : of the averages, a_k = max(2/(s + 1), 1/k)
    variance : of the averages, or of their difference from the mean of all blocks, for independent blocks of variance 1
    remember : gain of the history of their squares, 1 over the blocks since half the wait; 0 before
    judge : 1 / (h² (1 + s/k)), the larger threshold allowing for the shorter history; 0 during the wait
    """

    gain: Floats
    variance: Floats
    remember: Floats
    judge: Floats


def moving(
    scales: Sequence[int], wait: Sequence[int], threshold: Sequence[float], longest: int, *, against_mean: bool
) -> Moving:
    """The tables for each scale.

    Parameters
    ----------
    scales, wait : blocks
    threshold : h², for each scale
    longest : the last k
    against_mean : whether what is judged is the difference from the mean of all blocks
    """
    tables = Moving(*np.zeros((4, len(scales), longest + 1)))
    k = np.arange(longest + 1)
    for j, (scale, rows) in enumerate(zip(scales, wait, strict=True)):
        recent = usual = both = 0.0  # variances and covariance of the two means
        tables.variance[j, 0] = 1.0
        for i in range(1, longest + 1):
            a, b = max(2.0 / (scale + 1.0), 1.0 / i), against_mean / i
            recent = (1.0 - a) ** 2 * recent + a * a
            usual = (1.0 - b) ** 2 * usual + b * b
            both = (1.0 - a) * (1.0 - b) * both + a * b
            tables.gain[j, i] = a
            tables.variance[j, i] = max(recent + usual - 2.0 * both, 1e-12)
        since = k - rows // 2
        tables.remember[j] = np.where(since > 0, 1.0 / np.maximum(since, 1), 0.0)
        tables.judge[j] = np.where(k > rows, 1.0 / (threshold[j] * (1.0 + scale / np.maximum(k, 1))), 0.0)
    return tables


def stacked(tables: Moving) -> Floats:
    """The four tables as one array, (4, J, longest + 1): that in which they lie."""
    base = tables.gain.base
    assert base is not None
    return base
