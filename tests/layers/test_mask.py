"""Masks of dropout: Philox by its published numbers, and the same mask from the kernels, NumPy and torch's compiler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from carrousel.layers import compiled
from carrousel.layers.mask import dropout, kept, mask
from carrousel.layers.philox import philox, words
from layers.agreement import assert_same_bits

SHAPES = [(), (0,), (1,), (63,), (64,), (3, 7, 11), (40, 32, 100)]


@pytest.mark.parametrize(
    ("counter", "key", "published"),
    [  # kat_vectors of Random123, philox4x32 with 10 rounds
        ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_its_published_words(counter: list[int], key: int, published: list[int]) -> None:
    assert philox(np.array([counter, [1, 2, 3, 4]], np.uint32), key)[0].tolist() == published


def test_words_lie_by_groups_of_sixteen_blocks() -> None:
    found, key = words(5, 150), 5
    for element in (0, 15, 16, 63, 64, 149):
        block = 16 * (element // 64) + element % 16
        of_block = philox(np.array([[block, 0, 0, 0]], np.uint32), key)[0]
        assert found[element] == of_block[element // 16 % 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_and_numpy_draw_the_same_mask_on_any_threads(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled.unavailable():
        pytest.skip(compiled.unavailable())
    like, threads = torch.empty(0, dtype=dtype), torch.get_num_threads()

    def draw() -> Tensor:
        torch.manual_seed(3)
        return kept(like, shape, 0.3)

    drawn = [draw()]
    try:
        torch.set_num_threads(3 - min(threads, 2))
        drawn.append(draw())
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setenv("CARROUSEL_ISA", "numpy")
    drawn.append(draw())
    for other in drawn[1:]:
        assert_same_bits(other, drawn[0])
    assert drawn[0].shape == shape
    assert drawn[0].dtype == dtype
    assert set(drawn[0].flatten().tolist()) <= {0.0, torch.tensor(1 / 0.7, dtype=dtype).item()}


def test_a_mask_marks_the_same_elements_in_every_dtype_and_follows_the_seed() -> None:
    found: list[Tensor] = []
    for seed, dtype in ((1, torch.float32), (1, torch.float64), (1, torch.bfloat16), (2, torch.float32)):
        torch.manual_seed(seed)
        found.append(mask(torch.empty(0, dtype=dtype), (50, 20), 0.5, 1.0).bool())
    assert torch.equal(found[1], found[0])
    assert torch.equal(found[2], found[0])
    assert not torch.equal(found[3], found[0])


@pytest.mark.parametrize("p", [1e-4, 0.1, 0.5, 0.999])
def test_share_of_a_mask_is_its_probability(p: float) -> None:
    drawn = mask(torch.empty(0), (1_000_000,), p, 1.0)
    assert abs(drawn.mean(dtype=torch.float64).item() - p) < 5 * (p * (1 - p) / 1e6) ** 0.5
    # Neighbours, and elements a vector and a group apart, are independent.
    for distance in (1, 16, 64):
        both = (drawn[distance:] * drawn[:-distance]).mean(dtype=torch.float64).item()
        assert abs(both - p * p) < 10 * p / 1e3


def test_dropout_of_everything_and_of_nothing() -> None:
    x = torch.randn(5, 4, requires_grad=True)
    assert dropout(x, 0.0, True) is x
    assert dropout(x, 0.9, False) is x
    assert torch.equal(dropout(x, 1.0, True), torch.zeros(5, 4))


def test_gradient_of_dropout_has_the_mask_of_its_forward() -> None:
    x = torch.rand(100, requires_grad=True) + 1
    y = dropout(x, 0.4, True)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(slope, (y != 0) / 0.6)
    assert 0 < (slope == 0).sum() < 100


def test_dropout_is_a_part_of_a_compiled_graph() -> None:
    compiled_dropout = torch.compile(lambda x: dropout(x, 0.25, True), fullgraph=True, backend="aot_eager")
    x = torch.ones(1000)
    torch.manual_seed(7)
    y = compiled_dropout(x)
    torch.manual_seed(7)
    assert_same_bits(y, dropout(x, 0.25, True))


def test_dropout_under_a_function_transform_is_that_of_torch() -> None:
    x = torch.ones(3, 50)
    y = torch.func.vmap(lambda row: dropout(row, 0.5, True), randomness="different")(x)
    assert set(y.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(y[0], y[1])
