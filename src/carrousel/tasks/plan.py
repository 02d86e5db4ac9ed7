"""What is decided before the network is trained: the split, the patch, the look-back, and the linear path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.errors import HistoryError, SettingError
from carrousel.features.calendar import cycles, names
from carrousel.features.learned import Learned
from carrousel.features.linear import LinearPath, fit_linear_path, seasonal_mean
from carrousel.features.patch import PatchSizes
from carrousel.features.scaler import Scaler
from carrousel.features.transform import Transform
from carrousel.features.window import carry_forward, series_unit
from carrousel.stream import quantiles_of
from carrousel.tasks.setting import ForecastSettings

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
SEASONS = (1, 2, 3, 4, 7, 10, 14, 21, 30)
"""Look-backs tried, in seasons."""
LONGEST_PATCH = 48
BLOCK = 4096  # windows normalised at a time
LONG = 256  # windows one behind the other that are not copied together with others


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A panel cut in two, series by series: rows below ``fit_rows`` train, the others validate and calibrate."""

    panel: Panel
    fit_rows: Index  # (S,)
    horizon: int

    def train_origins(self, look_back: int, patch: int) -> Index:
        """First forecast rows (of the panel) of windows whose truth lies in the training part."""
        least = np.minimum(look_back, np.maximum(patch, self.fit_rows // 2))
        return self._origins(least, self.fit_rows - self.horizon + 1)

    def validation_origins(self, look_back: int, patch: int) -> Index:
        """First forecast rows of windows whose truth lies wholly behind the training part."""
        least = np.minimum(look_back, np.maximum(patch, self.fit_rows // 2))
        return self._origins(np.maximum(self.fit_rows, least), self.panel.lengths - self.horizon + 1)

    def _origins(self, first: Index, end: Index) -> Index:
        starts = self.panel.starts[:-1]
        spans = [np.arange(a, b) for a, b in zip(starts + first, starts + end, strict=True) if a < b]
        return np.concatenate(spans).astype(np.int64) if spans else np.empty(0, np.int64)


def split(panel: Panel, horizon: int, validation: float | Panel, frequency: Frequency) -> Split:
    """Keep the end of every series for validation and calibration.

    Parameters
    ----------
    validation : the share of each series' rows, at least a horizon; or rows of the same series that come after

    Raises
    ------
    HistoryError : no series long enough to train on and to validate on
    """
    if isinstance(validation, Panel):
        panel, fit_rows = append(panel, validation, frequency)
    else:
        held = np.maximum(np.ceil(panel.lengths * validation).astype(np.int64), horizon)
        fit_rows = panel.lengths - held
        fit_rows = np.where(fit_rows >= 2 * horizon, fit_rows, panel.lengths)  # too short to give anything away
    result = Split(panel=panel, fit_rows=fit_rows, horizon=horizon)
    if not len(result.train_origins(1, 1)) or not len(result.validation_origins(1, 1)):
        raise HistoryError(
            f"fit: expected at least one series of {int(np.ceil(3 * horizon))} rows or more to forecast {horizon} and "
            f"validate, got {int(panel.lengths.max())} rows at most; shorten the horizon or bring more rows"
        )
    return result


def append(panel: Panel, later: Panel, frequency: Frequency) -> tuple[Panel, Index]:
    """The rows of `later` that follow each series of `panel`, put behind it on one grid; and its lengths before."""
    known = {name: s for s, name in enumerate(later.ids)}
    parts: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in ("ds", "target", "past", "future")}
    lengths: list[int] = []
    for s, name in enumerate(panel.ids):
        rows = panel.rows(s)
        pieces = {key: [getattr(panel, key)[rows]] for key in parts}
        if name in known:
            other = later.rows(known[name])
            fresh = np.flatnonzero(later.ds[other] > panel.ds[rows][-1]) + other.start
            if len(fresh):
                last = panel.ds[rows][-1]
                place = np.asarray(frequency.steps(last, later.ds[fresh])) - 1
                count = int(place[-1]) + 1
                pieces["ds"].append(frequency.after(last, count))
                for key in ("target", "past", "future"):
                    source = getattr(later, key)
                    filled = np.full((count, source.shape[1]), np.nan)
                    filled[place] = source[fresh]
                    pieces[key].append(filled)
        for key, arrays in pieces.items():
            parts[key] += arrays
        lengths.append(sum(len(a) for a in pieces["ds"]))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    joined = replace(panel, starts=starts, **{key: np.concatenate(arrays) for key, arrays in parts.items()})
    return joined, panel.lengths


def choose_patch(season: int, horizon: int) -> int:
    """Rows a patch: the longest divisor of the season up to ``LONGEST_PATCH``, so that patches keep their phase."""
    if season == 1:
        return max(1, min(8, horizon))
    return max(d for d in range(1, min(season, LONGEST_PATCH) + 1) if season % d == 0)


def look_backs(season: int, patch: int, horizon: int, rows: int) -> list[int]:
    """Look-backs worth trying with training series of so many rows; the shortest always fits."""
    base = season if season > 1 else patch
    candidates = sorted({-(-n * base // patch) * patch for n in SEASONS})
    fitting = [n for n in candidates if n + horizon <= 0.75 * rows]
    return fitting or candidates[:1]


def choose_linear(
    split: Split, candidates: list[int], patch: int, season: int, transforms: list[Transform]
) -> tuple[LinearPath, Transform]:
    """The linear path, of the look-back, penalty, mixture and transform that do best on the validation windows.

    It stands in for the network in these choices: it is solved in closed form, so all can be tried.

    Raises
    ------
    HistoryError : not one complete training window
    """
    longest = max(candidates)
    train, later = split.train_origins(longest, patch), split.validation_origins(longest, patch)
    choices: list[tuple[float, LinearPath, Transform]] = []
    for transform in transforms:
        panel = replace(split.panel, target=transform.apply(split.panel.target))
        filled = carry_forward(panel.target, panel.starts)
        parts = replace(split, panel=panel)
        validation = Blocks(parts, filled, later, longest)
        path = fit_linear_path(
            Blocks(parts, filled, train, longest),
            validation,
            look_backs=candidates,
            season=season,
            unit=series_unit(training_part(parts), season),
        )
        error = _error(split, path, validation, transform, season) if len(transforms) > 1 else 0.0
        choices.append((error, path, transform))
    _, path, transform = min(choices, key=lambda choice: choice[0])
    return path, transform


def _error(split: Split, path: LinearPath, validation: Blocks, transform: Transform, season: int) -> float:
    """Mean of the absolute error in units of each series and of the symmetric percentage error, whatever the transform.

    Each is relative to that of the last season, as in the overall weighted average of the M4 competition.
    """
    unit = series_unit(training_part(split), season)
    sums = np.zeros((2, 2))  # (path, seasonal naive) x (scaled, percentage)
    last = seasonal_mean(path.look_back, split.horizon, min(season, path.look_back), 1)
    for owner, k, x, y in validation():
        recent, truth = x[:, -path.look_back :], transform.invert(y)
        forecasts = path.predict(x, owner + 1, k), recent[:, -1:] + (recent - recent[:, -1:]) @ last.T
        for row, forecast in enumerate(forecasts):
            error = np.abs(transform.invert(forecast) - truth)
            size = np.abs(transform.invert(forecast)) + np.abs(truth)
            sums[row] += np.nansum(error / unit[owner, k][:, None]), np.nansum(error / np.maximum(size, 1e-300))
    return float((sums[0] / np.maximum(sums[1], 1e-300)).mean())


@dataclass(frozen=True)
class Blocks:
    """Windows of the panel in blocks; every target of the panel gives windows of its own."""

    split: Split
    filled: Floats
    origins: Index
    look_back: int

    def __call__(self) -> Iterator[tuple[Index, int, Floats, Floats]]:
        """Series (n,), target, look-back windows (n, L) with gaps filled, and what followed (n, H), gaps NaN."""
        panel, L = self.split.panel, self.look_back
        # Windows of rows that lie one behind the other are copied whole, which is far faster than value by value.
        filled = [_windows(column, L) for column in np.ascontiguousarray(self.filled.T)]
        after = [_windows(column, self.split.horizon) for column in np.ascontiguousarray(panel.target.T)]
        owner = np.searchsorted(panel.starts, self.origins, side="right") - 1
        early = self.origins - L < panel.starts[owner]  # windows that begin before their series
        for a, b in _blocks(self.origins, owner, early):
            rows, series = self.origins[a:b], owner[a:b]
            for k in range(panel.target.shape[1]):
                if not early[a:b].any() and rows[-1] - rows[0] == b - a - 1:
                    at = slice(int(rows[0]), int(rows[-1]) + 1)
                    yield series, k, filled[k][at.start - L : at.stop - L], after[k][at]
                    continue
                x = filled[k][np.maximum(rows - L, 0)]
                some = np.flatnonzero(early[a:b])
                first = panel.starts[series[some]]
                x[some] = self.filled[np.maximum(rows[some, None] + np.arange(-L, 0), first[:, None]), k]
                yield series, k, x, after[k][rows]


def _blocks(origins: Index, owner: Index, early: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Bounds of blocks of at most ``BLOCK`` origins; long runs of whole windows of one series have their own."""
    ends = np.flatnonzero((np.diff(origins) != 1) | (np.diff(owner) != 0) | (np.diff(early) != 0)) + 1
    begun = 0
    spans: list[tuple[int, int]] = []
    for a, b in pairwise([0, *ends.tolist(), len(origins)]):
        if b - a >= LONG:
            spans += [(begun, a), (a, b)]
            begun = b
    for a, b in (*spans, (begun, len(origins))):
        yield from ((first, min(first + BLOCK, b)) for first in range(a, b, BLOCK))


def _windows(column: Floats, length: int) -> Floats:
    """Every stretch of so many rows of (R,), as a view; of the row numbers too that a shorter column does not have."""
    padded = np.concatenate([column, np.zeros(max(0, length - len(column)))])
    return np.lib.stride_tricks.sliding_window_view(padded, length)


def learn(
    parts: Split, schema: Schema, settings: ForecastSettings, notes: list[str]
) -> tuple[LinearPath, Learned, PatchSizes]:
    """What is learned or chosen before the network: statistics, season, patch, look-back, linear path."""
    s, panel = settings, parts.panel
    train = training_part(parts)
    season = s.season or schema.grid.season
    patch = s.patch or choose_patch(season, s.horizon)
    if s.look_back is None:
        candidates = look_backs(season, patch, s.horizon, int(np.median(parts.fit_rows)))
    else:
        candidates = [s.look_back]
        if s.look_back % patch:
            nearest = max(1, round(s.look_back / patch)) * patch
            raise SettingError(
                f"look_back: expected a multiple of patch={patch}, got {s.look_back}; {nearest} is the nearest one"
            )
    transforms = [Transform()]
    logarithm = Transform.log(train.target)
    if logarithm is not None and s.transform != "identity":
        transforms.append(logarithm)
    if s.transform == "log":
        if logarithm is None:
            raise SettingError(
                f"transform: expected 'identity' for a target of {np.nanmin(train.target):g}, got 'log', which needs "
                "values above 0"
            )
        transforms = [logarithm]
    path, transform = choose_linear(parts, candidates, patch, season, transforms)
    look_back = path.look_back
    if s.look_back is None:
        notes.append(f"look-back: {look_back} rows, best of {', '.join(map(str, candidates))} on the validation part")
    if len(transforms) > 1:
        notes.append(f"transform: {transform.kind}, the better of identity and log on the validation part")
    learned = Learned(
        schema=schema.to_dict(),
        past=Scaler.fit(train.past),
        future=Scaler.fit(train.future),
        static=Scaler.fit(train.static),
        cycles=cycles(schema.grid, int(parts.fit_rows.max())),
        ids=panel.ids,
        season=season,
        transform=transform,
        flag_missing=bool(np.isnan(train.target).any()),
    )
    sizes = PatchSizes(
        look_back=look_back,
        horizon=s.horizon,
        patch=patch,
        targets=panel.target.shape[1],
        past=panel.past.shape[1] + panel.future.shape[1] + learned.flag_missing * panel.target.shape[1],
        future=panel.future.shape[1],
        calendar=len(names(learned.cycles)),
        static=panel.static.shape[1],
        series=len(panel),
        quantiles=len(quantiles_of(s.levels)),
        maps=len(path.weight),
        hidden_size=s.hidden_size,
        num_layers=s.num_layers,
        members=s.ensemble,
    )
    return path, learned, sizes


def training_part(parts: Split) -> Panel:
    """The rows that may be learned from."""
    return parts.panel.take([(s, 0, int(n)) for s, n in enumerate(parts.fit_rows)])
