"""Folders that appear whole or not at all: written beside their place, synced, then renamed into it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path

EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
AT_FDCWD = -100


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder with these files at `path`, in place of the folder that may stand there.

    A process that dies on the way, or a disk that is full, leaves at `path` what stood there before.

    Raises
    ------
    OSError : it could not be written; `path` is unchanged
    """
    import secrets  # these cost memory, which a process that only reads models need not spend
    import shutil

    path = Path(os.path.realpath(path))  # a link to a folder stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fresh.mkdir()
        for name, data in files.items():
            with (fresh / name).open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        _sync(fresh)
        _move(fresh, path)
        _sync(path.parent)
    finally:
        # Whatever bears the temporary name now is either half a new folder or, after an exchange, the old one.
        shutil.rmtree(fresh, ignore_errors=True)


def _move(fresh: Path, path: Path) -> None:
    try:
        fresh.rename(path)  # nothing there, or an empty folder
    except OSError:
        if not path.is_dir():
            raise
        if not _exchange(fresh, path):
            _swap(fresh, path)


def _exchange(fresh: Path, path: Path) -> bool:
    """Let two folders change names at one instant, where the system can (Linux 3.15 with glibc 2.28)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return rename(AT_FDCWD, os.fsencode(fresh), AT_FDCWD, os.fsencode(path), EXCHANGE) == 0


def _swap(fresh: Path, path: Path) -> None:
    """The same in two steps; between them the old folder bears the name ``.….old`` and none the public one."""
    import shutil

    old = fresh.with_suffix(".old")
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
