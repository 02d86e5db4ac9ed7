"""Small layers of every variant, for the native path beside others, and everything that one gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import carrousel.layers.scan as scan
from carrousel.layers import LSTM, LSTMState

# float32 rounds by 6e-8; sums of some ten products in each of 6 steps, two layers on one another, and the way back. A
# layer normalisation may multiply what has been rounded by 1/√ε = 316.
SINGLE, SINGLE_NORMED = 1e-4, 2e-3

L, N, E, H = 6, 5, 3, 8
LENGTHS = [6, 2, 0, 3, 6]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no_bias": {"bias": False},
    "coupled": {"coupled": True},
    "peephole": {"peephole": True},
    "layer_norm": {"layer_norm": True},
    "projection": {"proj_size": 5},
    "zoneout": {"zoneout": (0.2, 0.3)},
    "recurrent_dropout": {"recurrent_dropout": 0.3},
    "variational_dropout": {"variational_dropout": (0.2, 0.3)},
    "weight_drop": {"weight_drop": 0.3},
    "all": {
        "peephole": True, "layer_norm": True, "proj_size": 5, "zoneout": (0.2, 0.3), "recurrent_dropout": 0.3,
        "variational_dropout": (0.2, 0.3), "weight_drop": 0.3, "num_layers": 2, "dropout": 0.2,
    },
}  # fmt: skip
BOTH_WAYS: dict[str, Any] = {"bidirectional": True}

every_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
ragged_or_not = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
compiled_only = pytest.mark.skipif(bool(scan.unavailable()), reason="the native engine was not built")


def make(options: dict[str, Any], dtype: torch.dtype = torch.float64) -> LSTM:
    layer = LSTM(E, H, dtype=dtype, **(BOTH_WAYS | options))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def values(
    layer: LSTM, x: torch.Tensor, lengths: list[int] | None = None, state: LSTMState | None = None, seed: int = 3
) -> list[torch.Tensor]:
    """Output, state, and gradients of a loss that looks at all of them."""
    x = x.detach().requires_grad_()
    state = LSTMState(*(s.detach().requires_grad_() for s in state or layer.initial_state(x.shape[1])))
    torch.manual_seed(seed)
    y, after = layer(x, state, lengths)
    loss = (y**2).sum() + after.h.sin().sum() + (after.c**3).sum()
    return [y, *after, *torch.autograd.grad(loss, [x, *state, *layer.parameters()])]
