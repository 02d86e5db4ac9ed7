"""Ending between two rows: an interrupt, or the request to end that containers send, waits for the row at hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """While it is entered, SIGINT and SIGTERM come at once where nothing is at hand, else right behind it.

    SIGINT becomes a KeyboardInterrupt as ever, SIGTERM a SystemExit of 143: what a ``finally`` saves is saved, and it
    is never a stream in the middle of a row, nor one whose last answer was not given.
    """

    def __init__(self) -> None:
        self._busy, self._wanted = False, 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        self._wanted = number
        if not self._busy:
            self._end()

    def _end(self) -> None:
        number, self._wanted = self._wanted, 0
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    @contextmanager
    def whole(self) -> Generator[None]:
        """What is done whole before a signal is heeded."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._wanted:
            self._end()
