"""Classes of a sequence while it comes, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.config import nearest
from carrousel.errors import DataError
from carrousel.features.word import WordEncoder
from carrousel.heads.temperature import softmax
from carrousel.tasks.classify_fitted import FittedClassifier

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a sequence is by what has come of it.

    Parameters
    ----------
    label : the most probable class: of the sequence, or, with a class a step, of its newest step
    probability : of that class
    probabilities : of every class
    steps : samples or words that have come
    """

    label: int | str
    probability: float
    probabilities: dict[int | str, float]
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        each = {str(label): round(p, 6) for label, p in self.probabilities.items()}
        return {
            "label": self.label,
            "probability": round(self.probability, 6),
            "probabilities": each,
            "steps": self.steps,
        }


class ClassifyStream:
    """One sequence, answered after every sample with what would be said of it if it ended here.

    A model that reads one way takes a step and keeps its state: every sample costs the same. A bidirectional one reads
    everything again that has come.
    """

    def __init__(self, fitted: FittedClassifier) -> None:
        self._fitted = fitted
        self._names = [str(name) for name in fitted.learned.variables]
        self.reset()

    def reset(self) -> None:
        """Forget what has come: the next sample begins a new sequence."""
        sizes = self._fitted.sizes
        self.steps = 0
        self._session = None if sizes.bidirectional else self._fitted.engine.session()
        self._encoder = None if self._fitted.words is None else WordEncoder(self._fitted.words)
        self._seen: list[npt.NDArray[np.generic]] = []  # all that has come, or the last window of it
        self._last: Floats | None = None
        self._largest = np.full((sizes.members, sizes.width), -np.inf, np.float32)
        self._sum = np.zeros((sizes.members, sizes.width))
        self._answer: Answer | None = None

    def update(self, sample: Any) -> Answer | None:
        """Take the next sample in.

        Parameters
        ----------
        sample : numbers (K,), a single one where K = 1, or a mapping from the variables' names; NaN or None for what is
            missing. Of texts: the next piece, in which a last word may be unfinished

        Returns
        -------
        None as long as no word of a text has ended

        Raises
        ------
        DataError : another kind of sample, or other variables
        """
        if self._encoder is not None:
            if not isinstance(sample, str):
                raise DataError(f"sample: expected a piece of text, got {type(sample).__name__}")
            return self._push(self._encoder.push(sample))
        assert self._fitted.scaler is not None
        scaled = self._fitted.scaler.apply(self._values(sample)[None], self._last)
        self._last = scaled[0, : len(self._names)].astype(np.float64)
        return self._push(scaled)

    def finish(self) -> Answer | None:
        """The answer behind the last sample; of a text, its last word counts from here on. None: nothing has come."""
        return self._push(self._encoder.finish()) if self._encoder is not None else self._answer

    def _push(self, inputs: npt.NDArray[np.generic]) -> Answer | None:
        if not len(inputs):
            return self._answer
        self._answer = self._said(self._again(inputs) if self._session is None else self._go_on(inputs))
        return self._answer

    def _again(self, inputs: npt.NDArray[np.generic]) -> Floats:
        self._seen.append(inputs)
        self.steps += len(inputs)
        return self._fitted.scores([np.concatenate(self._seen)])[0][-1]

    def _go_on(self, inputs: npt.NDArray[np.generic]) -> Floats:
        sizes, session = self._fitted.sizes, self._session
        assert session is not None
        logits = np.zeros(sizes.classes)
        for sample in inputs:
            self.steps += 1
            x = self._step_input(sample)
            for member in range(sizes.members):
                y = session.step(x, stack=f"encode_{member}")
                self._largest[member] = np.maximum(self._largest[member], y[0])
                self._sum[member] = y[0] if sizes.steps else self._sum[member] + y[0]
        for member in range(sizes.members):
            mean = self._sum[member] if sizes.steps else self._sum[member] / self.steps
            parts = [mean.astype(np.float32)] if sizes.steps else [self._largest[member], mean.astype(np.float32)]
            logits += session.step(np.concatenate(parts)[None], stack=f"decide_{member}")[0]
        return logits / sizes.members / self._fitted.learned.temperature

    def _step_input(self, sample: Any) -> npt.NDArray[Any]:
        """What a step of the network takes: an id (1,), or a window (1, W·K)."""
        sizes = self._fitted.sizes
        if sizes.kind == "text":
            return np.array([sample], np.int64)
        self._seen = [*(self._seen or [sample] * (sizes.window - 1)), sample][-sizes.window :]
        return np.concatenate(self._seen)[None]

    def _said(self, scores: Floats) -> Answer:
        p = softmax(scores)
        best = int(p.argmax())
        answers = self._fitted.answers.tolist()
        return Answer(
            label=answers[best],
            probability=float(p[best]),
            probabilities=dict(zip(answers, p.tolist(), strict=True)),
            steps=self.steps,
        )

    def _values(self, sample: Any) -> Floats:
        """(K,) numbers of a sample, NaN for what is missing."""
        names = self._names
        if isinstance(sample, Mapping):
            for name in sample:
                if name not in names:
                    raise DataError(f"sample: unknown variable {name!r}; {nearest(str(name), names)}")
            sample = [sample.get(name) for name in names]
        elif np.ndim(sample) == 0:
            sample = [sample]
        try:
            values = np.array([math.nan if value is None else float(value) for value in sample])
        except (TypeError, ValueError):
            raise DataError(f"sample: expected numbers ({len(names)},), got {sample!r}") from None
        if len(values) != len(names):
            raise DataError(f"sample: expected {len(names)} numbers ({', '.join(names)}), got {len(values)}")
        return np.where(np.isfinite(values), values, np.nan)
