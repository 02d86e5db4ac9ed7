"""What every variant of the LSTM must hold, over every legal combination of them."""

from __future__ import annotations

import itertools
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from carrousel.layers import LSTM, LSTMState, reference
from carrousel.layers.dropout import draw
from carrousel.layers.variant import Variant, VariantOptions
from layers.agreement import FINITE_DIFFERENCE, FLOAT64, STEP, arrays, assert_agrees, assert_same_bits

# What changes the equations, and what only changes the training forward. A new option fails the first test until it is
# entered here.
EQUATIONS: dict[str, Any] = {
    "peephole": True,
    "coupled": True,
    "layer_norm": True,
    "zoneout": (0.2, 0.4),
    "proj_size": 2,
    "bidirectional": True,
    "num_layers": 2,
    "bias": False,
}
STOCHASTIC: dict[str, Any] = {
    "recurrent_dropout": 0.4,
    "variational_dropout": (0.3, 0.5),
    "zoneout": (0.2, 0.4),
    "weight_drop": 0.5,
}
BEGINNING: dict[str, Any] = {"init": "orthogonal", "forget_bias": 1.0, "trainable_state": True}

L, E, H = 5, 3, 4
SEED = 7
LENGTHS = [5, 2, 0, 3]
N = len(LENGTHS)


def combinations(options: dict[str, Any]) -> list[Any]:
    chosen = [c for n in range(len(options) + 1) for c in itertools.combinations(options, n)]
    return [pytest.param({k: options[k] for k in names}, id="+".join(names) or "plain") for names in chosen]


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in EQUATIONS.items() if name not in names}


every_variant = pytest.mark.parametrize("options", combinations(EQUATIONS))
# Equations decide whether a value is right, and see every combination. How rows and steps lie in memory is the same
# code with and without a bias.
every_biased_variant = pytest.mark.parametrize("options", combinations(without("bias")))
every_backend = pytest.mark.usefixtures("each_backend")
every_streaming_variant = pytest.mark.parametrize("options", combinations(without("bias", "bidirectional")))


def make(options: dict[str, Any]) -> LSTM:
    layer = LSTM(E, H, dtype=torch.float64, **options).eval()
    with torch.no_grad():
        for parameter in layer.parameters():  # no gain is 1 and no bias 0, so that none can be forgotten unnoticed
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def inputs(layer: LSTM, rows: int = N) -> tuple[torch.Tensor, LSTMState]:
    h, c = layer.initial_state(rows)
    state = LSTMState(torch.randn_like(h).requires_grad_(), torch.randn_like(c).requires_grad_())
    return torch.randn(L, rows, E, dtype=torch.float64, requires_grad=True), state


def test_suite_knows_every_option() -> None:
    options = {field.name for field in fields(Variant)}
    assert options <= EQUATIONS.keys() | STOCHASTIC.keys() | BEGINNING.keys()
    assert options == set(VariantOptions.__annotations__)


def check_against_reference(
    layer: LSTM, lengths: list[int] | None, masks: dict[str, reference.Masks] | None = None
) -> None:
    x, state = inputs(layer)
    torch.manual_seed(SEED)
    y, (h_n, c_n) = layer(x, state, lengths)
    weights = [torch.randn_like(v) for v in (y, h_n, c_n)]
    layer.zero_grad()
    sum((w * v).sum() for w, v in zip(weights, (y, h_n, c_n), strict=True)).backward()

    parameters = arrays(layer)
    trace = reference.lstm(
        parameters,
        x.detach().numpy(),
        *(s.detach().numpy() for s in state),
        lengths=lengths,
        zoneout=layer.variant.zoneout,
        masks=masks,
    )
    gradients = reference.lstm_backward(parameters, trace, *(w.numpy() for w in weights))

    assert_agrees(y, trace.output, FLOAT64, "output")
    assert_agrees(h_n, trace.h_n, FLOAT64, "h_n")
    assert_agrees(c_n, trace.c_n, FLOAT64, "c_n")
    assert_agrees(x.grad, gradients.x, FLOAT64, "d x")
    assert_agrees(state.h.grad, gradients.h_0, FLOAT64, "d h_0")
    assert_agrees(state.c.grad, gradients.c_0, FLOAT64, "d c_0")
    for name, parameter in layer.named_parameters():
        assert_agrees(parameter.grad, gradients.parameters[name], FLOAT64, f"d {name}")


