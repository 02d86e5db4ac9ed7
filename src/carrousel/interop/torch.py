"""Modules of PyTorch as an architecture and its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.architecture import LSTM, Embedding, Layer, Linear
from carrousel.errors import ConfigError, WeightsError, require
from carrousel.interop.chain import Activation, Chain, Network, listed

if TYPE_CHECKING:
    from torch import nn

ACTIVATIONS: Mapping[str, Activation] = {"ReLU": "relu", "Tanh": "tanh", "SiLU": "silu", "Sigmoid": "sigmoid"}
IGNORED = ("Dropout", "Identity")
SUPPORTED = listed(["LSTM", "LSTMCell", "Linear", "Embedding", *ACTIVATIONS, *IGNORED, "a Sequential of these"])


def from_torch(module: nn.Module | Sequence[nn.Module]) -> Network:
    """The network of a module, or of a list of modules that follow each other.

    Understood are ``torch.nn.LSTM`` (layers, directions, bias, projection), ``carrousel.layers.LSTM`` (every variant),
    ``LSTMCell``, ``Linear``, ``Embedding`` (first), the activations ReLU, Tanh, SiLU and Sigmoid behind a Linear, and
    ``Sequential`` of these, nested. It is the network of ``eval()``: dropout is left out. Of an LSTM the output goes on
    to what stands behind it; the engine takes (N, L, H_in) whatever ``batch_first`` says. Weights of other
    floating-point types (float16, bfloat16, float64) become float32.

    Parameters
    ----------
    module : whose ``forward`` is that of PyTorch. One of its own cannot be read: give its layers as a list

    Returns
    -------
    (architecture, weights) : layers have the names of the modules' paths, dots replaced; ``lstm_0`` for ``"0"``

    Raises
    ------
    ConfigError : a module that cannot be translated, or modules that do not fit each other
    WeightsError : a parameter that has no values yet
    MissingExtraError : PyTorch is not installed
    """
    torch = require("torch", extra="train", purpose="reading modules of PyTorch")
    chain = Chain("from_torch")
    listing = [(str(k), m) for k, m in enumerate(module)] if isinstance(module, (list, tuple)) else [("", module)]
    for path, item in listing:
        for place, leaf in _leaves(path, item, torch.nn):
            _translate(chain, place, leaf, torch)
    return chain.finish()


def _leaves(path: str, module: Any, nn: Any) -> Iterator[tuple[str, nn.Module]]:
    """The modules inside Sequentials, in order, with their paths."""
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{_where(path, module)}: expected {SUPPORTED}, got no module")
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        raise WeightsError(f"{_where(path, module)}: expected weights, got a lazy module without; run it once")
    if module._forward_hooks or module._forward_pre_hooks:
        raise ConfigError(f"{_where(path, module)}: expected no forward hooks, which cannot be read; remove them")
    if not _is(module, nn.Sequential):
        yield path, module
        return
    for name, child in module.named_modules(remove_duplicate=False):
        if name and "." not in name:
            yield from _leaves(f"{path}.{name}" if path else name, child, nn)


def _translate(chain: Chain, path: str, module: Any, torch: Any) -> None:
    from carrousel.layers import LSTM as Ours

    nn, where = torch.nn, _where(path, module)
    layer: Layer
    renamed: dict[str, str] = {}  # our names of tensors that are called otherwise in the module
    if _is(module, Ours):
        layer = LSTM.of(chain.name(path, "lstm"), module.config())
    elif _is(module, nn.LSTM):
        keys = ("input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size")
        layer = LSTM(name=chain.name(path, "lstm"), **{key: getattr(module, key) for key in keys})
    elif _is(module, nn.LSTMCell):
        keys = ("input_size", "hidden_size", "bias")
        layer = LSTM(name=chain.name(path, "lstm"), **{key: getattr(module, key) for key in keys})
        renamed = {name: name.removesuffix("_l0") for name in layer.tensors()}
    elif _is(module, nn.Linear):
        output, size = module.weight.shape
        layer = Linear(
            name=chain.name(path, "linear"), input_size=size, output_size=output, bias=module.bias is not None
        )
    elif _is(module, nn.Embedding):
        if module.max_norm is not None:
            raise ConfigError(f"{where}: max_norm: expected None, got {module.max_norm}; the engine scales no vectors")
        count, size = module.weight.shape
        layer = Embedding(name=chain.name(path, "embedding"), num_embeddings=count, embedding_dim=size)
    elif any(_is(module, getattr(nn, name)) for name in IGNORED):
        return
    else:
        _activate(chain, where, module, nn)
        return
    chain.add(layer, {name: _array(where, name, module, renamed) for name in layer.tensors()})


def _activate(chain: Chain, where: str, module: Any, nn: Any) -> None:
    for name, activation in ACTIVATIONS.items():
        if _is(module, getattr(nn, name)):
            if not chain.activate(activation):
                raise ConfigError(f"{where}: expected a Linear before it, of which it becomes part, got none")
            return
    if type(module).__module__.startswith("torch."):
        raise ConfigError(f"{where}: expected {SUPPORTED}, got {type(module).__name__}; the engine has no such layer")
    raise ConfigError(
        f"{where}: expected {SUPPORTED}, got a module with a forward of its own, which cannot be read; "
        "pass its layers as a list in their order, such as [net.lstm, net.head]"
    )


def _is(module: Any, kind: Any) -> bool:
    """Whether a module computes what `kind` does: subclasses do unless they have a forward of their own."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def _where(path: str, module: object) -> str:
    place = f"module {path!r}" if path else "the module"
    return f"from_torch: {place} ({type(module).__name__})"


def _array(where: str, name: str, module: Any, renamed: Mapping[str, str]) -> npt.NDArray[np.float32]:
    # Not from the state_dict: there a parametrised weight has other names.
    tensor = getattr(module, renamed.get(name, name))
    try:
        return tensor.detach().float().cpu().numpy()
    except (RuntimeError, NotImplementedError) as error:  # on the meta device
        raise WeightsError(f"{where}: {name}: expected values, got a parameter without; load its weights") from error
