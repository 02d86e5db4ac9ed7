"""``carrousel stream``, of a language model."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable
from typing import Any

from carrousel.cli._option import Run, model
from carrousel.errors import DataError

EXAMPLES = ("""printf 'Return the sum of a list' |\ncarrousel stream runs/manual""",)

BLOCK = 1 << 16  # bytes


def command(run: Run) -> None:
    """Score every token of the text on stdin as it comes: a line of JSON each, with its surprise in nats.

    Byte pairs come a word late, since what follows decides where a token ends.
    """
    stream, read = model(run).stream(), codecs.getincrementaldecoder("utf-8")()
    done = 0
    buffer: Any = sys.stdin.buffer
    while block := buffer.read1(BLOCK):  # what is there, without waiting for more
        done += len(block)
        _print(stream.push(_decoded(read, block, done)))
    _print([*stream.push(_decoded(read, b"", done, final=True)), *stream.finish()])


def _decoded(read: codecs.IncrementalDecoder, block: bytes, done: int, *, final: bool = False) -> str:
    try:
        return read.decode(block, final)
    except UnicodeDecodeError as error:
        place = done - len(error.object) + error.start
        raise DataError(
            f"stdin: expected text in UTF-8, got the byte 0x{error.object[error.start]:02x} at position {place}"
        ) from None


def _print(tokens: Iterable[Any]) -> None:
    for token in tokens:
        print(json.dumps({"token": token.text, "nats": round(token.nats, 6)}, ensure_ascii=False))
    sys.stdout.flush()
