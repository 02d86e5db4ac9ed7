"""What a training run leaves behind about itself: one row a validation, and why it stopped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Stopped = Literal["max_epochs", "max_steps", "minutes", "patience"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One validation.

    Parameters
    ----------
    step : optimiser steps done
    epoch : passes over the data done
    seconds : since the start of the run, earlier parts of a resumed run included
    train_loss : mean over the steps since the previous row
    validation_loss : what ``validate`` returned
    learning_rate : at the last step
    """

    step: int
    epoch: float
    seconds: float
    train_loss: float
    validation_loss: float
    learning_rate: float


@dataclass(kw_only=True)
class History:
    """The rows of a run, its best one, and the limit that ended it (None while it runs)."""

    rows: list[Row] = field(default_factory=list[Row])
    best_step: int = 0
    best_validation: float | None = None
    stopped: Stopped | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> History:
        """The inverse of ``to_json``."""
        rest = {name: value for name, value in data.items() if name != "rows"}
        return cls(rows=[Row(**row) for row in data["rows"]], **rest)
