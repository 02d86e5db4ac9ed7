"""PyTorch: ``nn.LSTM`` and, for single steps, ``nn.LSTMCell``, in inference mode."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.bench.case import Task
from carrousel.bench.rival import Rival, Run
from carrousel.native import Dtype


class TorchLSTM(Rival):
    """``torch.nn.LSTM``."""

    name = "torch LSTM"
    packages = ("torch",)
    dtypes = ("float32", "bfloat16")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)

    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        import torch

        module = torch.nn.LSTM(task.case.size, task.case.size)
        module.load_state_dict({name: torch.from_numpy(array) for name, array in task.weights.items()})
        return _LSTM(module.to(getattr(torch, dtype)).eval(), task)


class TorchCell(TorchLSTM):
    """``torch.nn.LSTMCell``."""

    name = "torch LSTMCell"

    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        import torch

        if task.case.steps > 1:
            return None
        module = torch.nn.LSTMCell(task.case.size, task.case.size)
        weights = {name.removesuffix("_l0"): torch.from_numpy(array) for name, array in task.weights.items()}
        module.load_state_dict(weights)
        return _Cell(module.to(getattr(torch, dtype)).eval(), task)


class _LSTM(Run):
    def __init__(self, module: Any, task: Task) -> None:
        import torch

        dtype = next(module.parameters()).dtype
        self.torch, self.module, self.single = torch, module, task.case.steps == 1
        self.x = torch.from_numpy(task.x).to(dtype)  # (L, N, H_in)
        self.zero = torch.zeros(1, task.case.batch, task.case.size, dtype=dtype)

    def values(self) -> npt.NDArray[Any]:
        with self.torch.inference_mode():
            if not self.single:
                return _array(self.module(self.x)[0])
            outputs: list[npt.NDArray[Any]] = []
            state = self.zero, self.zero
            for k in range(len(self.x)):
                y, state = self.module(self.x[k : k + 1], state)
                outputs.append(_array(y[0]))
            return np.stack(outputs)

    def loop(self, count: int) -> None:
        module = self.module
        with self.torch.inference_mode():
            if not self.single:
                for _ in repeat(None, count):
                    module(self.x)
                return
            x, state = self.x[:1], (self.zero, self.zero)
            for _ in repeat(None, count):
                _, state = module(x, state)


class _Cell(Run):
    def __init__(self, module: Any, task: Task) -> None:
        import torch

        dtype = module.weight_ih.dtype
        self.torch, self.module = torch, module
        self.x = torch.from_numpy(task.x).to(dtype)
        self.zero = torch.zeros(task.case.batch, task.case.size, dtype=dtype)

    def values(self) -> npt.NDArray[Any]:
        outputs: list[npt.NDArray[Any]] = []
        with self.torch.inference_mode():
            state = self.zero, self.zero
            for x in self.x:
                state = self.module(x, state)
                outputs.append(_array(state[0]))
        return np.stack(outputs)

    def loop(self, count: int) -> None:
        module, x, state = self.module, self.x[0], (self.zero, self.zero)
        with self.torch.inference_mode():
            for _ in repeat(None, count):
                state = module(x, state)


def _array(tensor: Any) -> npt.NDArray[Any]:
    return tensor.float().numpy()


RIVALS = (TorchLSTM, TorchCell)
