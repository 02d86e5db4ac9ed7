"""How far two computations of one thing may lie apart, once and with its reason; and the check itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

# The same equations in another order of summation. Rounding is 2⁻⁵³ ≈ 1.1e-16 a step and grows over some hundred
# operations; a layer normalisation may multiply it by 1/√ε = 316, and two layers have four of them in a row.
FLOAT64 = 1e-10

# Central differences of order four with step h: truncation |f⁽⁵⁾|·h⁴/30 and rounding 1e-16·|f|/h. Where a layer
# normalisation meets a cell of almost no variance, |f⁽⁵⁾| reaches 1e13: 3e-8. Elsewhere both stay below 1e-9.
FINITE_DIFFERENCE = 1e-7
STEP = 1e-5

# float32 rounds by 6e-8; onnxruntime's σ and tanh are rational approximations good to some 1e-7; 7 steps of each.
FLOAT32 = 5e-6

# bfloat16 rounds by 2⁻⁹ ≈ 2e-3. Both factors of every product are rounded, of sums that partly cancel, in 6 steps and
# two layers on one another, and the way back; a layer normalisation multiplies that by up to 1/√ε = 316, here by 100.
BFLOAT16, BFLOAT16_NORMED = 0.03, 0.25
# The same rounded factors summed in another order: now and then one falls to the other side of a rounding, which moves
# it by 2⁻⁸, among some ten in a sum.
BFLOAT16_ORDER, BFLOAT16_ORDER_NORMED = 4e-3, 2e-2


def assert_agrees(got: object, expected: object, tolerance: float, what: str = "") -> None:
    """|got − expected| ≤ tolerance · max(1, max|expected|), everywhere; a NaN agrees with nothing."""
    a, b = _array(got), _array(expected)
    assert a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape}"
    if a.size:
        error = np.abs(a - b).max() / max(1.0, np.abs(b).max())
        assert error <= tolerance, f"{what}: error {error:.2e} > {tolerance:.0e}"


def assert_same_bits(got: torch.Tensor, expected: torch.Tensor, what: str = "") -> None:
    assert got.dtype == expected.dtype, f"{what}: {got.dtype} and {expected.dtype}"
    assert torch.equal(got, expected), f"{what}: differ by up to {(got - expected).abs().max():.2e}"


def arrays(layer: torch.nn.Module) -> dict[str, npt.NDArray[np.float64]]:
    """A layer's parameters as the reference takes them."""
    return {name: tensor.detach().numpy() for name, tensor in layer.state_dict().items()}


def _array(value: object) -> npt.NDArray[np.float64]:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
