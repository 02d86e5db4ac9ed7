"""The next token: a softmax over the vectors by which tokens are read, and what a wrong guess costs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear


class TiedSoftmax(nn.Module):
    """Logits of the next token, z = E·y + b, with the rows of an embedding as E.

    Parameters
    ----------
    embedding : shared, not copied: its gradient comes from both ends

    References
    ----------
    Press & Wolf 2017; Inan, Khosravi & Socher 2017.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, y: Tensor) -> Tensor:
        """Logits (…, V) of y (…, E)."""
        return linear(y, self.weight, self.bias)


NOTHING = -1e30  # a logit without weight: finite, since the gradient of a sum of none but −∞ is no number


class SampledSoftmax(nn.Module):
    """−log p of tokens, whose normaliser is estimated from some tokens that each call draws; for training only.

    Ẑ = e^{z_t} + Σ_{v drawn, v ≠ t} e^{z_v} / π_v. Every token is drawn or not on its own, with π_v = min(1, c·n_v), so
    that the frequent ones always are and none twice; E[Ẑ] = Z, and −z_t + log Ẑ is below the true loss only by what the
    logarithm makes of the spread of Ẑ. Nothing of it remains in the trained weights, which the full softmax reads.

    Parameters
    ----------
    head : the softmax that is trained
    counts : n_v (V,), of the tokens in the training text; one more is added to each
    samples : how many are drawn on average, below V

    References
    ----------
    A normaliser of weighted samples: Bengio & Senécal 2008, Jean et al. 2015; of independent draws: Horvitz & Thompson
    1952.
    """

    share: Tensor

    def __init__(self, head: TiedSoftmax, counts: Tensor, samples: int) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("share", _inclusion(counts.double() + 1, samples).float(), persistent=False)

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Mean loss, in nats, of y (…, E) at targets int64 (…)."""
        y, target = y.flatten(0, -2), target.flatten()
        weight, bias = self.head.weight, self.head.bias
        drawn = (torch.rand_like(self.share) < self.share).nonzero()[:, 0]
        z = linear(y, weight[drawn], bias[drawn] - self.share[drawn].log()).float()
        z = z.masked_fill(drawn == target[:, None], NOTHING)
        own = (y.float() * weight[target]).sum(-1) + bias[target]
        return (torch.logaddexp(own, z.logsumexp(-1)) - own).mean()


def _inclusion(counts: Tensor, samples: int) -> Tensor:
    """π_v = min(1, c·n_v) whose sum is the number of samples."""
    share = torch.zeros_like(counts)
    while True:
        certain = share >= 1
        left = samples - int(certain.sum())
        share = torch.where(certain, 1.0, left * counts / counts[~certain].sum())
        if torch.equal(certain, share >= 1):
            return share


def token_loss(logits: Tensor, target: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean of −Σ_v q_v log p_v over all tokens, in nats; q is 1 − s at the target, and s / V more everywhere.

    Parameters
    ----------
    logits : (…, V), of any float; reckoned in float32 at least
    target : int64 (…)
    smoothing : s

    References
    ----------
    Label smoothing: Szegedy et al. 2016 (§7).
    """
    return cross_entropy(logits.float().flatten(0, -2), target.flatten(), label_smoothing=smoothing)
