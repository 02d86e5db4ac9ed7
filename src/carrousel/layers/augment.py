"""Sequences of numbers that might have been: slightly louder, slower here and faster there, with a little noise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

KNOTS = 4  # speeds of a warped sequence, between which it goes over smoothly


def scaled(x: Tensor, variables: int, spread: float) -> Tensor:
    """Each variable of each sequence times a factor of its own, exp(spread · normal).

    Parameters
    ----------
    x : (N, L, K), of which the first so many are variables; what else there is stays as it is
    """
    factor = torch.ones(len(x), 1, x.shape[2], dtype=x.dtype, device=x.device)
    factor[..., :variables] = torch.exp(spread * torch.randn(len(x), 1, variables, dtype=x.dtype, device=x.device))
    return x * factor


def jittered(x: Tensor, variables: int, spread: float) -> Tensor:
    """Each value of the variables with normal noise; arguments as in ``scaled``."""
    noise = torch.zeros_like(x)
    noise[..., :variables] = spread * torch.randn(*x.shape[:2], variables, dtype=x.dtype, device=x.device)
    return x + noise


def warped(x: Tensor, lengths: Tensor, spread: float) -> Tensor:
    """Each sequence read at a speed that changes on its way; it begins and ends where it did, and has as many steps.

    Parameters
    ----------
    x : (N, L, K)
    lengths : int64 (N,); what lies beyond is not looked at, and comes back as anything
    spread : of the logarithm of the speed

    References
    ----------
    Um et al. 2017, Data augmentation of wearable sensor data (§III).
    """
    steps = x.shape[1]
    knots = torch.exp(spread * torch.randn(len(x), 1, KNOTS, dtype=x.dtype, device=x.device))
    speed = interpolate(knots, size=steps, mode="linear", align_corners=True)[:, 0]  # (N, L)
    way = torch.cumsum(speed, 1) - speed[:, :1]
    last = (lengths - 1).clamp(min=0)[:, None]
    whole = way.gather(1, last).clamp(min=1e-6)
    place = torch.minimum(way / whole * last, last.to(x.dtype))  # (N, L), from 0 to the last step
    low = place.floor().long()
    high = torch.minimum(low + 1, last)
    part = (place - low)[..., None]

    def at(index: Tensor) -> Tensor:
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))

    return at(low) * (1 - part) + at(high) * part
