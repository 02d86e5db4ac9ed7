"""How good a classifier is on sequences whose classes are known, beside what it must beat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.metrics import classify as metric
from carrousel.metrics.classify import Reliability

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

OWN = "Carrousel"
MAJORITY = "class shares"


@dataclass(frozen=True, kw_only=True)
class ClassifyScore:
    """One classifier's numbers on N examples; see ``carrousel.metrics.classify``.

    Parameters
    ----------
    accuracy, macro_f1 : of the most probable class
    log_loss, brier, calibration_error : of the probabilities
    """

    accuracy: float
    macro_f1: float
    log_loss: float
    brier: float
    calibration_error: float

    @classmethod
    def of(cls, truth: Index, probabilities: Floats) -> ClassifyScore:
        """The scores of probabilities (N, C)."""
        predicted, classes = probabilities.argmax(1), probabilities.shape[1]
        return cls(
            accuracy=metric.accuracy(truth, predicted),
            macro_f1=metric.macro_f1(truth, predicted, classes),
            log_loss=metric.log_loss(truth, probabilities),
            brier=metric.brier(truth, probabilities),
            calibration_error=metric.calibration_error(truth, probabilities),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifyEvaluation:
    """What classifiers said of the same examples.

    Parameters
    ----------
    classes : their names, (C,)
    truth : int64 (N,)
    probabilities : by classifier, the model itself first, each (N, C)
    uncalibrated : the model's calibration error without its temperature
    names : of the examples, (N,): a text, or the name of a sequence
    """

    classes: tuple[str, ...]
    truth: Index
    probabilities: dict[str, Floats]
    uncalibrated: float
    names: tuple[str, ...]

    @cached_property
    def scores(self) -> dict[str, ClassifyScore]:
        """By classifier, the model itself first."""
        return {name: ClassifyScore.of(self.truth, p) for name, p in self.probabilities.items()}

    @property
    def accuracy(self) -> float:
        return self.scores[OWN].accuracy

    @property
    def macro_f1(self) -> float:
        return self.scores[OWN].macro_f1

    @cached_property
    def confusion(self) -> Index:
        """How often each class (row) was taken for each class (column), int64 (C, C)."""
        return metric.confusion(self.truth, self.probabilities[OWN].argmax(1), len(self.classes))

    @cached_property
    def reliability(self) -> Reliability:
        """The model's confidence beside its accuracy."""
        return metric.reliability(self.truth, self.probabilities[OWN])

    def errors(self, most: int = 10) -> list[tuple[str, str, str, float]]:
        """Name, true class, predicted class and its probability of the errors that the model was surest of."""
        p = self.probabilities[OWN]
        predicted = p.argmax(1)
        wrong = np.flatnonzero(predicted != self.truth)
        wrong = wrong[np.argsort(-p[wrong, predicted[wrong]], kind="stable")][:most]
        return [
            (self.names[k], self.classes[self.truth[k]], self.classes[predicted[k]], float(p[k, predicted[k]]))
            for k in wrong.tolist()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        by_class = metric.f1_by_class(self.truth, self.probabilities[OWN].argmax(1), len(self.classes))
        return {
            "examples": len(self.truth),
            "classes": list(self.classes),
            "scores": {name: vars(score) for name, score in self.scores.items()},
            "calibration_error_without_temperature": self.uncalibrated,
            "f1": {name: None if np.isnan(f) else f for name, f in zip(self.classes, by_class.tolist(), strict=True)},
            "confusion": self.confusion.tolist(),
        }
