"""Whether the factors of a run's products are rounded to bfloat16."""

from __future__ import annotations

import torch

from carrousel.layers import compiled
from carrousel.training.settings import Precision


def is_mixed(precision: Precision, place: torch.device) -> bool:
    """What "auto" means on a device: bfloat16 where its own instructions multiply it."""
    if precision != "auto":
        return precision == "bf16"
    if place.type == "cpu":
        return compiled.multiplies_bfloat16()
    return place.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
