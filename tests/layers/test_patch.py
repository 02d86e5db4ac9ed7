"""The forecasting network: its bands, its linear path, and what rounding in the recurrence does to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from carrousel.features.linear import LinearPath
from carrousel.features.patch import PatchSizes
from carrousel.features.window import spread
from carrousel.layers import compiled
from carrousel.layers.patch import PatchLSTM, _Widened
from carrousel.training import seeded

SIZES = PatchSizes(
    look_back=12, horizon=5, patch=3, targets=2, past=1, future=2, calendar=1, static=1, series=3, quantiles=3,
    maps=2, hidden_size=8, num_layers=1, members=1,
)  # fmt: skip
N = 6


def network(**options: bool) -> PatchLSTM:
    with seeded(1):
        model = PatchLSTM(SIZES, unknown_series=0.0, **options)
        mixture = torch.rand(SIZES.series + 1, SIZES.targets, SIZES.maps).numpy()
        weight = torch.randn(SIZES.maps, SIZES.horizon, SIZES.look_back).numpy()
    path = LinearPath(weight=weight.astype(float), mixture=mixture.astype(float), penalty=1.0)
    model.start_from(path, torch.tensor([-1.0, 0.0, 1.0]))
    return model


def batch() -> tuple[Tensor, ...]:
    with seeded(2):
        sizes = SIZES
        return (
            torch.randn(N, sizes.look_back, sizes.targets).cumsum(1), torch.randn(N, sizes.look_back, sizes.past),
            torch.randn(N, sizes.ahead * sizes.patch, sizes.future), torch.randn(N, sizes.behind, sizes.calendar),
            torch.randn(N, sizes.ahead, sizes.calendar), torch.randn(N, sizes.static),
            torch.arange(N) % (sizes.series + 1),
        )  # fmt: skip


def test_bands_widen_about_their_mean_and_have_the_slope_that_torch_finds() -> None:
    with seeded(0):
        z, r = torch.randn(4, 3, 2, 5, dtype=torch.float64), torch.rand(4, 1, 2, 1, dtype=torch.float64)
    mean = z.mean(-1, keepdim=True)
    torch.testing.assert_close(_Widened.apply(z, r), mean + r * (z - mean))
    assert torch.autograd.gradcheck(lambda z: _Widened.apply(z, r), z.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda z: _Widened.apply(z, r), z)


def test_the_forecast_of_a_network_without_corrections_is_the_mixed_linear_path() -> None:
    model, inputs = network().eval(), batch()
    with torch.no_grad():
        model.head.weight.zero_()
        found = model(*inputs).numpy()
    target, series = inputs[0].numpy(), inputs[-1].numpy()
    weight = model.maps.weight.detach().numpy().reshape(SIZES.maps, SIZES.horizon, SIZES.look_back)
    mixture = model.mixture.weight.detach().numpy()[series].reshape(N, SIZES.targets, SIZES.maps)
    linear = np.einsum("nke,ehl,nlk->nhk", mixture, weight, target)
    bands = spread(target)[..., None] * np.array([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(found, linear[..., None] + bands, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not compiled.multiplies_bfloat16(), reason="this processor multiplies no bfloat16")
def test_products_in_bfloat16_stay_inside_the_recurrence_and_inside_training() -> None:
    exact, mixed, inputs = network(), network(mixed=True), batch()
    assert torch.equal(exact.eval()(*inputs), mixed.eval()(*inputs))
    outputs = exact.train()(*inputs), mixed.train()(*inputs)
    for output in outputs:
        assert output.dtype == torch.float32
        output.square().mean().backward()
    change = (outputs[0] - outputs[1]).detach().abs().max()
    # The head's weights are 0.1 times as large as others and see h, |h| < 1, each a few 2^-9 off.
    assert 0 < change < 0.1 * SIZES.hidden_size**0.5 * 2**-6 * float(spread(inputs[0]).max())
    slopes = zip(exact.named_parameters(), mixed.parameters(), strict=True)
    for (name, ours), theirs in slopes:
        if ours.requires_grad:
            assert ours.grad is not None
            assert theirs.grad is not None
            scale = float(ours.grad.abs().max())
            torch.testing.assert_close(theirs.grad, ours.grad, rtol=0, atol=0.05 * scale, msg=name)
