"""A monotone transform of the target: multiplicative seasons and growing spread are additive in logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Kind = Literal["identity", "log"]


@dataclass(frozen=True)
class Transform:
    """y itself, or log(max(y, least)).

    Parameters
    ----------
    kind : "identity" or "log"
    least : above 0; what a value that has no logarithm is read as. Half the least value of the training part
    """

    kind: Kind = "identity"
    least: float = 1.0

    @classmethod
    def log(cls, values: Floats) -> Transform | None:
        """The logarithm for such values, or None where some are not above 0."""
        least = np.nanmin(values, initial=np.inf)
        return cls("log", float(least) / 2) if 0 < least < np.inf else None

    def apply(self, values: Floats) -> Floats:
        """Into the network's unit; NaN stays NaN."""
        return values if self.kind == "identity" else np.log(np.maximum(values, self.least))

    def invert(self, values: Floats) -> Floats:
        """Back into the table's unit. Quantiles stay quantiles, because the transform is monotone."""
        if self.kind == "identity":
            return values
        return np.exp(np.minimum(values, 700.0))  # e^709 is the largest float64
