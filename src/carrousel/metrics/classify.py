"""How good classes and their probabilities are.

Truths and predictions are codes from 0 to C − 1, probabilities float64 (N, C) with rows that sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.errors import ShapeError

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

BINS = 15
LEAST = 1e-12  # a probability of 0 for what happens costs 27.6 nats, not infinitely many


@dataclass(frozen=True, eq=False)
class Reliability:
    """What came true of what was believed, by equal parts of [0, 1] into which the largest probability falls.

    Parameters
    ----------
    count : int64 (B,), predictions in each bin
    confidence, accuracy : float64 (B,), means in each bin; NaN in an empty one
    """

    count: Codes
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance between the two, each bin by its count."""
        distance = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(self.count * distance) / max(1, self.count.sum()))


def confusion(truth: Codes, predicted: Codes, classes: int) -> Codes:
    """How often each class (row) was taken for each class (column), int64 (C, C).

    Raises
    ------
    ShapeError : truth and predicted differ in shape
    """
    _check(truth, predicted)
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def accuracy(truth: Codes, predicted: Codes) -> float:
    """Share of predictions that are true; NaN of none."""
    _check(truth, predicted)
    return float((truth == predicted).mean()) if len(truth) else float("nan")


def f1_by_class(truth: Codes, predicted: Codes, classes: int) -> Floats:
    """2·hits / (truths + predictions) of each class, float64 (C,); NaN of a class that occurs in neither."""
    table = confusion(truth, predicted, classes)
    sums = table.sum(0) + table.sum(1)
    return np.where(sums > 0, 2 * np.diag(table) / np.maximum(sums, 1), np.nan)


def macro_f1(truth: Codes, predicted: Codes, classes: int) -> float:
    """Mean F1 over the classes that occur among truths or predictions, each alike however rare; NaN of none."""
    each = f1_by_class(truth, predicted, classes)
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def log_loss(truth: Codes, probabilities: Floats) -> float:
    """Mean of −log p of what was true, in nats."""
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, LEAST)).mean())


def brier(truth: Codes, probabilities: Floats) -> float:
    """Mean of Σ_c (p_c − [c is true])²: 0 at best, 2 at worst.

    References
    ----------
    Brier 1950.
    """
    return float(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(1).mean())


def reliability(truth: Codes, probabilities: Floats, bins: int = BINS) -> Reliability:
    """Confidence beside accuracy, by confidence; its ``error`` is the expected calibration error.

    References
    ----------
    Guo et al. 2017, On calibration of modern neural networks (§2).
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights=values, minlength=bins) / count for values in (confidence, right)]
    return Reliability(count, *means)


def calibration_error(truth: Codes, probabilities: Floats, bins: int = BINS) -> float:
    """The expected calibration error; see ``reliability``."""
    return reliability(truth, probabilities, bins).error


def _check(truth: Codes, predicted: Codes) -> None:
    if truth.shape != predicted.shape:
        raise ShapeError(f"predicted: expected {truth.shape} as the truths have, got {predicted.shape}")
