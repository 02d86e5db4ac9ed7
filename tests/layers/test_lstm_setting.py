"""Settings, inputs and states that do not fit are each met with one sentence; what fits begins as it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from carrousel.errors import SettingError, ShapeError
from carrousel.layers import LSTM, LSTMState
from layers.agreement import FLOAT32, FLOAT64, assert_agrees, assert_same_bits

H = 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": 0}, r"input_size: expected an integer of at least 1, got 0"),
        ({"hidden_size": 2.0}, r"hidden_size: expected an integer of at least 1, got 2.0"),
        ({"num_layers": True}, r"num_layers: expected an integer of at least 1, got True"),
        ({"proj_size": 6}, r"proj_size: expected an integer in \[0, 6\), .* got 6"),
        ({"bias": 1}, r"bias: expected True or False, got 1"),
        ({"dropout": 1.5}, r"dropout: expected a probability in \[0, 1\], got 1.5"),
        ({"peephole": 1}, r"peephole: expected True or False, got 1"),
        ({"recurrent_dropout": 1.0}, r"recurrent_dropout: expected a probability in \[0, 1\), got 1.0"),
        ({"weight_drop": float("nan")}, r"weight_drop: expected a probability in \[0, 1\), got nan"),
        ({"zoneout": 0.1}, r"zoneout: expected two probabilities in \[0, 1\), .* got 0.1"),
        ({"variational_dropout": (0.1, -0.1)}, r"variational_dropout: expected two probabilities .* got \(0.1, -0.1\)"),
        ({"init": "xavier"}, r'init: expected "torch" or "orthogonal", got \'xavier\''),
        ({"forget_bias": float("inf")}, r"forget_bias: expected a finite number or None, got inf"),
        ({"forget_bias": 1.0, "bias": False}, r"forget_bias: expected None where bias=False, got 1.0"),
        ({"peepholes": True}, r"expected options among peephole, .* got peepholes"),
    ],
)
def test_setting_that_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LSTM(**({"input_size": 3, "hidden_size": H} | settings))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([np.zeros((5, 2, 3))], r"x: expected a tensor \(L, N, 3\), got ndarray"),
        ([torch.zeros(5, 2, 4)], r"x: expected \(L, N, 3\) or \(L, 3\), got \(5, 2, 4\)"),
        ([torch.zeros(3)], r"x: expected \(L, N, 3\) or \(L, 3\), got \(3,\)"),
        ([torch.zeros(5, 2, 3).double()], r"x: expected dtype torch.float32, got torch.float64"),
        ([torch.zeros(5, 2, 3), torch.zeros(1, 2, H)], r"state: expected the tuple \(h_0, c_0\), got Tensor"),
        (
            [torch.zeros(5, 2, 3), (torch.zeros(1, 2, H), torch.zeros(1, 3, H))],
            r"c_0: expected \(1, 2, 6\), got \(1, 3, 6\)",
        ),
        (
            [torch.zeros(5, 3), (torch.zeros(1, 1, H), torch.zeros(1, 1, H))],
            r"h_0: expected \(1, 6\), got \(1, 1, 6\)",
        ),
        (
            [torch.zeros(5, 2, 3), (torch.zeros(1, 2, H), torch.zeros(1, 2, H).double())],
            r"c_0: expected dtype torch.float32, got torch.float64",
        ),
        ([torch.zeros(5, 2, 3), None, [5, 6]], r"lengths: expected values in \[0, 5\], got 6"),
        ([torch.zeros(5, 2, 3), None, [-1, 2]], r"lengths: expected values in \[0, 5\], got -1"),
        ([torch.zeros(5, 2, 3), None, [5]], r"lengths: expected 2 integers, got torch.int64 \(1,\)"),
        ([torch.zeros(5, 2, 3), None, [5.0, 2.0]], r"lengths: expected 2 integers, got torch.float32 \(2,\)"),
        ([torch.zeros(5, 3), None, [5]], r"lengths: expected None for unbatched x"),
    ],
)
@pytest.mark.parametrize("peephole", [False, True])
def test_input_that_does_not_fit_is_refused(arguments: list[Any], message: str, peephole: bool) -> None:
    with pytest.raises(ShapeError, match=message):
        LSTM(3, H, peephole=peephole)(*arguments)


@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("shape", [(0, 2, 3), (5, 0, 3), (0, 3)])
def test_nothing_to_read_leaves_the_state_as_it_is(shape: tuple[int, ...], peephole: bool) -> None:
    layer = LSTM(3, H, bidirectional=True, peephole=peephole)
    batch = shape[1:-1]
    state = LSTMState(torch.randn(2, *batch, H), torch.randn(2, *batch, H))
    y, after = layer(torch.zeros(shape), state, torch.zeros(batch, dtype=torch.int64) if batch else None)
    assert y.shape == (*shape[:-1], 2 * H)
    assert_same_bits(after.h, state.h)
    assert_same_bits(after.c, state.c)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("init", ["torch", "orthogonal"])
def test_forget_bias_opens_the_forget_gate(init: Any, coupled: bool) -> None:
    layer = LSTM(3, H, 2, bidirectional=True, init=init, forget_bias=2.5, coupled=coupled)
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        rows = slice(0, H) if coupled else slice(H, 2 * H)
        b = (getattr(layer, "bias_ih" + suffix) + getattr(layer, "bias_hh" + suffix))[rows]
        f = 1 - torch.sigmoid(b) if coupled else torch.sigmoid(b)
        assert_agrees(f, torch.full((H,), 2.5).sigmoid(), FLOAT32)


def test_orthogonal_initialisation_makes_every_recurrent_block_orthogonal() -> None:
    layer = LSTM(3, H, dtype=torch.float64, init="orthogonal", proj_size=4)
    for block in layer.weight_hh_l0.split(H):  # (H, P) with P < H: orthonormal columns
        assert_agrees(block.T @ block, torch.eye(4, dtype=torch.float64), FLOAT64)
    assert_agrees(layer.weight_hr_l0 @ layer.weight_hr_l0.T, torch.eye(4, dtype=torch.float64), FLOAT64)
    bound = (6 / (3 + H)) ** 0.5
    assert 0.8 * bound < layer.weight_ih_l0.abs().max() <= bound
    assert not layer.bias_ih_l0.any()


def test_layer_norm_and_trainable_state_change_nothing_before_training() -> None:
    layer = LSTM(3, H, layer_norm=True, trainable_state=True)
    for name in ("gain_ih_l0", "gain_hh_l0", "gain_c_l0"):
        assert torch.equal(getattr(layer, name), torch.ones_like(getattr(layer, name)))
    for name in ("bias_c_l0", "h_0", "c_0"):
        assert not getattr(layer, name).any()


@pytest.mark.parametrize("peephole", [False, True])
def test_trainable_state_is_where_a_sequence_without_state_begins(peephole: bool) -> None:
    layer = LSTM(3, H, 2, bidirectional=True, proj_size=2, trainable_state=True, peephole=peephole, dtype=torch.float64)
    with torch.no_grad():
        layer.h_0.normal_()
        layer.c_0.normal_()
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    given = LSTMState(layer.h_0[:, None].repeat(1, 4, 1), layer.c_0[:, None].repeat(1, 4, 1))
    for lengths in (None, [5, 0, 2, 3]):
        for got, expected in zip(layer(x, None, lengths)[1], layer(x, given, lengths)[1], strict=True):
            assert_same_bits(got, expected)
    assert_agrees(layer(x[:, 1])[0], layer(x)[0][:, 1], FLOAT64)
    loss = sum(v.sum() for v in layer(x)[1])
    for gradient in torch.autograd.grad(loss, [layer.h_0, layer.c_0]):
        assert gradient.abs().min() > 0


def test_representation_names_what_was_changed() -> None:
    layer = LSTM(3, H, peephole=True, zoneout=[0.1, 0.2])
    assert repr(layer) == "LSTM(3, 6, peephole=True, zoneout=(0.1, 0.2))"
