"""The recurrent core: LSTM and its variants in PyTorch, and their specification in NumPy (``reference``).

Importing this package imports no torch; ``LSTM`` and ``LSTMState`` bring it when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .preference import backend

if TYPE_CHECKING:
    from .lstm import LSTM
    from .state import LSTMState

__all__ = ["LSTM", "LSTMState", "backend"]


def __getattr__(name: str) -> object:
    if name == "LSTM":
        from .lstm import LSTM

        return LSTM
    if name == "LSTMState":
        from .state import LSTMState

        return LSTMState
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
