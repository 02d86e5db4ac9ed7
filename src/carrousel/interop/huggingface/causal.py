"""The language model for transformers: the body and the softmax that shares its embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from carrousel.architecture import Architecture
from carrousel.features.token import BytePairs, Characters
from carrousel.interop.huggingface.cache import CarrouselCache
from carrousel.interop.huggingface.config import CarrouselConfig
from carrousel.interop.huggingface.model import CACHE, CarrouselPreTrainedModel


class CarrouselForCausalLM(CarrouselPreTrainedModel, GenerationMixin):
    """A language model of Carrousel: ``AutoModelForCausalLM.from_pretrained`` of its folder."""

    _tied_weights_keys = {"head.weight": "embedding.weight"}  # noqa: RUF012 - transformers' own form of it

    def __init__(self, config: CarrouselConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.embedding_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.head = new_embeddings

    def network(self) -> Architecture:
        return self.config.language_sizes.architecture()

    def never_written(self) -> list[int]:
        """Tokens that ``LanguageModel`` never writes: an unknown one, and the end where no training text had one."""
        if self.origin is None:
            return []
        level, context = self.config.settings["level"], self.origin.artifact.context
        unknown = {"char": Characters, "bpe": BytePairs}[level].unknown
        ends = context is not None and bool((context["tokens"] == 0).any())
        return [*([] if unknown is None else [unknown]), *([] if ends else [0])]

    def default_generation(self) -> GenerationConfig:
        """What ``generate`` does where the folder does not say: tokens that LanguageModel never writes are out."""
        config = GenerationConfig(
            bos_token_id=self.config.bos_token_id,
            eos_token_id=self.config.eos_token_id,
            pad_token_id=self.config.pad_token_id,
        )
        if never := self.never_written():
            config.suppress_tokens = never
        return config

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cache: CarrouselCache | None = None,
        past_key_values: CarrouselCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """Logits of the next token, after every token.

        Parameters
        ----------
        input_ids : int64 (N, L), or instead of them inputs_embeds : float (N, L, E)
        attention_mask : (N, L), or (N, ≥ L) with what was read before; 0 is padding, wherever it stands
        cache : what an earlier call returned, which is put behind the new tokens. Before transformers 5.24 it is called
            past_key_values
        labels : int64 (N, L), the same as input_ids, −100 where nothing is to be predicted; nothing is from padding
        use_cache : return the cache; None: where one is given, else as the configuration says, but not in training
        output_hidden_states : return also the tokens' vectors and what each layer gives
        logits_to_keep : only of so many last tokens, 0 for all, or of these

        Returns
        -------
        CausalLMOutputWithPast : loss, the mean over all labels; logits (N, L, V); cache; hidden_states

        Raises
        ------
        ShapeError, SettingError : a mask or a cache that does not fit
        """
        every = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        found = self.read(
            input_ids, attention_mask, inputs_embeds, past_key_values if cache is None else cache, use_cache, every
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.head(found.y[:, kept])
        loss = None
        if labels is not None:
            if attention_mask is not None:
                labels = _predictable(labels, attention_mask)
            function: Any = self.loss_function
            loss = function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        cached: dict[str, Any] = {CACHE: found.cache}
        return CausalLMOutputWithPast(loss=loss, logits=logits, hidden_states=found.layers, **cached)


def _predictable(labels: Tensor, mask: Tensor) -> Tensor:
    """Labels (N, L) without those behind padding, which says nothing of what follows."""
    before = mask[:, mask.shape[1] - labels.shape[1] : -1] == 0
    return torch.cat([labels[:, :1], labels[:, 1:].masked_fill(before, -100)], 1)
