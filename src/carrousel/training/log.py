"""The curves of a run as TensorBoard reads them."""

from __future__ import annotations

from pathlib import Path

from carrousel.errors import require


class CurveLog:
    """Scalars by step: loss/train, loss/validation, learning_rate, gradient_norm, steps_per_second.

    Parameters
    ----------
    folder : where the event files go
    step : of a resumed run; what was logged after it is dropped
    """

    # Writing is slow beside a step of a small network: the steps between two points are averaged.
    EVERY = 16

    def __init__(self, folder: Path, step: int) -> None:
        tensorboard = require("torch.utils.tensorboard", extra="train", purpose="a TensorBoard log")
        self._writer = tensorboard.SummaryWriter(str(folder), purge_step=step)
        self._waiting: list[tuple[float, float]] = []

    def add_step(self, step: int, loss: float, norm: float, learning_rate: float, steps_per_second: float) -> None:
        """Take one step in."""
        self._waiting.append((loss, norm))
        if step % self.EVERY:
            return
        count = len(self._waiting)
        self._writer.add_scalar("loss/train", sum(loss for loss, _ in self._waiting) / count, step)
        self._writer.add_scalar("gradient_norm", sum(norm for _, norm in self._waiting) / count, step)
        self._writer.add_scalar("learning_rate", learning_rate, step)
        self._writer.add_scalar("steps_per_second", steps_per_second, step)
        self._waiting.clear()

    def add_validation(self, step: int, loss: float) -> None:
        """One validation."""
        self._writer.add_scalar("loss/validation", loss, step)
        self._writer.flush()

    def close(self) -> None:
        """Write out what waits."""
        self._writer.close()
