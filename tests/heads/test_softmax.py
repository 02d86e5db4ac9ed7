"""The softmax that shares an embedding, and the loss of a token, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from carrousel.heads.softmax import TiedSoftmax, token_loss


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
