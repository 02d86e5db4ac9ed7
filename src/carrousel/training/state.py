"""All that changes while a network is trained, and how a checkpoint holds and gives it back."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from carrousel.errors import SettingError, ShapeError
from carrousel.training.history import History
from carrousel.training.optimizer import Average, Optimizer, load_optimizer_tensors, optimizer_tensors
from carrousel.training.settings import TrainingSettings

NONMONOTONE = 5  # validations: n of Merity, Keskar & Socher 2018 (§5)


class TrainingState:
    """Weights, optimiser, average, best weights, history and counters.

    The order of the examples and the seeds of the steps follow from the settings and ``step``: no generator's state
    needs to be kept.

    Parameters
    ----------
    examples, processes : size of an epoch and number of processes, which a resumed run must share
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        settings: TrainingSettings,
        *,
        examples: int,
        processes: int,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self._terms = {**asdict(settings), "examples": examples, "processes": processes}
        self.average: Average | None = None
        if settings.average is not None or settings.optimizer == "asgd":
            self.average = Average(model, copy.deepcopy(model), settings.average)
        self.best: dict[str, Tensor] = {}
        self.history = History()
        self.step = 0
        self.seconds = 0.0
        self.loss_sum = 0.0
        self.loss_count = 0
        self.stale_validations = 0

    @property
    def candidate(self) -> nn.Module:
        """What is validated and kept: the average where there is one by now, else the model."""
        return self.model if self.average is None or self.average.since is None else self.average.model

    def average_if_stalled(self) -> None:
        """Begin the mean of "asgd" where the last validation is worse than the best of those long before it."""
        losses = [row.validation_loss for row in self.history.rows]
        before = losses[: -1 - NONMONOTONE]
        if self.average is not None and self.average.since is None and before and losses[-1] > min(before):
            self.average.since, self.stale_validations = self.step, 0

    def keep_best(self) -> None:
        """Remember the candidate's weights."""
        self.best = {name: tensor.clone() for name, tensor in self.candidate.state_dict().items()}

    def take_best(self) -> bool:
        """Put the best weights into the model; False where nothing was validated yet."""
        if self.best:
            self.model.load_state_dict(self.best)
        return bool(self.best)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state, by ``{part}/{name}``."""
        parts: dict[str, dict[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer, self.model),
            "average": self.average.model.state_dict() if self.average is not None else {},
            "best": self.best,
        }
        return {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}

    def record(self, seconds: float) -> dict[str, Any]:
        """Everything else, as JSON holds it."""
        return {
            "terms": self._terms,
            "step": self.step,
            "seconds": seconds,
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
            "stale_validations": self.stale_validations,
            "average_since": None if self.average is None else self.average.since,
            "history": self.history.to_json(),
        }

    def restore(self, tensors: dict[str, Tensor], record: dict[str, Any], folder: Path) -> None:
        """Take over what ``tensors`` and ``record`` gave.

        Raises
        ------
        SettingError : other settings, examples or processes
        ShapeError : another model
        """
        terms: dict[str, Any] = record["terms"]
        for name in sorted({*terms, *self._terms}):
            if terms.get(name) != self._terms.get(name):
                raise SettingError(
                    f"{name}: expected {terms.get(name)!r} as in the run in {folder}, got {self._terms.get(name)!r}; "
                    "resume with what the run began with, or start a new one in another folder"
                )
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}, "best": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        self._check_model(parts["model"], folder)
        self.model.load_state_dict(parts["model"])
        load_optimizer_tensors(self.optimizer, self.model, parts["optimizer"])
        if self.average is not None:
            self.average.model.load_state_dict(parts["average"])
            self.average.since = record["average_since"]
        place = next(self.model.parameters()).device
        self.best = {name: tensor.to(place) for name, tensor in parts["best"].items()}
        self.step, self.seconds = record["step"], record["seconds"]
        self.loss_sum, self.loss_count = record["loss_sum"], record["loss_count"]
        self.stale_validations = record["stale_validations"]
        self.history = History.from_json(record["history"])

    def _check_model(self, saved: dict[str, Tensor], folder: Path) -> None:
        here = {name: _look(tensor) for name, tensor in self.model.state_dict().items()}
        there = {name: _look(tensor) for name, tensor in saved.items()}
        for name in [*here, *sorted(there)]:
            if here.get(name) != there.get(name):
                raise ShapeError(
                    f"{name}: expected {there.get(name, 'no such tensor')} as in the run in {folder}, got "
                    f"{here.get(name, 'no such tensor')}; resume with the model that the run began with"
                )


def _look(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
