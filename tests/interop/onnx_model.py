"""Small ONNX models: of operators put together here, and as PyTorch exports them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from interop.sequence import floats

N, L, E, H = 3, 7, 2, 5
X = ("x", TensorProto.FLOAT, ["L", "N", E])
W = floats(E, E)
ARGUMENTS = ["x", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]  # of the operator, in its order


def build(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    inputs: list[tuple[str, int, list[Any]]] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs or [X]],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def lstm_parts(direction: str, *, bias: bool, peephole: bool, start: bool, size: int = E) -> dict[str, np.ndarray]:
    ways = 2 if direction == "bidirectional" else 1
    parts = {"W": floats(ways, 4 * H, size, seed=1), "R": floats(ways, 4 * H, H, seed=2) / 2}
    if bias:
        parts["B"] = floats(ways, 8 * H, seed=3)
    if start:
        # One state for all rows, as the engine has it.
        parts |= {f"initial_{k}": np.repeat(floats(ways, 1, H, seed=4 + (k == "c")), N, axis=1) for k in ("h", "c")}
    if peephole:
        parts["P"] = floats(ways, 3 * H, seed=6)
    return parts


def lstm_node(parts: dict[str, np.ndarray], outputs: tuple[str, ...] = ("Y",), **attributes: Any) -> onnx.NodeProto:
    names = [name if name in parts or name == "x" else "" for name in ARGUMENTS]
    return helper.make_node("LSTM", names, list(outputs), name="lstm", hidden_size=H, **attributes)


def node(op: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name=op.lower(), **attributes)


def batchwise(axis: int) -> onnx.ModelProto:
    """The last item along an axis of an LSTM that has the batch first."""
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    nodes = [
        lstm_node(parts, ("Y",), layout=1),
        node("Squeeze", "Y", "two", output="s"),
        node("Gather", "s", "last", axis=axis),
    ]
    return build(nodes, {**parts, "two": np.array([2]), "last": np.array(-1)})


def export(module: nn.Module, *x: torch.Tensor, dynamo: bool = False, dynamic: dict[int, str] | None = None) -> Any:
    """A module as PyTorch writes it; both exporters warn at length about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = None if dynamic is None else (dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC),)
            return torch.onnx.export(module.eval(), x, dynamo=True, dynamic_shapes=shapes, verbose=False).model_proto
        stream, axes = io.BytesIO(), None if dynamic is None else {"x": dynamic}
        names = ["x", "h", "c"][: len(x)]
        torch.onnx.export(module.eval(), x, stream, dynamo=False, input_names=names, dynamic_axes=axes)
        return onnx.load_from_string(stream.getvalue())


class Network(nn.Module):
    """One of the shapes that networks with an LSTM have; `end` says what of it is given."""

    def __init__(self, end: str, **options: Any) -> None:
        super().__init__()
        self.end = end
        self.lstm = nn.LSTM(3, 4, batch_first=True, **options)
        self.head = nn.Linear(8 if options.get("bidirectional") else 4, 2)

    def forward(self, x: torch.Tensor) -> Any:
        y, (h, c) = self.lstm(x)
        match self.end:
            case "states":
                return y, h, c
            case "last output":
                return self.head(y[:, -1])
            case "last output kept":
                return self.head(y[:, -1:])
            case "last state":
                return nn.functional.silu(self.head(h[-1]))
            case _:
                return torch.relu(self.head(y))
