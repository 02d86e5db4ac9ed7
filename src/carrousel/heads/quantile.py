"""Quantile regression: several quantiles of every step and target, trained by the pinball loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pinball_loss(forecast: Tensor, truth: Tensor, quantiles: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Twice the mean pinball loss over observed truths; at the median alone it is the mean absolute error.

    ρ_q(y - ŷ) = max(q·(y - ŷ), (q - 1)·(y - ŷ))

    Parameters
    ----------
    forecast : (..., Q)
    truth : (...), NaN where nothing was observed
    quantiles : (Q,) in (0, 1)
    weight : of each truth, broadcast against (...)

    References
    ----------
    Koenker & Bassett 1978, eq. 3.1.
    """
    observed = truth.isfinite()
    share = observed * (weight * (2.0 / len(quantiles)) / observed.sum().clamp(min=1))
    error = torch.where(observed, truth, 0.0).unsqueeze(-1) - forecast
    return _Pinball.apply(error, quantiles, share.unsqueeze(-1))  # pyright: ignore


class _Pinball(torch.autograd.Function):
    """Σ share·ρ_q(error), whose slope is known by the time its value is: torch's own differentiation of a maximum
    takes several times as long as the maximum."""

    @staticmethod
    def forward(ctx: Any, error: Tensor, quantiles: Tensor, share: Tensor) -> Tensor:
        # q above 0, q - 1 below; halfway between them at 0, as torch has it for a maximum of equals.
        slope = error.sign().mul_(0.5).add_(quantiles - 0.5).mul_(share)
        ctx.save_for_backward(slope)
        return (error * slope).sum()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return slopes[0] * slope, None, None
