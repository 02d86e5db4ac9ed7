"""The last two states of a run on disk, so that a killed one goes on from there as if nothing had happened.

A checkpoint is a folder of two files that others can read: tensors.safetensors and state.json. The folder is written
under a temporary name, synced, then renamed, so that a kill leaves either all of it or none; a digest over both files
finds what a disk did to it later.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from carrousel.errors import SettingError, VersionError, WeightsError

FORMAT = 1
KEPT = 2


def begun(run_dir: Path) -> bool:
    """Whether there is a run to resume: one of several networks may not have had its turn."""
    return any((run_dir / "checkpoints").glob("step-*"))


class Checkpoints:
    """The checkpoints of one run, in ``run_dir/checkpoints/step-000000000123``.

    Parameters
    ----------
    run_dir : folder of the run, made if missing
    resume : continue the run that the folder holds

    Raises
    ------
    SettingError : not resuming although the folder holds a run, or resuming although it holds none
    """

    def __init__(self, run_dir: Path, *, resume: bool) -> None:
        self.folder = Path(run_dir) / "checkpoints"
        if resume and not self.found():
            raise SettingError(
                f"resume: expected a checkpoint in {self.folder}, got none; start the run without resume"
            )
        if not resume and self.found():
            raise SettingError(
                f"run_dir: expected a folder without a run, got {self.folder} with "
                f"{self.found()[-1].name}; resume that run or choose another folder"
            )

    def found(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"))

    def write(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Keep one more state, and drop all but the last two.

        Parameters
        ----------
        tensors : copied to the CPU; tied ones are written once each
        state : whatever JSON can hold; floats come back bit for bit
        """
        weights = save({name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()})
        state = json.loads(json.dumps(state, allow_nan=False))
        record = {"format": FORMAT, "digest": _digest(weights, state), "state": state}
        final = self.folder / f"step-{step:012d}"
        for abandoned in self.folder.glob("partial-*"):
            shutil.rmtree(abandoned)
        partial = self.folder / f"partial-{final.name}"
        partial.mkdir(parents=True)
        _write_synced(partial / "tensors.safetensors", weights)
        _write_synced(partial / "state.json", json.dumps(record).encode())
        _sync_folder(partial)
        # A later or equal step is a damaged checkpoint that the run was not resumed from.
        for damaged in self.found():
            if damaged.name >= final.name:
                shutil.rmtree(damaged)
        os.replace(partial, final)
        _sync_folder(self.folder)
        for old in self.found()[:-KEPT]:
            shutil.rmtree(old)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors (on the CPU) and state of the newest checkpoint that is whole; warns where that is not the newest.

        Raises
        ------
        WeightsError : none of them is whole
        VersionError : written by a newer version
        """
        damage: list[str] = []
        for folder in reversed(self.found()):
            try:
                tensors, state = _read(folder)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                damage.append(f"{folder.name} ({error})")
                continue
            if damage:
                warnings.warn(f"{self.folder}: damaged {', '.join(damage)}; resuming from {folder.name}", stacklevel=3)
            return tensors, state
        raise WeightsError(
            f"{self.folder}: expected a whole checkpoint, got damaged {', '.join(damage)}; start the run again "
            f"without resume in another folder"
        )


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    record = json.loads((folder / "state.json").read_bytes())
    if record["format"] > FORMAT:
        raise VersionError(
            f"{folder}: expected checkpoint format {FORMAT} or older, got {record['format']}; update carrousel"
        )
    weights = (folder / "tensors.safetensors").read_bytes()
    if _digest(weights, record["state"]) != record["digest"]:
        raise ValueError("its contents do not have its digest")
    return load(weights), record["state"]


def _digest(weights: bytes, state: dict[str, Any]) -> str:
    # Python writes floats so that they read back as the same float: the text is the same before and after the disk.
    text = json.dumps(state, sort_keys=True)
    return hashlib.sha256(hashlib.sha256(weights).digest() + text.encode()).hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    # A rename survives a power cut only once the folder itself is on the disk; Windows cannot open folders.
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
