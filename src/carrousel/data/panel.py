"""The one table that every task reads: several series on one regular time grid, in plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Series of unequal length, one below the other, each on the regular grid of one frequency.

    R rows in all, S series, K targets (1 unless the targets are modelled jointly), P past covariates (known up to now),
    F future covariates (known ahead), Q static ones. NaN means "not observed": a gap of the source became rows of NaN.
    Categories have become indicator columns. A row whose target is still to come (known future covariates only) is not
    part of a panel's history: it stands in a panel of its own.

    Parameters
    ----------
    ids : names of the series, (S,)
    starts : int64 (S + 1,); rows starts[s]:starts[s + 1] are series s, in time order
    ds : datetime64[s] or int64 (R,), without time zone
    target : float64 (R, K)
    past, future : float64 (R, P), (R, F)
    static : float64 (S, Q)
    target_names, past_names, future_names, static_names : column names, indicator columns as ``name=category``
    """

    ids: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    ds: npt.NDArray[np.datetime64] | npt.NDArray[np.int64]
    target: Floats
    past: Floats
    future: Floats
    static: Floats
    target_names: tuple[str, ...]
    past_names: tuple[str, ...] = ()
    future_names: tuple[str, ...] = ()
    static_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Rows of each series, int64 (S,)."""
        return np.diff(self.starts)

    def rows(self, series: int) -> slice:
        """The rows of one series."""
        return slice(int(self.starts[series]), int(self.starts[series + 1]))

    def take(self, spans: list[tuple[int, int, int]]) -> Panel:
        """A panel of parts of series: ``(series, first, last)``, rows counted from the start of that series."""
        rows = [np.arange(self.starts[s] + a, self.starts[s] + b) for s, a, b in spans]
        index = np.concatenate(rows) if rows else np.empty(0, np.int64)
        chosen = [s for s, _, _ in spans]
        return Panel(
            ids=tuple(self.ids[s] for s in chosen),
            starts=np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64),
            ds=self.ds[index],
            target=self.target[index],
            past=self.past[index],
            future=self.future[index],
            static=self.static[chosen],
            target_names=self.target_names,
            past_names=self.past_names,
            future_names=self.future_names,
            static_names=self.static_names,
        )
