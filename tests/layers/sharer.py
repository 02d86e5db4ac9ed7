"""One of two processes that share a batch; ``test_scan_backend`` starts both."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from carrousel.layers import LSTM, backend


def gradients(rows: slice, *, shared: bool) -> list[Tensor]:
    """Of the mean loss over the rows, or over those of all processes."""
    torch.manual_seed(0)
    layer, x = LSTM(3, 8, 2, layer_norm=True, peephole=True), torch.randn(6, 4, 3)
    run = DistributedDataParallel(layer) if shared else layer
    with backend("native"):
        y, _ = run(x[:, rows])
    (y**2).mean().backward()
    return [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.save(gradients(slice(rank, None, 2), shared=True), Path(sys.argv[1]) / f"gradient-{rank}")
    gc.collect()  # the group's threads end with the last reference to it, and cycles of the wrapper hold some
    distributed.destroy_process_group()
