"""The layer against the ONNX operator LSTM, run by onnxruntime: gates i, o, f, g; peepholes i, o, f."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from carrousel.layers import LSTM
from layers.agreement import FLOAT32, assert_agrees

Array = npt.NDArray[np.float32]

L, N, E, H = 7, 3, 2, 5
LENGTHS = [4, 7, 1]
NAMES = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]


def iofc(rows: Array, coupled: bool) -> Array:
    """Our order of gates to that of ONNX. Of a forget gate that the operator must not look at, rows of 1e3."""
    if coupled:
        i, g, o = np.split(rows, 3)
        return np.concatenate([i, o, np.full_like(i, 1e3), g])
    i, f, g, o = np.split(rows, 4)
    return np.concatenate([i, o, f, g])


def iof(rows: Array, coupled: bool) -> Array:
    if coupled:
        i, o = np.split(rows, 2)
        return np.concatenate([i, o, np.full_like(i, 1e3)])
    i, f, o = np.split(rows, 3)
    return np.concatenate([i, o, f])


def run_onnx(layer: LSTM, direction: str, x: Array, h: Array, c: Array, lengths: list[int] | None) -> list[Array]:
    """Y (L, N, D·H), Y_h, Y_c (D, N, H) of one layer."""
    suffixes = {"forward": ["_l0"], "reverse": ["_l0_reverse"], "bidirectional": ["_l0", "_l0_reverse"]}[direction]
    coupled = layer.variant.coupled
    weights = {name: tensor.detach().numpy() for name, tensor in layer.state_dict().items()}

    def stacked(*names: str) -> Array:
        return np.stack([np.concatenate([iofc(weights[n + s], coupled) for n in names]) for s in suffixes])

    feed: dict[str, npt.NDArray[Any]] = {"X": x, "W": stacked("weight_ih"), "R": stacked("weight_hh")}
    feed |= {"initial_h": h, "initial_c": c}
    if layer.bias:
        feed["B"] = stacked("bias_ih", "bias_hh")
    if layer.variant.peephole:
        feed["P"] = np.stack([iof(weights["weight_ch" + s], coupled) for s in suffixes])
    if lengths is not None:
        feed["sequence_lens"] = np.array(lengths, np.int32)
    node = helper.make_node(
        "LSTM",
        [name if name in feed else "" for name in NAMES],
        ["Y", "Y_h", "Y_c"],
        direction=direction,
        hidden_size=H,
        input_forget=int(coupled),
    )
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info(name, kinds[array.dtype], array.shape) for name, array in feed.items()],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("Y", (L, len(suffixes), N, H)), ("Y_h", h.shape), ("Y_c", c.shape))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, h_n, c_n = session.run(None, feed)
    return [y.transpose(0, 2, 1, 3).reshape(L, N, -1), h_n, c_n]  # Y is (L, D, N, H)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("peephole", "coupled", "bias"), list(itertools.product([False, True], repeat=3)), ids=lambda v: f"{v:d}"
)
def test_layer_agrees_with_onnx(
    peephole: bool, coupled: bool, bias: bool, direction: str, lengths: list[int] | None
) -> None:
    layer = LSTM(E, H, bias=bias, bidirectional=direction != "forward", peephole=peephole, coupled=coupled)
    x, h, c = torch.randn(L, N, E), torch.randn(2, N, H), torch.randn(2, N, H)
    runs = {"forward": slice(0, 1), "reverse": slice(1, 2), "bidirectional": slice(0, 2)}[direction]
    given = slice(0, 1) if direction == "forward" else slice(0, 2)
    with torch.no_grad():
        y, (h_n, c_n) = layer(x, (h[given].contiguous(), c[given].contiguous()), lengths)
    expected = run_onnx(layer, direction, x.numpy(), h[runs].numpy(), c[runs].numpy(), lengths)
    columns = slice(H, 2 * H) if direction == "reverse" else slice(None)
    for got, value in zip((y[:, :, columns], h_n[runs], c_n[runs]), expected, strict=True):
        assert_agrees(got, value, FLOAT32)
