"""The classifier's sizes and its layers as plain data; and sequences as the arrays that its networks take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear
from carrousel.config import Range, check
from carrousel.errors import SettingError

Size = Annotated[int, Range(1)]
Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
POOLS = 2  # of a sequence's outputs: the largest and the mean of each
POINTS = 64  # steps to which sequences are brought where they are compared as wholes
VIEWS = 3  # of such a whole: see `views`


@dataclass(frozen=True, kw_only=True)
class ClassifySizes:
    """Sizes of a classifier.

    Parameters
    ----------
    kind : texts, read word by word, or numbers
    inputs : V, words with a vector; or K, values a step
    window : W, steps that one step of the LSTM sees: itself and those before it; 1 for texts
    embedding_size : E, of a word's vector, or of what is made of a window
    hidden_size, num_layers, bidirectional : of the LSTM
    classes : C, at least 2
    steps : a class a step instead of one a sequence
    members : networks of the ensemble
    """

    kind: Literal["text", "numeric"]
    inputs: Size
    window: Size
    embedding_size: Size
    hidden_size: Size
    num_layers: Size
    bidirectional: bool
    classes: Annotated[int, Range(2)]
    steps: bool
    members: Size

    def __post_init__(self) -> None:
        check(self, where="sizes")
        if self.kind == "text" and (self.window > 1 or self.steps):
            raise SettingError("sizes: expected window=1 and a class a sequence for texts, got others")

    @property
    def width(self) -> int:
        """Values that the LSTM gives at a step."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    @property
    def pooled(self) -> int:
        """Values on which a decision rests."""
        return self.width * (1 if self.steps else POOLS)

    def architecture(self) -> Architecture:
        """Each member's ``input_0``, ``lstm_0``, ``head_0`` and its routes ``encode_0`` and ``decide_0``."""
        layers: list[Layer] = []
        stacks: dict[str, tuple[str, ...]] = {}
        e = self.embedding_size
        for m in range(self.members):
            if self.kind == "text":
                layers.append(Embedding(name=f"input_{m}", num_embeddings=self.inputs, embedding_dim=e))
            else:
                seen = self.window * self.inputs
                layers.append(Linear(name=f"input_{m}", input_size=seen, output_size=e, activation="relu"))
            layers += [
                LSTM(name=f"lstm_{m}", input_size=e, hidden_size=self.hidden_size, num_layers=self.num_layers,
                     bidirectional=self.bidirectional),
                Linear(name=f"head_{m}", input_size=self.pooled, output_size=self.classes),
            ]  # fmt: skip
            stacks |= {f"encode_{m}": (f"input_{m}", f"lstm_{m}"), f"decide_{m}": (f"head_{m}",)}
        return Architecture(layers=tuple(layers), stacks=stacks)


@dataclass(frozen=True, kw_only=True)
class Scaler:
    """How numbers become inputs: each variable in units of its spread about its mean, both of the training part.

    What is missing takes the last value before it, and the mean where there is none; where the training part had gaps,
    K more inputs say which values are missing.

    Parameters
    ----------
    mean, spread : of each variable
    marks : whether missing values are marked
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    marks: bool

    def __post_init__(self) -> None:
        check(self, where="scaler")
        if len(self.mean) != len(self.spread) or not all(spread > 0 for spread in self.spread):
            raise SettingError("scaler: expected a mean and a spread above 0 for each variable, got others")

    @classmethod
    def learn(cls, sequences: Sequence[Floats]) -> Scaler:
        """Of all steps of some sequences (L, K); a variable that never changes has the spread 1."""
        stacked = np.concatenate(sequences)
        seen = np.isfinite(stacked)
        count = np.maximum(seen.sum(0), 1)
        mean = np.where(seen, stacked, 0.0).sum(0) / count
        spread = np.sqrt((np.where(seen, stacked - mean, 0.0) ** 2).sum(0) / count)
        flat = spread <= 1e-12 * np.maximum(np.abs(mean), 1.0)
        spread = np.where(flat, 1.0, spread)
        return cls(mean=tuple(mean.tolist()), spread=tuple(spread.tolist()), marks=not bool(seen.all()))

    @property
    def width(self) -> int:
        """Inputs a step."""
        return len(self.mean) * (2 if self.marks else 1)

    def apply(self, sequence: Floats, before: Floats | None = None) -> npt.NDArray[np.float32]:
        """Inputs (L, K) or (L, 2·K) of a sequence.

        Parameters
        ----------
        sequence : float64 (L, K), NaN for what is missing
        before : (K,) the last values of the steps before, scaled; None: there were none
        """
        scaled = (sequence - np.array(self.mean)) / np.array(self.spread)
        missing = ~np.isfinite(scaled)
        if missing.any():
            start = np.zeros(scaled.shape[1]) if before is None else before
            whole = np.concatenate([start[None], scaled])
            known = np.concatenate([np.ones((1, scaled.shape[1]), bool), ~missing])
            last = np.maximum.accumulate(np.where(known, np.arange(len(whole))[:, None], 0), 0)
            scaled = np.take_along_axis(whole, last, 0)[1:]
        return np.concatenate([scaled, missing], 1).astype(np.float32) if self.marks else scaled.astype(np.float32)


def padded(sequences: Sequence[npt.NDArray[np.generic]]) -> tuple[npt.NDArray[np.generic], Index]:
    """Sequences (L, ...) of one kind as one array (N, L, ...), 0 behind the end of each; and their lengths."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    whole = np.zeros((len(sequences), int(lengths.max(initial=0)), *sequences[0].shape[1:]), sequences[0].dtype)
    for row, sequence in enumerate(sequences):
        whole[row, : len(sequence)] = sequence
    return whole, lengths


def windows(values: npt.NDArray[np.float32], window: int) -> npt.NDArray[np.float32]:
    """Each step with those before it, oldest first: (N, L, K) → (N, L, W·K). The first step stands for what was not."""
    if window == 1:
        return values
    first = np.broadcast_to(values[:, :1], (len(values), window - 1, values.shape[2]))
    seen = np.lib.stride_tricks.sliding_window_view(np.concatenate([first, values], 1), window, axis=1)
    return np.ascontiguousarray(seen.transpose(0, 1, 3, 2)).reshape(*values.shape[:2], -1)


def stretched(sequences: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.float32]:
    """Sequences (L, K), each brought to ``POINTS`` steps by straight lines between its own: (N, POINTS·K)."""
    rows: list[npt.NDArray[np.float32]] = []
    for sequence in sequences:
        x = sequence.astype(np.float32)
        at = np.linspace(0, len(x) - 1, POINTS)
        low = np.minimum(at.astype(np.int64), len(x) - 1)
        high = np.minimum(low + 1, len(x) - 1)
        part = (at - low).astype(np.float32)[:, None]
        rows.append(np.asarray(x[low] * (1 - part) + x[high] * part, np.float32).ravel())
    return np.stack(rows)


def views(stretched: npt.NDArray[np.float32]) -> tuple[Floats, Floats, Floats]:
    """What stretched sequences (N, POINTS·K) are compared by: values, their changes, their sums so far; (N, ...) each.

    Changes tell shapes apart that lie at different heights; sums see through noise.
    """
    x = stretched.reshape(len(stretched), POINTS, -1).astype(np.float64)
    parts = (x, np.diff(x, axis=1), np.cumsum(x, 1) / POINTS)
    a, b, c = (part.reshape(len(x), -1) for part in parts)
    return a, b, c
