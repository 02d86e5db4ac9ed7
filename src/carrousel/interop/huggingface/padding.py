"""Padding wherever a mask says it stands: the tokens of each row are moved to its front, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from carrousel.errors import ShapeError


class Padding(NamedTuple):
    """Where the tokens of a batch stand among padding.

    Parameters
    ----------
    order : int64 (N, L), the places of each row: those of tokens first, in their order, then those of padding
    lengths : int64 (N,), how many are tokens
    """

    order: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, mask: Tensor | None, rows: int, steps: int) -> Padding | None:
        """From a mask (N, ≥ L), not 0 at tokens; None where there is no padding.

        Raises
        ------
        ShapeError : a mask of another shape
        """
        if mask is None:
            return None
        if mask.dim() != 2 or len(mask) != rows or mask.shape[1] < steps:
            raise ShapeError(
                f"attention_mask: expected ({rows}, {steps}) as the input has, or longer by what was read before, got "
                f"{tuple(mask.shape)}"
            )
        valid = mask[:, mask.shape[1] - steps :] != 0
        if bool(valid.all()):
            return None
        return cls(torch.argsort(~valid, dim=1, stable=True), valid.sum(1))

    def close(self, x: Tensor) -> Tensor:
        """x (N, L) or (N, L, E) with the tokens of each row first."""
        order = self.order if x.dim() == 2 else self.order[..., None].expand_as(x)
        return x.gather(1, order)

    def open(self, y: Tensor) -> Tensor:
        """The inverse of ``close``, of y (N, L, E)."""
        return torch.empty_like(y).scatter(1, self.order[..., None].expand_as(y), y)
