"""What a training run can be told, checked once so that the loop need not ask again."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from carrousel.errors import SettingError

Schedule = Literal["constant", "linear", "cosine", "one_cycle"]
Precision = Literal["auto", "float32", "bf16"]
Kind = Literal["adamw", "asgd"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Limits, optimiser and bookkeeping of one training run.

    The run ends at whichever limit comes first: ``max_epochs``, ``max_steps``, ``minutes`` or ``patience``.

    Parameters
    ----------
    max_epochs, max_steps : passes over the data; optimiser steps. None: no such limit
    minutes : wall-clock budget, the closing validation included. None: none. The learning rate then follows the clock,
        so that two runs are no longer equal bit for bit
    batch_size : examples a step, all processes together. An epoch is cut into ceil(n / batch_size) batches whose sizes
        differ by at most one: nothing is dropped and no small batch remains at the end
    optimizer : "adamw"; or "asgd", gradient descent without momentum whose weights are averaged from the first
        validation on that is worse than the best of those before the last ``NONMONOTONE`` ones; the mean is then what
        is validated, kept and returned. Its learning rates are a thousand times those of "adamw"
    learning_rate : peak of the schedule
    weight_decay : of AdamW (decoupled; of "asgd" a part of the gradient), on matrices only, not on biases and
        normalisations
    schedule : "constant", "linear", "cosine", or "one_cycle" (a cosine up, a cosine down)
    warmup : share of the run during which the rate rises. None: 0.3 for "one_cycle", 0 for the others
    clip_norm : largest global gradient norm. None: no clipping
    patience : end after so many validations without a new best. None: never
    validate_every : steps between validations. None: at the end of every epoch. The end of the run is always validated
    precision : "float32"; "bf16" for automatic mixed precision with float32 weights; or "auto", "bf16" where the
        processor or accelerator has instructions for it, else "float32"
    average : decay per step of an exponential moving average of the weights, which is then what is validated, kept and
        returned. None: no average, or that of "asgd"
    seed : of the order of the examples and of everything random inside a step
    num_threads : torch threads while training. None: as they are

    Raises
    ------
    SettingError : a value outside its range, no limit that ends the run, or two averages

    References
    ----------
    AdamW: Loshchilov & Hutter 2019; "asgd", triggered by the validation: Merity, Keskar & Socher 2018 (§5).
    """

    max_epochs: int | None = 100
    max_steps: int | None = None
    minutes: float | None = None
    batch_size: int = 128
    optimizer: Kind = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup: float | None = None
    clip_norm: float | None = 1.0
    patience: int | None = 10
    validate_every: int | None = None
    precision: Precision = "float32"
    average: float | None = None
    seed: int = 0
    num_threads: int | None = None

    def __post_init__(self) -> None:
        counts = ("max_epochs", "max_steps", "batch_size", "patience", "validate_every", "num_threads")
        for name in counts:
            self._check_number(name, whole=True, least=1)
        self._check_number("seed", whole=True, least=0)
        for name in ("minutes", "learning_rate", "clip_norm"):
            self._check_number(name, above=0)
        self._check_number("weight_decay", least=0)
        self._check_number("warmup", least=0, below=1)
        self._check_number("average", above=0, below=1)
        named = (("schedule", Schedule), ("precision", Precision), ("optimizer", Kind))
        for name, choices in ((name, get_args(kind)) for name, kind in named):
            if getattr(self, name) not in choices:
                raise SettingError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.max_epochs is None and self.max_steps is None and self.minutes is None:
            raise SettingError(
                "max_epochs, max_steps, minutes: expected at least one limit, got None for all; set one of them"
            )

        if self.optimizer == "asgd" and self.average is not None:
            raise SettingError(
                f"average: expected None with the optimizer 'asgd', which has its own, got {self.average}"
            )

    def _check_number(
        self,
        name: str,
        *,
        whole: bool = False,
        least: float | None = None,
        above: float | None = None,
        below: float | None = None,
    ) -> None:
        value: object = getattr(self, name)
        optional = any(field.name == name and "None" in str(field.type) for field in fields(self))
        if value is None and optional:
            return
        kinds = (int,) if whole else (int, float)
        if (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (below is None or value < below)
        ):
            return
        bounds = [
            f"{word} {bound}"
            for word, bound in (("at least", least), ("above", above), ("below", below))
            if bound is not None
        ]
        kind = "a whole number" if whole else "a finite number"
        raise SettingError(
            f"{name}: expected {kind} {' and '.join(bounds)}{' or None' if optional else ''}, got {value!r}"
        )
