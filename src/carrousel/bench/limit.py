"""The roofline: what this machine can do at most, measured by the native engine's own instruction set."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from carrousel import native
from carrousel.bench.case import Case
from carrousel.native import Dtype

# Multiplications that an instruction does where one of float32 does one; 1 or, in int8, 2 elsewhere.
TOGETHER: dict[str, dict[Dtype, int]] = {
    "avx512vnni": {"float32": 1, "bfloat16": 1, "int8": 4},
    "avx512bf16": {"float32": 1, "bfloat16": 2, "int8": 4},
}
WEIGHT_BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "int8": 1}
LEAST_BYTES = 16 << 10  # read at once: below it the call itself would be timed
ROUNDS = 20_000  # of multiplications: some hundred microseconds
TRIES = 25


class Limits:
    """Operations and bytes a second of one core; the best of many tries, since nothing makes them faster than they are.

    Where float32 has one multiplication bfloat16 counts two (AVX-512 BF16) or one, its weights widened, and int8 four
    (VNNI) or two: how wide the instructions are, not a measurement.
    """

    def __init__(self, isa: str) -> None:
        self.isa = isa
        self._module = native.module()
        if self._module is None:
            raise ValueError("expected the native engine, which measures the limits")
        self._bandwidths: dict[int, float] = {}
        done = self._module.multiply(isa, ROUNDS)
        self.flops = done / _least(lambda: self._module.multiply(isa, ROUNDS))  # type: ignore[union-attr]
        few = np.zeros(64, np.float32)
        self._call = _least(lambda: self._read(few), repeats=1000)

    def _read(self, x: np.ndarray) -> float:
        return self._module.read(self.isa, x)  # type: ignore[union-attr]

    def bandwidth(self, size: int) -> float:
        """Bytes a second of reading the same `size` bytes again and again, from whatever cache holds them."""
        size = max(LEAST_BYTES, size)
        if size not in self._bandwidths:
            x = np.ones(size // 4, np.float32)
            repeats = max(1, (4 << 20) // size)
            took = _least(lambda: self._read(x), repeats) - self._call
            self._bandwidths[size] = size / max(took, 1e-9)
        return self._bandwidths[size]

    def seconds(self, case: Case, dtype: Dtype) -> float:
        """The least time of a case: its multiplications, or the weights' way from their cache, whichever takes longer.

        The inputs' weights are read once a call, the recurrent ones at every step; activations and the rows' own values
        are not counted.
        """
        gates, width = 4 * case.size, WEIGHT_BYTES[dtype]
        faster = TOGETHER.get(self.isa, {"int8": 2}).get(dtype, 1)
        flops = 2.0 * gates * 2 * case.size * case.steps * case.batch
        read = width * gates * case.size * (case.steps + 1)
        held = width * gates * case.size * (2 if case.steps == 1 else 1)
        return max(flops / (self.flops * faster), read / self.bandwidth(held))

    def to_data(self) -> dict[str, object]:
        """What was measured."""
        sizes = sorted(self._bandwidths.items())
        return {"isa": self.isa, "flops": self.flops, "bandwidth": {str(size): rate for size, rate in sizes}}


def _least(work: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of one call in the best of many tries."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        best = min(best, (time.perf_counter() - began) / repeats)
    return best
