"""Who computes an LSTM layer: torch or the native kernels. Says what is wanted; ``scan`` knows what is possible."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Literal, NamedTuple, get_args

from ..errors import SettingError

Name = Literal["auto", "torch", "native"]


class Preference(NamedTuple):
    """What was asked for; see :func:`backend`."""

    name: Name = "auto"
    recompute: bool = False


class _Chosen(threading.local):
    """What holds in this thread. Not a context variable: torch.compile follows and guards this, and not those."""

    def __init__(self) -> None:
        self.now = Preference()


_chosen = _Chosen()


def preference() -> Preference:
    """What holds in this thread."""
    return _chosen.now


class backend:
    """Choose who computes ``carrousel.layers.LSTM``, from here on or inside a ``with``.

    It holds for the forwards of this thread; a backward follows its forward, whoever runs it.

    Parameters
    ----------
    name : "native", kernels of the compiled module, in float32 and float64 on the CPU; "torch"; or "auto", native in
        float32 for training and for variants and lengths that torch has no kernel for, else torch
    recompute : keep no gates of a native forward but the state at every 1,024th step, and run the steps between again
        in the backward: a third more time, memory for sequences of any length

    Raises
    ------
    SettingError : another name; or, at the layer's forward, "native" where it is impossible

    Examples
    --------
    >>> from carrousel.layers import backend
    >>> with backend("torch"):
    ...     y, state = LSTM(3, 8)(torch.zeros(5, 2, 3))
    """

    def __init__(self, name: Name, *, recompute: bool = False) -> None:
        if name not in get_args(Name):
            raise SettingError(f"backend: expected one of {', '.join(get_args(Name))}, got {name!r}; check the name")
        if not isinstance(recompute, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingError(f"backend: recompute: expected True or False, got {recompute!r}")
        if name == "torch" and recompute:
            raise SettingError("backend: recompute: expected False with 'torch', got True; only 'native' recomputes")
        self._before = _chosen.now
        self._chosen = Preference(name, recompute)
        _chosen.now = self._chosen

    def __enter__(self) -> Preference:
        _chosen.now = self._chosen
        return self._chosen

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _chosen.now = self._before
