"""What is timed: one LSTM of H inputs and H hidden units, stepped, run over a chunk, or stepped for many streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Architecture
from carrousel.config import nearest
from carrousel.errors import SettingError
from carrousel.layers import reference
from carrousel.native import Dtype

What = Literal["step", "chunk", "batch"]
Floats = npt.NDArray[np.float32]

SIZES = (16, 64, 128, 256, 512)
CHUNKS = ((1000, 1), (100, 32), (100, 256))  # (T, N)
BATCHES = (64, 1024, 16384)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
CHECKED_STEPS = 3  # of a case with single steps: the state is carried over twice
CHECKED_ROWS = 4  # of a batch; rows are independent of each other
# The largest difference from float64 that is let pass. Outputs are below 1. float32: every gate sums 2 H products, some
# ten roundings of 2⁻²⁴ each, and the state passes errors on; bfloat16 rounds weights, and on AVX-512 BF16 what they
# are multiplied with, by 2⁻⁹ of their size, int8 rounds both by 1/254 of the largest of a row, and what a row's sum
# keeps of that is some hundredths at worst.
TOLERANCES: dict[Dtype, float] = {"float32": 2e-5, "bfloat16": 2e-2, "int8": 5e-2}


@dataclass(frozen=True)
class Case:
    """N rows, T steps of each, H = `size` inputs and hidden units."""

    what: What
    size: int
    steps: int
    batch: int

    @property
    def title(self) -> str:
        """What is timed, in a few words."""
        return " ".join(word for word in (self.what, f"H={self.size}", self.shape) if word)

    @property
    def shape(self) -> str:
        """T and N, as far as they tell cases of one kind apart."""
        return {"step": "", "chunk": f"T={self.steps} N={self.batch}", "batch": f"N={self.batch}"}[self.what]


def plan(what: Sequence[What], sizes: Sequence[int], *, quick: bool = False) -> list[Case]:
    """All cases, by what they time and by size; `quick` leaves only the smallest chunk and batch.

    Raises
    ------
    SettingError : something unknown to time, or a size that is not 1 to 4096
    """
    for word in what:
        if word not in get_args(What):
            raise SettingError(f"what: unknown name {word!r}; {nearest(word, get_args(What))}")
    for size in sizes:
        if not 1 <= size <= 4096:
            raise SettingError(f"sizes: expected hidden sizes from 1 to 4096, got {size}")
    shapes: dict[What, Sequence[tuple[int, int]]] = {
        "step": [(1, 1)],
        "chunk": CHUNKS[:1] if quick else CHUNKS,
        "batch": [(1, n) for n in (BATCHES[:1] if quick else BATCHES)],
    }
    return [Case(word, size, steps, n) for word in what for size in sizes for steps, n in shapes[word]]


class Task:
    """A case with weights and inputs, and what comes out of it in float64.

    Parameters
    ----------
    case : of which `x` holds all steps or, where it has only one, some
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        random, size = np.random.default_rng(case.size), case.size
        layer = LSTM(name="lstm", input_size=size, hidden_size=size)
        self.architecture = Architecture((layer,))
        bound = size**-0.5  # as torch.nn.LSTM starts
        self.weights: dict[str, Floats] = {
            name: random.uniform(-bound, bound, shape).astype(np.float32) for name, shape in layer.tensors().items()
        }
        steps = case.steps if case.steps > 1 else CHECKED_STEPS
        self.x: Floats = random.standard_normal((steps, case.batch, size), np.float32)
        """float32 (L, N, H_in)"""

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows that are checked."""
        return np.unique(np.linspace(0, self.case.batch - 1, CHECKED_ROWS).astype(np.int64))

    @cached_property
    def expected(self) -> npt.NDArray[np.float64]:
        """What those rows must come to: (L, rows, H), by the reference in float64."""
        parameters = {name: array.astype(np.float64) for name, array in self.weights.items()}
        return reference.lstm(parameters, self.x[:, self.rows].astype(np.float64)).output

    def difference(self, values: npt.NDArray[Any]) -> float:
        """The largest one between values (L, N, H) and what is expected; infinite where a value is no number.

        Raises
        ------
        ValueError : values of another shape
        """
        if values.shape != self.x.shape:
            raise ValueError(f"expected outputs {self.x.shape}, got {values.shape}")
        error = np.abs(values[:, self.rows].astype(np.float64) - self.expected).max()
        return float(error) if np.isfinite(error) else float("inf")