@every_backend
@every_variant
def test_values_and_gradients_are_those_of_the_reference(options: dict[str, Any]) -> None:
    check_against_reference(make(options), None)


@every_backend
@every_variant
def test_values_and_gradients_with_lengths_are_those_of_the_reference(options: dict[str, Any]) -> None:
    check_against_reference(make(options), LENGTHS)


@every_backend
@pytest.mark.parametrize("dropped", [[name] for name in STOCHASTIC] + [list(STOCHASTIC)], ids="+".join)
@pytest.mark.parametrize("options", combinations(without("bias", "bidirectional", "zoneout", "num_layers")))
def test_training_with_known_masks_is_that_of_the_reference(options: dict[str, Any], dropped: list[str]) -> None:
    both = {"bidirectional": True, "num_layers": 2}
    layer = make(options | both | {name: STOCHASTIC[name] for name in dropped}).train()
    torch.manual_seed(SEED)  # the forward begins with this seed too, and draws nothing but these
    masks: dict[str, reference.Masks] = {}
    for k, suffixes in enumerate(layer.suffixes):
        for suffix in suffixes:
            weight_hh = getattr(layer, "weight_hh" + suffix).detach()
            seen = torch.empty(L, N, E if k == 0 else 2 * weight_hh.shape[1], dtype=torch.float64)
            drawn = draw(layer.variant, True, seen, weight_hh, H)
            known = {name: mask.numpy() for name, mask in drawn._asdict().items() if mask is not None}
            masks[suffix] = reference.Masks(**known)
    check_against_reference(layer, LENGTHS, masks)


@pytest.mark.parametrize("options", combinations(without("num_layers")))
def test_reference_backward_is_the_slope_of_its_forward(options: dict[str, Any]) -> None:
    layer = make(options)
    x, state = inputs(layer)
    point = arrays(layer) | {name: tensor.detach().numpy() for name, tensor in (("x", x), *state._asdict().items())}
    rng = np.random.default_rng(3)

    def run(at: dict[str, Any]) -> reference.Trace:
        return reference.lstm(at, at["x"], at["h"], at["c"], lengths=LENGTHS, zoneout=layer.variant.zoneout)

    trace = run(point)
    weights = [rng.normal(size=v.shape) for v in (trace.output, trace.h_n, trace.c_n)]
    gradients = reference.lstm_backward(arrays(layer), trace, *weights)
    slopes = gradients.parameters | {"x": gradients.x, "h": gradients.h_0, "c": gradients.c_0}
    assert slopes.keys() == point.keys()
    # One direction through everything at once: an error in any gradient shows, whatever the parameter.
    direction = {name: rng.normal(size=slope.shape) for name, slope in slopes.items()}

    def loss(step: float) -> float:
        t = run({name: value + step * direction[name] for name, value in point.items()})
        return float(sum((w * v).sum() for w, v in zip(weights, (t.output, t.h_n, t.c_n), strict=True)))

    numeric = (8 * (loss(STEP) - loss(-STEP)) - (loss(2 * STEP) - loss(-2 * STEP))) / (12 * STEP)
    assert_agrees(numeric, sum((slopes[name] * direction[name]).sum() for name in slopes), FINITE_DIFFERENCE)


@every_backend
@every_streaming_variant
def test_chunks_give_what_the_whole_gives(options: dict[str, Any]) -> None:
    layer = make(options)
    x, state = inputs(layer)
    whole, last = layer(x, state)
    ragged, ragged_last = layer(x, state, LENGTHS)
    parts: list[torch.Tensor] = []
    ragged_parts: list[torch.Tensor] = []
    ragged_state, at = state, 0
    for chunk in x.split([1, 0, 3, 1]):
        y, state = layer(chunk, state)
        parts.append(y)
        y, ragged_state = layer(chunk, ragged_state, [min(max(n - at, 0), len(chunk)) for n in LENGTHS])
        ragged_parts.append(y)
        at += len(chunk)
    for got, expected in ((parts, whole), (ragged_parts, ragged)):
        assert_agrees(torch.cat(got), expected, FLOAT64, "output")
    for got, expected in zip((*state, *ragged_state), (*last, *ragged_last), strict=True):
        assert_agrees(got, expected, FLOAT64, "state")


