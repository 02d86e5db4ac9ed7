"""What a language model can be told, and what its training found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from carrousel.config import Range, check, to_dict
from carrousel.errors import SettingError
from carrousel.features.token import Level

Size = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, below=1)]
DESCENT_RATE = 2.0  # learning rate of "asgd"
LATER = ("sampled_softmax", "optimizer", "precision")  # settings that older versions do not know, or not all values of
# What the network that is started from has decided, and what ends its own training only.
FIXED = ("level", "vocabulary", "hidden_size", "num_layers", "embedding_size")
LIMITS = ("max_epochs", "max_steps", "minutes")
FINE = {"learning_rate": 1e-3}


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
    sampled_softmax : so many tokens, drawn for each step, stand for the whole vocabulary in the training's softmax,
        which pays off from some 16,000 tokens on; None: all of them. The trained model is of the same kind
    optimizer : "adamw"; "asgd", averaged gradient descent, whose ``learning_rate`` is 2 where none is given
    learning_rate, weight_decay, clip_norm, warmup : of the optimiser and, of AdamW, its one-cycle schedule; "asgd"
        keeps its rate
    average : decay of the moving average of the weights, which is what is kept; "asgd" has an average of its own
    patience : validations without a new best that end the training
    precision : of the factors in training's products: "float32"; "bf16", half as long a training where the processor
        has instructions for it; "auto", "bf16" there and "float32" elsewhere
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
    sampled_softmax: Size | None = None
    optimizer: Literal["adamw", "asgd"] = "adamw"
    learning_rate: Annotated[float, Range(above=0)] = 4e-3
    weight_decay: Annotated[float, Range(0)] = 0.0
    clip_norm: Annotated[float, Range(above=0)] = 1.0
    warmup: Share = 0.1
    average: Annotated[float, Range(above=0, below=1)] = 0.99
    patience: Size = 5
    precision: Literal["auto", "float32", "bf16"] = "auto"
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check(self, where="LanguageModel")
        if self.sampled_softmax and self.label_smoothing:
            raise SettingError(
                f"label_smoothing: expected 0 with sampled_softmax, which does not see all tokens, got "
                f"{self.label_smoothing}; leave one of them out"
            )


def rated(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the learning rate that their optimiser wants, where none is given."""
    return {"learning_rate": DESCENT_RATE, **settings} if settings.get("optimizer") == "asgd" else settings


def stored(settings: LanguageSettings) -> dict[str, Any]:
    """Settings as an artifact holds them: those that came later only where they say something."""
    usual = to_dict(LanguageSettings())
    return {key: value for key, value in to_dict(settings).items() if key not in LATER or value != usual[key]}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a trained network is trained on, from its top layer down.

    By default all layers alike: on small texts neither way was better than that (docs/benchmarks/finetune.md).

    Parameters
    ----------
    factor : by which each layer's learning rate is below that of the layer above; 2.6 in the paper
    unfreeze : share of the training after which the last layer has joined, evenly one after another; 0: all train from
        the beginning

    References
    ----------
    Howard & Ruder 2018 (§3.2, §3.3).
    """

    factor: Annotated[float, Range(1)] = 1.0
    unfreeze: Share = 0.0

    def __post_init__(self) -> None:
        check(self, where="fine_tune")


@dataclass(frozen=True, kw_only=True)
class LanguageLearned:
    """What the training of a language model found.

    Parameters
    ----------
    seconds : it took, reading the text included
    characters, tokens, held_out : of the text; tokens trained on and validated on
    steps, epochs : of the training
    validation : best nats a token on the validation part, or on streams that are spread over a long one
    before : tokens that the model it was started from had been trained on
    """

    seconds: float
    characters: int
    tokens: int
    held_out: int
    steps: int
    epochs: float
    validation: float
    before: int = 0

    def stored(self) -> dict[str, Any]:
        """As an artifact holds it: ``before`` only where there was a model before."""
        return {key: value for key, value in to_dict(self).items() if key != "before" or value}
