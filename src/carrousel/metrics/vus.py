"""Range-AUC and volume under the surface (VUS): how well scores rank rows where the edges of labels are soft.

Where an anomaly begins and ends is seldom known to the row. With a buffer of ℓ rows, a row at distance d = 1 … ⌊ℓ/2⌋
before or behind a labelled range is anomalous by the share y = √(1 − d/ℓ); in a range y is 1, outside all buffers 0,
and where buffers overlap the shares add up, to at most 1. Ranges whose buffers overlap are one event. Let p be the rows
that a threshold detects, P the number of labelled rows, n of all rows; then

* TP = Σ_p y, and FP = |p| − TP;
* the positives are P' = P + ½ Σ y over the detected rows of buffers: to leave a buffer alone costs nothing;
* recall = min(TP / P', 1) · the share of events in which a row is detected (the existence reward);
* false positive rate = FP / (n − P'); precision = TP / |p|.

Range-AUC-ROC is the area under recall over false positive rate, by trapezia from (0, 0) to (1, 1); range-AUC-PR the sum
of precision times gain of recall over falling thresholds. VUS is the mean of either over ℓ = 0, 1, …, L. Without a
buffer and for a single range they are the plain ROC-AUC and average precision; with several ranges the existence reward
lets recall rise later.

References
----------
Paparrizos, Boniol, Palpanas, Tsay, Elmore & Franklin 2022, Volume Under the Surface: A New Accuracy Evaluation Measure
for Time-Series Anomaly Detection, PVLDB 15(11). Liu & Paparrizos 2024, The Elephant in the Room: Towards a Reliable
Time-Series Anomaly Detection Benchmark (TSB-AD), NeurIPS; where the first leaves a choice or differs, the formulae are
those by which TSB-AD's tables were made: P' counts the detected part of the buffers, 250 thresholds stand at equal
steps of rank, and L is ``buffer_length`` of the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics.window import Floats, Ints, check, flags

THRESHOLDS = 250


@dataclass(frozen=True, kw_only=True)
class RangeArea:
    """Areas of one buffer, or their mean over buffers.

    Parameters
    ----------
    roc : 0.5 by chance with one event and no buffer; NaN where every row is labelled
    pr : by chance about the share of the rows that are labelled or in a buffer
    """

    roc: float
    pr: float


def range_auc(
    scores: npt.ArrayLike, windows: npt.ArrayLike, buffer: int, *, thresholds: int | None = THRESHOLDS
) -> RangeArea:
    """Range-AUC-ROC and range-AUC-PR.

    Parameters
    ----------
    scores : float (T,), higher is more anomalous
    windows : int (W, 2), labelled rows start:stop, ascending and without overlap; at least one
    buffer : ℓ, in rows
    thresholds : how many, at equal steps of rank; None for every score that occurs, which is exact

    Raises
    ------
    ShapeError : scores that are not one number a row; windows of another form, or none
    SettingError : a buffer below 0, fewer than 2 thresholds
    """
    return next(_areas(scores, windows, [_rows(buffer)], thresholds))


def volume(
    scores: npt.ArrayLike, windows: npt.ArrayLike, buffer: int, *, thresholds: int | None = THRESHOLDS
) -> RangeArea:
    """VUS-ROC and VUS-PR: the mean of range-AUC over buffers of 0, 1, …, ``buffer`` rows.

    Parameters
    ----------
    scores, windows, thresholds : as for ``range_auc``
    buffer : L, in rows

    Raises
    ------
    ShapeError, SettingError : as ``range_auc``
    """
    areas = list(_areas(scores, windows, range(_rows(buffer) + 1), thresholds))
    return RangeArea(roc=float(np.mean([area.roc for area in areas])), pr=float(np.mean([area.pr for area in areas])))


def buffer_length(values: npt.ArrayLike) -> int:
    """The longest buffer as TSB-AD takes it: the lag at which the autocorrelation peaks highest.

    Lags 4 to 402 of the first 20,000 rows; 125 where there is no peak between lags 6 and 303.

    Parameters
    ----------
    values : float (T,), the series; of several variables the first

    Raises
    ------
    ShapeError : values that are not one finite number a row
    """
    series = _series(values, "values")[:20_000]
    if not np.isfinite(series).all():
        raise ShapeError(f"values: expected finite numbers, got {int(np.isinf(series).sum())} infinite ones")
    series = series - series.mean() if len(series) else series
    size = 1 << (2 * max(len(series), 1) - 1).bit_length()
    correlation = np.fft.irfft(np.abs(np.fft.rfft(series, size)) ** 2, size)[: min(401, len(series))][3:]
    if not np.any(series) or len(correlation) < 3:
        return 125
    middle = correlation[1:-1]
    peaks = np.flatnonzero((middle > correlation[:-2]) & (middle > correlation[2:])) + 1
    if not len(peaks):
        return 125
    lag = int(peaks[np.argmax(correlation[peaks])])
    return lag + 3 if 3 <= lag <= 300 else 125


def _areas(
    scores: npt.ArrayLike, windows: npt.ArrayLike, buffers: Iterable[int], thresholds: int | None
) -> Iterator[RangeArea]:
    """Areas of ascending buffers.

    Rows enter the sums once, at the first threshold that detects them, and the sums over falling thresholds are
    cumulative: after sorting, a buffer costs its own rows and the thresholds, not their product.
    """
    value = _series(scores, "scores")
    spans = check(windows, len(value))
    if not len(spans):
        raise ShapeError("windows: expected at least one labelled range, got none; without any there is no area")
    levels = _levels(value, thresholds)
    rank = np.searchsorted(-levels, -value, side="left")  # the first threshold that detects the row

    def detected(rows: Ints, weights: Floats | None = None) -> Floats:
        """The sum over the rows that each threshold detects, (K,)."""
        return np.cumsum(np.bincount(rank[rows], weights=weights, minlength=len(levels))).astype(np.float64)

    inside = flags(spans, len(value))
    count, size, hit = int(inside.sum()), detected(np.arange(len(value))), detected(np.flatnonzero(inside))
    first, last = spans[:, 0], spans[:, 1] - 1
    best, reach = np.minimum.reduceat(np.append(rank, len(levels)), spans.ravel())[::2], 0  # first detection by range
    for buffer in buffers:
        half = buffer // 2
        while reach < half:
            reach += 1
            for edge in (first - reach, last + reach):
                valid = (edge >= 0) & (edge < len(value))
                best[valid] = np.minimum(best[valid], rank[edge[valid]])
        rows, share = _shares(first, last, buffer, inside)
        apart = np.append(True, last[:-1] + half < first[1:] - half)
        event = np.minimum.reduceat(best, np.flatnonzero(apart))
        existence = np.cumsum(np.bincount(event, minlength=len(levels))) / len(event)

        soft = detected(rows, share)
        true, positive = hit + soft, count + soft / 2
        recall = np.minimum(true / positive, 1) * existence
        precision = true / size
        roc = float("nan")
        if count < len(value):
            false = (size - true) / (len(value) - positive)
            roc = float(np.trapezoid(np.concatenate([[0], recall, [1]]), np.concatenate([[0], false, [1]])))
        yield RangeArea(roc=roc, pr=float(np.sum(np.diff(recall, prepend=0) * precision)))


def _shares(first: Ints, last: Ints, buffer: int, inside: npt.NDArray[np.bool_]) -> tuple[Ints, Floats]:
    """The rows of the buffers, none of them in a range, and by what share each is anomalous."""
    distance = np.arange(1, buffer // 2 + 1)
    share = np.sqrt(1 - distance / max(buffer, 1))
    near = np.concatenate([first[:, None] - distance, last[:, None] + distance])  # (2 W, ℓ/2)
    within = (near >= 0) & (near < len(inside))
    within[within] = ~inside[near[within]]
    rows, place = np.unique(near[within], return_inverse=True)
    total = np.bincount(place, weights=np.broadcast_to(share, near.shape)[within], minlength=len(rows))
    return rows, np.minimum(total, 1)


def _levels(value: Floats, thresholds: int | None) -> Floats:
    """The thresholds, descending; the last detects every row."""
    if thresholds is None:
        return np.unique(value)[::-1]
    if thresholds < 2:
        raise SettingError(f"thresholds: expected at least 2, the highest score and the lowest, got {thresholds}")
    return np.sort(value)[::-1][np.linspace(0, len(value) - 1, thresholds).astype(np.int64)]


def _series(values: npt.ArrayLike, name: str) -> Floats:
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or np.isnan(series).any():
        raise ShapeError(
            f"{name}: expected one number a row, got shape {series.shape} with {int(np.isnan(series).sum())} missing"
        )
    return series


def _rows(buffer: int) -> int:
    if buffer < 0:
        raise SettingError(f"buffer: expected a number of rows, 0 or more, got {buffer}")
    return buffer
