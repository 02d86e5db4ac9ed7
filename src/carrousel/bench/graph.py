"""A task as an ONNX graph, for the engines that read such graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from carrousel.bench.case import Task

GATES = (0, 3, 1, 2)  # ONNX stacks i, o, f, c where PyTorch has i, f, g, o


def graph(task: Task) -> Any:
    """A ``ModelProto``: one step ``(x, h, c) -> (h_out, c_out)``, or a chunk ``x -> y`` from a state of zeros.

    Layout 0: x (T, N, H_in), h and c (1, N, H), y (T, 1, N, H).
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    case, w = task.case, task.weights
    size, single = case.size, case.steps == 1

    def stacked(name: str) -> Any:
        parts = np.split(w[name], 4)
        return np.concatenate([parts[k] for k in GATES])

    tensors = {
        "W": stacked("weight_ih_l0")[None],
        "R": stacked("weight_hh_l0")[None],
        "B": np.concatenate([stacked("bias_ih_l0"), stacked("bias_hh_l0")])[None],
    }

    def value(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    states = [value(name, 1, case.batch, size) for name in ("h", "c", "h_out", "c_out")]
    x, y = value("x", case.steps, case.batch, size), value("y", case.steps, 1, case.batch, size)
    given = ["x", "W", "R", "B", *(["", "h", "c"] if single else [])]
    node = helper.make_node("LSTM", given, ["", "h_out", "c_out"] if single else ["y"], hidden_size=size)
    model = helper.make_model(
        helper.make_graph(
            [node],
            "lstm",
            [x, *states[:2]] if single else [x],
            states[2:] if single else [y],
            [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    checker.check_model(model)
    return model
