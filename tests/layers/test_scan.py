"""What the native path of the LSTM computes, beyond the conformance suite, which runs on it too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import carrousel.layers.scan as scan
from carrousel.errors import SettingError, ShapeError
from carrousel.layers import LSTM, LSTMState, backend, reference
from layers.agreement import (
    BFLOAT16,
    BFLOAT16_NORMED,
    BFLOAT16_ORDER,
    BFLOAT16_ORDER_NORMED,
    FLOAT64,
    arrays,
    assert_agrees,
    assert_same_bits,
)
from layers.conftest import emulate
from layers.variant import (
    BOTH_WAYS,
    LENGTHS,
    SINGLE,
    SINGLE_NORMED,
    VARIANTS,
    E,
    H,
    L,
    N,
    compiled_only,
    every_variant,
    make,
    ragged_or_not,
    values,
)

pytestmark = pytest.mark.usefixtures("native_kernels")


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["plain", "coupled", "peephole", "layer_norm", "projection", "zoneout"])
@ragged_or_not
def test_a_precision_is_as_near_to_the_reference_as_its_rounding(
    name: str, lengths: list[int] | None, half: bool
) -> None:
    layer = make(VARIANTS[name] | {"num_layers": 2}, torch.float32).eval()
    x, state = torch.randn(L, N, E), LSTMState(*(torch.randn_like(s) for s in layer.initial_state(N)))
    with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=half):
        got = values(layer, x, lengths, state)
    parameters = {key: value.astype("float64") for key, value in arrays(layer).items()}
    trace = reference.lstm(
        parameters, x.double().numpy(), *(s.double().numpy() for s in state), lengths=lengths,
        zoneout=layer.variant.zoneout,
    )  # fmt: skip
    slopes = reference.lstm_backward(parameters, trace, 2 * trace.output, np.cos(trace.h_n), 3 * trace.c_n**2)
    expected = [trace.output, trace.h_n, trace.c_n, slopes.x, slopes.h_0, slopes.c_0]
    expected += [slopes.parameters[key] for key, _ in layer.named_parameters()]
    tolerances = (BFLOAT16, BFLOAT16_NORMED) if half else (SINGLE, SINGLE_NORMED)
    for one, other in zip(got, expected, strict=True):
        assert_agrees(one.float(), other, tolerances[name == "layer_norm"])


@every_variant
@ragged_or_not
def test_native_is_torch_with_the_same_masks(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer, x = make(options), torch.randn(L, N, E, dtype=torch.float64)
    results: list[list[torch.Tensor]] = []
    for name in ("torch", "native"):
        with backend(name):
            results.append(values(layer, x, lengths))
    for got, expected in zip(results[1], results[0], strict=True):
        assert_agrees(got, expected, FLOAT64)


@compiled_only
@every_variant
def test_kernels_compute_what_their_contract_says(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    normed = "layer_norm" in options
    for dtype, half, tolerance in (
        (torch.float64, False, FLOAT64),
        (torch.float32, False, SINGLE_NORMED if normed else SINGLE),
        (torch.float32, True, BFLOAT16_ORDER_NORMED if normed else BFLOAT16_ORDER),
    ):
        layer, x = make(options, dtype), torch.randn(L, N, E, dtype=dtype)
        for lengths in (None, LENGTHS):
            with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=half):
                got = values(layer, x, lengths)
                with monkeypatch.context() as patch:
                    emulate(patch)
                    expected = values(layer, x, lengths)
            for one, other in zip(got, expected, strict=True):
                assert_agrees(one.double(), other.double(), tolerance)


@every_variant
@ragged_or_not
def test_gradient_is_the_slope(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer = LSTM(
        2, 3, dtype=torch.float64, **(BOTH_WAYS | options | ({"proj_size": 2} if "proj_size" in options else {}))
    )
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    state = [torch.randn_like(s).requires_grad_() for s in layer.initial_state(3)]
    steps = None if lengths is None else [4, 0, 2]

    def run(x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(1)
        y, after = layer(x, (h, c), steps)
        return y, *after

    with backend("native"):
        assert torch.autograd.gradcheck(run, (x, *state, *layer.parameters()))


@compiled_only
@pytest.mark.parametrize(("rows", "half"), [(1, False), (7, False), (33, False), (33, True)])
@every_variant
@ragged_or_not
def test_two_threads_give_the_bits_of_one(
    options: dict[str, Any], rows: int, half: bool, lengths: list[int] | None
) -> None:
    layer = LSTM(33, 70, **(options | ({"proj_size": 35} if "proj_size" in options else {})))
    x = torch.randn(40, rows, 33)
    steps = None if lengths is None else [(7 * k) % 41 for k in range(rows)]
    results: list[list[torch.Tensor]] = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            with backend("native"), torch.autocast("cpu", torch.bfloat16, enabled=half):
                results.append(values(layer, x, steps))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for got, expected in zip(other, results[0], strict=True):
            assert_same_bits(got, expected)


@ragged_or_not
def test_strides_change_nothing(lengths: list[int] | None) -> None:
    layer = make(VARIANTS["all"])
    wide = torch.randn(N, 2 * L, 2 * E, dtype=torch.float64)
    state = LSTMState(*(torch.randn(*s.shape[:2], 2 * s.shape[2]).double()[:, :, ::2] for s in layer.initial_state(N)))
    with backend("native"):
        for x in (wide[:, ::2, ::2].transpose(0, 1), wide[:, :L, :E].transpose(0, 1), wide[:1, :L, :E].expand(N, L, E)):
            x = x if x.shape[0] == L else x.transpose(0, 1)
            got = values(layer, x, lengths, state)
            expected = values(layer, x.contiguous(), lengths, LSTMState(*(s.contiguous() for s in state)))
            for one, other in zip(got, expected, strict=True):
                assert_same_bits(one, other)


@every_variant
def test_one_seed_gives_one_result(options: dict[str, Any]) -> None:
    layer, x = make(options, torch.float32), torch.randn(L, N, E)
    with backend("native"):
        one, same, other = (values(layer, x, LENGTHS, seed=seed) for seed in (1, 1, 2))
    for got, expected in zip(same, one, strict=True):
        assert_same_bits(got, expected)
    drawn = {"zoneout", "recurrent_dropout", "variational_dropout", "weight_drop"} & options.keys()
    assert torch.equal(other[0], one[0]) is not bool(drawn)


@every_variant
@ragged_or_not
def test_recomputing_gives_what_keeping_gives(
    options: dict[str, Any], lengths: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SEGMENT", 4)
    layer, x = make(options), torch.randn(11, N, E, dtype=torch.float64)
    steps = None if lengths is None else [11, 2, 0, 4, 9]
    with backend("native"):
        kept = values(layer, x, steps)
    with backend("native", recompute=True):
        recomputed = values(layer, x, steps)
    for got, expected in zip(recomputed, kept, strict=True):
        assert_agrees(got, expected, FLOAT64)


def test_recomputing_keeps_no_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "SEGMENT", 10)
    layer, x = LSTM(2, 4), torch.randn(100, 1, 2)
    sizes: dict[bool, int] = {}
    for recompute in (False, True):
        saved: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, saved: list[torch.Tensor] = saved) -> torch.Tensor:
            saved.append(tensor)
            return tensor

        with backend("native", recompute=recompute), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            layer(x)
        sizes[recompute] = sum(tensor.numel() for tensor in saved)
    assert sizes[False] - sizes[True] == 100 * 5 * 4 - 10 * 2 * 4  # i, f, g, o, c at each step; h, c at each tenth


@ragged_or_not
def test_a_graph_can_be_gone_back_through_twice(lengths: list[int] | None) -> None:
    layer, x = make(VARIANTS["all"]), torch.randn(L, N, E, dtype=torch.float64)
    with backend("native"):
        y, _ = layer(x, None, lengths)
    first = torch.autograd.grad(y.sum(), list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(y.sum(), list(layer.parameters()))
    for got, expected in zip(second, first, strict=True):
        assert_same_bits(got, expected)


@every_variant
@ragged_or_not
def test_a_gradient_can_be_differentiated(options: dict[str, Any], lengths: list[int] | None) -> None:
    layer, x = make(options), torch.randn(L, N, E, dtype=torch.float64)
    for row, length in enumerate(lengths or []):
        x[length:, row] = float("nan")  # padding is not looked at
    x.requires_grad_()
    found: list[list[torch.Tensor]] = []
    for name in ("native", "torch"):
        torch.manual_seed(3)
        with backend(name):
            y, state = layer(x, None, lengths)
        inputs = [x, *layer.parameters()]
        slopes = torch.autograd.grad((y**2 + y).sum() + state.c.sum(), inputs, create_graph=True)
        found.append([*slopes, *torch.autograd.grad(sum((s**2).sum() for s in slopes), inputs)])
    for got, expected in zip(*found, strict=True):
        assert_agrees(got, expected, FLOAT64)


def test_differentiating_twice_in_bfloat16_is_refused_with_what_to_do() -> None:
    layer, x = make({}, torch.float32), torch.randn(L, N, E, requires_grad=True)
    with backend("native"), torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x)
    (slope,) = torch.autograd.grad((y.float() ** 2).sum(), x, create_graph=True)
    with pytest.raises(SettingError, match="create_graph"):
        slope.sum().backward()


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_no_steps_and_no_rows(shape: tuple[int, int]) -> None:
    layer = make({"peephole": True})
    with backend("native"):
        for lengths in (None, [0] * shape[1]):
            y, state = layer(torch.zeros(*shape, E, dtype=torch.float64), None, lengths)
            assert y.shape == (*shape, 2 * H)
            assert state.h.shape == (2, shape[1], H)


def test_rows_without_a_step_keep_their_state_and_pass_its_gradient_on() -> None:
    layer = make({"peephole": True})
    x = torch.full((L, N, E), float("nan"), dtype=torch.float64, requires_grad=True)
    state = LSTMState(*(torch.randn_like(s).requires_grad_() for s in layer.initial_state(N)))
    with backend("native"):
        y, after = layer(x, state, [0] * N)
        slopes = torch.autograd.grad(after.h.sum() + 2 * after.c.sum() + y.sum(), [*state, x, *layer.parameters()])
    assert not y.any()
    assert_same_bits(after.h, state.h)
    assert_same_bits(after.c, state.c)
    assert (slopes[0] == 1).all()
    assert (slopes[1] == 2).all()
    assert not any(slope.any() for slope in slopes[2:])


def test_only_what_is_used_needs_a_gradient() -> None:
    layer, x = make({}), torch.randn(L, N, E, dtype=torch.float64)
    layer.weight_hh_l0.requires_grad_(False)
    for pick in (lambda y, s: y, lambda y, s: s.h, lambda y, s: s.c):
        slopes: list[torch.Tensor] = []
        for name in ("native", "torch"):
            with backend(name):
                y, state = layer(x)
            slopes.append(torch.autograd.grad(pick(y, state).sum(), layer.weight_ih_l0)[0])
        assert_agrees(slopes[0], slopes[1], FLOAT64)
    with torch.no_grad(), backend("native"):
        assert not layer(x)[0].requires_grad


@pytest.mark.parametrize(
    ("name", "shape"),
    [("weight_hh_l0", (32, 7)), ("bias_ih_l0", (31,)), ("weight_ih_l0", (32, 4)), ("weight_ch_l0", (23,))],
)
def test_a_parameter_of_another_shape_is_an_error_with_both(name: str, shape: tuple[int, ...]) -> None:
    layer = LSTM(E, H, peephole=True)
    setattr(layer, name, nn.Parameter(torch.zeros(shape)))
    with backend("native"), pytest.raises(ShapeError, match=r"expected .*, got .*; x has shape \(6, 5, 3\)"):
        layer(torch.zeros(L, N, E))


def test_every_option_has_a_variant_here() -> None:
    from layers.test_lstm_conformance import EQUATIONS, STOCHASTIC

    options = set(itertools.chain.from_iterable(VARIANTS.values())) | BOTH_WAYS.keys()
    assert EQUATIONS.keys() | STOCHASTIC.keys() <= options


def test_a_state_may_lie_in_any_order() -> None:
    layer, x = LSTM(E, H), torch.randn(L, N, E)
    state = LSTMState(*(torch.randn(1, H, N).transpose(1, 2) for _ in range(2)))
    with backend("torch"):
        expected = values(layer, x, state=state)
    with backend("native"):
        got = values(layer, x, state=state)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
