"""The language network as a model of transformers: its modules have the names of the artifact's tensors."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import can_return_tuple

from carrousel.architecture import Architecture
from carrousel.errors import SettingError
from carrousel.interop.huggingface.cache import CarrouselCache
from carrousel.interop.huggingface.config import CarrouselConfig
from carrousel.interop.huggingface.folder import ArtifactModel
from carrousel.interop.huggingface.padding import Padding
from carrousel.layers.language import FIRST, LanguageLSTM
from carrousel.layers.lstm import LSTM
from carrousel.layers.mask import dropout
from carrousel.layers.state import LSTMState

# What outputs call the state: transformers renamed it in 5.24.
CACHE = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"


class Read(NamedTuple):
    """What the body gives: y (N, L, E), the cache behind it, and its vectors and all layers' outputs if asked for."""

    y: Tensor
    cache: CarrouselCache | None
    layers: tuple[Tensor, ...] | None


class CarrouselPreTrainedModel(ArtifactModel):
    """Embedding, LSTM and projection, without a head.

    They are those of ``layers.language.LanguageLSTM``. Its s stands in the LSTM's first weights on disk, and so it does
    in ``state_dict``; the parameter itself is without s, since training is better so, and the bits are the same. The
    state obeys the mask: padding, wherever it stands, changes neither what is read after it nor the state.
    """

    task = "language"
    _is_stateful = True
    _no_split_modules = ["LSTM"]  # noqa: RUF012 - transformers' own form of it

    def __init__(self, config: CarrouselConfig, *inputs: Any, **kwargs: Any) -> None:
        super().__init__(config, *inputs, **kwargs)
        body = LanguageLSTM(config.language_sizes, **config.dropouts)
        self.scale = body.scale
        self.dropout = config.dropout
        self.embedding, self.lstm = body.embedding, body.lstm
        if body.projection is not None:
            self.projection = body.projection

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """False: ``generate`` leaves it to the first forward to make the cache."""
        return False

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The tensors as an artifact has them."""
        found = super().state_dict(*args, **kwargs)
        name = kwargs.get("prefix", "") + FIRST
        found[name] = self.scale * found[name]
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Called before those of the parts, which see what this leaves."""
        if prefix + FIRST in state_dict:
            state_dict[prefix + FIRST] = state_dict[prefix + FIRST] / self.scale
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @torch.no_grad()
    def after_loading(self, fresh: Container[str]) -> None:
        if FIRST not in fresh:
            self.lstm.weight_ih_l0.data = self.lstm.weight_ih_l0 / self.scale  # not in place: it may be the caller's

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """What ``LanguageLSTM`` begins with; weights that were loaded are marked and left alone."""
        part = next((name for name, own in self.named_children() if own is module), None)
        if part is None:
            return
        fresh: dict[str, Tensor] = dict(LanguageLSTM(self.config.language_sizes).named_parameters())
        fresh |= {"head.bias": torch.zeros(self.config.vocab_size), "head.weight": fresh["embedding.weight"]}
        for name, parameter in module.named_parameters(recurse=False):
            if not getattr(parameter, "_is_hf_initialized", False):
                parameter.copy_(fresh[f"{part}.{name}"])

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embedding = value

    def read(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        inputs_embeds: Tensor | None,
        cache: object,
        use_cache: bool | None,
        every_layer: bool | None,
    ) -> Read:
        """Run over the next tokens of N texts.

        Parameters
        ----------
        input_ids : int64 (N, L), or instead of them inputs_embeds : float (N, L, E)
        attention_mask : (N, L), or (N, ≥ L) of all that were read, of which the last L count; 0 is padding
        cache : the state before them, which is put behind them
        """
        if (input_ids is None) == (inputs_embeds is None):
            given = "neither" if input_ids is None else "both"
            raise SettingError(f"forward: expected either input_ids or inputs_embeds, got {given}")
        x = inputs_embeds
        if x is None:
            assert input_ids is not None
            x = self.embedding(input_ids)
        if cache is not None and not isinstance(cache, CarrouselCache):
            raise SettingError(
                f"cache: expected a CarrouselCache, which holds h and c, got {type(cache).__name__}; leave it out, or "
                "pass the one that an earlier call returned"
            )
        N, L = x.shape[:2]
        state = None if cache is None else cache.of_rows(N)
        padding = Padding.of(attention_mask, N, L)
        x = x if padding is None else padding.close(x)
        y, after, layers = self._run(x, state, None if padding is None else padding.lengths, bool(every_layer))
        y = dropout(y, self.dropout, self.training)
        if hasattr(self, "projection"):
            y = self.projection(y)
        if padding is not None:
            y, layers = padding.open(y), [padding.open(layer) for layer in layers]
        if use_cache is None:
            use_cache = cache is not None or (self.config.use_cache and not self.training)
        if use_cache:
            cache = CarrouselCache() if cache is None else cache
            cache.advance(after, L)
        return Read(y, cache if use_cache else None, tuple(layers) if every_layer else None)

    def _run(
        self, x: Tensor, state: LSTMState | None, lengths: Tensor | None, every: bool
    ) -> tuple[Tensor, LSTMState, list[Tensor]]:
        """The LSTM over x (N, L, E): its output, its state, and if asked for x and what each layer gives."""
        if not every:
            y, after = self.lstm(self.scale * x.transpose(0, 1), state, lengths)
            return y.transpose(0, 1), after, []
        state = self.lstm.initial_state(len(x)) if state is None else state
        layers, h, c = [x], list[Tensor](), list[Tensor]()
        for k in range(self.lstm.num_layers):
            layer, parameters = _layer(self.lstm, k)
            seen = dropout(x, self.lstm.dropout, self.training) if k else self.scale * x
            before = (state.h[k : k + 1], state.c[k : k + 1])
            y, after = torch.func.functional_call(layer, parameters, (seen.transpose(0, 1), before, lengths))
            x = y.transpose(0, 1)
            layers.append(x)
            h.append(after.h)
            c.append(after.c)
        return x, LSTMState(torch.cat(h), torch.cat(c)), layers


class CarrouselModel(CarrouselPreTrainedModel):
    """The network without its head: a vector of size E for every token."""

    _keys_to_ignore_on_load_unexpected = [r"^head\."]  # noqa: RUF012 - transformers' own form of it

    def __init__(self, config: CarrouselConfig) -> None:
        super().__init__(config)
        self.post_init()

    def network(self) -> Architecture:
        return Architecture(self.config.language_sizes.architecture().layers[:-1])  # all but the head

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cache: CarrouselCache | None = None,
        past_key_values: CarrouselCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> Any:
        """Vectors (N, L, E) of tokens; see ``CarrouselForCausalLM.forward``."""
        every = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        found = self.read(
            input_ids, attention_mask, inputs_embeds, past_key_values if cache is None else cache, use_cache, every
        )
        cached: dict[str, Any] = {CACHE: found.cache}
        return BaseModelOutputWithPast(last_hidden_state=found.y, hidden_states=found.layers, **cached)


def _layer(lstm: LSTM, k: int) -> tuple[LSTM, dict[str, Tensor]]:
    """One layer of a stack as an LSTM of its own, and the parameters that it is to be called with."""
    config: dict[str, Any] = lstm.config() | {
        "num_layers": 1,
        "dropout": 0.0,
        "input_size": lstm.hidden_size if k else lstm.input_size,
    }
    layer = LSTM(**config, device="meta").train(lstm.training)
    suffix = f"_l{k}"
    own = {name: value for name, value in lstm.named_parameters() if name.endswith(suffix)}
    return layer, {name.removesuffix(suffix) + "_l0": value for name, value in own.items()}
