"""The state of streams on disk: one file in the safetensors format, whole or not at all, validated before it is used.

The header says which streams, of which detector and by which clock; the arrays are those of ``Streams.state``, a row a
stream. A file that is truncated, changed, of another detector or no state at all is refused in one sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from carrousel.config import from_dict, to_dict
from carrousel.data.file import write_whole
from carrousel.digest import sha256
from carrousel.errors import ArtifactError, CarrouselError, ShapeError, VersionError
from carrousel.stream.record import Clock
from carrousel.stream.source import Source

if TYPE_CHECKING:
    from carrousel.stream.arrival import Rules
    from carrousel.stream.streams import Streams

FORMAT_VERSION = 2  # 1: without what is known of the gap before the newest row
HEADER_LIMIT = 64_000_000  # bytes; names of a million streams fit
REMEDY = "let the stream start anew, or find the file that was saved with this detector"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What stands in the header of a file of states.

    Parameters
    ----------
    ids : names of the streams
    detector : fingerprint of the detector whose state it is
    clock, time : how stamps are counted, and in which column they stand; None before the first row
    checksum : SHA-256 of the arrays
    """

    kind: Literal["carrousel stream state"]
    format_version: int
    ids: tuple[str, ...]
    detector: str
    clock: Clock | None
    time: str | None
    checksum: str


def fingerprint(detector: Source, watch: Any) -> str:
    """What tells detectors apart whose states must not be mixed up: SHA-256 in hexadecimal digits.

    A detector that knows better, by its weights, says so in its ``fingerprint``.
    """
    own = getattr(detector, "fingerprint", None)
    if isinstance(own, str):
        return own
    layout = {name: [str(array.dtype), list(array.shape[1:])] for name, array in watch.state.items()}
    settings = getattr(detector, "settings", None)
    said = {
        "variables": list(detector.variables),
        "members": list(watch.members),
        "layout": layout,
        "settings": repr(settings),
        "promised": repr(getattr(detector, "promised", None)),
    }
    return sha256(json.dumps(said, sort_keys=True).encode())


def save_streams(path: str | os.PathLike[str], parts: Sequence[Streams]) -> Path:
    """Write the states of streams of one detector to one file.

    Parameters
    ----------
    path : the file, replaced if it is there
    parts : at least one; their names differ

    Raises
    ------
    ArtifactError : it could not be written; what stood there before is unchanged
    """
    from safetensors.numpy import save as serialise

    first = parts[0]
    states = [part.state for part in parts]
    arrays = {name: np.ascontiguousarray(np.concatenate([state[name] for state in states])) for name in states[0]}
    header = Header(
        kind="carrousel stream state",
        format_version=FORMAT_VERSION,
        ids=tuple(name for part in parts for name in part.ids),
        detector=fingerprint(first.detector, first.watch),
        clock=first.columns.clock,
        time=first.columns.time,
        checksum=_checksum(arrays),
    )
    file = Path(path)
    try:
        write_whole(file, serialise(arrays, metadata={"carrousel": json.dumps(to_dict(header))}))
    except OSError as error:
        raise ArtifactError(
            f"{file}: the state could not be written ({error.strerror}); what stood there before is unchanged"
        ) from error
    return file


def load_streams(path: str | os.PathLike[str], detector: Source, *, rules: Rules | None = None) -> Streams:
    """Read the states of streams and validate every part of them.

    Parameters
    ----------
    path : the file that ``save`` wrote
    detector : the one that it was written with
    rules : as for ``Streams``

    Raises
    ------
    ArtifactError : no file, no state, damaged, or of another detector
    VersionError : written by a newer version
    """
    from carrousel.stream.streams import Streams

    file = Path(path)
    try:
        header, arrays = _read(file)
    except OSError as error:
        raise ArtifactError(f"{file}: the state cannot be read ({error.strerror}); {REMEDY}") from error
    try:
        streams = Streams(detector, header.ids, rules=rules)
    except CarrouselError as error:
        raise ArtifactError(f"{file}: expected names of streams, got others ({error}); {REMEDY}") from error
    if header.detector != fingerprint(detector, streams.watch):
        raise ArtifactError(
            f"{file}: expected a state of this detector, got one of another detector or of other settings; {REMEDY}"
        )
    columns = streams.columns
    if columns.schema is None:
        columns.clock, columns.time = header.clock, header.time
    elif header.clock != columns.clock or header.time != columns.time:
        raise ArtifactError(f"{file}: expected stamps in {columns.time!r}, got {header.time!r}; {REMEDY}")
    if (header.clock in ("time", "integer")) != (header.time is not None):
        raise ArtifactError(f"{file}: expected a time column for the clock {header.clock!r}, got {header.time!r}")
    try:
        if not streams.settled:
            streams.settle()
        streams.load(arrays)
    except ShapeError as error:
        raise ArtifactError(f"{file}: expected a state of this detector, got another ({error}); {REMEDY}") from error
    if not streams.arrival.valid():
        raise ArtifactError(f"{file}: expected counts of rows and stamps, got numbers that are none; {REMEDY}")
    return streams


def _read(file: Path) -> tuple[Header, Arrays]:
    if not file.is_file():
        found = "a folder" if file.is_dir() else "nothing"
        raise ArtifactError(f"{file}: expected a file of the state of a stream, got {found}; check the path")
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > HEADER_LIMIT or 8 + length > size:
        raise ArtifactError(
            f"{file}: expected the state of a stream, got a file that is truncated or another; {REMEDY}"
        )
    try:
        with safe_open(file, "numpy") as tensors:
            said: Mapping[str, str] = tensors.metadata() or {}
            arrays = {name: np.array(tensors.get_tensor(name)) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"{file}: expected the state of a stream, got a damaged file ({reason}); {REMEDY}"
        ) from error
    header = _header(file, said.get("carrousel"))
    if _checksum(arrays) != header.checksum:
        raise ArtifactError(f"{file}: expected the state that was saved, got another (checksum differs); {REMEDY}")
    if header.format_version == 1 and (newest := arrays.get("arrival.newest")) is not None:
        nothing = np.zeros_like(newest)
        arrays |= {"arrival.gap": newest.copy(), "arrival.behind": nothing, "arrival.behind_tick": nothing.copy()}
    return header, arrays


def _header(file: Path, text: str | None) -> Header:
    try:
        data: object = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{file}: expected the state of a stream, got another safetensors file; {REMEDY}"
        ) from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise VersionError(
            f"{file}: expected format_version {FORMAT_VERSION}, got {version}; pip install --upgrade carrousel"
        )
    return from_dict(Header, data, where=str(file), error=ArtifactError)


def _checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 of names, types, shapes and contents, in the order of the names."""
    parts: list[bytes] = []
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        parts += [f"{name} {array.dtype} {array.shape};".encode(), array.tobytes()]
    return sha256(b"".join(parts))
