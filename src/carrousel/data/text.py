"""Text out of strings and files, in pieces of bounded size: a line may be as long as the file.

What is no text is refused. Line ends stay as they are, since a model of a text is also one of its line ends.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrousel.data.public import Progress, find, paths
from carrousel.errors import DataError

PIECE = 1 << 20  # bytes of a file, or characters of a string, that are looked at at once

Texts = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Document:
    """One text: a string, or the file of a path."""

    source: str | Path

    @property
    def name(self) -> str:
        return str(self.source) if isinstance(self.source, Path) else "text"

    @property
    def bytes_at_most(self) -> int:
        """How many bytes it has in UTF-8, or more; 0 for a file that is missing."""
        if isinstance(self.source, Path):
            return self.source.stat().st_size if self.source.is_file() else 0
        return 4 * len(self.source)

    def pieces(self) -> Iterator[str]:
        """The text in order, a piece at a time; never an empty one.

        Raises
        ------
        DataError : a file that is missing, empty or not UTF-8; a NUL character, which no text has; a string that
            cannot be written as UTF-8
        """
        found = False
        for piece in self._read() if isinstance(self.source, Path) else self._cut(self.source):
            if "\0" in piece:
                raise DataError(
                    f"{self.name}: expected text, got a NUL character: this is a binary file or UTF-16; give text in "
                    "UTF-8"
                )
            found = True
            yield piece
        if not found:
            raise DataError(f"{self.name}: expected text, got none: it is empty")

    def _cut(self, text: str) -> Iterator[str]:
        for first in range(0, len(text), PIECE):
            piece = text[first : first + PIECE]
            try:
                piece.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"{self.name}: expected characters, got half of a surrogate pair at position "
                    f"{first + error.start}; decode the text anew"
                ) from None
            yield piece

    def _read(self) -> Iterator[str]:
        path = Path(self.source)
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            raise DataError(f"{path}: expected a text file, got {found}; check the path")
        decoder, done = codecs.getincrementaldecoder("utf-8-sig")(), 0
        with path.open("rb") as file:
            while True:
                block = file.read(PIECE)
                held = len(decoder.getstate()[0])
                try:
                    piece = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    place, byte = done - held + error.start, error.object[error.start]
                    raise DataError(
                        f"{path}: expected text in UTF-8, got the byte 0x{byte:02x} at position {place}; it is in "
                        "another encoding, or no text"
                    ) from None
                done += len(block)
                if piece:
                    yield piece
                if not block:
                    return


def documents(texts: Texts) -> tuple[Document, ...]:
    """The documents that are meant: a string is a text, a path is a file.

    Raises
    ------
    DataError : none, or neither strings nor paths
    """
    found: tuple[Any, ...] = (texts,) if isinstance(texts, (str, Path)) else tuple(texts)
    if not found:
        raise DataError("text: expected at least one text or path, got none")
    for text in found:
        if not isinstance(text, (str, Path)):
            raise DataError(f"text: expected strings or paths, got {type(text).__name__}; decode bytes first")
    return tuple(Document(text) for text in found)


def public_text(name: str, *, progress: Progress | None = None) -> tuple[Path, ...]:
    """The files of a public set of text, downloaded if need be.

    Raises
    ------
    DataError : no such set, or one of something else
    DownloadError : as ``carrousel.data.public.paths``
    """
    if (kind := find(name).kind) != "text":
        raise DataError(f"public data set {name!r}: expected text, got {kind}; give a text file, or a set of text")
    return paths(name, progress=progress)
