"""Forecasts decoded over an engine session: for many windows at once, or at every row of a live stream."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.panel import Panel
from carrousel.engine import Engine
from carrousel.errors import ColumnError, SettingError, TimeError
from carrousel.features.calendar import calendar
from carrousel.features.learned import Learned
from carrousel.features.patch import PatchSizes
from carrousel.features.window import WindowBatch, carry_forward, normalise, spread, unit_of

Floats = npt.NDArray[np.float64]
INNER_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Always learned, whatever bands are asked for: the point forecast is the mean over the quantiles."""
ROWS_AT_ONCE = 2048  # windows decoded together: bounded memory, full matrix products


class WindowDecoder:
    """Runs the forecasting network on an engine: windows in, quantiles in the units of the series out.

    It is the twin of ``layers.patch.PatchLSTM`` in NumPy, with the calibration of the bands behind it.

    Parameters
    ----------
    engine : with the architecture that `sizes` describes
    sizes : of the network
    learned : the transform of the target
    offset : float64 (S + 1, H, K, Q), row by row of the series embedding; what calibration adds to the quantiles, in
        units of the window's spread
    """

    def __init__(self, engine: Engine, sizes: PatchSizes, learned: Learned, offset: Floats) -> None:
        self.engine, self.sizes, self.offset = engine, sizes, offset
        self.transform = learned.transform

    def __call__(self, batch: WindowBatch, unit: Floats) -> tuple[Floats, Floats]:
        """Forecast N windows; `unit` (N, K) as in ``normalise``.

        Returns
        -------
        point float64 (N, H, K), the mean over the quantiles in the network's unit: the expected value, of the logarithm
        where the target is transformed; quantiles (N, H, K, Q), ascending, calibrated
        """
        sizes, rows = self.sizes, len(batch.target)
        point = np.empty((rows, sizes.horizon, sizes.targets))
        quantiles = np.empty((*point.shape, sizes.quantiles))
        for a in range(0, rows, ROWS_AT_ONCE):
            some = slice(a, a + ROWS_AT_ONCE)
            point[some], quantiles[some] = self._decode(WindowBatch(*(column[some] for column in batch)), unit[some])
        return point, quantiles

    def _decode(self, batch: WindowBatch, unit: Floats) -> tuple[Floats, Floats]:
        normalised, level = normalise(batch.target, unit)
        x = normalised.astype(np.float32)
        correction = np.mean([self._correction(m, x, batch) for m in range(self.sizes.members)], axis=0)
        wide = spread(x)[..., None]  # (N, 1, K, 1)
        centre = correction.mean(axis=3, keepdims=True)
        normalised = self._linear(x, batch)[..., None] + centre + wide * (correction - centre)
        # Rearrangement: sorting crossed quantiles never makes them worse (Chernozhukov, Fernández-Val & Galichon 2010).
        normalised = np.sort(normalised.astype(np.float64), axis=3)
        scale = unit[:, None]
        point = self.transform.invert(level + scale * normalised.mean(axis=3))
        calibrated = np.sort(normalised + wide * self.offset[batch.series], axis=3)
        return point, self.transform.invert(level[..., None] + scale[..., None] * calibrated)

    def _linear(self, x: npt.NDArray[np.float32], batch: WindowBatch) -> npt.NDArray[np.floating]:
        """The linear path on normalised windows x (N, L, K): float32 (N, H, K)."""
        sizes, weights = self.sizes, self.engine.tables
        each = x.transpose(0, 2, 1) @ weights["maps.weight"].T  # (N, K, E·H)
        each = each.reshape(len(x), sizes.targets, sizes.maps, sizes.horizon)
        share = weights["mixture.weight"][batch.series].reshape(len(x), sizes.targets, 1, sizes.maps)
        return (share @ each)[:, :, 0].transpose(0, 2, 1)

    def _correction(self, member: int, x: npt.NDArray[np.float32], batch: WindowBatch) -> npt.NDArray[np.float32]:
        """What one network of the ensemble adds to it: float32 (N, H, K, Q)."""
        sizes, weights, rows = self.sizes, self.engine.tables, len(x)
        patches = np.concatenate([x, batch.past], axis=2).reshape(rows, sizes.behind, -1)
        session = self.engine.session(rows)
        session.run(np.concatenate([patches, batch.calendar_past], axis=2), stack=f"encode_{member}")

        ahead = weights[f"position_{member}.weight"] + weights[f"series_{member}.weight"][batch.series][:, None]
        if sizes.future_width:
            known = batch.future.reshape(rows, sizes.ahead, -1)
            static = np.broadcast_to(batch.static[:, None], (rows, sizes.ahead, sizes.static))
            known = np.concatenate([known, batch.calendar_future, static], axis=2)
            ahead = ahead + known @ weights[f"future_{member}.weight"].T
        fork = session.fork(np.repeat(np.arange(rows), sizes.ahead))
        correction = fork.step(ahead.reshape(rows * sizes.ahead, -1), stack=f"decode_{member}")

        shape = (rows, sizes.ahead * sizes.patch, sizes.targets, sizes.quantiles)
        correction = correction.reshape(shape)[:, : sizes.horizon]
        if sizes.future:
            effect = batch.future[:, : sizes.horizon] @ weights[f"effect_{member}.weight"].T
            correction = correction + effect[..., None]
        return correction


