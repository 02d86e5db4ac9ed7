"""What a classifier can be told, and what its training found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from carrousel.config import Range, check
from carrousel.errors import SettingError

Size = Annotated[int, Range(1)]
Share = Annotated[float, Range(0, below=1)]


@dataclass(frozen=True, kw_only=True)
class ClassifySettings:
    """What a classifier can be told; every default works on a laptop.

    Parameters
    ----------
    text, label, id, time, variables : columns of a table: the texts, the classes, the sequence that a row belongs to,
        by what its rows are ordered, and the numbers; those that are not named are found by their usual names
    steps : a class a step instead of one a sequence
    bidirectional : read sequences both ways; by default where a sequence has one class. Such a model reads the whole
        sequence again at every sample of a stream, the other costs the same at every sample
    balanced : every class weighs alike in training, however rare; the probabilities are then those of classes that are
        equally frequent
    likeness : judge sequences of numbers by how like they are, as wholes, to those of the training as well, with the
        weight that what was held out gives it; not where a model reads one way, which cannot know the whole, nor with
        ``balanced``
    ensemble : networks, each of which holds out another fifth of the training part; their logits are averaged
    vocabulary : most words with a vector of their own
    embedding_size : of a word's vector, or of what is made of a window; by default hidden_size
    window : steps of numbers that one step of the LSTM sees
    hidden_size, num_layers : of the LSTM
    dropout : of what the decision rests on
    embedding_dropout : probability that a word is dropped everywhere in a step of the training
    variational_dropout : of the LSTM's inputs and hidden values, one mask a sequence
    jitter, scaling, warping : of sequences of numbers in training: noise, loudness and speed that vary from one step of
        the training to the next, in units of a variable's spread and of logarithms; classes of steps forbid warping
    label_smoothing : share of a target that is spread over all classes
    batch_size : sequences a step of the training; by default 16, and 32 from 1,000 sequences on
    max_steps, max_epochs : length of each network's training; by default 12 epochs, at least 600 steps
    minutes : time budget of the training, all networks together; it shortens the training, but does not prolong it
    learning_rate, weight_decay : of AdamW and its one-cycle schedule
    seed : the same seed gives the same model on the same machine, where no clock ends the training
    """

    text: str | None = None
    label: str | None = None
    id: str | None = None
    time: str | None = None
    variables: tuple[str, ...] | None = None
    steps: bool = False
    bidirectional: bool | None = None
    balanced: bool = False
    likeness: bool = True
    ensemble: Size = 5
    vocabulary: Annotated[int, Range(2)] = 30_000
    embedding_size: Size | None = None
    window: Size = 8
    hidden_size: Size = 96
    num_layers: Size = 1
    dropout: Share = 0.5
    embedding_dropout: Share = 0.1
    variational_dropout: tuple[Share, Share] = (0.2, 0.2)
    jitter: Annotated[float, Range(0)] = 0.05
    scaling: Annotated[float, Range(0)] = 0.1
    warping: Annotated[float, Range(0)] = 0.2
    label_smoothing: Share = 0.1
    batch_size: Size | None = None
    max_steps: Size | None = None
    max_epochs: Size | None = None
    minutes: Annotated[float, Range(above=0)] | None = None
    learning_rate: Annotated[float, Range(above=0)] = 4e-3
    weight_decay: Annotated[float, Range(0)] = 0.01
    seed: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check(self, where="Classifier")
        if self.text is not None and self.steps:
            raise SettingError(
                "Classifier: expected either text or steps=True, got both; steps of texts have no classes"
            )
        if self.text is not None and (self.id is not None or self.variables is not None):
            raise SettingError("Classifier: expected either text or id and variables, got both; name one kind of data")


@dataclass(frozen=True, kw_only=True)
class ClassifyLearned:
    """What the training of a classifier found.

    Parameters
    ----------
    labels : the classes, sorted
    whole : the classes were whole numbers, and are answered as such
    counts : examples of each class: sequences, or steps
    variables : names of the numbers
    columns : text, label, id and time column of the table, as far as there were any
    sequences : trained on, held-out parts included
    seconds : it took
    steps : of all trainings together
    temperature : by which logits are divided
    likeness : what the scores by likeness are multiplied by; 0 where there are none
    held_out : examples held out by some network, on which the following was measured, network by network
    accuracy, log_loss, calibration_error : of the held-out parts
    uncalibrated : their calibration error before the temperature
    """

    labels: tuple[str, ...]
    whole: bool
    counts: tuple[int, ...]
    variables: tuple[str, ...]
    columns: dict[str, str]
    sequences: int
    seconds: float
    steps: int
    temperature: Annotated[float, Range(above=0)]
    held_out: int
    accuracy: float
    log_loss: float
    calibration_error: float
    uncalibrated: float
    likeness: Annotated[float, Range(0)] = 0.0

    def __post_init__(self) -> None:
        check(self, where="learned")
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels) or len(self.counts) != len(self.labels):
            raise SettingError("learned: labels: expected at least two different ones and a count of each, got others")
