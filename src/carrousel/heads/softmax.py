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
