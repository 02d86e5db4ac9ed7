"""Numbers of which the upper bits of float32 are kept: they say a part in 65,000, or in 250, whatever the unit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Upper:
    """Numbers of which the upper bits of float32 are kept, 16 and, where there is an array for them, 8 more.

    Parameters
    ----------
    upper, rest : uint16 and uint8 (C,), written to in place
    """

    def __init__(self, upper: npt.NDArray[np.uint16], rest: npt.NDArray[np.uint8] | None = None) -> None:
        self._upper, self._rest = upper, rest

    def __getitem__(self, cell: Ints) -> Floats:
        bits = self._upper[cell].astype(np.uint32) << 16
        if self._rest is not None:
            bits |= self._rest[cell].astype(np.uint32) << 8
        return bits.view(np.float32).astype(np.float64)

    def put(self, cell: Ints, value: Floats) -> Floats:
        """Keep the numbers nearest to these, the even one of two, and return them."""
        dropped = 16 if self._rest is None else 8
        bits = value.astype(np.float32).view(np.uint32)
        bits = (bits + np.uint32((1 << dropped - 1) - 1) + (bits >> dropped & 1)) >> dropped << dropped
        self._upper[cell] = bits >> 16
        if self._rest is not None:
            self._rest[cell] = bits >> 8 & 0xFF
        return bits.view(np.float32).astype(np.float64)

    def item(self, cell: int) -> float:
        return self[np.array([cell])].item()

    def put_item(self, cell: int, value: float) -> float:
        return self.put(np.array([cell]), np.array([value])).item()
