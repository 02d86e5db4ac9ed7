"""What several commands read: texts by the paths of their files or by the names of public sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from carrousel.errors import DataError

Texts = Annotated[
    list[str],
    typer.Argument(
        metavar="TEXT...", help="Text files in UTF-8, or the name of a public set of text (tinyshakespeare)."
    ),
]


def text_paths(words: Sequence[str]) -> list[Path]:
    """The files that are meant; a file goes before a public set of its name.

    Raises
    ------
    DataError : neither the one nor the other
    """
    from carrousel.data.public import SETS

    found: list[Path] = []
    for word in words:
        if not Path(word).exists() and word not in SETS:
            names = ", ".join(name for name, entry in SETS.items() if entry.kind == "text")
            raise DataError(f"TEXT: expected a file or one of the public sets {names}, got {word!r}")
        found += [Path(word)] if Path(word).exists() else _public(word)
    return found


def _public(name: str) -> Sequence[Path]:
    from carrousel.cli._output import download
    from carrousel.data.text import public_text

    with download() as progress:
        return public_text(name, progress=progress)
