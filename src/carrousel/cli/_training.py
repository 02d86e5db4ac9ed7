"""What every training on the command line does around its model: a folder to write to, a bar, and how to go on."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from carrousel.cli._output import console, remark
from carrousel.errors import ArtifactError, SettingError, require


def make_way(output: Path, *, resume: bool, overwrite: bool) -> Path:
    """Refuse, before hours are spent, what could not be saved or would lose something; returns where checkpoints go."""
    training = output.with_name(f"{output.name}.training")
    if output.exists() and not overwrite:
        raise ArtifactError(f"RUN: expected a new folder, got {str(output)!r}, which exists; add --overwrite")
    if output.exists() and not (output / "config.json").is_file():
        raise ArtifactError(f"RUN: expected a new folder or a saved model, got {str(output)!r}, which is neither")
    if training.exists() and not resume:
        if not overwrite:
            raise SettingError(
                f"RUN: {str(training)!r} holds a training that was interrupted; add --resume to go on with it, or "
                "--overwrite to start again"
            )
        shutil.rmtree(training)
    return training


@contextmanager
def training_in(training: Path) -> Generator[Any]:
    """Around a training: gives its progress, says how to go on after an interrupt, and leaves no empty folder."""
    require("torch", extra="train", purpose="train")
    from carrousel.training import Bar, lines

    training.mkdir(parents=True, exist_ok=True)
    try:
        with Bar("training", console(stderr=True)) as bar:
            yield bar if console(stderr=True).is_terminal else lines
    except KeyboardInterrupt:
        remark("the same command with --resume goes on from here")
        raise
    finally:
        with suppress(OSError):
            training.rmdir()  # unless it holds checkpoints to go on from
