"""ONNX models in the engine: the standard's own cases, exported networks, onnxruntime's values, and hostile files."""

from __future__ import annotations

import io
import itertools
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import lstm as standard
from torch import nn

from carrousel.engine import Engine
from carrousel.errors import ArtifactError, CarrouselError, ConfigError, MissingExtraError, WeightsError
from carrousel.interop.onnx import from_onnx
from interop.sequence import CLOSE, CLOSE_TO_ONNXRUNTIME, assert_gives, exactly, floats

N, L, E, H = 3, 7, 2, 5
X = ("x", TensorProto.FLOAT, ["L", "N", E])


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


# The standard's own cases of the operator.


def standard_cases() -> dict[str, tuple[onnx.NodeProto, list[np.ndarray], list[np.ndarray]]]:
    """Name of each: the node, what it is fed, what it must give."""
    found: dict[str, tuple[onnx.NodeProto, list[np.ndarray], list[np.ndarray]]] = {}

    def expect(node: onnx.NodeProto, inputs: list[np.ndarray], outputs: list[np.ndarray], name: str) -> None:
        found[name] = node, inputs, outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standard, "expect", expect)
        for name in dir(standard.LSTM):
            if name.startswith("export_"):
                getattr(standard.LSTM, name)()
    return found


CASES = standard_cases()


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_standard_passes(name: str) -> None:
    lstm, inputs, expected = CASES[name]
    # The cases feed the weights as inputs; of a trained model they are constants.
    constants = dict(zip([name for name in lstm.input if name != "X"], inputs[1:], strict=True))
    x = ("X", TensorProto.FLOAT, inputs[0].shape)
    model = build([lstm], constants, [x], tuple(filter(None, lstm.output)))
    engine = Engine.from_onnx(model)
    (layer,) = engine.architecture.layers

    batchwise = name == "test_lstm_batchwise"
    session = engine.session(inputs[0].shape[0 if batchwise else 1])
    y = session.run(np.ascontiguousarray(inputs[0] if batchwise else inputs[0].transpose(1, 0, 2)))
    ways = 2 if layer.bidirectional else 1
    y = y.reshape(*y.shape[:2], ways, -1)  # (N, L, D, H)
    found = {
        "Y": y if batchwise else y.transpose(1, 2, 0, 3),
        **{f"Y_{k}": session.state[f"{layer.name}.{k}"].transpose((1, 0, 2) if batchwise else (0, 1, 2)) for k in "hc"},
    }
    names = [output.name for output in model.graph.output]
    assert names
    # onnxruntime refuses the layout of the batchwise case.
    theirs = expected if batchwise else run(model, X=inputs[0])
    for output, value, their in zip(names, expected, theirs, strict=True):
        np.testing.assert_allclose(found[output], value, rtol=0, atol=CLOSE)
        np.testing.assert_allclose(found[output], their, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)


def test_all_cases_of_the_standard_are_here() -> None:
    kinds = ("defaults", "with_initial_bias", "with_peepholes", "batchwise", "reverse", "bidirectional")
    assert {f"test_lstm_{kind}" for kind in kinds} == set(CASES)


# The operator beside onnxruntime.


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


ARGUMENTS = ["x", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]


