"""Public data sets by name, and their bytes, checked; what they are stands in ``carrousel.data.catalogue``.

Looked for in the folder that ``$CARROUSEL_DATA`` names, then in the cache, then downloaded into the cache. None of them
is shipped.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import importlib.metadata
import lzma
import os
import tarfile
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
    entry = find(name)
    return tuple(_locate(file, entry, progress) for file in entry.files)


def path(name: str, *, progress: Progress | None = None) -> Path:
    """The first file of a set; see ``paths``."""
    return paths(name, progress=progress)[0]


def get(name: str, *, progress: Progress | None = None) -> Frame | tuple[Frame, Frame]:
    """A set as a frame; its ``roles`` say how to read it.

    ``m4_hourly`` gives two, training and test part, each with ``unique_id``, ``ds`` (hours from 1 on, the test part
    continues) and ``y``.

    Raises
    ------
    DataError, DownloadError, MissingExtraError : as ``paths``; DataError too for a set that is no table
    """
    if reader := find(name).reader:
        raise DataError(f"public data set {name!r}: expected a table, got {find(name).kind}; {reader}() reads it")
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


def _locate(file: File, entry: PublicSet, progress: Progress | None) -> Path:
    named = os.environ.get("CARROUSEL_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrousel"
    folders = (*([Path(named).expanduser()] if named else []), cache)
    for folder in folders:
        local = folder / file.name
        if local.is_file():
            _verify(file, local.read_bytes(), str(local), "remove that file to have it fetched again")
            return local
    if file.package:
        return _packaged(file, *file.package)
    local = cache / file.name
    for archive in (folder / file.archive for folder in folders if file.archive):
        if archive.is_file():
            _unpack(archive, entry, cache)
            return local
    if not file.url:
        raise DownloadError(
            f"{local}: expected a file of the public data set {entry.name!r}, got none; {entry.by_hand} into "
            f"{cache / entry.name}"
        )
    content = _download(file, local, progress)
    _verify(file, content, file.url, "try again later, or look for a newer version of carrousel")
    _keep(content, local, file.url)
    return local


def _keep(content: bytes, local: Path, source: str) -> None:
    """Put a file into the cache."""
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        write_whole(local, content)
    except OSError as error:
        raise DownloadError(
            f"{local}: expected a place to keep {source}, got {error.strerror}; let $XDG_CACHE_HOME name a "
            "folder that can be written to"
        ) from error


def _unpack(archive: Path, entry: PublicSet, cache: Path) -> None:
    """Put those files of a set that an archive holds into the cache; whatever else is in it stays there."""
    inside = {file.name.partition("/")[2]: file for file in entry.files}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = inside.pop(member.name.removeprefix("./"), None)
                if file is None or (stream := tar.extractfile(member)) is None:
                    continue
                content = stream.read()
                _verify(file, content, f"{archive}, {member.name}", "get that archive again")
                _keep(content, cache / file.name, str(archive))
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise DownloadError(f"{archive}: expected a whole tar archive, got: {reason}; get it again") from error
    if inside:
        raise DownloadError(f"{archive}: expected {next(iter(inside))} in it, got no such file; get that archive again")


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
    found = hashlib.sha256(file.part(content) if file.part else content).hexdigest()
    if found != file.sha256:
        raise DownloadError(f"{where}: expected SHA-256 {file.sha256}, got {found} ({len(content)} bytes); {remedy}")
