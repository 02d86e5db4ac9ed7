"""Examples of a classifier's training: sequences of unequal length one behind the other, and batches cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

ROWS, CELLS = 256, 1 << 16  # examples, and steps of all of them, that are validated at once
NONE = -100  # the class of steps behind the end of a sequence, which count for nothing


class Batch(NamedTuple):
    """x int64 (n, L) or float32 (n, L, K); lengths int64 (n,); target int64 (n,), or (n, L), NONE beyond a length."""

    x: Tensor
    lengths: Tensor
    target: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Examples that a network is trained or validated on, cut by index; ``training.Batches``.

    A batch is padded to its own longest sequence; nothing is to the longest of all.

    Parameters
    ----------
    x : steps of all N sequences one behind the other, int64 (S,) or float32 (S, K)
    starts, lengths : of each sequence in it, int64 (N,)
    target : the class of each sequence, int64 (N,); or of each step, (S,)
    members : the sequences that this part has, int64 (M,)
    ids : what the network reads words as, int64 (V,); None: as they are, or there are none
    """

    x: Tensor
    starts: Tensor
    lengths: Tensor
    target: Tensor
    members: Tensor
    steps: bool
    ids: Tensor | None = None

    @classmethod
    def of(
        cls, inputs: Sequence[npt.NDArray[np.generic]], target: npt.NDArray[np.int64], *, steps: bool,
        device: torch.device,
    ) -> Part:  # fmt: skip
        """All of some sequences.

        Parameters
        ----------
        target : as in the class
        """
        lengths = np.array([len(sequence) for sequence in inputs], np.int64)
        arrays = (np.concatenate(inputs), np.cumsum(lengths) - lengths, lengths, target, np.arange(len(lengths)))
        x, starts, length, classes, members = (torch.as_tensor(array, device=device) for array in arrays)
        return cls(x=x, starts=starts, lengths=length, target=classes, members=members, steps=steps)

    def some(self, members: npt.NDArray[np.int64]) -> Part:
        """Only these sequences."""
        return replace(self, members=torch.as_tensor(members, device=self.x.device))

    def __len__(self) -> int:
        return len(self.members)

    def __call__(self, index: Tensor) -> Batch:
        rows = self.members[index]
        lengths = self.lengths[rows]
        step = torch.arange(int(lengths.max()), device=rows.device)
        beyond = step >= lengths[:, None]
        place = self.starts[rows][:, None] + torch.minimum(step, lengths[:, None] - 1)
        x = self.x[place] if self.ids is None else self.ids[self.x[place]]
        x = x.masked_fill(beyond if x.ndim == 2 else beyond[..., None], 0)
        target = self.target[place].masked_fill(beyond, NONE) if self.steps else self.target[rows]
        return Batch(x, lengths, target)

    def words(self, size: int) -> Tensor:
        """How often each of so many words occurs in this part, int64 (size,)."""
        lengths = self.lengths[self.members]
        first = torch.repeat_interleave(self.starts[self.members] - lengths.cumsum(0) + lengths, lengths)
        return torch.bincount(self.x[first + torch.arange(len(first), device=first.device)], minlength=size)

    @cached_property
    def groups(self) -> list[Tensor]:
        """Indices of examples that are alike in length, which are validated together."""
        lengths = self.lengths[self.members]
        found: list[Tensor] = []
        rest = torch.argsort(lengths, stable=True)
        while len(rest):
            count = max(1, min(ROWS, CELLS // int(lengths[rest[-1]])))
            found.append(rest[-count:])
            rest = rest[:-count]
        return found


def outputs(model: nn.Module, part: Part) -> tuple[Tensor, Tensor]:
    """Logits (M, C) and truths (M,) of all examples of a part, or of all their steps, in its order."""
    logits: list[Tensor] = []
    truths: list[Tensor] = []
    for index in part.groups:
        batch = part(index)
        z = model(batch.x, batch.lengths)
        if part.steps:
            own = batch.lengths.tolist()
            logits += [row[:length] for row, length in zip(z, own, strict=True)]
            truths += [row[:length] for row, length in zip(batch.target, own, strict=True)]
        else:
            logits += z.split(1)
            truths += batch.target.split(1)
    order = torch.argsort(torch.cat(part.groups)).tolist()
    return torch.cat([logits[k] for k in order]), torch.cat([truths[k] for k in order])
