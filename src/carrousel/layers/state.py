"""What a recurrent layer remembers between two calls: explicit, selectable by row, copyable, serialisable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ShapeError


class LSTMState(NamedTuple):
    """State of a stack of LSTM layers; it is the tuple ``(h_n, c_n)`` of ``torch.nn.LSTM``.

    Parameters
    ----------
    h : (num_layers · D, N, H_out), or (num_layers · D, H_out) for unbatched input; D = 2 if bidirectional else 1
    c : (num_layers · D, N, H), or (num_layers · D, H)
    """

    h: Tensor
    c: Tensor

    def select(self, rows: Tensor | list[int]) -> LSTMState:
        """The state of some rows of the batch, in the order asked for; a row may be taken more than once.

        Raises
        ------
        ShapeError : the state is unbatched
        """
        if self.h.dim() != 3:
            raise ShapeError(
                f"LSTMState.select: expected a batched state (num_layers·D, N, H), got {tuple(self.h.shape)}; "
                "the state of unbatched input has no rows to select"
            )
        index = torch.as_tensor(rows, device=self.h.device)
        return LSTMState(self.h[:, index], self.c[:, index])

    def detach(self) -> LSTMState:
        """The same values, cut off from the graph that made them (truncated backpropagation through time)."""
        return LSTMState(self.h.detach(), self.c.detach())

    def clone(self) -> LSTMState:
        """A copy that shares no memory, so that one stream can be forked into two."""
        return LSTMState(self.h.clone(), self.c.clone())

    def to_arrays(self) -> dict[str, npt.NDArray[np.floating]]:
        """``{"h": ..., "c": ...}`` as NumPy arrays that share no memory with the state."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._asdict().items()}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, npt.NDArray[np.floating]], *, device: torch.device | str | None = None
    ) -> LSTMState:
        """What :meth:`to_arrays` wrote, in the same dtype.

        Raises
        ------
        ShapeError : the names are not ``h`` and ``c``
        """
        if set(arrays) != set(cls._fields):
            raise ShapeError(f"LSTMState.from_arrays: expected the arrays h and c, got {sorted(arrays)}; pass both")
        return cls(*(torch.tensor(arrays[name], device=device) for name in cls._fields))
