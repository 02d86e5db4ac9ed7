"""ONNX files, which may be damaged or hostile, as an architecture and its weights; their graph: ``graph.py``."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.errors import ArtifactError, ConfigError, WeightsError, require
from carrousel.interop.chain import Network
from carrousel.interop.onnx import axis, layer
from carrousel.interop.onnx.graph import Graph

AGAIN = "export or copy the model again"


def from_onnx(model: Any) -> Network:
    """The network of an ONNX model whose graph is a chain.

    Understood are LSTM (every direction, layout, peepholes, ``input_forget``, constant initial states), MatMul, Gemm
    and Add as Linear, Relu, Tanh, Sigmoid and x·σ(x) behind it, arithmetic with constants before or between as Scale,
    Gather on a constant as Embedding, and what exporters put round them: Transpose, Reshape, Squeeze, Unsqueeze,
    Shape and its arithmetic, Identity, Cast, Dropout.

    The engine takes (N, L, H_in) or ids (N, L) in whatever order the graph has its axes, and gives the chain's output
    for every step; where the graph keeps only the last step, that is the last one of a run. States among the graph's
    inputs and outputs are ``Session.state``, a sequence length among its inputs is the `lengths` of a run.

    Parameters
    ----------
    model : path of the file, or a ``ModelProto``. Weights beside the file are read from its folder, nowhere else

    Returns
    -------
    (architecture, weights) : layers have the names ``lstm_0``, ``linear_1``, ... by their place

    Raises
    ------
    ArtifactError : no such file, or none that holds an ONNX model
    ConfigError : a graph that is no chain, or has what the engine has no layer for
    WeightsError : weights that are damaged, or lie outside the folder
    MissingExtraError : onnx is not installed
    """
    onnx = require("onnx", extra="onnx", purpose="reading ONNX models")
    if isinstance(model, onnx.ModelProto):
        where, folder, proto = "from_onnx", None, model
    else:
        file = Path(model)
        where, folder, proto = str(file), file.parent, _parse(file, onnx)
    if not proto.ir_version or not proto.graph.node:
        raise ConfigError(f"{where}: expected an ONNX model with nodes, got none; {AGAIN}")

    def array(tensor: Any, place: str) -> npt.NDArray[Any]:
        return _array(tensor, f"{where}: {place}", folder, onnx)

    return Graph(proto, where, array, {**layer.OPERATORS, **axis.OPERATORS}).network()


def _parse(file: Path, onnx: Any) -> Any:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ArtifactError(f"{file}: expected an ONNX file, got something else; check the path")
        data = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read ({error.strerror}); check the path") from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # DecodeError of protobuf, which is not ours to import
        raise ArtifactError(f"{file}: expected an ONNX file, got a damaged one or another kind; {AGAIN}") from error
    return proto


def _array(tensor: Any, where: str, folder: Path | None, onnx: Any) -> npt.NDArray[Any]:
    """The values of a tensor, floating-point ones as float32."""
    dims = tuple(tensor.dims)
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.raw_data = _external(tensor, where, folder)
            copy.data_location = onnx.TensorProto.DEFAULT
            tensor = copy
        values = np.asarray(onnx.numpy_helper.to_array(tensor))
        if values.shape != dims:
            raise ValueError(f"{values.size} values")
        kind = tensor.data_type
        floating = kind in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
        with np.errstate(over="ignore"):
            return values.astype(np.float32) if floating else values
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        problem = str(error).splitlines()[0] if str(error) else "too large"
        raise WeightsError(f"{where}: expected values of shape {dims}, got other ({problem}); {AGAIN}") from error


def _external(tensor: Any, where: str, folder: Path | None) -> bytes:
    """Values that lie in a file of their own: only in the model's folder, whatever the model says."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise WeightsError(f"{where}: expected values, got the name of a file, {location!r}; pass the model's path")
    root, target = os.path.realpath(folder), os.path.realpath(os.path.join(folder, location))
    if "\0" in location or os.path.commonpath([root, target]) != root or target == root:
        raise WeightsError(f"{where}: expected a file inside the model's folder, got {location!r}; copy it there")
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or -1)
        if not stat.S_ISREG(os.stat(target).st_mode):
            raise WeightsError(f"{where}: expected a regular file, got {location!r}; {AGAIN}")
        size = os.stat(target).st_size
        length = size - offset if length < 0 else length
        if not 0 <= offset <= offset + length <= size:
            raise WeightsError(
                f"{where}: expected bytes {offset} to {offset + length} of {location!r}, got {size} bytes; {AGAIN}"
            )
        with open(target, "rb") as stream:
            stream.seek(offset)
            return stream.read(length)
    except OSError as error:
        raise WeightsError(f"{where}: {location!r} cannot be read ({error.strerror}); {AGAIN}") from error
