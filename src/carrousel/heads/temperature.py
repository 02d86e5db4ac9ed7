"""Temperature scaling: probabilities that mean what they say, by one number that changes no decision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIMITS = (0.05, 20.0)  # beyond it the held-out part has told nothing but that all were right, or none
STEPS = 80  # of the search, each of which leaves 0.618 of the interval: far below what float64 tells apart


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """exp(z / T) / Σ exp(z / T) over the last axis, in float64."""
    z = np.asarray(logits, np.float64) / temperature
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def fit_temperature(logits: Floats, truth: npt.NDArray[np.int64]) -> float:
    """The T that makes held-out truths most probable under softmax(z / T).

    Each truth counts as (N + 1) / (N + 2), the rest as spread over the other classes, so that a few examples which are
    all right do not make the model certain. The loss is convex in 1 / T: a search over log T finds its minimum.

    Parameters
    ----------
    logits : (N, C), of examples that were not trained on
    truth : int64 (N,)

    Returns
    -------
    T within LIMITS; 1.0 without examples

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks (§4.2); the truths: Platt 1999 (§2.2).
    """
    if not len(truth):
        return 1.0
    z = np.asarray(logits, np.float64)
    z = z - z.max(1, keepdims=True)
    own = z[np.arange(len(truth)), truth]
    doubt = 1 / (len(truth) + 2)
    aim = (1 - doubt) * own + doubt * (z.sum(1) - own) / (z.shape[1] - 1)

    def loss(log_temperature: float) -> float:
        t = np.exp(log_temperature)
        return float((np.log(np.exp(z / t).sum(1)) - aim / t).mean())

    low, high = np.log(LIMITS)
    ratio = (5**0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    for _ in range(STEPS):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return float(np.exp((low + high) / 2))
