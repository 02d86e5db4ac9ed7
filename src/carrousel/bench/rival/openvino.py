"""OpenVINO with its own tensors set beforehand; bfloat16 where it is told so."""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.bench.case import Task
from carrousel.bench.graph import graph
from carrousel.bench.rival import Rival, Run, steps_of
from carrousel.native import Dtype


class OpenVINO(Rival):
    """A compiled model on the CPU."""

    name = "openvino"
    packages = ("openvino", "onnx")
    dtypes = ("float32", "bfloat16")

    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        import openvino  # pyright: ignore[reportMissingImports]

        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(core.read_model(graph(task).SerializeToString()), "CPU", settings)
        return _Chunk(compiled, task) if task.case.steps > 1 else _Step(compiled, task)


class _Step(Run):
    """Two requests: what the one writes as its state, the other reads."""

    def __init__(self, compiled: Any, task: Task) -> None:
        from openvino import Tensor  # pyright: ignore[reportMissingImports]

        case = task.case
        self.steps, self.x = steps_of(task), np.zeros((1, case.batch, case.size), np.float32)
        self.states = [[np.zeros((1, case.batch, case.size), np.float32) for _ in "hc"] for _ in "ab"]
        tensors = [[Tensor(array, shared_memory=True) for array in pair] for pair in self.states]
        x = Tensor(self.x, shared_memory=True)
        self.requests: list[Any] = []
        for before, after in (tensors, reversed(tensors)):
            request = compiled.create_infer_request()
            request.set_tensor("x", x)
            for name, start, end in zip("hc", before, after, strict=True):
                request.set_tensor(name, start)
                request.set_tensor(f"{name}_out", end)
            self.requests.append(request)

    def values(self) -> npt.NDArray[Any]:
        for array in self.states[0]:
            array[...] = 0
        outputs: list[npt.NDArray[Any]] = []
        for k, x in enumerate(self.steps):
            self.x[0] = x
            self.requests[k % 2].infer()
            outputs.append(self.states[(k + 1) % 2][0][0].copy())
        return np.stack(outputs)

    def loop(self, count: int) -> None:
        first, second = (request.infer for request in self.requests)
        for _ in repeat(None, count // 2):
            first()
            second()
        if count % 2:
            first()


class _Chunk(Run):
    def __init__(self, compiled: Any, task: Task) -> None:
        from openvino import Tensor  # pyright: ignore[reportMissingImports]

        case = task.case
        self.x, self.y = task.x, np.empty((case.steps, 1, case.batch, case.size), np.float32)
        self.request = compiled.create_infer_request()
        self.request.set_tensor("x", Tensor(self.x, shared_memory=True))
        self.request.set_tensor("y", Tensor(self.y, shared_memory=True))

    def values(self) -> npt.NDArray[Any]:
        self.request.infer()
        return self.y[:, 0].copy()

    def loop(self, count: int) -> None:
        infer = self.request.infer
        for _ in repeat(None, count):
            infer()


RIVALS = (OpenVINO,)
