"""An engine beside another framework: the same sequence at once, and in two calls with the state carried over."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.engine import Engine

# Values are of order 1, so a rounding of float32 is 2⁻²³; a gate sums some 20 products, the errors of a step pass on
# through at most 9 steps and 3 layers, contracting: 30 roundings are enough.
CLOSE = 30 * float(np.finfo(np.float32).eps)
# onnxruntime's σ and tanh are rational approximations good to some 1e-7, at every step.
CLOSE_TO_ONNXRUNTIME = 5e-6

Array = npt.NDArray[Any]


def assert_gives(engine: Engine, x: Array, expected: Array, *, atol: float = CLOSE) -> None:
    """x (N, L, ...) and what it gives, (N, L, F), or (N, F) where only the last step counts."""
    whole = engine.session(len(x)).run(x)
    _check(whole, expected, atol)
    if not any(getattr(v, "bidirectional", False) or getattr(v, "reverse", False) for v in engine.architecture.layers):
        session, cut = engine.session(len(x)), x.shape[1] // 2
        first = session.run(np.ascontiguousarray(x[:, :cut]))
        rest = [session.step(np.ascontiguousarray(x[:, t])) for t in range(cut, x.shape[1])]
        _check(np.concatenate([first, np.stack(rest, axis=1)], axis=1), expected, atol)


def _check(y: Array, expected: Array, atol: float) -> None:
    if expected.ndim == 2:
        y = y[:, -1]
    assert np.abs(expected).max() > 0.01  # not the agreement of zeros
    np.testing.assert_allclose(y, expected, rtol=0, atol=atol)


def floats(*shape: int, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"
