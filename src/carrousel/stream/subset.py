"""A step of some of many streams, the others left as they are: through watches that are small enough for a cache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.stream.source import NAMES, Watch

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Arrays = dict[str, npt.NDArray[Any]]

SIZES = (1, 8, 64, 256)  # streams of a small watch: some 4 MB of state at most


class Subset:
    """Steps some streams of a watch.

    Parameters
    ----------
    watch : of all streams; the small ones are made of it when they are first needed, and kept
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._whole: Arrays = {}  # live arrays, which stay where they are
        self._small: dict[int, tuple[Watch, Arrays]] = {}

    def step(self, chosen: Ints, values: Floats, seconds: Floats) -> Any:
        """Take a row of each of these streams.

        Parameters
        ----------
        chosen : int64 (n,), each once
        values, seconds : float64 (n, K + P), (n,)

        Returns
        -------
        readings of the n rows
        """
        parts = [
            self._step(chosen[part], values[part], seconds[part])
            for part in (slice(first, first + SIZES[-1]) for first in range(0, len(chosen), SIZES[-1]))
        ]
        return SimpleNamespace(**{name: np.concatenate([part[name] for part in parts]) for name in NAMES})

    def _step(self, chosen: Ints, values: Floats, seconds: Floats) -> dict[str, npt.NDArray[Any]]:
        count = len(chosen)
        size = next(size for size in SIZES if size >= count)
        if size not in self._small:
            made = self._watch.fork(np.zeros(size, np.int64))
            self._whole, self._small[size] = dict(self._watch.state), (made, dict(made.state))
        whole, (small, state) = self._whole, self._small[size]
        # What lies behind the last row steps another copy of the first stream, which nobody asks for.
        place = np.concatenate([np.arange(count), np.zeros(size - count, np.int64)])
        rows = chosen[place]
        for name, array in state.items():
            array[...] = whole[name][rows]
        readings = small.step(values[place], seconds[place])
        for name, array in state.items():
            whole[name][chosen] = array[:count]
        return {name: np.array(getattr(readings, name)[:count]) for name in NAMES}
