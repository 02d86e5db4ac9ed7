"""The classifier of texts for transformers: every network of the ensemble, and the temperature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from carrousel.architecture import Architecture
from carrousel.errors import SettingError, ShapeError
from carrousel.interop.huggingface.config import CarrouselConfig
from carrousel.interop.huggingface.folder import ArtifactModel
from carrousel.interop.huggingface.padding import Padding
from carrousel.layers.classify import ClassifyLSTM, pooled
from carrousel.layers.mask import dropout


class CarrouselForSequenceClassification(ArtifactModel):
    """A classifier of texts: ``AutoModelForSequenceClassification.from_pretrained`` of its folder.

    Its networks are those of ``layers.classify.ClassifyLSTM``; its logits are their mean divided by the temperature, so
    that their softmax gives the probabilities of ``Classifier.predict``.
    """

    task = "classify"

    def __init__(self, config: CarrouselConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        for m in range(config.members):
            member = ClassifyLSTM(config.classify_sizes, **config.dropouts)
            for name in ("input", "lstm", "head"):
                setattr(self, f"{name}_{m}", getattr(member, name))
        self.post_init()

    def network(self) -> Architecture:
        return self.config.classify_sizes.architecture()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """What ``ClassifyLSTM`` begins with; weights that were loaded are marked and left alone."""
        fresh = next((name for name, own in self.named_children() if own is module), None)
        if fresh is None:
            return
        drawn = ClassifyLSTM(self.config.classify_sizes, **self.config.dropouts).get_submodule(fresh.rpartition("_")[0])
        for name, parameter in module.named_parameters(recurse=False):
            if not getattr(parameter, "_is_hf_initialized", False):
                parameter.copy_(drawn.get_parameter(name))

    def get_input_embeddings(self) -> nn.Module:
        """Of the first network; one without an ensemble has no others."""
        return self.input_0

    def set_input_embeddings(self, value: nn.Module) -> None:
        if self.config.members > 1:
            raise SettingError(
                f"set_input_embeddings: expected one network, got an ensemble of {self.config.members}, each with "
                "vectors of its own"
            )
        self.input_0 = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Classify texts.

        Parameters
        ----------
        input_ids : int64 (N, L) of words; or, for one network without an ensemble, inputs_embeds : float (N, L, E)
        attention_mask : (N, L), 0 is padding, wherever it stands
        labels : int64 (N,)

        Returns
        -------
        SequenceClassifierOutput : loss, logits (N, C)

        Raises
        ------
        ShapeError : a row without a word, or a mask that does not fit
        """
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None or (input_ids is not None and inputs_embeds is not None):
            raise SettingError("forward: expected either input_ids or inputs_embeds, got both or neither")
        N, L = given.shape[:2]
        padding = Padding.of(attention_mask, N, L)
        lengths = torch.full((N,), L, device=given.device) if padding is None else padding.lengths
        if not bool((lengths > 0).all()):
            raise ShapeError(
                f"input_ids: expected at least one word in every row, got none in row {int(lengths.argmin())}; a blank "
                "text is of no class"
            )
        x = given.long() if inputs_embeds is None else given
        x = x if padding is None else padding.close(x)
        members = torch.stack([self._member(m, x, lengths) for m in range(self.config.members)])
        logits = members.mean(0) / self.config.calibration_temperature
        loss = None
        if labels is not None:
            function: Any = self.loss_function
            loss = function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _member(self, m: int, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits (N, C) of one network, as ``ClassifyLSTM.forward`` has them."""
        embed, lstm, head = (self.get_submodule(f"{name}_{m}") for name in ("input", "lstm", "head"))
        vectors = embed(x) if not x.is_floating_point() else x  # (N, L, E)
        y, _ = lstm(vectors.transpose(0, 1), None, lengths)  # (L, N, width)
        return head(dropout(pooled(y, lengths), self.config.dropout, self.training))
