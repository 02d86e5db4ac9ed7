"""Alarms where something is beyond all that was calm: another rule than ``alarm.py``'s, where no anomaly was learnt.

While a stream learns, the largest of each statistic is kept; afterwards it stands still, but in an incident that goes
on and on: that is how the stream is from now on. A row alarms where one of them is beyond its largest by a share: the
value outside the range, or the distance from the forecast, smoothed over few rows or over many. Rows close by
belong to one incident.

References
----------
Smoothed errors, and no alarm for what hardly exceeds the calm maximum: Hundman, Constantinou, Laporte, Colwell &
Soderstrom 2018, Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding, KDD (§3.2 and 3.3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from carrousel.online.state import Field, Online, check_rows_of, number, whole

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROWS = (10.0, 100.0)  # that distances from the forecast are smoothed over
WARM = 100  # rows before a statistic counts as settled
LEARN = 1000  # rows that a stream learns from which no table has taught
GRAIN, ROUNDING = 0.02, 1e-6  # of the deviation, and of the size, of the values: less is no distance
HOLD = 100  # ordinary rows in a row that end an incident
LONGEST = 500  # rows of an incident after which what goes on is calm, and is learnt from
LEFT = 2.0  # what one row can raise a smoothed distance to, in thresholds: a monstrous one does not last


class Beyond(Online):
    """Incidents of N streams of K variables.

    Parameters
    ----------
    batch, variables : N, K
    share : by which the largest calm statistic must be exceeded, 0.2 for a fifth

    Raises
    ------
    SettingError : a setting outside its range
    """

    def __init__(self, batch: int, variables: int, share: float) -> None:
        self._variables, self._share = whole("variables", variables), number("share", share, 0.0)
        each = (self._variables,)
        super().__init__(
            batch,
            {
                "smooth": Field((len(ROWS), *each)),
                "most": Field((len(ROWS), *each)),
                "low": Field(each, start=np.inf),
                "high": Field(each, start=-np.inf),
                "moments": Field((2, *each)),  # mean and Σ (x − mean)², while it learns
                "count": Field(each),
                "rows": Field((), "int64"),
                "table": Field((), "bool"),  # it learns from a table, however long
                "taught": Field((), "bool"),
                "calm": Field((), "int64", start=HOLD),
                "lasted": Field((), "int64"),  # rows of the incident
            },
        )

    def open(self) -> None:
        """A table begins: all streams learn until it ends."""
        self.arrays["table"][...] = True

    def close(self) -> None:
        """The table is over: all streams have learnt what is calm."""
        self.arrays["table"][...] = False
        self.arrays["taught"][...] = True

    def update(self, x: Floats, residual: Floats) -> tuple[Flags, Flags, Flags]:
        """Take a row of every stream.

        Parameters
        ----------
        x, residual : float64 (N, K), values and what the forecast leaves of them, NaN where there is none

        Returns
        -------
        bool (N,) each: an incident begins; the row belongs to one; the stream still learns

        Raises
        ------
        ShapeError : another shape or dtype
        """
        check_rows_of("x", x, (self.batch, self._variables))
        a = self.arrays
        learns = ~a["taught"]
        known, ok = np.isfinite(x), np.isfinite(residual)
        low, high, square = a["low"], a["high"], a["moments"][:, 1]
        size = ROUNDING * np.maximum(np.abs(np.where(low <= high, low, 0)), np.abs(np.where(low <= high, high, 0)))
        grain = GRAIN * np.sqrt(square / np.maximum(a["count"], 1)) + size
        limit = (1 + self._share) * (a["most"] + grain[:, None])
        distance = np.abs(np.where(ok, residual, 0.0))
        beyond = np.zeros(self.batch, bool)
        for place, rows in enumerate(ROWS):
            gain = 2 / (rows + 1)
            smooth = a["smooth"][:, place]
            far = np.where(learns[:, None], np.inf, LEFT * limit[:, place] / gain)
            smooth += np.where(ok, gain * (np.minimum(distance, far) - smooth), 0.0)
            beyond |= ((smooth > limit[:, place]) & ok).any(1)
        span = np.where(low <= high, high - low, 0.0) + size
        outside = np.maximum(low - x, x - high) > self._share * span
        beyond |= (outside & known).any(1)
        self._learn(x, known, learns | (a["lasted"] >= LONGEST))
        a["rows"] += 1
        a["taught"] |= (a["rows"] >= LEARN) & ~a["table"]
        beyond &= ~learns
        begins = beyond & (a["calm"] >= HOLD)
        np.copyto(a["calm"], np.where(beyond, 0, np.minimum(a["calm"] + 1, HOLD)))
        inside = a["calm"] < HOLD
        np.copyto(a["lasted"], np.where(inside, np.minimum(a["lasted"] + 1, LONGEST), 0))
        return begins, inside, learns

    def _learn(self, x: Floats, known: Flags, learns: Flags) -> None:
        a, known = self.arrays, known & learns[:, None]
        np.minimum(a["low"], x, out=a["low"], where=known)
        np.maximum(a["high"], x, out=a["high"], where=known)
        a["count"] += known
        off = np.where(known, x - a["moments"][:, 0], 0.0)
        a["moments"][:, 0] += off / np.maximum(a["count"], 1)
        a["moments"][:, 1] += off * np.where(known, x - a["moments"][:, 0], 0.0)
        settled = (learns & (a["rows"] >= WARM))[:, None, None]
        np.maximum(a["most"], a["smooth"], out=a["most"], where=settled)
