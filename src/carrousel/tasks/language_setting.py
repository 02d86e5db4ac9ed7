"""What a language model can be told, and what its training found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from carrousel.config import Range, check
from carrousel.features.token import Level

Size = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, below=1)]


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """What a language model can be told; every default works on a laptop.

    Parameters
    ----------
    level : "char", a token a character; "bpe", byte-level pairs learned from the text
    vocabulary : most tokens of "bpe"; most characters of "char"
    hidden_size, num_layers : of the LSTM
    embedding_size : of a token's vector, which the softmax shares; hidden_size spares the projection between the two
    dropout : of the LSTM's outputs
    embedding_dropout : probability that a token is dropped everywhere in a step of the training
    weight_drop : of the recurrent weights
    recurrent_dropout : of the gate updates
    variational_dropout : of the LSTM's inputs and hidden values, one mask a sequence
    label_smoothing : share of a target that is spread over all tokens
    batch_size : streams that are read side by side
    sequence_length : tokens that a gradient passes through; the state goes on
    max_epochs, max_steps, minutes : limits of the training, of which the first ends it
    learning_rate, weight_decay, clip_norm, warmup : of AdamW and its one-cycle schedule
    average : decay of the moving average of the weights, which is what is kept
    patience : validations without a new best that end the training
    precision : of the products in training: "bf16" is twice as fast where the processor has it
    seed : the same seed gives the same model on the same machine, where no clock ends the training
    """

    level: Level = "char"
    vocabulary: Annotated[int, Range(3)] = 2048
    hidden_size: Size = 512
    num_layers: Size = 1
    embedding_size: Size = 64
    dropout: Share = 0.1
    embedding_dropout: Share = 0.0
    weight_drop: Share = 0.0
    recurrent_dropout: Share = 0.0
    variational_dropout: tuple[Share, Share] = (0.0, 0.0)
    label_smoothing: Share = 0.0
    batch_size: Size = 32
    sequence_length: Size = 64
    max_epochs: Size | None = None
    max_steps: Size | None = None
    minutes: Annotated[float, Range(above=0)] | None = None
    learning_rate: Annotated[float, Range(above=0)] = 4e-3
    weight_decay: Annotated[float, Range(0)] = 0.0
    clip_norm: Annotated[float, Range(above=0)] = 1.0
    warmup: Share = 0.1
    average: Annotated[float, Range(above=0, below=1)] = 0.99
    patience: Size = 5
    precision: Literal["float32", "bf16"] = "float32"
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check(self, where="LanguageModel")


@dataclass(frozen=True, kw_only=True)
class LanguageLearned:
    """What the training of a language model found.

    Parameters
    ----------
    seconds : it took, reading the text included
    characters, tokens, held_out : of the text; tokens trained on and validated on
    steps, epochs : of the training
    validation : best nats a token on the validation part, or on streams that are spread over a long one
    """

    seconds: float
    characters: int
    tokens: int
    held_out: int
    steps: int
    epochs: float
    validation: float