def lstm_node(parts: dict[str, np.ndarray], outputs: tuple[str, ...] = ("Y",), **attributes: Any) -> onnx.NodeProto:
    names = [name if name in parts or name == "x" else "" for name in ARGUMENTS]
    return helper.make_node("LSTM", names, list(outputs), name="lstm", hidden_size=H, **attributes)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("bias", "peephole", "coupled", "start"), list(itertools.product([False, True], repeat=4)), ids=lambda v: f"{v:d}"
)
def test_the_operator_gives_what_onnxruntime_gives(
    direction: str, bias: bool, peephole: bool, coupled: bool, start: bool
) -> None:
    parts = lstm_parts(direction, bias=bias, peephole=peephole, start=start)
    nodes = [
        lstm_node(parts, direction=direction, input_forget=int(coupled)),
        helper.make_node("Transpose", ["Y"], ["t"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    model = build(nodes, {**parts, "shape": np.array([0, 0, -1])})
    x = floats(N, L, E)
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected, atol=CLOSE_TO_ONNXRUNTIME)


def test_shapes_that_the_graph_computes_are_followed() -> None:
    """As PyTorch's newer exporter writes them where the batch is dynamic."""
    parts = lstm_parts("bidirectional", bias=False, peephole=False, start=False)
    numbers = {f"n{k}": np.array([k]) for k in range(6)} | {"rest": np.array([-1]), "half": np.float32(0.5)}
    cuts = [helper.make_node("Slice", ["size", f"n{k}", f"n{k + 1}"], [f"s{k}"]) for k in range(4)]
    nodes = [
        helper.make_node("Shape", ["x"], ["rows"], start=1, end=2),
        helper.make_node("Concat", ["n2", "rows", "n5"], ["start"], axis=0),
        helper.make_node("Expand", ["half", "start"], ["h"]),
        helper.make_node("ConstantOfShape", ["start"], ["c"]),
        helper.make_node("LSTM", ["x", "W", "R", "", "", "h", "c"], ["Y"], hidden_size=H, direction="bidirectional"),
        helper.make_node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Shape", ["t"], ["size"]),
        *cuts,
        helper.make_node("Mul", ["s2", "s3"], ["joined"]),
        helper.make_node("Reshape", ["joined", "rest"], ["flat"]),
        helper.make_node("Concat", ["s0", "s1", "flat"], ["new"], axis=0),
        helper.make_node("Reshape", ["t", "new"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    model, x = build(nodes, {**parts, **numbers, "w": floats(2 * H, 3)}), floats(N, L, E)
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_the_forget_rows_of_a_coupled_operator_are_not_looked_at() -> None:
    parts = lstm_parts("forward", bias=True, peephole=True, start=False)
    for name, blocks in (("W", 4), ("R", 4), ("B", 8), ("P", 3)):
        rows = np.split(parts[name], blocks, axis=1)
        for k in range(2, blocks, 4):  # i, o, f, c; peepholes i, o, f
            rows[k] = np.full_like(rows[k], 1e3)
        parts[name] = np.concatenate(rows, axis=1)
    nodes = [lstm_node(parts, input_forget=1), helper.make_node("Squeeze", ["Y", "one"], ["y"])]
    model, x = build(nodes, {**parts, "one": np.array([1])}), floats(N, L, E)
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_the_last_step_can_be_the_hidden_state() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=False)
    nodes = [
        lstm_node(parts, outputs=("", "Y_h")),
        helper.make_node("Squeeze", ["Y_h", "zero"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "b"], ["y"], alpha=0.5, beta=2.0),
    ]
    model = build(nodes, {**parts, "zero": np.array([0]), "w": floats(H, 3), "b": floats(3)})
    x = floats(N, L, E)
    assert_gives(Engine.from_onnx(model), x, run(model, x=x.transpose(1, 0, 2))[0], atol=CLOSE_TO_ONNXRUNTIME)


def test_states_and_lengths_among_the_inputs_are_those_of_the_session() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=False)
    names = ["x", "W", "R", "B", "lengths", "h", "c"]
    nodes = [
        helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], hidden_size=H),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
    ]
    state = ("float", ["D", "N", H])
    inputs = [
        ("h", TensorProto.FLOAT, state[1]),
        ("c", TensorProto.FLOAT, state[1]),
        X,
        ("lengths", TensorProto.INT32, ["N"]),
    ]
    model = build(nodes, {**parts, "one": np.array([1])}, inputs, ("y", "Y_h", "Y_c"))
    x, lengths = floats(N, L, E), np.array([7, 2, 4], np.int32)
    h, c = floats(1, N, H, seed=7), floats(1, N, H, seed=8)
    y, y_h, y_c = run(model, x=x.transpose(1, 0, 2), lengths=lengths, h=h, c=c)
    session = Engine.from_onnx(model).session(N)
    session.state = {"lstm_0.h": h, "lstm_0.c": c}
    np.testing.assert_allclose(session.run(x, lengths).transpose(1, 0, 2), y, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)
    np.testing.assert_allclose(session.state["lstm_0.h"], y_h, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)
    np.testing.assert_allclose(session.state["lstm_0.c"], y_c, rtol=0, atol=CLOSE_TO_ONNXRUNTIME)


def test_arithmetic_with_constants_becomes_scales_and_biases() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=False, size=3)
    chain = [
        ("Sub", ["x", "mean"]), ("Div", ["", "deviation"]), ("MatMul", ["", "w"]), ("Add", ["b", ""]), ("Tanh", [""]),
        ("Mul", ["", "two"]), ("Sub", ["three", ""]), ("Identity", [""]), ("Dropout", [""]),
    ]  # fmt: skip
    nodes, last = [], "x"
    for k, (op, names) in enumerate(chain):
        nodes.append(helper.make_node(op, [name or last for name in names], [f"v{k}"]))
        last = f"v{k}"
    nodes += [
        helper.make_node("LSTM", [last, "W", "R", "B"], ["Y"], hidden_size=H),
        helper.make_node("Squeeze", ["Y", "one"], ["s"]),
        helper.make_node("MatMul", ["s", "v"], ["p"]),
        helper.make_node("Sigmoid", ["p"], ["g"]),
        helper.make_node("Mul", ["g", "p"], ["y"]),
    ]
    constants = {
        "mean": floats(E), "deviation": np.abs(floats(1, 1, E, seed=2)) + 1, "w": floats(E, 3), "b": floats(3),
        "two": np.float32(2), "three": floats(3), "one": np.array([1]), "v": floats(H, 2),
    }  # fmt: skip
    model, x = build(nodes, {**parts, **constants}), floats(N, L, E)
    engine = Engine.from_onnx(model)
    kinds = [layer.kind for layer in engine.architecture.layers]
    assert kinds == ["scale", "linear", "scale", "lstm", "linear"]
    assert engine.architecture.layers[-1].activation == "silu"
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(engine, x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_the_last_step_of_a_batch_first_operator_is_along_its_second_axis() -> None:
    # onnxruntime has no batch-first LSTM; the time-first one with the same weights has the same values.
    parts, x = lstm_parts("forward", bias=False, peephole=False, start=False), floats(N, L, E)
    model = build([lstm_node(parts), helper.make_node("Squeeze", ["Y", "one"], ["y"])], {**parts, "one": np.array([1])})
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(batchwise(axis=1)), x, expected[-1], atol=CLOSE_TO_ONNXRUNTIME)


