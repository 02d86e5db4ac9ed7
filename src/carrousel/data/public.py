"""Public data sets by name, and their bytes, checked; what they are stands in ``carrousel.data.catalogue``.

Looked for in the folder that ``$CARROUSEL_DATA`` names, then in the cache, then downloaded into the cache. None of them
is shipped.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import importlib.metadata
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from carrousel.config import nearest
from carrousel.data.catalogue import SETS, File, PublicSet
from carrousel.data.file import write_whole
from carrousel.data.frame import Frame, new_frame
from carrousel.data.table import read_table
from carrousel.errors import DataError, DownloadError, MissingExtraError

Progress = Callable[[str, int, "int | None"], None]

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


def find(name: str) -> PublicSet:
    """The set of that name.

    Raises
    ------
    DataError : there is none
    """
    if name not in SETS:
        raise DataError(f"public data set {name!r}: not known; {nearest(name.lower(), SETS)}")
    return SETS[name]


def paths(name: str, *, progress: Progress | None = None) -> tuple[Path, ...]:
    """The files of a set on this machine, downloaded if need be, their checksums verified.

    Parameters
    ----------
    name : of the set
    progress : called with the file's name, the bytes that have come and the bytes to come in all (None: unknown)

    Raises
    ------
    DataError : there is no such set
    DownloadError : a file could not be fetched, or its checksum differs
    MissingExtraError : the package that contains the file is not installed
    """
    return tuple(_locate(file, progress) for file in find(name).files)


def path(name: str, *, progress: Progress | None = None) -> Path:
    """The first file of a set; see ``paths``."""
    return paths(name, progress=progress)[0]


def get(name: str, *, progress: Progress | None = None) -> Frame | tuple[Frame, Frame]:
    """A set as a frame; its ``roles`` say how to read it.

    ``m4_hourly`` gives two, training and test part, each with ``unique_id``, ``ds`` (hours from 1 on, the test part
    continues) and ``y``.

    Raises
    ------
    DataError, DownloadError, MissingExtraError : as ``paths``
    """
    found = paths(name, progress=progress)
    if name == "m4_hourly":
        train, lengths = _read_m4(found[0], {})
        test, _ = _read_m4(found[1], lengths)
        return train, test
    return read_table(found[0])


def _read_m4(path: Path, before: Mapping[str, int]) -> tuple[Frame, dict[str, int]]:
    """A file with one series a row, as a long frame whose hours follow those before; and the rows of each series."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        series = {row[0]: np.array([value for value in row[1:] if value], np.float64) for row in rows}
    lengths = {name: len(values) for name, values in series.items()}
    hours = [before.get(name, 0) + np.arange(1, length + 1) for name, length in lengths.items()]
    frame = new_frame(
        {
            "unique_id": np.repeat(list(series), list(lengths.values())),
            "ds": np.concatenate(hours).astype(np.int64),
            "y": np.concatenate(list(series.values())),
        }
    )
    return frame, lengths


def _locate(file: File, progress: Progress | None) -> Path:
    named = os.environ.get("CARROUSEL_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrousel"
    for folder in (*([Path(named).expanduser()] if named else []), cache):
        local = folder / file.name
        if local.is_file():
            _verify(file, local.read_bytes(), str(local), "remove that file to have it fetched again")
            return local
    if file.package:
        return _packaged(file, *file.package)
    local = cache / file.name
    content = _download(file, local, progress)
    _verify(file, content, file.url, "try again later, or look for a newer version of carrousel")
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        write_whole(local, content)
    except OSError as error:
        raise DownloadError(
            f"{local}: expected a place to keep {file.url}, got {error.strerror}; let $XDG_CACHE_HOME name a "
            "folder that can be written to"
        ) from error
    return local


def _packaged(file: File, distribution: str, inside: str) -> Path:
    """A file of an installed package, which is not imported."""
    try:
        local = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"the data set {file.name} needs the package {distribution!r}, which is not installed; "
            "pip install 'carrousel[demo]'"
        ) from error
    if not local.is_file():
        raise DownloadError(f"{local}: expected a file of the package {distribution!r}, got none; install it again")
    _verify(
        file, local.read_bytes(), str(local), f"install the package {distribution!r} in the version of the extra 'demo'"
    )
    return local


def _download(file: File, place: Path, progress: Progress | None) -> bytes:
    chunks: list[bytes] = []
    done = 0
    try:
        with urllib.request.urlopen(file.url, timeout=_TIMEOUT_S) as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            while chunk := response.read(_CHUNK_BYTES):
                chunks.append(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(file.name, done, total)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
        raise DownloadError(
            f"{file.url}: could not be fetched ({reason}); fetch it on another machine and put it at {place}"
        ) from error
    return b"".join(chunks)


def _verify(file: File, content: bytes, where: str, remedy: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DownloadError(f"{where}: expected SHA-256 {file.sha256}, got {found} ({len(content)} bytes); {remedy}")
