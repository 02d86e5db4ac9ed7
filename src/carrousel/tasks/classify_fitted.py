"""A trained classifier as arrays: what the artifact holds, and classes of any sequences, without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.sequence import Sequences
from carrousel.engine import Dtype, Engine
from carrousel.errors import DataError
from carrousel.features.classify import ClassifySizes, Scaler, padded, windows
from carrousel.features.word import Words
from carrousel.heads.kernel import KernelRidge
from carrousel.tasks.classify_likeness import likeness_of, likeness_scores
from carrousel.tasks.classify_setting import ClassifyLearned

Floats = npt.NDArray[np.float64]
Inputs = Sequence[npt.NDArray[np.generic]]
ROWS, CELLS = 64, 1 << 16  # sequences, and steps of all of them, that are classified at once


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedClassifier:
    """A trained classifier.

    Parameters
    ----------
    sizes : of its networks
    learned : what the training found
    weights : of ``sizes.architecture()``
    words : of texts
    scaler : of numbers
    context : arrays of the baseline and of the likeness, see ``tasks.classify_baseline``, ``tasks.classify_likeness``
    dtype : what the engine stores the weights as
    """

    sizes: ClassifySizes
    learned: ClassifyLearned
    weights: dict[str, npt.NDArray[np.float32]]
    words: Words | None = None
    scaler: Scaler | None = None
    context: dict[str, npt.NDArray[Any]] = field(default_factory=dict[str, npt.NDArray[Any]])
    dtype: Dtype = "float32"

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.sizes.architecture(), self.weights, dtype=self.dtype)

    @cached_property
    def likeness(self) -> KernelRidge | None:
        """What is said beside the networks; None where it does not count."""
        return likeness_of(self.context) if self.learned.likeness else None

    @cached_property
    def answers(self) -> npt.NDArray[Any]:
        """The classes as they are answered: int64, or object of str; (C,)."""
        if self.learned.whole:
            return np.array([int(label) for label in self.learned.labels], np.int64)
        return np.array(self.learned.labels, object)

    def inputs(self, sequences: Sequences) -> Inputs:
        """What the networks take.

        Raises
        ------
        DataError : texts for a model of numbers or the other way round, or another number of variables
        """
        if sequences.kind != self.sizes.kind:
            words = {"text": "texts", "numeric": "numbers"}
            raise DataError(
                f"sequences: expected {words[self.sizes.kind]}, on which the model was trained, got "
                f"{words[sequences.kind]}"
            )
        if self.words is not None:
            return [self.words.encode(text) for text in sequences.texts]
        assert self.scaler is not None
        wanted = len(self.learned.variables)
        if len(sequences.variables) != wanted:
            raise DataError(
                f"sequences: expected {wanted} variables a step ({', '.join(self.learned.variables)}), got "
                f"{len(sequences.variables)}"
            )
        return [self.scaler.apply(values) for values in sequences.values]

    def codes(self, labels: Sequence[Any], where: str = "labels") -> npt.NDArray[np.int64]:
        """Numbers of classes, int64 (N,).

        Raises
        ------
        DataError : a class that there was none of in training
        """
        known = {label: k for k, label in enumerate(self.learned.labels)}
        found = [known.get(str(label), -1) for label in labels]
        if -1 in found:
            place = found.index(-1)
            raise DataError(
                f"{where}: expected labels among {', '.join(self.learned.labels)}, on which the model was trained, got "
                f"{labels[place]!r}; leave such examples out, or train with them"
            )
        return np.array(found, np.int64)

    def logits(self, inputs: Inputs) -> list[Floats]:
        """Of each sequence, (1, C), or (L, C) with a class a step: the members' mean, not yet divided by T."""
        found: list[Floats] = [np.empty(0)] * len(inputs)
        order = np.argsort([len(sequence) for sequence in inputs], kind="stable").tolist()
        while order:
            longest = len(inputs[order[-1]])
            count = max(1, min(ROWS, CELLS // longest))
            rows, order = order[-count:], order[:-count]  # alike in length, so that little is padded
            x, lengths = padded([inputs[row] for row in rows])
            if self.sizes.kind == "numeric":
                x = windows(x.astype(np.float32), self.sizes.window)
            z = self._batch(x, lengths)
            for k, row in enumerate(rows):
                found[row] = z[k, : lengths[k]] if self.sizes.steps else z[k : k + 1]
        return found

    def _batch(self, x: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> Floats:
        """Logits (N, C) or (N, L, C) of padded sequences."""
        session = self.engine.session(len(x))
        total: Floats | float = 0.0
        for member in range(self.sizes.members):
            y = session.run(x, lengths, stack=f"encode_{member}")
            if self.sizes.steps:
                z = session.run(y, lengths, stack=f"decide_{member}")
            else:
                z = session.step(pooled(y, lengths), stack=f"decide_{member}")
            total = total + z.astype(np.float64)
        return np.asarray(total) / self.sizes.members

    def scores(self, inputs: Inputs, logits: Sequence[Floats] | None = None) -> list[Floats]:
        """What the softmax makes probabilities of, as ``logits``: those ÷ T, and what the likeness adds.

        Parameters
        ----------
        logits : of the inputs, where they are known already
        """
        found = [z / self.learned.temperature for z in (self.logits(inputs) if logits is None else logits)]
        if self.likeness is None:
            return found
        alike = self.learned.likeness * likeness_scores(self.likeness, inputs)
        return [z + own for z, own in zip(found, alike[:, None], strict=True)]


def pooled(y: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The largest and the mean of each output over the steps of a sequence: (N, L, width) → (N, 2·width)."""
    valid = (np.arange(y.shape[1]) < lengths[:, None])[..., None]
    largest = np.where(valid, y, -np.inf).max(1)
    mean = y.sum(1, dtype=np.float64) / lengths[:, None]  # the engine gives 0 beyond a length
    return np.concatenate([largest, mean.astype(np.float32)], 1)
