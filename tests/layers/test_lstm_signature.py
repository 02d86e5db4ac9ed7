"""What an LSTM is for: it carries a value, and its gradient, for as long as the gates allow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from carrousel.layers import LSTM, LSTMState
from layers.agreement import FLOAT64, assert_agrees, assert_same_bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"peephole": True}, {"coupled": True}, {"coupled": True, "peephole": True}], ids=str
)
def test_shut_input_gate_and_open_forget_gate_carry_the_cell_exactly(
    options: dict[str, Any], dtype: torch.dtype
) -> None:
    layer = LSTM(3, 8, dtype=dtype, **options)
    with torch.no_grad():
        layer.bias_ih_l0[:8] = -1e4  # i = 0; where coupled, f = 1 − i = 1
        if not layer.variant.coupled:
            layer.bias_ih_l0[8:16] = 1e4
    c_0 = torch.randn(1, 2, 8, dtype=dtype)
    with torch.no_grad():
        _, state = layer(torch.randn(1000, 2, 3, dtype=dtype), LSTMState(torch.randn_like(c_0), c_0))
    assert_same_bits(state.c, c_0)


@pytest.mark.parametrize("peephole", [False, True])
def test_gradient_through_1000_steps_survives_where_that_of_a_tanh_rnn_dies(peephole: bool) -> None:
    x = torch.randn(1000, 1, 3)
    h_0, c_0 = torch.zeros(2, 1, 1, 16, requires_grad=True)
    _, state = LSTM(3, 16, forget_bias=8.0, peephole=peephole)(x, LSTMState(h_0, c_0))
    (through_lstm,) = torch.autograd.grad(state.c.sum(), c_0)
    _, h_n = nn.RNN(3, 16)(x, h_0)
    (through_rnn,) = torch.autograd.grad(h_n.sum(), h_0)
    assert through_lstm.abs().mean() > 0.1
    assert through_rnn.abs().max() < 1e-20


def test_gradient_through_the_carrousel_alone_is_the_product_of_the_forget_gates() -> None:
    layer = LSTM(3, 16, forget_bias=8.0, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()  # no way back but the cell
        layer.weight_ih_l0[16:32] = 0.0  # f = σ(8) at every step
    h_0, c_0 = torch.zeros(2, 1, 1, 16, dtype=torch.float64, requires_grad=True)
    _, state = layer(torch.randn(1000, 1, 3, dtype=torch.float64), LSTMState(h_0, c_0))
    (gradient,) = torch.autograd.grad(state.c.sum(), c_0)
    assert_agrees(gradient, torch.full_like(c_0, 8.0).sigmoid() ** 1000, FLOAT64)


def adding_problem(steps: int, rows: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers in [0, 1] and two marks, one in each half; the sum of the marked numbers. x (L, N, 2), y (N,)."""
    numbers = torch.rand(steps, rows, generator=generator)
    marks = torch.zeros(steps, rows)
    for first in (0, steps // 2):
        marks[first + torch.randint(steps // 2, (rows,), generator=generator), torch.arange(rows)] = 1.0
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(0)


def error_after_training(layer: nn.Module, batches: int) -> float:
    """Mean squared error on unseen sequences of 750 steps; always answering 1, the mean, makes 1/6."""
    head = nn.Linear(32, 1)
    parameters = [*layer.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.01)
    generator = torch.Generator().manual_seed(0)
    unseen, truth = adding_problem(750, 200, generator)

    def error(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((head(layer(x)[0][-1])[:, 0] - y) ** 2).mean()

    for _ in range(batches):
        optimiser.zero_grad()
        error(*adding_problem(750, 32, generator)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    with torch.no_grad():
        return error(unseen, truth).item()


@pytest.mark.slow
def test_adding_problem_over_750_steps_is_learned_where_a_tanh_rnn_fails() -> None:
    # The chrono argument of Tallec & Ollivier 2018: f = 1 − i with a bias of about the logarithm of the time to bridge.
    torch.manual_seed(0)
    assert error_after_training(LSTM(2, 32, coupled=True, forget_bias=6.0), batches=700) < 0.02
    torch.manual_seed(0)
    assert error_after_training(nn.RNN(2, 32), batches=700) > 0.12