@dataclass(frozen=True, kw_only=True, eq=False)
class Forecast:
    """What is expected after the newest row of one series.

    Parameters
    ----------
    unique_id : name of the series
    cutoff : stamp of the newest row
    ds : stamps of the H rows ahead
    point : float64 (H, K)
    levels : the central bands, in per cent
    quantiles : (Q,) ascending
    values : float64 (H, K, Q)
    target_names : K names
    """

    unique_id: str
    cutoff: Any
    ds: npt.NDArray[Any]
    point: Floats
    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    values: Floats
    target_names: tuple[str, ...]

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """Lower and upper end of the central band that should hold `level` per cent of the truths, each (H, K).

        Raises
        ------
        SettingError : the model was not trained for that level
        """
        if level not in self.levels:
            raise SettingError(f"level: expected one of {self.levels}, for which the model was trained, got {level:g}")
        low, high = (self.values[..., self.quantiles.index(q)] for q in tails(level))
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; the columns are named as in a forecast frame."""
        columns = forecast_columns(self.point, self.values, self.quantiles, self.levels)
        plain: list[Any] = self.ds.tolist() if self.ds.dtype.kind == "i" else self.ds.astype(str).tolist()
        cutoff = int(self.cutoff) if self.ds.dtype.kind == "i" else str(self.cutoff)
        head: dict[str, Any] = {"unique_id": self.unique_id, "cutoff": cutoff, "ds": plain}
        if len(self.target_names) == 1:
            return head | {name: column[:, 0].tolist() for name, column in columns.items()}
        return head | {
            name: {target: column[:, k].tolist() for k, target in enumerate(self.target_names)}
            for name, column in columns.items()
        }


class ForecastStream:
    """A live stream of one series: a forecast at every row.

    It remembers the last L rows and nothing else; a forecast is the same call on them as in ``predict``.

    Parameters
    ----------
    decoder, learned, levels : of the trained model
    unique_id : name of the series
    context : rows to go on from, of which `rows` are this series'; none for a stream that starts cold
    unit : float64 (K,) of the series; None learns it from the rows as they come
    """

    def __init__(
        self,
        decoder: WindowDecoder,
        learned: Learned,
        levels: tuple[float, ...],
        *,
        unique_id: str,
        context: Panel,
        rows: slice,
        unit: Floats | None,
    ) -> None:
        self.decoder, self.learned, self.levels, self.unique_id = decoder, learned, levels, unique_id
        self.quantiles = quantiles_of(levels)
        self._schema, self._frequency = learned.table, learned.table.grid
        self._unit = unit
        sizes = decoder.sizes
        length = sizes.look_back
        # Twice the window: the rows move back once every L updates instead of at every one.
        self._target = np.full((2 * length, sizes.targets), np.nan)
        self._past = np.zeros((2 * length, sizes.past), np.float32)
        self._calendar = np.zeros((2 * length, sizes.calendar), np.float32)
        self._end = 0
        self._cutoff: Any = None
        self._series = learned.series_of([unique_id])
        here = [s for s, name in enumerate(context.ids) if name == unique_id]
        self._static = learned.static.apply(context.static[here] if here else np.full((1, sizes.static), np.nan))
        self._known_ahead: dict[Any, Floats] = {}
        if rows.stop > rows.start:
            self._append(context.ds[rows], context.target[rows], context.past[rows], context.future[rows])

    @property
    def cutoff(self) -> Any:
        """Stamp of the newest row; None before the first."""
        return self._cutoff

    def update(
        self, row: Mapping[str, object], *, future: Sequence[Mapping[str, object]] | None = None
    ) -> Forecast | None:
        """Take one row and forecast what follows it.

        Parameters
        ----------
        row : column -> value, with the time stamp; an absent or empty target is a missing value. A row that skips
            stamps leaves missing rows in between
        future : rows ahead with the covariates known ahead; those given before are remembered

        Returns
        -------
        Forecast; None while a stream that started cold has seen fewer rows than a patch

        Raises
        ------
        TimeError : the row is not later than the newest one, or off the grid
        ColumnError : a covariate known ahead is missing
        """
        for later in future or ():
            ahead = self._schema.read_row(later, self.unique_id)
            self._known_ahead[ahead.ds] = ahead.future
        self.push(row)
        return self.partial()

    def push(self, row: Mapping[str, object]) -> None:
        """Take one row, without a forecast."""
        new = self._schema.read_row(row, self.unique_id)
        skipped = 0
        if self._cutoff is not None:
            steps = int(self._frequency.steps(self._cutoff, new.ds))
            if steps < 1:
                what = "a second row for the newest stamp" if steps == 0 else "a late row"
                raise TimeError(
                    f"stream {self.unique_id!r}: expected a row after {self._cutoff}, got {what}, {new.ds}; "
                    "send rows once and in order"
                )
            skipped = min(steps, self.decoder.sizes.look_back + 1) - 1
        rows = skipped + 1
        target, past, future = (np.full((rows, len(part)), np.nan) for part in (new.target, new.past, new.future))
        target[-1], past[-1], future[-1] = new.target, new.past, new.future
        if np.isnan(new.future).any() and new.ds in self._known_ahead:
            future[-1] = self._known_ahead[new.ds]
        stamps = np.array([new.ds]) if not skipped else self._frequency.range(self._cutoff, skipped + 2)[1:]
        if skipped:
            stamps[-1] = new.ds
        self._append(stamps, target, past, future)
        self._known_ahead = {stamp: value for stamp, value in self._known_ahead.items() if stamp > new.ds}

    def partial(self) -> Forecast | None:
        """The forecast after the newest row; None while there are fewer rows than a patch."""
        sizes, end = self.decoder.sizes, self._end
        if end < sizes.patch:
            return None
        stamps = self._frequency.after(self._cutoff, sizes.horizon)
        behind = np.maximum(np.arange(end - sizes.look_back, end), 0)
        window = slice(end - sizes.look_back, end) if end >= sizes.look_back else behind
        target = self._target[window]
        unit = self._unit if self._unit is not None else unit_of(self._target[:end], self.learned.season)
        point, values = self.decoder(
            WindowBatch(
                target=target[None],
                past=self._past[window][None],
                future=self._future(stamps)[None],
                calendar_past=self._calendar[behind[:: sizes.patch]][None],
                calendar_future=calendar(stamps[:: sizes.patch], self.learned.cycles)[None],
                static=self._static,
                series=self._series,
            ),
            unit[None],
        )
        return Forecast(
            unique_id=self.unique_id,
            cutoff=self._cutoff,
            ds=stamps,
            point=point[0],
            levels=self.levels,
            quantiles=self.quantiles,
            values=values[0],
            target_names=self._schema.target_names,
        )

    def fork(self) -> ForecastStream:
        """An independent copy, to try out rows that may not come."""
        return copy.deepcopy(self, {id(self.decoder): self.decoder, id(self.learned): self.learned})

    def _future(self, stamps: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        sizes = self.decoder.sizes
        known = np.zeros((sizes.ahead * sizes.patch, sizes.future), np.float32)
        if sizes.future:
            missing = [stamp for stamp in stamps if stamp not in self._known_ahead]
            if missing:
                raise ColumnError(
                    f"stream {self.unique_id!r}: expected {', '.join(self._schema.future)} for the {sizes.horizon} "
                    f"rows after {self._cutoff}, got none for {missing[0]}; hand them over as update(row, future=rows)"
                )
            raw = np.stack([self._known_ahead[stamp] for stamp in stamps])
            known[: sizes.horizon] = self.learned.future.apply(raw)
        return known

    def _append(self, stamps: npt.NDArray[Any], target: Floats, past: Floats, future: Floats) -> None:
        length = self.decoder.sizes.look_back
        stamps, target, past, future = (part[-length:] for part in (stamps, target, past, future))
        count = len(stamps)
        if self._end + count > len(self._target):
            keep = slice(self._end - length, self._end)
            for buffer in (self._target, self._past, self._calendar):
                buffer[:length] = buffer[keep]
            self._end = length
        rows = slice(self._end, self._end + count)
        target = self.learned.transform.apply(target)
        covariates = [self.learned.past.apply(past), self.learned.future.apply(future)]
        if self.learned.flag_missing:
            covariates.append(np.isnan(target).astype(np.float32))
        before = self._target[rows.start - 1 : rows.start] if rows.start else np.full((1, target.shape[1]), np.nan)
        together = np.concatenate([before, target])
        self._target[rows] = carry_forward(together, np.array([0, len(together)]))[1:]
        self._past[rows] = np.concatenate(covariates, axis=1)
        self._calendar[rows] = calendar(stamps, self.learned.cycles)
        self._end = rows.stop
        self._cutoff = stamps[-1]


def tails(level: float) -> tuple[float, float]:
    """The two quantiles that bound the central band of `level` per cent."""
    return round((100 - level) / 200, 9), round((100 + level) / 200, 9)


def forecast_columns(
    point: Floats, values: Floats, quantiles: Sequence[float], levels: Sequence[float]
) -> dict[str, Floats]:
    """Forecasts (...) and quantiles (..., Q) as columns ``Carrousel``, ``Carrousel-lo-90``, ``Carrousel-hi-90``, ..."""
    columns = {"Carrousel": point}
    ordered = sorted(levels)
    for side, names in ((0, ordered[::-1]), (1, ordered)):
        for level in names:
            name = f"Carrousel-{('lo', 'hi')[side]}-{level:g}"
            columns[name] = values[..., quantiles.index(tails(level)[side])]
    return columns


def quantiles_of(levels: Sequence[float]) -> tuple[float, ...]:
    """The quantiles learned for central bands of so many per cent: theirs, and always the inner ones."""
    return tuple(sorted({q for level in levels for q in tails(level)} | set(INNER_QUANTILES)))
