"""What might have been is still the same sequence: its ends, its length, and what is no variable stay as they are."""

from __future__ import annotations

import pytest
import torch

from carrousel.layers.augment import jittered, scaled, warped
from carrousel.training import seeded


@pytest.fixture(autouse=True)
def _seed():
    with seeded(0):
        yield


def test_a_warped_sequence_keeps_its_ends_its_order_and_its_range():
    lengths = torch.tensor([30, 7, 1])
    x = torch.arange(30.0).expand(3, 30)[..., None].clone()
    found = warped(x, lengths, 0.5)
    assert found.shape == x.shape
    for row, length in zip(found[..., 0], lengths.tolist(), strict=True):
        assert row[0] == 0
        assert row[length - 1] == pytest.approx(length - 1, abs=1e-4)
        assert (row[:length].diff() >= 0).all()
    assert (found[0, :, 0] - x[0, :, 0]).abs().max() > 0.5
    torch.testing.assert_close(warped(x, lengths, 0.0)[0], x[0], rtol=0, atol=1e-4)


def test_factors_are_one_a_sequence_and_variable_and_have_the_spread_that_was_asked_for():
    x = torch.ones(4000, 3, 3)
    found = scaled(x, 2, 0.1)
    assert torch.equal(found[:, 0], found[:, 2])
    assert torch.equal(found[..., 2], x[..., 2])
    assert found[:, 0, :2].log().std().item() == pytest.approx(0.1, rel=0.05)
    assert not torch.equal(found[..., 0], found[..., 1])


def test_noise_has_the_spread_that_was_asked_for_and_leaves_marks_alone():
    x = torch.zeros(100, 50, 3)
    found = jittered(x, 2, 0.05)
    assert torch.equal(found[..., 2], x[..., 2])
    assert found[..., :2].std().item() == pytest.approx(0.05, rel=0.05)
