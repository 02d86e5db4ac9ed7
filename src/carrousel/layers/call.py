"""What one call of the LSTM's operators is given, and what its forward leaves to its backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cell import Weights

ALIGNMENT = 16
"""Elements to which the parts of a reserve are aligned: a cache line of float32."""


class Ragged(NamedTuple):
    """The valid cells of a batch with lengths, numbered time by time.

    Parameters
    ----------
    lengths : int64 (N,)
    place : int64 (M,); t·N + n of each
    cell : int64 (L, N); the number of each, −1 where padded
    """

    lengths: Tensor
    place: Tensor
    cell: Tensor

    @classmethod
    def of(cls, L: int, lengths: Tensor) -> Ragged:
        valid = torch.arange(L, device=lengths.device)[:, None] < lengths
        place = valid.flatten().nonzero().flatten()
        cell = place.new_full((L * len(lengths),), -1)
        cell[place] = torch.arange(len(place), device=place.device)
        return cls(lengths, place, cell.view(L, len(lengths)))


class Call(NamedTuple):
    """Arguments of the operator, in its order. Masks are indexed by time in both directions.

    Parameters
    ----------
    x : (L, N, E), of the dtype of all others; with ``half`` it may be bfloat16
    h_0, c_0 : (N, P), (N, H)
    weight_ih ... bias_c : see ``Weights``
    lengths, place, cell : see ``Ragged``; all or none
    mask_h, mask_g, keep_h, keep_c : see ``Masks``
    zone_h, zone_c : zoneout's expectations, where keep_h, keep_c are None
    reverse : each row starts at its last valid step
    half : factors of products are rounded to bfloat16; sums, gates and state are not
    segment : keep the state before each so many steps and recompute the rest; 0: keep everything
    """

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None
    weight_ch: Tensor | None
    gain_ih: Tensor | None
    gain_hh: Tensor | None
    gain_c: Tensor | None
    bias_c: Tensor | None
    lengths: Tensor | None
    place: Tensor | None
    cell: Tensor | None
    mask_h: Tensor | None
    mask_g: Tensor | None
    keep_h: Tensor | None
    keep_c: Tensor | None
    zone_h: float
    zone_c: float
    reverse: bool
    half: bool
    segment: int

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """L, N, G, H, P."""
        (L, N, _), H, P = self.x.shape, self.c_0.shape[-1], self.h_0.shape[-1]
        return L, N, self.weight_ih.shape[0] // H, H, P

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters that there are."""
        return {name: weight for name in Weights._fields if (weight := getattr(self, name)) is not None}

    @property
    def cells(self) -> int:
        """M, how many cells are valid."""
        return self.x.shape[0] * self.x.shape[1] if self.place is None else self.place.shape[0]

    @property
    def normed(self) -> bool:
        return self.gain_hh is not None

    def kept(self) -> dict[str, int]:
        """Widths of what the forward leaves to the backward of each cell, by the kernels' names."""
        _, _, G, H, _ = self.sizes
        widths = {"z": G * H, "c": H}
        if self.normed:
            widths |= {"a_hat": G * H, "a_scale": 1, "r_hat": G * H, "r_scale": 1, "u_hat": H, "u_scale": 1}
        if self.weight_hr is not None:
            widths["m"] = H
        return widths

    def segments(self) -> list[tuple[int, int]]:
        """Bounds of time of the parts that are run one after the other, in that order."""
        L, length = len(self.x), self.segment or len(self.x)
        bounds = [(t, min(t + length, L)) for t in range(0, L, length)]
        return bounds[::-1] if self.reverse else bounds

    def part(self, begin: int, end: int, h: Tensor, c: Tensor) -> Call:
        """The steps of one segment, from the state before them."""
        if (begin, end) == (0, len(self.x)):
            return self._replace(h_0=h, c_0=c)
        cut = {
            name: None if mask is None else mask[begin:end]
            for name, mask in (("mask_g", self.mask_g), ("keep_h", self.keep_h), ("keep_c", self.keep_c))
        }
        if self.lengths is not None and self.place is not None and self.cell is not None:
            N = len(self.lengths)
            first, last = torch.searchsorted(self.place, self.place.new_tensor([begin * N, end * N])).tolist()
            cut["lengths"] = (self.lengths - begin).clamp(0, end - begin)
            cut["place"] = self.place[first:last] - begin * N
            cut["cell"] = (self.cell[begin:end] - first).clamp(min=-1)
        return self._replace(x=self.x[begin:end], h_0=h, c_0=c, **cut)

    @property
    def reserve(self) -> int:
        """Elements that hold everything in ``kept()``."""
        return sum(_aligned(self.cells * width) for width in self.kept().values())

    def addresses(self, memory: Tensor) -> dict[str, int]:
        """Where in a reserve, ``memory`` (``reserve``,), everything in ``kept()`` is."""
        found: dict[str, int] = {}
        at, size, cells = memory.data_ptr(), memory.element_size(), self.cells
        for name, width in self.kept().items():
            found[name] = at
            at += size * _aligned(cells * width)
        return found


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT
