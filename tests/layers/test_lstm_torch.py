"""The plain layer is torch.nn.LSTM: names, values, gradients, random numbers."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from carrousel.layers import LSTM, backend
from layers.agreement import FLOAT64, assert_agrees, assert_same_bits

L, N, E, H = 6, 3, 2, 5
LENGTHS = [4, 6, 1]

every_shape = pytest.mark.parametrize(
    "settings",
    [
        {"num_layers": layers, "bidirectional": both, "proj_size": P, "bias": bias, "batch_first": first}
        for layers, both, P, bias, first in itertools.product(
            [1, 2], [False, True], [0, 3], [False, True], [False, True]
        )
    ],
    ids=lambda s: "-".join(f"{value:d}" for value in s.values()),
)


def pair(settings: dict[str, Any]) -> tuple[LSTM, nn.LSTM, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    ours, theirs = (kind(E, H, **settings, dtype=torch.float64) for kind in (LSTM, nn.LSTM))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    runs, P = settings["num_layers"] * (1 + settings["bidirectional"]), settings["proj_size"] or H
    shape = (N, L, E) if settings["batch_first"] else (L, N, E)
    x, h, c = (torch.randn(s, dtype=torch.float64) for s in (shape, (runs, N, P), (runs, N, H)))
    return ours, theirs, x, (h, c)


def gradients(module: nn.Module, y: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    loss = (y**2).sum() + state[0].sin().sum() + (state[1] ** 3).sum()
    return list(torch.autograd.grad(loss, list(module.parameters())))


@every_shape
def test_plain_layer_gives_the_bits_of_torch(settings: dict[str, Any]) -> None:
    ours, theirs, x, state = pair(settings)
    for given in (state, None):
        y, after = ours(x, given)
        y_theirs, after_theirs = theirs(x, given)
        for got, expected in ((y, y_theirs), *zip(after, after_theirs, strict=True)):
            assert_same_bits(got, expected)
        for got, expected in zip(gradients(ours, y, after), gradients(theirs, y_theirs, after_theirs), strict=True):
            assert_same_bits(got, expected)


@every_shape
def test_checkpoints_load_both_ways(settings: dict[str, Any]) -> None:
    ours, theirs = LSTM(E, H, **settings), nn.LSTM(E, H, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for got, expected in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert_same_bits(got, expected)


@every_shape
def test_lengths_give_what_packed_sequences_give_to_torch(settings: dict[str, Any]) -> None:
    ours, theirs, x, state = pair(settings)
    y, after = ours(x, state, LENGTHS)
    first = settings["batch_first"]
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=first, enforce_sorted=False)
    y_packed, after_theirs = theirs(packed, state)
    y_theirs, _ = pad_packed_sequence(y_packed, batch_first=first)
    for got, expected in ((y, y_theirs), *zip(after, after_theirs, strict=True)):
        assert_agrees(got, expected, FLOAT64)
    for got, expected in zip(gradients(ours, y, after), gradients(theirs, y_theirs, after_theirs), strict=True):
        assert_agrees(got, expected, FLOAT64)


def test_one_seed_gives_both_the_same_parameters(each_backend: str) -> None:
    made: list[Any] = []
    for kind in (LSTM, nn.LSTM):
        torch.manual_seed(4)
        made.append(list(kind(E, H, 2, dropout=0.5, bidirectional=True).parameters()))
    for got, expected in zip(*made, strict=True):
        assert_same_bits(got, expected)


def test_one_seed_gives_both_the_same_dropout_where_torch_computes_both() -> None:
    made: list[torch.Tensor] = []
    for kind in (LSTM, nn.LSTM):
        torch.manual_seed(4)
        layer = kind(E, H, 2, dropout=0.5, bidirectional=True)
        with backend("torch"):
            made.append(layer(torch.ones(L, N, E))[0])
    assert_same_bits(*made)


def test_plain_layer_with_lengths_draws_its_dropout_between_layers_only_in_training() -> None:
    layer = LSTM(E, H, 2, dropout=0.5, dtype=torch.float64)
    x = torch.randn(L, N, E, dtype=torch.float64)
    assert not torch.equal(layer(x, None, [L] * N)[0], layer(x, None, [L] * N)[0])
    layer.eval()
    assert_agrees(layer(x, None, [L] * N)[0], layer(x)[0], FLOAT64)


def test_layer_copies_and_moves_and_calls_functionally() -> None:
    layer = LSTM(E, H, 2, coupled=True, trainable_state=True)
    x = torch.randn(L, N, E)
    y, _ = layer(x)
    assert_same_bits(copy.deepcopy(layer)(x)[0], y)
    other = {name: p + 1 for name, p in layer.named_parameters()}
    called = torch.func.functional_call(layer, other, (x,))[0]
    layer.load_state_dict(other)
    assert_same_bits(layer(x)[0], called)
    assert layer.double()(x.double())[0].dtype == torch.float64
    assert layer.to("meta").weight_ih_l0.is_meta


def test_stepwise_variant_runs_under_autocast() -> None:
    layer = LSTM(E, H, peephole=True)
    x = torch.randn(L, N, E)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = layer(x, None, LENGTHS)
    assert_agrees(y.float(), layer(x, None, LENGTHS)[0], 0.02)  # bfloat16 rounds by 2⁻⁹, some steps of it
