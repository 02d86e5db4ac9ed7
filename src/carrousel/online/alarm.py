"""From the members' p-values to one score, and from scores to alarms: once per incident, as often as promised.

The rule. A row's *score* is the largest surprise −log₁₀ p of all members and variables, plus half of the second
largest: one member alone may alarm, two that agree do so earlier. The forecasts of all horizons count as one member,
the larger of them, for they agree by what they are. The row's *p-value* is how rare such a score was in
the stream itself. An *onset* is a score above all of the last ``HOLD`` rows, and of up to ``PART`` − 1 rows before
them, since the largest of every ``PART`` rows is what is kept; and outside an incident. The onsets
are what an alarm could have been, each incident giving few of them, so their rate is the rate of alarms, whatever the
autocorrelation of the scores. Its *rarity* is how often a row so large an onset came: in the stream itself, and, by a
weight of ``ELSEWHERE_ROWS`` rows, on the series without anomalies on which these settings were frozen (a geometric mean
of the two). A stream that was silent so far thus does not alarm at its first stir, and one that was always lively
alarms at what would be rare anywhere. A row alarms where the rarity is at most the promised false alarms a row. An
incident lasts until ``CALM`` rows in a row are ordinary, and alarms no second time.

References
----------
Counting clusters of exceedances instead of exceedances ("runs declustering"): Leadbetter, Weissman, de Haan & Rootzén
1989, On Clustering of High Values in Statistically Stationary Series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.online.forecast import HORIZONS
from carrousel.online.state import Field, Online
from carrousel.online.tail import MEMORY, Tail

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SECOND = 0.5  # what the second largest surprise adds to the largest
HOLD, PART = 100, 10  # rows that an onset must exceed; rows of which the largest score is kept
TOP = 12.0  # of the scores' histograms
EXCESSES = 10.0  # of those, how many lie in the tail
WARM = 100  # rows before which nothing alarms
ELSEWHERE_ROWS = 4000.0
ELSEWHERE = ((0.0, 0.0), (2.0, -1.9), (3.0, -2.41), (5.0, -4.22), (6.0, -4.85), (8.0, -5.4), (12.0, -6.0))
"""log₁₀ of how often a row an onset above x came on artificial series without anomalies: (x, that) at the corners of a
broken line, by ``benchmarks/nab.py``"""
CALM, ORDINARY = 10, 0.05  # rows in a row whose p-value is above ORDINARY end an incident


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is said of one row of every stream, each (N,); see ``carrousel.online.watch.Readings``."""

    score: Floats
    onset: Floats
    rarity: Floats
    p_value: Floats
    warming: Flags
    alarm: Flags
    incident: Flags


class Alarm(Online):
    """Scores, p-values and alarms of N streams.

    Parameters
    ----------
    batch : N
    rate : false alarms that are promised, a row or a second
    per_second : which of the two; the interval between rows is then the one seen so far
    factor : by which the onsets' rate is multiplied before it is held against the promise
    """

    def __init__(self, batch: int, rate: float, *, per_second: bool = False, factor: float = 1.0) -> None:
        self.rate, self.per_second, self.factor = rate, per_second, factor
        self.scores, self.onsets = (Tail(batch, 1, [TOP], excesses=EXCESSES) for _ in range(2))
        super().__init__(
            batch,
            {
                "recent": Field((HOLD // PART + 1,), "float32"),  # the largest score of each part, the present one too
                "row": Field((), "uint8"),  # where in those parts the next row lies
                "seen": Field((), "uint8"),  # rows, at most WARM
                "calm": Field((), "uint8"),  # ordinary rows in a row, at most CALM
                "incident": Field((), "bool"),
            },
        )

    def bind(self) -> None:
        self._row = np.arange(self.batch)

    def update(self, surprise: Floats, ok: Flags, interval: Floats) -> Judgement:
        """Judge a row.

        Parameters
        ----------
        surprise : float64 (N, K, M), −log₁₀ p
        ok : bool (N,), whether anything was observed
        interval : float64 (N,), seconds from row to row
        """
        a = self.arrays
        score = np.where(ok, join(surprise), 0.0)
        warming = a["seen"] < WARM
        part = np.minimum(a["row"] // PART, HOLD // PART)
        before = np.where(a["row"] % PART == 0, np.float32(0), a["recent"][self._row, part])  # a part begins
        a["recent"][self._row, part] = before
        onset = np.where(score > a["recent"].max(1), score, 0.0)
        a["recent"][self._row, part] = np.maximum(before, score)
        a["row"][...] = (a["row"].astype(np.int64) + 1) % (HOLD + PART)
        a["seen"][...] = np.minimum(a["seen"].astype(np.int64) + ok, WARM)
        p_value = np.where(ok, self.scores.p_values(score[:, None])[:, 0], 1.0)
        running = a["incident"]
        candidate = np.where(running, 0.0, onset)
        own = self.onsets.p_values(candidate[:, None])[:, 0]
        rarity = np.where(candidate > 0, rarity_of(own, candidate, self.onsets.seen), 1.0)
        learnt = ok & (a["seen"] > WARM // 3)
        self.scores.learn(learnt)
        self.onsets.learn(learnt)
        promised = self.rate * interval if self.per_second else self.rate
        fires = ok & ~warming & (candidate > 0) & (rarity * self.factor <= promised)
        calm = np.where(ok & (p_value <= ORDINARY), 0, np.minimum(a["calm"].astype(np.int64) + 1, CALM))
        a["calm"][...] = np.where(fires, 0, calm)
        running &= a["calm"] < CALM
        running |= fires
        return Judgement(score, onset, rarity, p_value, warming, fires, running.copy())


def rarity_of(own: Floats, onset: Floats, seen: npt.NDArray[np.float32]) -> Floats:
    """How often a row so large an onset came, in the stream and elsewhere, float64 (N,).

    Parameters
    ----------
    own : float64 (N,), the p-value in the stream
    onset : float64 (N,)
    seen : float32 (N,), rows of the stream behind `own`
    """
    weight = np.minimum(seen.astype(np.float64), MEMORY)
    x, log10_rate = np.array(ELSEWHERE).T
    elsewhere = np.interp(onset, x, log10_rate)
    return 10.0 ** ((weight * np.log10(own) + ELSEWHERE_ROWS * elsewhere) / (weight + ELSEWHERE_ROWS))


def join(surprise: Floats) -> Floats:
    """The score of a row, float64 (N,), from its members' surprise (N, K, M), of which the forecasts come first."""
    forecast = surprise[:, :, : len(HORIZONS)].max(2, keepdims=True)
    each = np.concatenate([forecast, surprise[:, :, len(HORIZONS) :]], 2).reshape(len(surprise), -1)
    two = np.partition(each, each.shape[1] - 2, axis=1)[:, -2:]
    return two[:, 1] + SECOND * two[:, 0]
