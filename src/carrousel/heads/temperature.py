"""Temperature scaling: probabilities that mean what they say, by one number; and the weights of several judges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LIMITS = (0.05, 20.0)  # beyond it the held-out part has told nothing but that all were right, or none
MOST_WEIGHT = 50.0  # of a judge beside the first
NEWTON, HALVINGS = 50, 30  # steps, and shorter ones tried at each: convergence is quadratic, a dozen are enough
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


def fit_weights(judges: Sequence[Floats], truth: npt.NDArray[np.int64]) -> Floats:
    """Weights w with which held-out truths are most probable under softmax(Σ_k w_k·z_k).

    ``fit_temperature`` of several judges, with the same view of the truths. The first weight lies between the inverses
    of LIMITS, so that 1 / w is a temperature, others between 0 and MOST_WEIGHT. The loss is convex: Newton's method on
    the weights that are off their bounds finds its minimum.

    Parameters
    ----------
    judges : K of (N, C), of examples that were not trained on
    truth : int64 (N,)

    Returns
    -------
    (K,); the first 1, others 0, without examples
    """
    count = len(judges)
    low, high = _bounds(count)
    w = np.eye(count)[0]
    if not len(truth):
        return w
    z = np.stack([np.asarray(judge, np.float64) for judge in judges])  # (K, N, C)
    rows, classes = z.shape[1:]
    doubt = 1 / (rows + 2)
    aim = np.full((rows, classes), doubt / (classes - 1))
    aim[np.arange(rows), truth] = 1 - doubt

    def loss(w: Floats) -> float:
        s = np.tensordot(w, z, 1)
        s = s - s.max(1, keepdims=True)
        return float((np.log(np.exp(s).sum(1)) - (aim * s).sum(1)).mean())

    now = loss(w)
    for _ in range(NEWTON):
        p = softmax(np.einsum("k,knc->nc", w, z))
        slope = ((p - aim) * z).sum(2).mean(1)
        spread = z - (p * z).sum(2, keepdims=True)
        curve = np.einsum("knc,lnc->kl", spread * p, z) / rows
        free = ~(((w <= low) & (slope > 0)) | ((w >= high) & (slope < 0)))
        step = np.zeros(count)
        ridge = 1e-9 * np.trace(curve) + 1e-12
        step[free] = np.linalg.solve(curve[np.ix_(free, free)] + ridge * np.eye(int(free.sum())), slope[free])
        for halving in range(HALVINGS):
            then = np.clip(w - step / 2**halving, low, high)
            if (value := loss(then)) < now:
                break
        else:
            break
        w, now = then, value
    return w


def fit_ensemble(
    judges: Sequence[Floats], truth: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], members: int
) -> tuple[Floats, Floats]:
    """Weights for the mean of several networks, out of what single ones said of examples that they had not seen.

    A mean errs less than its members and may be surer. As the noise of a mean of M falls with 1 / M, so does what the
    temperature has beyond that of a mean of infinitely many. Examples that two networks held out show the first half of
    that way, T_2 − T_1, of which a mean of M has gone the share 1 − 1 / M. The weights of other judges go down as the
    first goes up: least squares with a noisy regressor behave so.

    Parameters
    ----------
    judges : as in ``fit_weights``: first the networks, each row by one of them
    truth, rows : of each row of these, int64 (N,): its class, and which example it is
    members : M

    Returns
    -------
    weights for the mean, weights for single networks : each (K,)
    """
    single = fit_weights(judges, truth)
    order = np.argsort(rows, kind="stable")
    first = np.flatnonzero(np.diff(rows[order]) == 0)
    if not len(first) or members < 2:
        return single, single
    a, b = order[first], order[first + 1]
    both, own = np.concatenate([a, b]), truth[a]
    alone = fit_weights([judge[both] for judge in judges], truth[both])
    mean = fit_weights([(judge[a] + judge[b]) / 2 for judge in judges], own)
    low, high = _bounds(len(judges))
    way = 2 * (1 - 1 / members)
    # Where all is noise, a mean of M has 2 / M of the temperature of a mean of two: no mean has less.
    first_weight = 1 / max(1 / single[0] + way * (1 / mean[0] - 1 / alone[0]), 2 / members / mean[0], 1 / high[0])
    gone = mean[0] - alone[0]
    share = (first_weight - single[0]) / gone if abs(gone) > 1e-6 * alone[0] else way
    found = single + min(max(share, 0.0), 2 * way) * (mean - alone)
    found[0] = first_weight
    return np.clip(found, low, high), single


def _bounds(count: int) -> tuple[Floats, Floats]:
    """Least and greatest weights of so many judges."""
    return np.array([1 / LIMITS[1]] + [0.0] * (count - 1)), np.array([1 / LIMITS[0]] + [MOST_WEIGHT] * (count - 1))
