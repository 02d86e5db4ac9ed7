"""The language model's sizes, and its layers as plain data: what training builds and what the engine runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear
from carrousel.config import Range, check

Size = Annotated[int, Range(1)]


@dataclass(frozen=True, kw_only=True)
class LanguageSizes:
    """Sizes of a language model.

    Parameters
    ----------
    vocabulary : V, tokens
    embedding_size : E, of a token's vector, which the softmax shares
    hidden_size, num_layers : of the LSTM; where hidden_size is not E, a projection stands before the softmax
    """

    vocabulary: Size
    embedding_size: Size
    hidden_size: Size
    num_layers: Size

    def __post_init__(self) -> None:
        check(self, where="sizes")

    def architecture(self) -> Architecture:
        """ids → embedding → LSTM → projection → logits; ``head.weight`` is ``embedding.weight`` once more.

        The matrix stands twice in the file and in the engine, where its two uses have layouts of their own.
        """
        v, e, h = self.vocabulary, self.embedding_size, self.hidden_size
        layers: list[Layer] = [
            Embedding(name="embedding", num_embeddings=v, embedding_dim=e),
            LSTM(name="lstm", input_size=e, hidden_size=h, num_layers=self.num_layers),
        ]
        if e != h:
            layers.append(Linear(name="projection", input_size=h, output_size=e))
        layers.append(Linear(name="head", input_size=e, output_size=v))
        return Architecture(tuple(layers))