def stacked(*between: onnx.NodeProto, inputs: list[Any] | None = None, **attributes: Any) -> onnx.ModelProto:
    """Two LSTMs, what stands ``between`` them leading from ``Y`` to ``s``."""
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    nodes = [
        lstm_node(parts, **attributes), *between,
        helper.make_node("LSTM", ["s", "V", "R"], ["Z"], hidden_size=H, **attributes),
        helper.make_node("Squeeze", ["Z", "side"], ["y"]),
    ]  # fmt: skip
    side = np.array([2 if attributes else 1])
    constants = {**parts, "V": floats(1, 4 * H, H, seed=9), "side": side, "shape": np.array([-1, 1, H])}
    return build(nodes, constants, inputs)


def test_two_batch_first_operators_follow_each_other() -> None:
    squeeze, x = helper.make_node("Squeeze", ["Y", "side"], ["s"]), floats(N, L, E)
    (expected,) = run(stacked(squeeze), x=x.transpose(1, 0, 2))
    engine = Engine.from_onnx(stacked(squeeze, layout=1))
    assert_gives(engine, x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_a_batch_of_one_that_a_reshape_keeps_stays_the_batch() -> None:
    reshape, x = helper.make_node("Reshape", ["Y", "shape"], ["s"]), floats(1, L, E)
    model = stacked(reshape, inputs=[("x", TensorProto.FLOAT, [L, 1, E])])
    (expected,) = run(model, x=x.transpose(1, 0, 2))
    assert_gives(Engine.from_onnx(model), x, expected.transpose(1, 0, 2), atol=CLOSE_TO_ONNXRUNTIME)


def test_what_is_added_behind_a_bias_is_added_to_it() -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["g"]), helper.make_node("Add", ["g", "c"], ["y"])]
    constants = {"w": floats(E, 3), "b": floats(3), "c": floats(3, seed=2)}
    model, x = build(nodes, constants, [("x", TensorProto.FLOAT, ["N", E])]), floats(N, E)
    np.testing.assert_allclose(Engine.from_onnx(model).session(N).step(x), run(model, x=x)[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floating_point_types_become_float32(kind: type) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    w = floats(E, 3).astype(kind)
    elements = {np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE}
    _, weights = from_onnx(build(nodes, {"w": w}, [("x", elements[kind], ["N", "L", E])]))
    np.testing.assert_array_equal(weights["linear_0.weight"], w.T.astype(np.float32))


def test_operators_of_old_versions_have_their_axes_as_attributes() -> None:
    parts = lstm_parts("forward", bias=True, peephole=False, start=True)
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["v"], axes=[0]),
        lstm_node(parts, ("Y",)),
        helper.make_node("Squeeze", ["Y"], ["s"], axes=[1]),
        helper.make_node("Slice", ["s"], ["t"], starts=[-1], ends=[(1 << 31) - 1], axes=[0]),
        helper.make_node("Squeeze", ["t"], ["last"], axes=[0]),
        helper.make_node("MatMul", ["last", "w"], ["y"]),
    ]
    nodes[2].input[0] = "v"
    model, x = build(nodes, {**parts, "w": floats(H, 3)}, opset=9), floats(N, L, E)
    assert_gives(Engine.from_onnx(model), x, run(model, x=x.transpose(1, 0, 2))[0], atol=CLOSE_TO_ONNXRUNTIME)