@every_backend
@every_biased_variant
def test_padding_content_changes_nothing(options: dict[str, Any]) -> None:
    layer = make(options)
    x, state = inputs(layer)
    padded = (torch.arange(L)[:, None] >= torch.tensor(LENGTHS))[:, :, None]
    results: list[list[torch.Tensor]] = []
    for rubbish in (0.0, 1e30, float("inf"), float("nan")):
        filled = x.detach().masked_fill(padded, rubbish).requires_grad_()
        y, (h_n, c_n) = layer(filled, state, LENGTHS)
        gradients = torch.autograd.grad(y.sum() + h_n.sum() + c_n.sum(), [filled, *state, *layer.parameters()])
        assert not y.masked_select(padded).any()
        results.append([y, h_n, c_n, *gradients])
    for other in results[1:]:
        for got, expected in zip(other, results[0], strict=True):
            assert_same_bits(got, expected)


@every_backend
@every_biased_variant
def test_batch_neighbours_change_nothing(options: dict[str, Any]) -> None:
    layer = make(options)
    x, state = inputs(layer)
    y, after = layer(x, state, LENGTHS)
    for row, n in enumerate(LENGTHS):
        alone, alone_after = layer(x[:n, [row]], state.select([row]))
        assert_agrees(y[:n, [row]], alone, FLOAT64, "output")
        assert_agrees(after.select([row]).h, alone_after.h, FLOAT64, "h_n")
        assert_agrees(after.select([row]).c, alone_after.c, FLOAT64, "c_n")


@every_backend
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@every_biased_variant
def test_a_row_that_is_not_finite_spoils_no_other_row(options: dict[str, Any]) -> None:
    layer = make(options)
    others = [1, 2, 3]
    f32, f64 = torch.float32, torch.float64
    for dtype, bad, lengths in ((f64, "nan", None), (f32, "inf", None), (f64, "-inf", LENGTHS), (f32, "nan", LENGTHS)):
        layer = layer.to(dtype)
        x = torch.randn(L, N, E, dtype=dtype)
        spoiled = x.clone()
        spoiled[1, 0] = float(bad)
        y, (h_n, c_n) = layer(x, None, lengths)
        y_spoiled, (h_spoiled, c_spoiled) = layer(spoiled, None, lengths)
        assert_same_bits(y_spoiled[:, others], y[:, others], "output")
        assert_same_bits(h_spoiled[:, others], h_n[:, others], "h_n")
        assert_same_bits(c_spoiled[:, others], c_n[:, others], "c_n")
        assert not torch.equal(y_spoiled[:, 0], y[:, 0])


@every_biased_variant
def test_a_saved_layer_gives_the_same_bits_after_loading(options: dict[str, Any], tmp_path: Path) -> None:
    layer = make(options)
    save_file(layer.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(layer.config()))

    config = json.loads((tmp_path / "config.json").read_text())
    loaded = LSTM(**config, dtype=torch.float64).eval()
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert loaded.config() == layer.config()
    x, state = inputs(layer)
    y, after = layer(x, state, LENGTHS)
    y_loaded, after_loaded = loaded(x, state, LENGTHS)
    for got, expected in ((y_loaded, y), (after_loaded.h, after.h), (after_loaded.c, after.c)):
        assert_same_bits(got, expected)


@every_backend
@every_biased_variant
def test_unbatched_and_batch_first_input_gives_the_same_numbers(options: dict[str, Any]) -> None:
    layer = make(options)
    turned = LSTM(**(layer.config() | {"batch_first": True}), dtype=torch.float64).eval()
    turned.load_state_dict(layer.state_dict())
    x, state = inputs(layer)
    for lengths in (None, LENGTHS):
        y, (h_n, c_n) = layer(x, state, lengths)
        y_turned, (h_turned, c_turned) = turned(x.transpose(0, 1), state, lengths)
        for got, expected in ((y_turned.transpose(0, 1), y), (h_turned, h_n), (c_turned, c_n)):
            assert_agrees(got, expected, FLOAT64)
    y, (h_n, c_n) = layer(x, state)
    y_row, (h_row, c_row) = layer(x[:, 1], LSTMState(state.h[:, 1], state.c[:, 1]))
    for got, expected in ((y_row, y[:, 1]), (h_row, h_n[:, 1]), (c_row, c_n[:, 1])):
        assert_agrees(got, expected, FLOAT64)
