"""Lines: how sure a discounted fit of one is, and a first one through few means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def variance(weights: Floats) -> tuple[Floats, Floats]:
    """Of level and slope, (M,) each, for independent noise of variance 1 a row: the diagonal of R⁻¹ Q R⁻¹.

    Parameters
    ----------
    weights : (2, 3, M), the sums of w, w age and w age² that make up R; and of their squares, w², which make up Q
    """
    (s0, s1, s2), (q0, q1, q2) = weights
    det = s0 * s2 - s1 * s1
    s0, s1, s2 = s0 / det, s1 / det, s2 / det
    return s2 * s2 * q0 - 2.0 * s2 * s1 * q1 + s1 * s1 * q2, s1 * s1 * q0 - 2.0 * s1 * s0 * q1 + s0 * s0 * q2


def median_slope(means: Floats) -> Floats:
    """The median of the slopes between any two of four means, (4, M), a step: Theil and Sen's estimate, (M,)."""
    one, two, three, four = means
    pairs = [two - one, three - two, four - three, (three - one) / 2.0, (four - two) / 2.0, (four - one) / 3.0]
    slopes = np.sort(pairs, axis=0)
    return (slopes[2] + slopes[3]) / 2.0
