"""What the tests of classifiers learn: short texts and waves, and settings that train in a moment."""

from __future__ import annotations

import numpy as np

SMALL = {"hidden_size": 12, "ensemble": 2, "max_steps": 80, "seed": 1, "learning_rate": 2e-2, "dropout": 0.2}
# float32 rounds by 6e-8 a step of some dozen; logits are sums of order ten.
FLOAT32 = 2e-5

NAMES = ("Ada", "Bob", "Eve", "Max")
PLACES = ("Rome", "Oslo", "Lima", "Bonn")
TEXTS = [
    *(f"who wrote the letter to {name} ?" for name in NAMES * 4),
    *(f"where did the train from {place} stop ?" for place in PLACES * 4),
    *(f"how many people of {place} know {name} ?" for place in PLACES[:2] for name in NAMES[:4]),
]
TYPES = ["person"] * 16 + ["place"] * 16 + ["number"] * 8


def waves(count: int = 48, seed: int = 0) -> tuple[list[np.ndarray], list[int]]:
    """Sequences of two variables and unequal length: slow waves (class 1), fast ones (class 2), and gaps in some."""
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    for k in range(count):
        t = np.arange(int(rng.integers(8, 24))) + rng.uniform(0, 6)
        wave = np.stack([np.sin(t * (0.4 if k % 2 else 1.6)), rng.standard_normal(len(t))], 1)
        wave[rng.uniform(size=wave.shape) < 0.05 * (k % 4 == 0)] = np.nan
        wave[-1] = np.nan_to_num(wave[-1])
        found.append(wave)
    return found, [1 if k % 2 else 2 for k in range(count)]


def above(x: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(np.nan_to_num(v[:, 0]) > np.nan_to_num(v[:, 1]), "up", "down") for v in x]
