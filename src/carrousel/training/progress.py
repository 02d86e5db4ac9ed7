"""What a user sees while a model is trained: a bar on a terminal, lines where asked, silence otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

# Shorter runs end before a bar could be read.
BAR_AFTER_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where a run stands. Losses are None until first known.

    Parameters
    ----------
    step, total_steps : optimiser steps done, and at most (None: only the clock or patience ends the run)
    epoch : passes over the data done
    seconds, minutes : spent so far; the budget, None for none
    fraction : share of the run that is over by its limits, 0 to 1; patience may end it sooner
    train_loss : last one read
    validation_loss, best, best_step : of the last validation, and the best so far
    learning_rate, steps_per_second : at the last step; mean since this process began to train
    validated : this report comes right after a validation
    """

    step: int
    total_steps: int | None
    epoch: float
    seconds: float
    minutes: float | None
    fraction: float
    train_loss: float | None
    validation_loss: float | None
    best: float | None
    best_step: int
    learning_rate: float
    steps_per_second: float
    validated: bool


Progress = Callable[[Report], None]


def silent(report: Report) -> None:
    """Show nothing."""


def lines(report: Report) -> None:
    """Print one line a validation to stderr."""
    if report.validated:
        print(_sentence(report), file=sys.stderr, flush=True)


class Bar:
    """A rich progress bar on stderr that appears after two seconds; nothing where stderr is not a terminal.

    Use it as a context manager, so that the terminal is given back whatever happens:
    ``with Bar("Training") as bar: train(..., progress=bar)``.
    """

    def __init__(self, title: str = "Training", console: Console | None = None) -> None:
        from rich.console import Console

        self._title = title
        self._console = console or Console(stderr=True)
        self._shown: tuple[RichProgress, TaskID] | None = None
        self._first_seconds: float | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown[0].stop()

    def __call__(self, report: Report) -> None:
        if not self._console.is_terminal:
            return
        if self._first_seconds is None:
            self._first_seconds = report.seconds
        if self._shown is None and report.seconds - self._first_seconds >= BAR_AFTER_SECONDS:
            self._shown = self._show()
        if self._shown is not None:
            bar, task = self._shown
            bar.update(task, completed=report.fraction, sentence=_sentence(report), refresh=True)

    def _show(self) -> tuple[RichProgress, TaskID]:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        # Redrawn by the loop itself: rich's refreshing thread would compete with the network for the interpreter.
        bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[sentence]}"),
            console=self._console,
            auto_refresh=False,
        )
        task = bar.add_task(self._title, total=1.0, sentence="")
        bar.start()
        return bar, task


def _sentence(report: Report) -> str:
    steps = f"{report.step}" if report.total_steps is None else f"{report.step}/{report.total_steps}"
    parts = [f"epoch {report.epoch:.1f}", f"step {steps}"]
    if report.train_loss is not None:
        parts.append(f"loss {report.train_loss:.4g}")
    if report.validation_loss is not None and report.best is not None:
        parts.append(f"validation {report.validation_loss:.4g} (best {report.best:.4g} at step {report.best_step})")
    clock = _clock(report.seconds)
    if report.minutes is not None:
        clock += f" of {_clock(60 * report.minutes)}"
    if 0 < report.fraction < 1:
        clock += f", {_clock(report.seconds * (1 / report.fraction - 1))} left at most"
    return " · ".join([*parts, clock])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
