"""State that goes on from batch to batch: truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from carrousel.layers.state import LSTMState


class Carry(nn.Module):
    """A recurrent network and the state in which each of its streams was left.

    The state is a buffer, so that a checkpoint holds it. No gradient passes from one forward into the one before.

    Parameters
    ----------
    network : any that obeys ``forward(x, state) -> (y, state)``
    initial : of every stream, h (layers, N, P) and c (layers, N, H)

    References
    ----------
    Williams & Peng 1990; carried between batches: Zaremba, Sutskever & Vinyals 2014.
    """

    h: Tensor
    c: Tensor

    def __init__(self, network: nn.Module, initial: LSTMState) -> None:
        super().__init__()
        self.network: Callable[..., Any] = network
        self.register_buffer("h", initial.h.detach().clone())
        self.register_buffer("c", initial.c.detach().clone())

    def forward(self, x: Any, rows: Tensor, *, fresh: bool) -> Tensor:
        """What the network makes of the next chunk of some streams.

        Parameters
        ----------
        x : what the network takes, a row a stream
        rows : int64 (n,), which streams; each at most once
        fresh : the streams begin here, from zeros
        """
        state = LSTMState(self.h[:, rows], self.c[:, rows])
        y, state = self.network(x, LSTMState(*map(torch.zeros_like, state)) if fresh else state)
        with torch.no_grad():
            self.h[:, rows] = state.h.to(self.h.dtype)
            self.c[:, rows] = state.c.to(self.c.dtype)
        return y
