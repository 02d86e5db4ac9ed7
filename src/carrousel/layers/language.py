"""The language network: tokens, an LSTM, and the next token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from carrousel.features.language import LanguageSizes
from carrousel.layers.embedding import DropEmbedding
from carrousel.layers.lstm import LSTM
from carrousel.layers.mask import dropout
from carrousel.layers.state import LSTMState

FIRST = "lstm.weight_ih_l0"


class LanguageLSTM(nn.Module):
    """What the softmax takes, of every token: y = W_p·LSTM(s·E[ids]) + b_p, or the LSTM's output where it has size E.

    s, the power of two next to √E, lets the LSTM see inputs of variance 1 and the softmax small vectors: trained from
    larger or smaller ones the same network was worse (tinyshakespeare, 1.4 million characters of training: by 0.015
    nats a character without s and vectors of variance 1). It ends in the LSTM's weights, see ``tensors``.

    Obeys the protocol of the layers: a streaming step is one call with one token. The head stands in ``heads``, since
    it shares the embedding.

    Parameters
    ----------
    dropout : of the LSTM's outputs, between its layers and behind them
    embedding_dropout : probability that a token is dropped everywhere
    weight_drop, recurrent_dropout, variational_dropout : of the LSTM, see ``layers.variant.Variant``

    References
    ----------
    Mikolov et al. 2010; Zaremba, Sutskever & Vinyals 2014; the regularisers: Merity, Keskar & Socher 2018.
    """

    def __init__(
        self,
        sizes: LanguageSizes,
        *,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
        recurrent_dropout: float = 0.0,
        variational_dropout: Sequence[float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = DropEmbedding(sizes.vocabulary, sizes.embedding_size, dropout=embedding_dropout)
        self.scale = 2.0 ** round(math.log2(sizes.embedding_size) / 2)
        nn.init.normal_(self.embedding.weight, std=1 / self.scale)
        self.lstm = LSTM(
            sizes.embedding_size,
            sizes.hidden_size,
            sizes.num_layers,
            dropout=dropout if sizes.num_layers > 1 else 0.0,
            weight_drop=weight_drop,
            recurrent_dropout=recurrent_dropout,
            variational_dropout=variational_dropout,
        )
        square = sizes.embedding_size == sizes.hidden_size
        self.projection = None if square else nn.Linear(sizes.hidden_size, sizes.embedding_size)

    def forward(self, ids: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        """Run over the next tokens of N streams.

        Parameters
        ----------
        ids : int64 (L, N)
        state : h and c (num_layers, N, H); None: zeros

        Returns
        -------
        (y, state) : y float (L, N, E)
        """
        y, after = self.lstm(self.scale * self.embedding(ids), state)
        y = dropout(y, self.dropout, self.training)
        return (y if self.projection is None else self.projection(y)), after

    def initial_state(self, rows: int) -> LSTMState:
        """Zeros for so many streams."""
        return self.lstm.initial_state(rows)

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """Parameters by the names of ``LanguageSizes.architecture``, without those of the head.

        The first layer's input weights are multiplied by s, which changes no bit of what they give.
        """
        named = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return named | {FIRST: self.scale * named[FIRST]}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``tensors`` gave."""
        self.load_state_dict({**tensors, FIRST: tensors[FIRST] / self.scale})
