"""The pinball loss and its slope, beside the formula as torch differentiates it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from carrousel.heads.quantile import pinball_loss

QUANTILES = torch.tensor([0.05, 0.5, 0.9], dtype=torch.float64)


def by_formula(forecast: Tensor, truth: Tensor, weight: Tensor | float) -> Tensor:
    observed = truth.isfinite()
    error = torch.where(observed, truth, 0.0)[..., None] - forecast
    each = 2 * torch.maximum(error * QUANTILES, error * (QUANTILES - 1)).mean(-1)
    return (each * weight * observed).sum() / observed.sum().clamp(min=1)


@pytest.mark.parametrize("weighted", [False, True])
def test_pinball_loss_and_slope_are_those_of_the_formula(weighted: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.randn(7, 4, 2, dtype=torch.float64, generator=draw)
    truth[1, 2, 0], truth[3], truth[5, 0, 1] = torch.nan, torch.nan, torch.inf
    forecast = torch.randn(7, 4, 2, 3, dtype=torch.float64, generator=draw)
    forecast[2] = truth[2][..., None]  # exactly right, where the loss has a corner
    weight = torch.rand(7, 1, 2, dtype=torch.float64, generator=draw) if weighted else 1.0
    ours, theirs = forecast.clone().requires_grad_(), forecast.clone().requires_grad_()
    loss, expected = pinball_loss(ours, truth, QUANTILES, weight), by_formula(theirs, truth, weight)
    torch.testing.assert_close(loss, expected)
    assert torch.equal(pinball_loss(forecast, truth, QUANTILES, weight), loss)
    (3 * loss).backward()
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_pinball_loss_at_the_median_is_the_mean_absolute_error() -> None:
    truth, forecast = torch.tensor([1.0, 4.0, torch.nan]), torch.tensor([[3.0], [1.0], [9.0]])
    assert float(pinball_loss(forecast, truth, torch.tensor([0.5]))) == 2.5


def test_pinball_loss_without_a_truth_is_zero() -> None:
    forecast = torch.ones(2, 3, requires_grad=True)
    loss = pinball_loss(forecast, torch.full((2,), torch.nan), torch.tensor([0.1, 0.5, 0.9]))
    loss.backward()
    assert loss.item() == 0.0
    assert forecast.grad is not None
    assert not forecast.grad.any()
