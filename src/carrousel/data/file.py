"""A file that appears whole or not at all: written beside its place, synced, then renamed into it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path`; a process that dies on the way leaves what stood there before.

    Raises
    ------
    OSError : it could not be written; `path` is unchanged
    """
    path = Path(os.path.realpath(path))  # a link to a file stays a link
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with fresh.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
