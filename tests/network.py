"""Engines of random weights that several tests share."""

from __future__ import annotations

import re

import numpy as np

from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear
from carrousel.engine import Engine
from carrousel.native import Dtype

# Tolerances. Values are of order 1, so one rounding of float32 is EPS = 2⁻²⁴·2; a gate sums about 20 products here and
# errors of a step pass on through at most 9 steps and 2 layers, contracting: 30 roundings are enough.
EPS = float(np.finfo(np.float32).eps)
CLOSE = 30 * EPS
# Normalisation divides by √(variance + 1e-5): what is small, and its rounding errors with it, grows up to 316-fold.
CLOSE_NORMALISED = CLOSE * 316

H_IN, H = 4, 5


def random_weights(architecture: Architecture, seed: int = 0, scale: float = 0.5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.normal(0, scale, shape).astype(np.float32) for name, shape in architecture.tensors().items()}


def random_array(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build(
    *layers: Layer,
    stacks: dict[str, tuple[str, ...]] | None = None,
    seed: int = 0,
    scale: float = 0.5,
    dtype: Dtype = "float32",
) -> Engine:
    architecture = Architecture(layers, stacks or {})
    return Engine(architecture, random_weights(architecture, seed, scale), dtype=dtype)


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


def forecaster() -> Engine:
    """The shape of the forecasting network: one LSTM behind two different inputs, a head behind one of them."""
    return build(
        Linear(name="past", input_size=3, output_size=H_IN, activation="relu"),
        Linear(name="future", input_size=2, output_size=H_IN, bias=False),
        LSTM(name="lstm", input_size=H_IN, hidden_size=H),
        Linear(name="head", input_size=H, output_size=6),
        Embedding(name="series", num_embeddings=7, embedding_dim=2),
        stacks={"encode": ("past", "lstm"), "decode": ("future", "lstm", "head")},
    )
