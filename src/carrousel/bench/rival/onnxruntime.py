"""ONNX Runtime with bound inputs and outputs, so that nothing is copied; int8 by its dynamic quantisation."""

from __future__ import annotations

import logging
import tempfile
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.bench.case import Task
from carrousel.bench.graph import graph
from carrousel.bench.rival import Rival, Run, steps_of
from carrousel.native import Dtype


class OnnxRuntime(Rival):
    """``InferenceSession`` on the CPU."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx")
    dtypes = ("float32", "int8")

    def prepare(self, task: Task, dtype: Dtype) -> Run | None:
        import onnxruntime as ort

        model = graph(task)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        data = model.SerializeToString() if dtype == "float32" else _quantised(model)
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return _Chunk(session, task) if task.case.steps > 1 else _Step(session, task)


def _quantised(model: Any) -> bytes:
    """Weights in 8 bits beforehand, inputs at each call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # it recommends a preparation that a single LSTM has no use for
        try:
            quantize_dynamic(model, path, op_types_to_quantize=["LSTM"], per_channel=True, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        return path.read_bytes()


class _Step(Run):
    """The state goes to and fro between two pairs of arrays."""

    def __init__(self, session: Any, task: Task) -> None:
        import onnxruntime as ort

        case = task.case
        self.session, self.steps = session, steps_of(task)
        self.x = np.empty((1, case.batch, case.size), np.float32)
        self.states = [[np.zeros((1, case.batch, case.size), np.float32) for _ in "hc"] for _ in "ab"]
        values = [[ort.OrtValue.ortvalue_from_numpy(array) for array in pair] for pair in self.states]
        x = ort.OrtValue.ortvalue_from_numpy(self.x)
        self.bindings: list[Any] = []
        for before, after in (values, reversed(values)):
            binding = session.io_binding()
            binding.bind_ortvalue_input("x", x)
            for name, start, end in zip("hc", before, after, strict=True):
                binding.bind_ortvalue_input(name, start)
                binding.bind_ortvalue_output(f"{name}_out", end)
            self.bindings.append(binding)

    def values(self) -> npt.NDArray[Any]:
        for array in self.states[0]:
            array[...] = 0
        outputs: list[npt.NDArray[Any]] = []
        for k, x in enumerate(self.steps):
            self.x[0] = x
            self.session.run_with_iobinding(self.bindings[k % 2])
            outputs.append(self.states[(k + 1) % 2][0][0].copy())
        return np.stack(outputs)

    def loop(self, count: int) -> None:
        run, (first, second) = self.session.run_with_iobinding, self.bindings
        for _ in repeat(None, count // 2):
            run(first)
            run(second)
        if count % 2:
            run(first)


class _Chunk(Run):
    def __init__(self, session: Any, task: Task) -> None:
        import onnxruntime as ort

        case = task.case
        self.session, self.y = session, np.empty((case.steps, 1, case.batch, case.size), np.float32)
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(task.x))
        self.binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(self.y))

    def values(self) -> npt.NDArray[Any]:
        self.session.run_with_iobinding(self.binding)
        return self.y[:, 0].copy()

    def loop(self, count: int) -> None:
        run, binding = self.session.run_with_iobinding, self.binding
        for _ in repeat(None, count):
            run(binding)


RIVALS = (OnnxRuntime,)
