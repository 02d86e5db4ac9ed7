"""The recurrent regularisers, by the distribution of their masks; with known masks, the conformance suite has them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from carrousel.layers import LSTM
from carrousel.layers.dropout import Masks, draw
from carrousel.layers.mask import dropout
from carrousel.layers.variant import Variant
from layers.agreement import FLOAT64, assert_agrees, assert_same_bits

L, N, E, H, P = 50, 40, 30, 20, 20
REGULARISERS: list[dict[str, Any]] = [
    {"recurrent_dropout": 0.3},
    {"variational_dropout": (0.3, 0.0)},
    {"variational_dropout": (0.0, 0.3)},
    {"zoneout": (0.3, 0.0)},
    {"zoneout": (0.0, 0.3)},
    {"weight_drop": 0.3},
]


def masks(training: bool = True, **options: Any) -> Masks:
    return draw(Variant(**options), training, torch.zeros(L, N, E), torch.zeros(4 * H, P), H)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("x", {"variational_dropout": (0.3, 0.0)}, (N, E)),
        ("h", {"variational_dropout": (0.0, 0.3)}, (N, P)),
        ("g", {"recurrent_dropout": 0.3}, (L, N, H)),
        ("w", {"weight_drop": 0.3}, (4 * H, P)),
        ("keep_h", {"zoneout": (0.3, 0.0)}, (L, N, P)),
        ("keep_c", {"zoneout": (0.0, 0.3)}, (L, N, H)),
    ],
)
def test_mask_has_its_share_and_scale_and_no_other_mask_is_drawn(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    drawn = masks(**options)._asdict()
    mask = drawn.pop(name)
    assert all(other is None for other in drawn.values())
    assert mask.shape == shape
    marked = mask == 1 if name.startswith("keep") else mask == 0
    others = 0.0 if name.startswith("keep") else 1 / 0.7
    assert torch.allclose(mask[~marked], torch.tensor(others), rtol=1e-6)
    five_sigma = 5 * (0.3 * 0.7 / mask.numel()) ** 0.5
    assert abs(marked.float().mean().item() - 0.3) < five_sigma
    # Independent from row to row: two neighbours are both marked with probability 0.09.
    both = (marked[:-1] & marked[1:]).float().mean().item()
    assert abs(both - 0.09) < 2 * five_sigma


def test_no_mask_is_drawn_outside_training_and_zoneout_becomes_its_expectation() -> None:
    drawn = masks(False, recurrent_dropout=0.3, variational_dropout=(0.3, 0.3), zoneout=(0.1, 0.2), weight_drop=0.4)
    assert drawn == Masks(keep_h=0.1, keep_c=0.2)


@pytest.mark.parametrize("options", REGULARISERS, ids=str)
def test_training_forward_is_random_and_follows_the_seed(options: dict[str, Any]) -> None:
    layer = LSTM(3, 8, 2, bidirectional=True, **options)
    x = torch.randn(6, 4, 3)
    runs: list[torch.Tensor] = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(layer(x, None, [6, 2, 5, 1])[0])
    assert_same_bits(runs[1], runs[0])
    assert not torch.equal(runs[2], runs[0])


@pytest.mark.parametrize("options", REGULARISERS[:3] + REGULARISERS[5:], ids=str)
def test_eval_forward_of_a_dropout_is_the_plain_layer(options: dict[str, Any]) -> None:
    layer, plain = LSTM(3, 8, 2, **options).eval(), LSTM(3, 8, 2).eval()
    plain.load_state_dict(layer.state_dict(), strict=True)
    x = torch.randn(6, 4, 3)
    assert_same_bits(layer(x)[0], plain(x)[0])


def test_training_mean_of_one_step_with_gate_dropout_is_the_eval_value() -> None:
    # c is linear in the mask of g, so its mean over masks is exactly the value without one.
    layer = LSTM(2, 4, recurrent_dropout=0.5, dtype=torch.float64)
    rows = 40_000
    x = torch.randn(1, 1, 2, dtype=torch.float64).expand(1, rows, 2)
    with torch.no_grad():
        c = layer(x)[1].c[0]
        expected = layer.eval()(x[:, :1])[1].c[0, 0]
    error = (c.mean(0) - expected).abs()
    assert (error < 5 * c.std(0) / rows**0.5).all()


def test_locked_masks_stay_over_time_and_gate_masks_do_not() -> None:
    # With no recurrence but the cell's, f = 1 and i = 1, c grows by tanh(W x) or by nothing: the same units each step
    # if the input's mask is locked; other units each step if g's mask is drawn anew.
    for options, locked in (({"variational_dropout": (0.5, 0.0)}, True), ({"recurrent_dropout": 0.5}, False)):
        layer = LSTM(8, 8, bias=True, dtype=torch.float64, **options)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.zero_()
            layer.weight_ih_l0[16:24] = torch.eye(8)
            layer.bias_ih_l0[:16] = 1e4
            cells: list[torch.Tensor] = [torch.zeros(8, dtype=torch.float64)]
            for n in range(1, 7):  # the first n steps of one sequence under one seed
                torch.manual_seed(3)
                state = layer(torch.ones(6, 1, 8, dtype=torch.float64), None, [n])[1]
                cells.append(state.c[0, 0])
        grew = torch.stack([after > before for before, after in pairwise(cells)])
        assert (grew == grew[0]).all().item() is locked
        assert 0 < grew.float().mean() < 1


def test_dropout_between_layers_drops_the_output_of_the_first() -> None:
    layer = LSTM(3, 8, 2, dropout=0.5, peephole=True, dtype=torch.float64)
    first, second = (LSTM(E, 8, peephole=True, dtype=torch.float64) for E in (3, 8))
    for k, part in enumerate((first, second)):
        part.load_state_dict({n.replace(f"_l{k}", "_l0"): p for n, p in layer.state_dict().items() if f"_l{k}" in n})
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    torch.manual_seed(5)
    y = layer(x)[0]
    torch.manual_seed(5)
    between = dropout(first(x)[0], 0.5, True)
    assert_agrees(y, second(between)[0], FLOAT64)
    assert not torch.equal(between, first(x)[0])
