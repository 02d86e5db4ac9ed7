"""Inference without a deep-learning framework: an immutable Engine, which Sessions with explicit state step.

This is the face. Behind it works the native engine (``native.py``) or, where that was not built, NumPy
(``numpy_engine.py``); ``CARROUSEL_ISA`` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from carrousel import artifact, native
from carrousel.architecture import Architecture, check_weights
from carrousel.config import nearest
from carrousel.errors import SettingError
from carrousel.kernel import Floats
from carrousel.native import Dtype, NativeNetwork
from carrousel.numpy_engine import NumpyNetwork
from carrousel.route import Route, whole_number
from carrousel.session import Session


class Engine:
    """A network ready for inference: weights checked and packed once, then never changed.

    Sessions of one engine may run in as many threads as there are sessions.

    Parameters
    ----------
    architecture : Architecture, or its JSON data; a list of layers is one stack of them all
    weights : float32, by the names of ``architecture.tensors()``
    dtype : what the weights of products are stored as. "bfloat16" halves them (3 significant digits; sums stay
        float32) and, where the processor multiplies in it (``isa`` is "avx512bf16"), rounds to it what is multiplied
        with them as well; "int8" quarters them and rounds what is multiplied with them to 8 bits as well, each row of
        weights and of inputs by its own largest magnitude, so no calibration is needed and nothing is clipped

    Raises
    ------
    ConfigError : JSON data that describes no architecture
    WeightsError : a tensor that is missing, unknown, misshapen, not float32 or not finite
    SettingError : an unknown dtype, one that this engine does not have, or a CARROUSEL_ISA that this machine lacks

    Examples
    --------
    >>> import numpy as np
    >>> layers = [{"kind": "linear", "name": "head", "input_size": 2, "output_size": 1}]
    >>> weights = {"head.weight": np.float32([[1, 2]]), "head.bias": np.float32([3])}
    >>> Engine(layers, weights).session().step(np.float32([[10, 20]]))
    array([[53.]], dtype=float32)
    """

    def __init__(
        self,
        architecture: Architecture | Mapping[str, Any] | Sequence[Any],
        weights: Mapping[str, npt.NDArray[Any]],
        *,
        dtype: Dtype = "float32",
    ) -> None:
        self._architecture = Architecture.from_data(architecture)
        check_weights(self._architecture, weights)
        self._dtype: Dtype = check_dtype(dtype)
        isa = native.chosen()
        self._network = (
            NumpyNetwork(self._architecture, weights, dtype)
            if isa == "numpy"
            else NativeNetwork(self._architecture, weights, dtype, isa)
        )
        used = {layer for stack in self._architecture.stacks.values() for layer in stack}
        tables = {name: np.array(v, order="C") for name, v in weights.items() if name.partition(".")[0] not in used}
        for array in tables.values():
            array.flags.writeable = False
        self._tables = MappingProxyType(tables)
        self._routes: dict[str | None, Route] = {
            name: Route(name, self._architecture.stack(name)) for name in self._architecture.stacks
        }
        if len(self._routes) == 1:
            self._routes[None] = next(iter(self._routes.values()))

    @classmethod
    def load(cls, path: str | Path, *, dtype: Dtype = "float32") -> Engine:
        """The engine of a saved model.

        Raises
        ------
        ArtifactError : the folder is no artifact, or one that is damaged or too new
        """
        saved = artifact.read(path)
        engine = cls(saved.architecture, saved.weights, dtype=dtype)
        del saved
        native.give_back_memory()
        return engine

    @classmethod
    def from_torch(cls, module: Any, *, dtype: Dtype = "float32") -> Engine:
        """The engine of a PyTorch module, or of a list of modules; see ``carrousel.interop.torch.from_torch``.

        Raises
        ------
        ConfigError : a module that cannot be translated
        WeightsError : a parameter without values, or not finite
        MissingExtraError : PyTorch is not installed
        """
        from carrousel.interop.torch import from_torch

        return cls(*from_torch(module), dtype=dtype)

    @classmethod
    def from_onnx(cls, model: Any, *, dtype: Dtype = "float32") -> Engine:
        """The engine of an ONNX file, or of a ``ModelProto``; see ``carrousel.interop.onnx.from_onnx``.

        Raises
        ------
        ArtifactError : a file that cannot be read (ConfigError: a graph that cannot be translated; WeightsError:
            weights that are damaged or not finite)
        MissingExtraError : onnx is not installed
        """
        from carrousel.interop.onnx import from_onnx

        return cls(*from_onnx(model), dtype=dtype)

    @classmethod
    def from_keras(cls, model: Any, *, dtype: Dtype = "float32") -> Engine:
        """The engine of a Keras model, or of a ``.keras`` file; see ``carrousel.interop.keras.from_keras``.

        Raises
        ------
        ArtifactError : a file that cannot be read (ConfigError: a model that cannot be translated; WeightsError:
            weights that are missing or not finite)
        MissingExtraError : Keras is not installed
        """
        from carrousel.interop.keras import from_keras

        return cls(*from_keras(model), dtype=dtype)

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    @property
    def tables(self) -> Mapping[str, Floats]:
        """The tensors of layers that stand in no stack, for a task to index, read-only; the others are packed."""
        return self._tables

    @property
    def dtype(self) -> Dtype:
        return self._dtype

    @property
    def isa(self) -> str:
        """The instruction set that the kernels use, or "numpy"."""
        return self._network.isa

    def session(self, batch: int = 1, *, threads: int = 1) -> Session:
        """Fresh state for `batch` independent rows.

        Parameters
        ----------
        batch : N
        threads : at most so many share the rows of a call; what comes out does not depend on it

        Raises
        ------
        SettingError : batch or threads is not an integer of at least 1
        """
        return Session(self, self._network.streams(whole_number("batch", batch), whole_number("threads", threads)))

    def route(self, stack: str | None) -> Route:
        """What passes through a stack; for sessions."""
        if stack not in self._routes:
            self._architecture.stack(stack)  # says what is wrong with the name
        return self._routes[stack]


def check_dtype(dtype: str) -> Dtype:
    """The name of how weights may be stored.

    Raises
    ------
    SettingError : an unknown one
    """
    if dtype not in get_args(Dtype):
        raise SettingError(f"dtype: unknown name {dtype!r}; {nearest(str(dtype), get_args(Dtype))}")
    return cast(Dtype, dtype)
