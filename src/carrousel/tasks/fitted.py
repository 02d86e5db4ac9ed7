"""A trained forecaster as arrays: what the artifact holds, and forecasts of any window of a panel, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.artifact import Artifact
from carrousel.config import from_dict, to_dict
from carrousel.data.frequency import Frequency
from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.engine import Engine
from carrousel.errors import ColumnError, ConfigError, SettingError, WeightsError
from carrousel.features.calendar import names
from carrousel.features.learned import Learned
from carrousel.features.patch import PatchSizes
from carrousel.features.window import carry_forward, cut, offsets, series_unit, spread
from carrousel.native import Dtype
from carrousel.stream import WindowDecoder, quantiles_of

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedForecaster:
    """A trained forecasting model over panels.

    Parameters
    ----------
    sizes : of the network
    levels : central bands, in per cent
    learned : statistics of the training part
    weights : of ``sizes.architecture()``
    offset : float64 (S + 1, H, K, Q) conformal offsets of the quantiles
    unit : float64 (S, K) of each series in ``learned.ids``
    context : the last rows of every series, from which ``predict`` and ``stream`` go on
    dtype : what the engine stores the weights as
    """

    sizes: PatchSizes
    levels: tuple[float, ...]
    learned: Learned
    weights: dict[str, npt.NDArray[np.float32]]
    offset: Floats
    unit: Floats
    context: Panel
    dtype: Dtype = "float32"

    @property
    def schema(self) -> Schema:
        return self.learned.table

    @cached_property
    def frequency(self) -> Frequency:
        return self.schema.grid

    @cached_property
    def quantiles(self) -> tuple[float, ...]:
        return quantiles_of(self.levels)

    @cached_property
    def engine(self) -> Engine:
        return Engine(self.sizes.architecture(), self.weights, dtype=self.dtype)

    @cached_property
    def decoder(self) -> WindowDecoder:
        return WindowDecoder(self.engine, self.sizes, self.learned, self.offset)

    def units(self, panel: Panel) -> Floats:
        """Unit of each series of a panel: learned, or its own where it was not there in training."""
        series = self.learned.series_of(panel.ids)
        own = series_unit(self.learned.transformed(panel), self.learned.season)
        return np.where(series[:, None] > 0, self.unit[np.maximum(series - 1, 0)], own)

    def forecast(
        self, panel: Panel, series: Index, origins: Index, *, ahead: Panel | None = None
    ) -> tuple[Floats, Floats]:
        """Forecast from any origins of a panel.

        Parameters
        ----------
        panel : history; what follows an origin is not looked at, but for covariates known ahead
        series : int64 (N,) index into the panel's ids
        origins : int64 (N,) first row to forecast, counted within its series; 1 to its length
        ahead : rows after the history with covariates known ahead; needed where an origin's horizon reaches past it

        Returns
        -------
        point (N, H, K), quantiles (N, H, K, Q), in the units of the panel

        Raises
        ------
        ColumnError : a covariate that must be known ahead is missing
        """
        extended = extend(panel, ahead, self.sizes.horizon, self.frequency)
        rows = extended.starts[series] + origins
        self._check_ahead(extended, rows)
        grid = self.learned.grid(extended)
        steps = offsets(self.sizes.look_back, self.sizes.horizon, self.sizes.patch)
        unit = self.units(panel)
        points, values = (
            [np.empty((0, self.sizes.horizon, self.sizes.targets))],
            [np.empty((0, *self.offset.shape[1:]))],
        )
        whole = bool((rows - self.sizes.look_back >= grid.first[rows]).all())
        for part in _blocks(np.arange(len(rows))):
            batch, _ = cut(grid, rows[part], steps, horizon=self.sizes.horizon, patch=self.sizes.patch, whole=whole)
            point, value = self.decoder(batch, unit[series[part]])
            points.append(point)
            values.append(value)
        return np.concatenate(points), np.concatenate(values)

    def spread(self, panel: Panel, series: Index, origins: Index) -> Floats:
        """Spread of the windows before some origins, (N, 1, K) in the network's unit; see ``forecast``."""
        filled = carry_forward(self.learned.transform.apply(panel.target), panel.starts)
        first = panel.starts[series][:, None]
        rows = np.maximum(first + origins[:, None] + np.arange(-self.sizes.look_back, 0), first)
        unit = self.units(panel)[series][:, None]
        pieces = zip(_blocks(rows), _blocks(unit), strict=True)
        return np.concatenate([one * spread(filled[at] / one) for at, one in pieces])

    def _check_ahead(self, panel: Panel, rows: Index) -> None:
        if not self.schema.future:
            return
        missing = np.atleast_1d(np.isnan(panel.future).any(axis=1))
        for row in rows:
            gap = np.flatnonzero(missing[row : row + self.sizes.horizon])
            if len(gap):
                at = row + gap[0]
                series = panel.ids[int(np.searchsorted(panel.starts, at, side="right")) - 1]
                column = panel.future_names[int(np.flatnonzero(np.isnan(panel.future[at]))[0])]
                raise ColumnError(
                    f"{column}: expected a value known ahead for {self.sizes.horizon} rows after each forecast's "
                    f"origin, got none for series {series!r} at {panel.ds[at]}; give the future rows of "
                    f"{', '.join(self.schema.future)}"
                )

    @property
    def num_parameters(self) -> int:
        return sum(array.size for array in self.weights.values())

    def to_artifact(self, settings: dict[str, Any], card: str) -> Artifact:
        """Everything that a folder on disk holds."""
        panel = self.context
        context: dict[str, npt.NDArray[Any]] = {
            "starts": panel.starts, "ds": panel.ds.astype(np.int64), "target": panel.target, "past": panel.past,
            "future": panel.future, "static": panel.static, "offset": self.offset, "unit": self.unit,
        }  # fmt: skip
        return Artifact(
            task="forecast",
            architecture=self.sizes.architecture(),
            weights=self.weights,
            settings=settings,
            statistics={"sizes": to_dict(self.sizes), "learned": to_dict(self.learned), "context_ids": list(panel.ids)},
            context=context,
            card=card,
        )

    @classmethod
    def from_artifact(cls, artifact: Artifact, levels: tuple[float, ...]) -> FittedForecaster:
        """The model that ``to_artifact`` wrote.

        Raises
        ------
        ConfigError : statistics that do not fit the architecture
        WeightsError : context arrays that are missing or misshapen
        """
        where = "config.json: statistics"
        missing = {"sizes", "learned", "context_ids"} ^ artifact.statistics.keys()
        if missing:
            raise ConfigError(
                f"{where}: expected sizes, learned and context_ids, got {sorted(artifact.statistics)}; "
                "save the model again"
            )
        sizes = from_dict(PatchSizes, artifact.statistics["sizes"], where=f"{where}.sizes")
        learned = from_dict(Learned, artifact.statistics["learned"], where=f"{where}.learned")
        try:
            schema = Schema.from_dict(learned.schema)
        except SettingError as error:
            raise ConfigError(f"{where}.learned.schema: {error}") from error
        if artifact.architecture != sizes.architecture():
            raise ConfigError(f"{where}.sizes: does not describe the layers in `architecture`; save the model again")
        expected = {
            "targets": len(schema.target_names),
            "past": _past_width(schema, learned), "future": len(schema.future_names),
            "calendar": len(names(learned.cycles)), "static": len(schema.static_names), "series": len(learned.ids),
            "quantiles": len(quantiles_of(levels)),
        }  # fmt: skip
        for name, value in expected.items():
            if getattr(sizes, name) != value:
                raise ConfigError(f"{where}.sizes.{name}: expected {value}, got {getattr(sizes, name)}; save it again")
        ids = from_dict(_ContextIds, {"ids": artifact.statistics["context_ids"]}, where=f"{where}.context_ids").ids
        arrays = _checked_context(dict(artifact.context or {}), ids, schema, sizes)
        ds = arrays["ds"] if schema.grid.integer else arrays["ds"].astype("datetime64[s]")
        context = Panel(
            ids=ids,
            ds=ds,
            target_names=schema.target_names,
            past_names=schema.past_names,
            future_names=schema.future_names,
            static_names=schema.static_names,
            **{name: arrays[name] for name in ("starts", "target", "past", "future", "static")},
        )
        return cls(
            sizes=sizes,
            levels=levels,
            learned=learned,
            weights=dict(artifact.weights),
            offset=arrays["offset"],
            unit=arrays["unit"],
            context=context,
        )


