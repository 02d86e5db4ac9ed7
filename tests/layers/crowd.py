"""Trains on two threads, here and in a process forked from here; prints how many that took: ``test_scan_backend``."""

from __future__ import annotations

import os
import threading

import torch

from carrousel.layers import LSTM, backend

STEPS, ROWS, WIDTH = 5, 32, 64
"""Enough for two threads here, not so for torch's own operations, which wait for ever in a forked process."""


def threads() -> int:
    """How many this process has, whoever started them."""
    return len(os.listdir("/proc/self/task"))


def gradient(layer: LSTM, x: torch.Tensor) -> torch.Tensor:
    with backend("native"):
        y, _ = layer(x)
    return torch.autograd.grad((y**2).sum(), layer.weight_hh_l0)[0]


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    layer, x = LSTM(WIDTH, WIDTH), torch.randn(STEPS, ROWS, WIDTH)
    torch.randn(512, 512) @ torch.randn(512, 512)  # torch's own threads are there from here on
    torch.randn(2**20).exp()
    before = threads()
    expected = gradient(layer, x)
    print(threads() - before, threading.active_count(), flush=True)
    if (child := os.fork()) == 0:
        os._exit(0 if torch.equal(gradient(layer, x), expected) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
