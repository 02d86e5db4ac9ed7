"""The classifying network: a sequence, an LSTM over it, and a class of what it saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from carrousel.features.classify import ClassifySizes
from carrousel.layers.embedding import DropEmbedding
from carrousel.layers.lstm import LSTM
from carrousel.layers.mask import dropout

LEAST = -2.0  # below every output of an LSTM, so that padding is never the largest


def pooled(y: Tensor, lengths: Tensor) -> Tensor:
    """The largest and the mean of each output over the steps of a sequence: (L, N, width) → (N, 2·width).

    Parameters
    ----------
    y : of an LSTM, 0 beyond a length
    lengths : int64 (N,)
    """
    valid = (torch.arange(len(y), device=y.device)[:, None] < lengths.to(y.device))[..., None]
    largest = y.masked_fill(~valid, LEAST).amax(0)
    return torch.cat([largest, y.sum(0) / lengths.to(y)[:, None]], 1)


class ClassifyLSTM(nn.Module):
    """Logits of the classes of a sequence, or of each of its steps.

    x_t = E[word_t]   or   relu(W·(v_{t−W+1}, ..., v_t) + b)
    y   = LSTM(x)
    z   = W_o·(max_t y_t, mean_t y_t) + b_o   or, a class a step,   z_t = W_o·y_t + b_o

    Parameters
    ----------
    dropout : of what the decision rests on
    embedding_dropout : probability that a word is dropped everywhere in a step of the training
    variational_dropout : of the LSTM's inputs and hidden values, see ``layers.variant.Variant``

    References
    ----------
    Max pooling over a bidirectional LSTM: Conneau et al. 2017, InferSent (§3.2).
    """

    def __init__(
        self,
        sizes: ClassifySizes,
        *,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        variational_dropout: Sequence[float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        self.sizes, self.dropout = sizes, dropout
        if sizes.kind == "text":
            self.input: nn.Module = DropEmbedding(sizes.inputs, sizes.embedding_size, dropout=embedding_dropout)
            nn.init.normal_(self.input.weight, std=0.5)
        else:
            self.input = nn.Linear(sizes.window * sizes.inputs, sizes.embedding_size)
        self.lstm = LSTM(
            sizes.embedding_size,
            sizes.hidden_size,
            sizes.num_layers,
            dropout=dropout if sizes.num_layers > 1 else 0.0,
            bidirectional=sizes.bidirectional,
            variational_dropout=variational_dropout,
        )
        self.head = nn.Linear(sizes.pooled, sizes.classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Classify a batch.

        Parameters
        ----------
        x : int64 (N, L) ids of words, or float32 (N, L, K) scaled values; beyond a length anything
        lengths : int64 (N,), at least 1

        Returns
        -------
        float32 (N, C); (N, L, C) with a class a step
        """
        if self.sizes.kind == "text":
            vectors = self.input(x.T)  # (L, N, E)
        else:
            vectors = torch.relu(self.input(self._windows(x).transpose(0, 1)))
        y, _ = self.lstm(vectors, None, lengths)  # (L, N, width)
        if self.sizes.steps:
            return self.head(dropout(y, self.dropout, self.training)).transpose(0, 1)
        return self.head(dropout(pooled(y, lengths), self.dropout, self.training))

    def _windows(self, x: Tensor) -> Tensor:
        """(N, L, K) → (N, L, W·K), as ``features.classify.windows``."""
        if self.sizes.window == 1:
            return x
        first = x[:, :1].expand(-1, self.sizes.window - 1, -1)
        seen = torch.cat([first, x], 1).unfold(1, self.sizes.window, 1)  # (N, L, K, W)
        return seen.transpose(2, 3).flatten(2)

    @torch.no_grad()
    def share(self, ids: Tensor) -> None:
        """Give each word the vector of the one as which it was read in training; ids : int64 (V,)."""
        weight = self.get_parameter("input.weight")
        weight.copy_(weight[ids])

    @torch.no_grad()
    def tensors(self, member: int) -> dict[str, Tensor]:
        """Parameters by the names of ``ClassifySizes.architecture``."""
        named = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return {
            f"{layer}_{member}.{rest}": t for (layer, _, rest), t in ((n.partition("."), t) for n, t in named.items())
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], member: int) -> None:
        """Take over one member's part of an ensemble's weights, the inverse of ``tensors``."""
        state: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            layer, _, rest = name.partition(".")
            base, _, number = layer.rpartition("_")
            if number == str(member):
                state[f"{base}.{rest}"] = tensor
        self.load_state_dict(state)