def test_ids_may_come_as_floats_that_the_graph_casts() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["t", "ids"], ["y"]),
    ]
    model = build(nodes, {"t": floats(7, 3)}, [("x", TensorProto.FLOAT, ["N", "L"])])
    ids = np.random.default_rng(0).integers(0, 7, (N, L))
    assert_gives(Engine.from_onnx(model), ids, run(model, x=ids.astype(np.float32))[0])


def test_constants_are_followed_through_the_nodes_that_shape_them() -> None:
    w = floats(2, 3, E)
    nodes = [
        helper.make_node("Constant", [], ["k"], value_ints=[1]),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Gather", ["w", "k"], ["a"]),  # (1, 3, E)
        helper.make_node("Squeeze", ["a", "zeros"], ["b"]),
        helper.make_node("Unsqueeze", ["b", "zeros"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Slice", ["d", "zeros", "three", "zeros"], ["e"]),
        helper.make_node("Concat", ["e", "e"], ["f"], axis=0),
        helper.make_node("Cast", ["f"], ["g"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["g"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]
    numbers = {"zeros": np.array([0]), "three": np.array([3]), "shape": np.array([3, -1])}
    model, x = build(nodes, {"w": w, **numbers}), floats(N, L, E)
    (expected,) = run(model, x=x)
    assert_gives(Engine.from_onnx(model), x, expected)


# What PyTorch exports.


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


EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "every step": ("every step", {}),
    "both ways": ("every step", {"num_layers": 2, "bidirectional": True}),
    "states beside it": ("states", {"num_layers": 2, "bidirectional": True}),
    "the last output": ("last output", {"num_layers": 2}),
    "the last output, its axis kept": ("last output kept", {}),
    "the last state": ("last state", {}),
    "the last state of two": ("last state", {"num_layers": 2}),
}


@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
@pytest.mark.parametrize("dynamic", [None, {0: "N"}], ids=["fixed", "dynamic"])
@pytest.mark.parametrize(("end", "options"), EXPORTS.values(), ids=EXPORTS)
def test_an_exported_network_gives_what_torch_gives(
    end: str, options: dict[str, Any], dynamic: dict[int, str] | None, dynamo: bool
) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module, x = Network(end, **options), floats(N, L, 3)
    engine = Engine.from_onnx(export(module, torch.from_numpy(x), dynamo=dynamo, dynamic=dynamic))
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    expected = expected[0] if end == "states" else expected[:, 0] if end == "last output kept" else expected
    assert_gives(engine, x, expected.numpy())


class Speller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.head = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.head(self.lstm(self.table(ids))[0]))


def test_an_exported_embedding_takes_ids() -> None:
    torch.manual_seed(0)
    module, ids = Speller(), np.random.default_rng(0).integers(0, 7, (N, L))
    engine = Engine.from_onnx(export(module, torch.from_numpy(ids), dynamic={0: "N", 1: "L"}))
    with torch.no_grad():
        assert_gives(engine, ids, module(torch.from_numpy(ids)).numpy())


class Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, 2, bidirectional=True), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def test_an_exported_network_without_an_axis_of_batch_runs_on_batches() -> None:
    torch.manual_seed(0)
    module, x = Unbatched(), floats(N, L, 3)
    engine = Engine.from_onnx(export(module, torch.from_numpy(x[0])))
    with torch.no_grad():
        assert_gives(engine, x, np.stack([module(torch.from_numpy(row)).numpy() for row in x]))


class Streaming(nn.Module):
    """One step with the state from outside, as such models are exported."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, 2), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        y, (h, c) = self.lstm(x[None], (h, c))
        return self.head(y)[0].squeeze(-1), h, c


def test_an_exported_step_runs_on_sequences() -> None:
    torch.manual_seed(0)
    module, x, state = Streaming(), floats(N, L, 3), (torch.zeros(2, N, 4), torch.zeros(2, N, 4))
    engine = Engine.from_onnx(export(module, torch.from_numpy(x[:, 0]), *state))
    expected = []
    with torch.no_grad():
        for t in range(L):
            y, *state = module(torch.from_numpy(x[:, t]), *state)
            expected.append(y.numpy()[:, None])
    assert_gives(engine, x, np.stack(expected, axis=1))


# What cannot be translated.


def plain(*more: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """A bidirectional LSTM to ``Y``, ``Y_h``, ``Y_c``, and what follows it; the model's output is ``y``."""
    parts = lstm_parts("bidirectional", bias=False, peephole=False, start=False)
    node = lstm_node(parts, ("Y", "Y_h", "Y_c"), direction="bidirectional")
    return build([node, *more], {**parts, **constants})


def lstm_with(**attributes: Any) -> onnx.ModelProto:
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    return build([lstm_node(parts, ("y",), **attributes)], parts)


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


def mixed() -> onnx.ModelProto:
    """Without the Transpose that a bidirectional LSTM needs before its directions join the features."""
    parts = lstm_parts("bidirectional", bias=False, peephole=False, start=False)
    nodes = [lstm_node(parts, direction="bidirectional"), node("Reshape", "Y", "s")]
    return build(nodes, {**parts, "s": np.array([L, N, 2 * H])}, [("x", TensorProto.FLOAT, [L, N, E])])


def backward_state() -> onnx.ModelProto:
    parts = lstm_parts("reverse", bias=False, peephole=False, start=False)
    nodes = [
        lstm_node(parts, ("", "Y_h"), direction="reverse"),
        node("Squeeze", "Y_h", "zero", output="h"),
        node("Gemm", "h", "w"),
    ]
    return build(nodes, {**parts, "zero": np.array([0]), "w": floats(H, 1)})


def several_states() -> onnx.ModelProto:
    parts = lstm_parts("forward", bias=False, peephole=False, start=True)
    parts["initial_c"] = floats(1, N, H)
    return build([lstm_node(parts, ("y",))], parts)


def short() -> onnx.ModelProto:
    parts = lstm_parts("forward", bias=False, peephole=False, start=False)
    parts["sequence_lens"] = np.array([2, 3, 1], np.int32)
    return build([lstm_node(parts, ("y",))], parts)


W = floats(E, E)
REFUSED = {
    "an unknown operator": (
        lambda: build([node("Softmax", "x")], {}),
        "node 'softmax': expected Add, Cast, Concat, Constant, ConstantOfShape, Div, Dropout, Expand, Gather, Gemm, "
        "Identity, LSTM, MatMul, Mul, Relu, Reshape, Shape, Sigmoid, Slice, Squeeze, Sub, Tanh, Transpose or "
        "Unsqueeze, got 'Softmax'; the engine has no such layer",
    ),
    "an operator of another domain": (
        lambda: build([node("LSTM", "x", domain="com.example")], {}),
        "node 'lstm': expected Add, Cast, Concat, Constant, ConstantOfShape, Div, Dropout, Expand, Gather, Gemm, "
        "Identity, LSTM, MatMul, Mul, Relu, Reshape, Shape, Sigmoid, Slice, Squeeze, Sub, Tanh, Transpose or "
        "Unsqueeze, got 'LSTM'; the engine has no such layer",
    ),
    "a clip": (
        lambda: lstm_with(clip=3.0), "node 'lstm': clip: expected none, got 3; the engine does not clip"
    ),
    "other activations": (
        lambda: lstm_with(activations=["Relu", "Tanh", "Tanh"]),
        "node 'lstm': activations: expected Sigmoid, Tanh, Tanh, got 'Relu', 'Tanh', 'Tanh'; the engine has no others",
    ),
    "an unknown direction": (
        lambda: lstm_with(direction="sideways"),
        "node 'lstm': direction: expected forward, reverse or bidirectional, got 'sideways'",
    ),
    "several initial states": (
        several_states, "node 'lstm': initial_c: expected one state for all rows, got several"
    ),
    "constant lengths": (
        short,
        "node 'lstm': sequence_lens: expected an input, or all steps of every row, got others; use lengths of a run",
    ),
    "a residual connection": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("Add", "m", "x")], {"w": W}),
        "node 'add': expected a chain, got a branch: both inputs come from the model's input",
    ),
    "two branches": (
        lambda: build(
            [node("MatMul", "x", "w", output="m"), node("MatMul", "x", "w", output="n"), node("Mul", "m", "n")],
            {"w": W},
        ),
        "node 'matmul': expected a chain, got a branch: another node takes the same value",
    ),
    "two inputs": (
        lambda: build(
            [node("MatMul", "x", "w", output="m"), node("MatMul", "z", "w", output="n"), node("Add", "m", "n")],
            {"w": W}, [X, ("z", TensorProto.FLOAT, ["L", "N", E])],
        ),
        "node 'matmul': expected one input for the chain, got 'z' beside 'x'",
    ),
    "an output from the middle": (
        lambda: build(
            [node("MatMul", "x", "w", output="m"), node("Tanh", "m")], {"w": W}, outputs=("m", "y")
        ),
        "output 'm': expected the end of the chain, got a value from its middle; keep one output, and states of LSTMs",
    ),
    "an activation of nothing": (
        lambda: build([node("Relu", "x")], {}),
        "node 'relu': expected a Gemm or MatMul before it, of which it becomes part, got none",
    ),
    "the state of both directions as features": (
        lambda: plain(
            node("Transpose", "Y_h", output="t", perm=[1, 0, 2]), node("Reshape", "t", "s", output="r"),
            node("Gemm", "r", "w"), s=np.array([0, -1]), w=floats(2 * H, 1),
        ),
        "node 'gemm': expected the output of the layer before it, got a state or a part of an input",
    ),
    "directions as batch": (
        lambda: plain(node("Reshape", "Y", "s", output="r"), node("MatMul", "r", "w"), s=np.array([0, -1, H]),
                      w=floats(H, 1)),
        "node 'reshape': expected axes of size 1 to go or come, or directions to join the features, "
        "got ('x'[0], 2, 'x'[1], 5) to ('x'[0], -1, 5)",
    ),
    "directions joined across the batch": (
        mixed,
        "node 'reshape': expected axes of size 1 to go or come, or directions to join the features, "
        "got (7, 2, 3, 5) to (7, 3, 10)",
    ),
    "time and batch changed places": (
        lambda: build(
            [
                node("LSTM", "x", "W", "R", output="Y", hidden_size=H), node("Squeeze", "Y", "one", output="s"),
                node("Transpose", "s", output="t", perm=[1, 0, 2]), node("LSTM", "t", "V", "R", hidden_size=H),
            ],
            {"W": floats(1, 4 * H, E), "R": floats(1, 4 * H, H), "V": floats(1, 4 * H, H), "one": np.array([1])},
        ),
        "node 'lstm': X: expected time and batch on the axes that the LSTM before it has them on, got others",
    ),
    "features on another axis": (
        lambda: build([node("Transpose", "x", output="t"), node("MatMul", "t", "w")], {"w": W}),
        "node 'matmul': expected the features on the last axis, got them elsewhere",
    ),
    "a step that is not the last": (
        lambda: plain(node("Gather", "Y", "two", axis=0), two=np.array(2)),
        "node 'gather': expected the last step to be taken, got others",
    ),
    "a last step before any LSTM": (
        lambda: build([node("Gather", "x", "last", output="g"), node("MatMul", "g", "w")],
                      {"w": W, "last": np.array(-1)}),
        "node 'matmul': expected the output of the layer before it, got a state or a part of an input",
    ),
    "a step along the batch": (
        lambda: plain(node("Gather", "Y", "last", axis=2), last=np.array(-1)),
        "node 'gather': expected the last step to be taken along the axis of time behind an LSTM, got another axis",
    ),
    "a step along the batch of the other layout": (
        lambda: batchwise(axis=0),
        "node 'gather': expected the last step to be taken along the axis of time behind an LSTM, got another axis",
    ),
    "several last steps": (
        lambda: plain(node("Slice", "Y", "start", "end"), start=np.array([-2]), end=np.array([1 << 40])),
        "node 'slice': expected the last step to be taken, got others",
    ),
    "the state of a backward run as features": (
        backward_state, "node 'gemm': expected the output of the layer before it, got a state or a part of an input"
    ),
    "every axis of size 1 squeezed": (
        lambda: plain(node("Squeeze", "Y")), "node 'squeeze': axes: expected them to be named, got none"
    ),
    "an axis squeezed that is longer": (
        lambda: plain(node("Squeeze", "Y", "k"), k=np.array([1])),
        "node 'squeeze': axes: expected axes of size 1, got 1, which is directions[0]",
    ),
    "dropout in training": (
        lambda: build([node("Dropout", "x", "r", "t")], {"r": np.float32(0.5), "t": np.array(True)}),
        "node 'dropout': training_mode: expected false, got true; export the model for inference",
    ),
    "values cast to integers": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("Cast", "m", to=TensorProto.INT64)], {"w": W}),
        "node 'cast': to: expected a floating-point type, got another",
    ),
    "a table taken by values": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("Gather", "w", "m")], {"w": W}),
        "node 'gather': expected a table whose rows are taken by the model's input, got another Gather",
    ),
    "weights that are computed": (
        lambda: build([node("LSTM", "x", "w", "w", hidden_size=H)], {},
                      [X, ("w", TensorProto.FLOAT, [1, 4 * H, E])]),
        "node 'lstm': W: expected a constant, got a value that is computed or missing",
    ),
    "weights of another shape": (
        lambda: build([node("LSTM", "x", "W", "R", hidden_size=H)],
                      {"W": floats(1, 4 * H, E), "R": floats(1, 3 * H, H)}),
        "node 'lstm': R: expected (1, 20, 5), got (1, 15, 5)",
    ),
    "widths that do not fit": (
        lambda: build([node("MatMul", "x", "w", output="m"), node("MatMul", "m", "w")], {"w": floats(E, 3)}),
        "stack 'main': 'linear_1' takes 2 values, but 'linear_0' before it gives 3",
    ),
    "no layers": (lambda: build([node("Identity", "x")], {}), "expected at least one layer, got none"),
    "a loop": (
        lambda: build([node("MatMul", "m", "w", output="y"), node("MatMul", "y", "w", output="m")], {"w": W}),
        "node 'matmul': expected values that nodes before it make, got 'm'; the nodes are not in order",
    ),
    "a value made twice": (
        lambda: build([node("MatMul", "x", "w"), node("MatMul", "x", "w")], {"w": W}),
        "expected each value to be made once, got 'y' twice",
    ),
    "an enormous constant": (
        lambda: build(
            [node("Expand", "w", "s", output="v"), node("MatMul", "x", "v")],
            {"w": floats(1, 1), "s": np.array([E, 1 << 40])},
        ),
        "node 'matmul': expected at most 268435456 values, got 2199023255552",
    ),
    "an enormous input": (
        lambda: build([node("Mul", "x", "w")], {"w": np.float32(2)}, [("x", TensorProto.FLOAT, ["N", 1 << 60])]),
        "node 'mul': expected a number of features up to 16777216 that the input declares, got 1152921504606846976",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_chain_of_layers_is_refused_with_one_sentence(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=exactly(f"from_onnx: {message}")):
        Engine.from_onnx(make())


# Files.


def linear() -> onnx.ModelProto:
    return build([node("MatMul", "x", "w")], {"w": W})


def stored(folder: Path, location: str, **entries: str) -> Path:
    """A model whose weights lie in another file; `location` is what the model says of it."""
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_a_file_gives_what_its_model_gives(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear().SerializeToString())
    x = floats(N, L, E)
    assert_gives(Engine.from_onnx(tmp_path / "model.onnx"), x, x @ W)
    assert_gives(Engine.from_onnx(str(tmp_path / "model.onnx")), x, x @ W)


@pytest.mark.parametrize("offset", [0, 64])
def test_weights_beside_the_file_are_read(tmp_path: Path, offset: int) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(bytes(offset) + W.tobytes() + bytes(8))
    x = floats(N, L, E)
    file = stored(tmp_path, "weights/w.bin", offset=str(offset), length=str(W.nbytes))
    assert_gives(Engine.from_onnx(file), x, x @ W)


@pytest.mark.parametrize("way", ["parent", "absolute", "link", "the folder"])
def test_weights_outside_the_folder_are_never_read(tmp_path: Path, way: str) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret.bin"
    folder.mkdir()
    secret.write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(secret)
    location = {"parent": "../secret.bin", "absolute": str(secret), "link": "link.bin", "the folder": "."}[way]
    file = stored(folder, location)
    message = f"{file}: tensor 'w': expected a file inside the model's folder, got {location!r}; copy it there"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_onnx(file)


AGAIN = "export or copy the model again"
EXTERNAL = {
    "missing": ("none.bin", {}, f"'none.bin' cannot be read (No such file or directory); {AGAIN}"),
    "beyond its end": (
        "w.bin", {"offset": "8", "length": "16"}, f"expected bytes 8 to 24 of 'w.bin', got 16 bytes; {AGAIN}"
    ),
    "before its start": (
        "w.bin", {"offset": "-8"}, f"expected bytes -8 to 16 of 'w.bin', got 16 bytes; {AGAIN}"
    ),
    "too short": (
        "w.bin", {"length": "12"},
        f"expected values of shape (2, 2), got other (cannot reshape array of size 3 into shape (2,2)); {AGAIN}",
    ),
    "no number": (
        "w.bin", {"length": "many"},
        "expected values of shape (2, 2), got other (invalid literal for int() with base 10: 'many'); " + AGAIN,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("location", "entries", "message"), EXTERNAL.values(), ids=EXTERNAL)
def test_weights_beside_the_file_that_are_damaged_are_refused(
    tmp_path: Path, location: str, entries: dict[str, str], message: str
) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    file = stored(tmp_path, location, **entries)
    with pytest.raises(WeightsError, match=exactly(f"{file}: tensor 'w': {message}")):
        Engine.from_onnx(file)


def test_a_model_in_memory_has_no_files_beside_it(tmp_path: Path) -> None:
    model = onnx.load(stored(tmp_path, "w.bin"), load_external_data=False)
    message = "from_onnx: tensor 'w': expected values, got the name of a file, 'w.bin'; pass the model's path"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_onnx(model)


def test_a_tensor_that_lies_about_its_size_is_refused() -> None:
    model = linear()
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    with pytest.raises(
        WeightsError, match=r"^from_onnx: tensor 'w': expected values of shape \(1099511627776, 1048576"
    ):
        Engine.from_onnx(model)


def test_a_tensor_of_a_negative_size_is_refused() -> None:
    model = linear()
    model.graph.initializer[0].dims[:] = [-1, 2]
    message = f"from_onnx: tensor 'w': expected values of shape (-1, 2), got other (4 values); {AGAIN}"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_onnx(model)


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path / 'none.onnx'}: cannot be read (No such file or directory); check the path"
    with pytest.raises(ArtifactError, match=exactly(message)):
        Engine.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(
        ArtifactError, match=exactly(f"{tmp_path}: expected an ONNX file, got something else; check the path")
    ):
        Engine.from_onnx(tmp_path)


@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "model.onnx"
    whole = linear().SerializeToString()
    file.write_bytes(
        {"truncated": whole[: len(whole) // 2], "text": b"PK\x03\x04 or other text", "empty": b""}[content]
    )
    damaged = f"expected an ONNX file, got a damaged one or another kind; {AGAIN}"
    message = f"expected an ONNX model with nodes, got none; {AGAIN}" if content == "empty" else damaged
    with pytest.raises(ArtifactError, match=exactly(f"{file}: {message}")):
        Engine.from_onnx(file)


def test_whatever_is_damaged_is_either_read_or_refused_with_one_sentence(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = export(Network("last state", num_layers=2), torch.randn(N, L, 3), dynamic={0: "N"}).SerializeToString()
    numbers, file, messages = random.Random(0), tmp_path / "model.onnx", list[str]()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(numbers.choice([1, 1, 4])):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        file.write_bytes(data[: numbers.choice([len(data), len(data), numbers.randrange(len(data))])])
        try:
            Engine.from_onnx(file)
        except CarrouselError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]


def test_a_missing_onnx_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = "reading ONNX models needs the package 'onnx', which is not installed; pip install 'carrousel[onnx]'"
    with pytest.raises(MissingExtraError, match=exactly(message)):
        Engine.from_onnx("model.onnx")