@dataclass(frozen=True)
class _ContextIds:
    ids: tuple[str, ...]


def _past_width(schema: Schema, learned: Learned) -> int:
    flags = len(schema.target_names) if learned.flag_missing else 0
    return len(schema.past_names) + len(schema.future_names) + flags


def _checked_context(
    arrays: dict[str, npt.NDArray[Any]], ids: tuple[str, ...], schema: Schema, sizes: PatchSizes
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of context.safetensors, each of the shape and dtype that the model implies."""
    rows = len(arrays["ds"]) if "ds" in arrays else 0
    k = sizes.targets
    expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "starts": ((len(ids) + 1,), np.int64),
        "ds": ((rows,), np.int64),
        "target": ((rows, k), np.float64),
        "past": ((rows, len(schema.past_names)), np.float64),
        "future": ((rows, sizes.future), np.float64),
        "static": ((len(ids), sizes.static), np.float64),
        "offset": ((sizes.series + 1, sizes.horizon, k, sizes.quantiles), np.float64),
        "unit": ((sizes.series, k), np.float64),
    }
    if arrays.keys() != expected.keys():
        raise WeightsError(
            f"context.safetensors: expected the arrays {', '.join(sorted(expected))}, got {', '.join(sorted(arrays))}; "
            "save the model again"
        )
    for name, (shape, dtype) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise WeightsError(
                f"context.safetensors: {name}: expected {np.dtype(dtype)} {shape}, got {arrays[name].dtype} "
                f"{arrays[name].shape}; save the model again"
            )
    starts = arrays["starts"]
    if starts[0] != 0 or starts[-1] != rows or (np.diff(starts) < 0).any():
        raise WeightsError(f"context.safetensors: starts: expected to rise from 0 to {rows}, got others; save it again")
    for name in ("offset", "unit"):
        if not np.isfinite(arrays[name]).all() or (name == "unit" and (arrays[name] <= 0).any()):
            raise WeightsError(f"context.safetensors: {name}: expected finite values, got others; save the model again")
    return arrays


def _blocks(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Pieces of at most some thousand windows, so that memory stays bounded."""
    return np.array_split(array, len(array) // 4096 + 1)


def extend(panel: Panel, ahead: Panel | None, horizon: int, frequency: Frequency) -> Panel:
    """A panel with `horizon` rows more for each series: targets missing, future covariates from `ahead`, by stamp."""
    columns: dict[str, list[Any]] = {name: [] for name in ("ds", "target", "past", "future")}
    counts: list[int] = []
    found = {name: s for s, name in enumerate(ahead.ids)} if ahead is not None else {}
    for s, name in enumerate(panel.ids):
        rows = panel.rows(s)
        stamps = frequency.after(panel.ds[rows][-1], horizon)
        future = np.full((horizon, panel.future.shape[1]), np.nan)
        if ahead is not None and name in found:
            later = ahead.rows(found[name])
            _, here, there = np.intersect1d(stamps, ahead.ds[later], return_indices=True)
            future[here] = ahead.future[later][there]
        columns["ds"] += [panel.ds[rows], stamps]
        columns["target"] += [panel.target[rows], np.full((horizon, panel.target.shape[1]), np.nan)]
        columns["past"] += [panel.past[rows], np.full((horizon, panel.past.shape[1]), np.nan)]
        columns["future"] += [panel.future[rows], future]
        counts.append(rows.stop - rows.start + horizon)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(panel, starts=starts, **{name: np.concatenate(parts) for name, parts in columns.items()})
