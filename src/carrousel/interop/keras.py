"""Models of Keras as an architecture and its weights."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Embedding, Linear, Scale
from carrousel.errors import ArtifactError, ConfigError, WeightsError, require
from carrousel.interop.chain import Activation, Array, Chain, Network, listed

ACTIVATIONS: Mapping[str, Activation] = {"relu": "relu", "tanh": "tanh", "silu": "silu", "sigmoid": "sigmoid"}
IGNORED = ("InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "ActivityRegularization", "Identity")
SUPPORTED = (
    "LSTM, Bidirectional(LSTM), Dense, TimeDistributed(Dense), Embedding, Normalization, Rescaling, Activation, ReLU, "
    "Dropout or a Sequential or functional chain of these"
)
AGAIN = "save or copy the model again"


def from_keras(model: Any) -> Network:
    """The network of a Keras model, Sequential or functional, whose layers are a chain.

    Understood are ``LSTM`` and ``Bidirectional(LSTM)`` with the default activations, ``Dense`` (also within
    ``TimeDistributed``), ``Embedding`` (first), ``Normalization`` and ``Rescaling``; activations relu, tanh, silu and
    sigmoid of a Dense or behind one. Dropout is left out: it is the network of inference.

    Where an LSTM has ``return_sequences=False`` the model's answer is the last step of a run. ``mask_zero`` is not
    looked at: give `lengths` to the run. A ``stateful`` model carries its state from call to call; so does a session.

    Parameters
    ----------
    model : a built model, or the path of a ``.keras`` file, which is loaded in Keras's safe mode: nothing in it runs

    Returns
    -------
    (architecture, weights) : layers have the names of the model's layers

    Raises
    ------
    ArtifactError : no such file, or none that Keras can load
    ConfigError : a layer that cannot be translated, or a model that is no chain
    WeightsError : a model that is not built yet
    MissingExtraError : Keras is not installed
    """
    keras = require("keras", extra="keras", purpose="reading models of Keras")
    where = "from_keras"
    with warnings.catch_warnings():
        # Keras on PyTorch has not followed NumPy 2's signature of __array__, which is no news to the caller.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        if isinstance(model, (str, os.PathLike)):
            where, model = str(model), _load(Path(model), keras)
        chain = Chain(where)
        for layer in _leaves(model, chain, keras):
            _translate(chain, layer, keras)
    return chain.finish()


def _load(file: Path, keras: Any) -> Any:
    if not file.is_file():
        found = "a folder" if file.exists() else "nothing"
        raise ArtifactError(f"{file}: expected a .keras file, got {found}; check the path")
    if file.suffix != ".keras":  # Keras would take others for its older formats, which may execute code
        raise ArtifactError(f"{file}: expected a .keras file, got {file.suffix or 'no suffix'}; {AGAIN} as .keras")
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged archive makes Keras, zipfile, json or h5py raise
        problem = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".") or type(error).__name__
        raise ArtifactError(
            f"{file}: expected a model that Keras loads, got another file ({problem}); {AGAIN}"
        ) from error


def _leaves(model: Any, chain: Chain, keras: Any) -> Iterator[Any]:
    """The layers inside models, in the order in which values pass through them."""
    own = next((cls for cls in type(model).__mro__ if "call" in vars(cls)), object)
    sequential = isinstance(model, keras.Sequential)
    if not isinstance(model, keras.Model):
        yield model
    elif not own.__module__.startswith("keras.") or not (sequential or hasattr(model, "operations")):
        raise ConfigError(
            f"{_where(chain, model)}: expected a Sequential or functional model, got one with a call of its own, which "
            "cannot be read; build a keras.Sequential of its layers"
        )
    else:
        for layer in model.layers if sequential else _functional(model, chain, keras):
            yield from _leaves(layer, chain, keras)


def _functional(model: Any, chain: Chain, keras: Any) -> list[Any]:
    """The layers of a functional model, from its output back to its input."""
    where = f"{chain.where}: model {model.name!r}"
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConfigError(
            f"{where}: expected one input and one output, got {len(model.inputs)} and {len(model.outputs)}"
        )
    found: list[Any] = []
    (tensor,) = model.outputs
    while True:
        operation, index, place = tensor._keras_history
        if isinstance(operation, keras.layers.InputLayer):
            return found[::-1]
        where = _where(chain, operation)
        if not isinstance(operation, keras.Layer):
            raise ConfigError(f"{where}: expected {SUPPORTED}, got an operation; the engine has no such layer")
        if place != 0:
            raise ConfigError(f"{where}: expected its output to be used, got its state; a chain is expected")
        found.append(operation)
        arguments = operation._inbound_nodes[index].arguments
        given = [*arguments.args, *(value for name, value in arguments.kwargs.items() if name != "mask")]
        tensors = [value for value in given if value is not None and not isinstance(value, bool)]
        if len(tensors) != 1 or not isinstance(tensors[0], keras.KerasTensor):
            raise ConfigError(f"{where}: expected one input, that of the layer before it, got others; use a chain")
        (tensor,) = tensors


def _translate(chain: Chain, layer: Any, keras: Any) -> None:
    layers, where = keras.layers, _where(chain, layer)
    if not isinstance(layer, keras.Layer):
        raise ConfigError(f"{chain.where}: expected a Keras model, got {type(layer).__name__}")
    if isinstance(layer, layers.TimeDistributed) and isinstance(layer.layer, (layers.Dense, layers.Dropout)):
        _translate(chain, layer.layer, keras)
    elif _is(layer, layers.LSTM) or _is(layer, layers.Bidirectional):
        _lstm(chain, layer, where, keras)
    elif _is(layer, layers.Dense):
        tensors = _arrays(where, layer, layer, weight="kernel", bias="bias")
        tensors["weight"] = tensors["weight"].T
        output, size = tensors["weight"].shape
        name = chain.name(layer.name, "linear")
        chain.add(Linear(name=name, input_size=size, output_size=output, bias=layer.use_bias), tensors)
        _activate(chain, layer.activation, where, keras)
    elif _is(layer, layers.Embedding):
        tensors = _arrays(where, layer, layer, weight="embeddings")
        count, size = tensors["weight"].shape
        name = chain.name(layer.name, "embedding")
        chain.add(Embedding(name=name, num_embeddings=count, embedding_dim=size), tensors)
    elif _is(layer, layers.Normalization):
        _normalization(chain, layer, where, keras)
    elif _is(layer, layers.Rescaling):
        _rescaling(chain, layer, where)
    elif _is(layer, layers.Activation):
        _activate(chain, layer.activation, where, keras)
    elif _is(layer, layers.ReLU) and not layer.negative_slope and layer.max_value is None and not layer.threshold:
        _activate(chain, keras.activations.relu, where, keras)
    elif not any(_is(layer, getattr(layers, name)) for name in IGNORED):
        raise ConfigError(f"{where}: expected {SUPPORTED}, got {type(layer).__name__}; the engine has no such layer")


def _lstm(chain: Chain, layer: Any, where: str, keras: Any) -> None:
    both = isinstance(layer, keras.layers.Bidirectional)
    parts = [layer.forward_layer, layer.backward_layer] if both else [layer]
    for part in parts:
        if not _is(part, keras.layers.LSTM):
            raise ConfigError(f"{where}: expected LSTM layers within, got {type(part).__name__}")
        _check_lstm(part, where, keras)
    if both:
        if layer.merge_mode != "concat":
            raise ConfigError(f"{where}: merge_mode: expected 'concat', got {layer.merge_mode!r}")
        ways = [part.go_backwards for part in parts]
        if ways != [False, True]:
            raise ConfigError(f"{where}: expected a layer that runs forward and one that runs backwards, got {ways}")
        if parts[0].units != parts[1].units or parts[0].use_bias != parts[1].use_bias:
            raise ConfigError(f"{where}: expected two layers of one size, got {parts[0].units} and {parts[1].units}")
        if not all(part.return_sequences for part in parts):
            raise ConfigError(
                f"{where}: return_sequences: expected True, got False; of two directions each ends at another step"
            )
    elif layer.go_backwards:
        raise ConfigError(f"{where}: go_backwards: expected False, got True; use Bidirectional, or reverse the input")
    tensors: dict[str, Array] = {}
    for part, suffix in zip(parts, ("_l0", "_l0_reverse"), strict=False):
        own = _arrays(where, part, part.cell, weight_ih="kernel", weight_hh="recurrent_kernel", bias_ih="bias")
        # Gates stand in the order i, f, c, o, which is ours; matrices are transposed, and there is one bias, not two.
        tensors |= {name + suffix: array.T for name, array in own.items()}
        if part.use_bias:
            tensors["bias_hh" + suffix] = np.zeros_like(own["bias_ih"])
    chain.add(
        LSTM(
            name=chain.name(layer.name, "lstm"), input_size=tensors["weight_ih_l0"].shape[1],
            hidden_size=parts[0].units, bias=parts[0].use_bias, bidirectional=both,
        ),
        tensors,
    )  # fmt: skip


def _check_lstm(layer: Any, where: str, keras: Any) -> None:
    for name, wanted in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        function = getattr(layer, name)
        if function is not getattr(keras.activations, wanted):
            raise ConfigError(f"{where}: {name}: expected {wanted}, got {_called(function)}; the engine has no others")


def _activate(chain: Chain, function: Any, where: str, keras: Any) -> None:
    if function is None or function is keras.activations.linear:
        return
    name = next((name for name in ACTIVATIONS if function is getattr(keras.activations, name)), None)
    if name is None:
        known = listed(["linear", *ACTIVATIONS])
        raise ConfigError(f"{where}: activation: expected {known}, got {_called(function)}; the engine has no others")
    if not chain.activate(ACTIVATIONS[name]):
        raise ConfigError(f"{where}: expected a Dense before it, of which it becomes part, got none")


def _called(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _normalization(chain: Chain, layer: Any, where: str, keras: Any) -> None:
    """y = (x − mean) / max(√variance, ε), as Keras has it; back with `invert`."""
    if tuple(layer.axis) not in ((-1,), (2,)) or layer.mean is None:
        problem = f"axis={tuple(layer.axis)}" if layer.mean is not None else "none that is adapted"
        raise ConfigError(f"{where}: expected statistics of the last axis, got {problem}; use axis=-1 and call adapt")
    mean, variance = (_numpy(value).astype(np.float64).reshape(-1) for value in (layer.mean, layer.variance))
    with np.errstate(invalid="ignore"):
        deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        _affine(chain, layer, deviation, mean)
    else:
        _affine(chain, layer, 1 / deviation, -mean / deviation)


def _rescaling(chain: Chain, layer: Any, where: str) -> None:
    """y = scale * x + offset."""
    scale, offset = (np.atleast_1d(np.asarray(value, np.float64)) for value in (layer.scale, layer.offset))
    size = max(scale.size, offset.size)
    if chain.layers:
        size = chain.layers[-1].widths[1]
    elif size == 1:
        declared = layer.input.shape[-1] if layer._inbound_nodes else None
        if not isinstance(declared, int):
            raise ConfigError(f"{where}: expected a number of features that the model's input declares, got none")
        size = declared
    if not {scale.size, offset.size} <= {1, size}:
        raise ConfigError(f"{where}: expected {size} values or one, got {scale.size} and {offset.size}")
    _affine(chain, layer, np.broadcast_to(scale, size), np.broadcast_to(offset, size))


def _affine(chain: Chain, layer: Any, weight: Array, bias: Array) -> None:
    chain.add(Scale(name=chain.name(layer.name, "scale"), size=len(weight)), {"weight": weight, "bias": bias})


def _is(layer: Any, kind: Any) -> bool:
    """Whether a layer computes what `kind` does: subclasses do unless they have a call of their own."""
    return isinstance(layer, kind) and type(layer).call is kind.call


def _where(chain: Chain, layer: Any) -> str:
    return f"{chain.where}: layer {getattr(layer, 'name', '')!r} ({type(layer).__name__})"


def _arrays(where: str, layer: Any, home: Any, **names: str) -> dict[str, npt.NDArray[np.float32]]:
    """A layer's weights by our names; `names` says how `home`, which holds them, calls each."""
    if not layer.built:
        raise WeightsError(f"{where}: expected weights, got a layer that is not built; call the model once")
    if getattr(layer, "quantization_mode", None) is not None:
        raise WeightsError(f"{where}: expected floating-point weights, got {layer.quantization_mode}; do not quantize")
    found = {name: getattr(home, theirs) for name, theirs in names.items()}
    return {name: _numpy(value) for name, value in found.items() if value is not None}


def _numpy(value: Any) -> npt.NDArray[np.float32]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(value)).astype(np.float32)
