"""The softmax that shares an embedding, and the loss of a token, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from carrousel.heads.softmax import SampledSoftmax, TiedSoftmax, token_loss


def test_loss_is_the_mean_of_minus_log_p():
    logits = torch.tensor([[[0.0, math.log(3.0)]], [[math.log(7.0), 0.0]]])  # p = 1/4, 3/4; 7/8, 1/8
    loss = token_loss(logits, torch.tensor([[0], [1]]))
    assert float(loss) == pytest.approx((math.log(4) + math.log(8)) / 2, rel=1e-6)


def test_smoothing_spreads_its_share_over_all_tokens():
    p = torch.tensor([0.1, 0.2, 0.7])
    q = torch.tensor([0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3])
    loss = token_loss(p.log()[None], torch.tensor([2]), smoothing=0.1)
    assert float(loss) == pytest.approx(-float((q * p.log()).sum()), rel=1e-6)


def test_the_softmax_and_the_embedding_are_one_matrix_with_one_gradient():
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(4, 3)
    head = TiedSoftmax(embedding)
    assert head.weight is embedding.weight
    ids, target = torch.tensor([0, 1]), torch.tensor([1, 3])
    token_loss(head(embedding(ids)), target).backward()
    tied = embedding.weight.grad.clone()

    def apart(reads: torch.Tensor, writes: torch.Tensor) -> torch.Tensor:
        return token_loss(reads[ids] @ writes.T, target)

    reads, writes = (embedding.weight.detach().clone().requires_grad_() for _ in range(2))
    apart(reads, writes).backward()
    torch.testing.assert_close(tied, reads.grad + writes.grad)
    assert writes.grad.abs().max() > 0 < reads.grad.abs().max()


def softmax(tokens: int = 50, seed: int = 0) -> TiedSoftmax:
    torch.manual_seed(seed)
    head = TiedSoftmax(torch.nn.Embedding(tokens, 6))
    torch.nn.init.normal_(head.bias)
    return head


def test_each_token_is_drawn_by_its_share_and_the_frequent_ones_always():
    counts = torch.tensor([999, 499, 9, 9, 4, 4, 4, 0])
    share = SampledSoftmax(softmax(8), counts, 4).share
    assert float(share.sum()) == pytest.approx(4)
    assert share[:2].tolist() == [1, 1]
    rest = (counts[2:] + 1) / (counts[2:] + 1).sum()
    torch.testing.assert_close(share[2:], 2 * rest)


def test_the_normaliser_of_drawn_tokens_is_right_on_average():
    head, torch_counts = softmax(), torch.arange(50)
    sampled = SampledSoftmax(head, torch_counts, 20)
    y, target = torch.randn(3, 2, 6), torch.randint(50, (3, 2))
    true = head(y).detach().exp().sum(-1).double()
    own = head(y).detach().gather(-1, target[..., None])[..., 0].exp().double()
    found = []
    with torch.no_grad():
        for row in range(3):
            for column in range(2):
                here = y[row, column][None], target[row, column][None]
                draws = torch.stack([sampled(*here) for _ in range(1000)]).double().exp() * own[row, column]
                found.append((draws.mean(), draws.std() / 1000**0.5, true[row, column]))
    for mean, error, expected in found:
        assert abs(float(mean - expected)) < 5 * float(error)
        assert float(error) > 0


def test_with_almost_all_tokens_loss_and_gradient_are_nearly_those_of_the_softmax():
    head, counts = softmax(), torch.full((50,), 10_000)
    counts[7] = 0
    y, target = torch.randn(4, 3, 6, requires_grad=True), torch.randint(8, 50, (4, 3))
    with torch.no_grad():
        head.bias[7] = -30.0  # the one token that is left out has no weight
    sampled = SampledSoftmax(head, counts, 49)
    losses = (sampled(y, target), token_loss(head(y), target))
    torch.testing.assert_close(*losses)
    gradients = [torch.autograd.grad(loss, [y, head.weight, head.bias]) for loss in losses]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_target_that_is_drawn_counts_once():
    head = softmax(4)
    sampled = SampledSoftmax(head, torch.tensor([5000, 5000, 5000, 0]), 3)
    y, target = torch.randn(1, 6), torch.tensor([1])
    with torch.no_grad():
        head.bias[3] = -40.0
        assert float(sampled(y, target)) == pytest.approx(float(token_loss(head(y), target)), rel=1e-4)


def test_where_nothing_is_drawn_the_loss_is_zero_and_its_gradient_a_number():
    sampled = SampledSoftmax(softmax(), torch.full((50,), 3), 1)
    y, target = torch.randn(2, 6, requires_grad=True), torch.tensor([3, 4])
    sampled.share.fill_(1e-9)
    loss = sampled(y, target)
    loss.backward()
    assert float(loss.detach()) == 0
    assert bool(torch.isfinite(y.grad).all())
    sampled.share[3] = 1  # only the one target: for it nothing else is left
    assert bool(torch.isfinite(torch.autograd.grad(sampled(y, target), y)[0]).all())
