"""Quantile regression: several quantiles of every step and target, trained by the pinball loss."""

from __future__ import annotations

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
    error = truth.nan_to_num(0.0).unsqueeze(-1) - forecast
    loss = 2.0 * (error * quantiles).maximum(error * (quantiles - 1.0)).mean(-1)
    return (loss * weight * observed).sum() / observed.sum().clamp(min=1)
