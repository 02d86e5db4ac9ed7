"""Where the loop gets its batches, in which order, and what makes every step's randomness repeatable."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from carrousel.errors import SettingError


class Batches(Protocol):
    """Examples that are cut by index from arrays that already lie on the device, never copied one by one."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __call__(self, index: Tensor, /) -> Any:
        """The batch of these examples, handed to the loss as it is.

        Parameters
        ----------
        index : int64 (n,), on the device of the model's parameters
        """
        ...


@runtime_checkable
class OrderedBatches(Batches, Protocol):
    """Batches that fix their own order instead of a permutation, e.g. where a state is carried from batch to batch.

    Text laid out in B columns of L chunks is B·L examples in the order of rows; with batch_size = B every batch is one
    row and continues the one before it. The state it is carried in belongs into buffers of the model, where a
    checkpoint finds it.
    """

    def order(self, epoch: int, /) -> Tensor:
        """Examples of one epoch, int64 (m,), the same m in every epoch."""
        ...


class Plan:
    """Which examples each step takes: a permutation by (seed, epoch), cut into batches of equal size.

    Every process takes each ``processes``-th example of every batch, so that all together take what one alone would.

    Parameters
    ----------
    batch_size : examples a step, all processes together
    process, processes : index and number of the processes that train together
    device : where the index is wanted

    Raises
    ------
    SettingError : no examples, or a batch too small to be shared by all processes
    """

    def __init__(
        self, batches: Batches, batch_size: int, seed: int, process: int, processes: int, device: torch.device
    ) -> None:
        self._batches, self._seed = batches, seed
        self._process, self._processes, self._device = process, processes, device
        self.examples = len(batches.order(0)) if isinstance(batches, OrderedBatches) else len(batches)
        if self.examples == 0:
            raise SettingError("batches: expected at least one example, got none")
        self.steps_per_epoch = math.ceil(self.examples / batch_size)
        if self.examples // self.steps_per_epoch < processes:
            raise SettingError(
                f"batch_size: expected at least one example for each of {processes} processes in every batch, got "
                f"{self.examples} examples in batches of {batch_size}; use fewer processes or a larger batch_size"
            )
        self._epoch = -1
        self._order = torch.empty(0)
        self._seeds: list[int] = []

    def __getitem__(self, step: int) -> tuple[Tensor, float, int]:
        """This process's examples, the weight of its mean loss, and the seed of one step.

        Means over shares of unequal size, weighted, average to the mean over the whole batch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._begin(epoch)
        first = position * self.examples // self.steps_per_epoch
        last = (position + 1) * self.examples // self.steps_per_epoch
        index = self._order[first + self._process : last : self._processes]
        return index, len(index) * self._processes / (last - first), self._seeds[position]

    def _begin(self, epoch: int) -> None:
        if isinstance(self._batches, OrderedBatches):
            order = self._batches.order(epoch)
        else:
            order = torch.from_numpy(np.random.default_rng([self._seed, epoch]).permutation(self.examples))
        # One transfer an epoch; a step then only takes a view.
        self._order = order.to(self._device)
        # The third number keeps the seeds of steps apart from the permutation.
        draws = np.random.default_rng([self._seed, epoch, 1 + self._process])
        self._seeds = draws.integers(2**63, size=self.steps_per_epoch).tolist()
        self._epoch = epoch


def seed_step(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on this device draws from; far cheaper than torch.manual_seed."""
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Generator[None]:
    """Draw from torch's generators as seeded here, and leave them to the caller as they were.

    ``with seeded(0): model = Net()`` makes the same initial weights every time.
    """
    on_device = device is not None and device.type != "cpu"
    module = torch.get_device_module(device) if on_device else None
    before = torch.get_rng_state(), module.get_rng_state() if module else None
    try:
        seed_step(seed, device or torch.device("cpu"))
        yield
    finally:
        torch.set_rng_state(before[0])
        if module:
            module.set_rng_state(before[1])
