"""Forecasting: from a table of series to a trained model that predicts, backtests, streams and saves itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel import load
from carrousel.artifact import Artifact, save
from carrousel.config import from_dict, to_dict
from carrousel.data.frame import frame_like
from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.engine import Dtype, check_dtype
from carrousel.errors import HistoryError, NotTrainedError, SettingError, require
from carrousel.stream import ForecastStream, forecast_columns
from carrousel.tasks.backtest import Backtest, mase_scales, rolling_origins, target_ids, truth
from carrousel.tasks.baseline import baselines as run_baselines
from carrousel.tasks.card import forecast_card
from carrousel.tasks.fitted import FittedForecaster, extend
from carrousel.tasks.plan import Split, append, split
from carrousel.tasks.setting import ForecastSettings

if TYPE_CHECKING:
    from carrousel.training import History, Report

Frame = Any
Index = npt.NDArray[np.int64]


class Forecaster:
    """Forecasts with intervals for one series or many, by an LSTM that corrects a linear forecast.

    Takes the fields of ``ForecastSettings`` by keyword.

    Examples
    --------
    >>> import numpy as np
    >>> ds = np.datetime64("2024-01-01", "h") + np.arange(600)
    >>> y = 10 + np.sin(np.arange(600) * 2 * np.pi / 24)
    >>> model = Forecaster(horizon=24, max_steps=20).fit({"ds": ds, "y": y})
    >>> sorted(model.predict())[:3]
    ['Carrousel', 'Carrousel-hi-50', 'Carrousel-hi-90']

    Raises
    ------
    SettingError : an unknown setting, or one outside its range
    """

    def __init__(self, **settings: Any) -> None:
        for name in ("target", "past", "future", "static"):
            if isinstance(settings.get(name), str):
                settings[name] = (settings[name],)
        for name in ("target", "past", "future", "static", "levels"):
            if isinstance(settings.get(name), list):
                settings[name] = tuple(settings[name])
        self.settings = from_dict(ForecastSettings, settings, where="Forecaster", error=SettingError)
        self.notes: list[str] = []
        self.histories: list[History] = []
        self._fitted: FittedForecaster | None = None

    @property
    def fitted(self) -> FittedForecaster:
        """The trained model.

        Raises
        ------
        NotTrainedError
        """
        if self._fitted is None:
            raise NotTrainedError("Forecaster: expected a trained model, got none yet; call fit, or carrousel.load")
        return self._fitted

    @property
    def schema(self) -> Schema:
        return self.fitted.schema

    @property
    def history(self) -> History | None:
        """Training curve of the first network; None for a model that was loaded."""
        return self.histories[0] if self.histories else None

    @property
    def num_parameters(self) -> int:
        return self.fitted.num_parameters

    @property
    def nbytes(self) -> int:
        """Bytes of the weights in memory."""
        return 4 * self.fitted.num_parameters

    @property
    def training_seconds(self) -> float:
        return self.fitted.learned.seconds

    def fit(
        self,
        frame: Frame,
        *,
        validation: float | Frame = 0.15,
        continue_: bool = False,
        run_dir: str | Path | None = None,
        resume: bool = False,
        log_dir: str | Path | None = None,
        progress: Callable[[Report], None] | None = None,
    ) -> Forecaster:
        """Train on a table.

        Parameters
        ----------
        frame : pandas, polars, pyarrow or a dict of columns; long (``unique_id, ds, y, covariates``) or wide (``ds``
            and a column a series)
        validation : the last share of each series, or a later table of the same series. It chooses the look-back, ends
            the training and calibrates the bands; nothing is trained on it
        continue_ : go on from the present weights with more rows, instead of starting anew
        run_dir : folder of checkpoints; with ``resume`` an interrupted fit goes on from there and ends with the same
            weights
        log_dir : folder of TensorBoard logs
        progress : called several times a second; None draws a bar on a terminal

        Raises
        ------
        DataError : a table that cannot be used; the message says which column or row
        HistoryError : too few rows
        """
        require("torch", extra="train", purpose="fit")
        notes: list[str] = []
        s = self.settings
        if continue_:
            schema = self.fitted.schema
            panel = self._continued(schema.read(frame, notes=notes))
        else:
            schema = Schema.infer(
                frame, target=s.target, past=s.past, future=s.future, static=s.static, id=s.id, time=s.time,
                frequency=s.frequency, joint=s.joint, notes=notes,
            )  # fmt: skip
            panel = schema.read(frame, notes=notes)
        later: float | Panel
        if isinstance(validation, (int, float)):
            if not 0 < validation < 1:
                raise SettingError(f"validation: expected a share above 0 and below 1, or a table, got {validation}")
            later = float(validation)
        else:
            later = schema.read(validation, notes=notes)
        parts = split(panel, s.horizon, later, schema.grid)
        return self._train(
            parts, schema, notes, start=self._fitted if continue_ else None, run_dir=_path(run_dir), resume=resume,
            log_dir=_path(log_dir), progress=progress,
        )  # fmt: skip

    def _train(self, parts: Split, schema: Schema, notes: list[str], **how: Any) -> Forecaster:
        from carrousel.tasks.fit import fit_forecaster  # the only way to torch

        self._fitted, self.histories = fit_forecaster(parts, schema, self.settings, notes, **how)
        self.notes = notes
        return self

    def _continued(self, more: Panel) -> Panel:
        """New rows behind those the model remembers, so that their first windows have a past."""
        fitted = self.fitted
        known = [s for s, name in enumerate(fitted.context.ids) if name in more.ids]
        if not known:
            raise HistoryError(
                f"fit: continue_=True expected rows of series it was trained on, such as {fitted.learned.ids[0]!r}, "
                f"got {', '.join(more.ids[:3])}; fit a new Forecaster for other series"
            )
        context = fitted.context.take([(s, 0, int(fitted.context.lengths[s])) for s in known])
        joined, before = append(context, more, fitted.frequency)
        if (joined.lengths == before).all():
            raise HistoryError("fit: continue_=True expected rows later than those trained on, got none")
        return joined

    def predict(self, frame: Frame | None = None, *, future: Frame | None = None) -> Frame:
        """Forecast the rows after a table's last ones.

        Parameters
        ----------
        frame : recent rows of any series, those of training or others; None goes on from the rows trained on, the last
            of which the model keeps
        future : rows ahead with the covariates known ahead; they may also stand at the end of `frame`, without targets

        Returns
        -------
        frame of the kind that came in; without one, a dict from column names to NumPy arrays, whatever kind the model
        was trained on. Its columns: id, stamp, ``Carrousel`` and its bands, H rows a series; jointly, a target takes
        the place of a series

        Raises
        ------
        ColumnError : covariates that are not known ahead
        """
        fitted = self.fitted
        notes: list[str] = []
        panel = fitted.context if frame is None else self.schema.read(frame, notes=notes)
        source = frame if future is None else future
        ahead = None
        if self.schema.future and source is not None:
            ahead = self.schema.read_future(source, panel, notes=notes)
        self.notes = notes
        series = np.arange(len(panel))
        origins = panel.lengths
        point, values = fitted.forecast(panel, series, origins, ahead=ahead)
        last = panel.ds[panel.starts[1:] - 1]
        stamps = np.stack([fitted.frequency.after(stamp, self.settings.horizon) for stamp in last])
        columns = self._columns(panel, series, stamps, point, values)
        return columns if source is None else frame_like(source, columns)

    def _columns(
        self, panel: Panel, series: Index, stamps: npt.NDArray[Any], point: npt.NDArray[np.float64],
        values: npt.NDArray[np.float64],
    ) -> dict[str, npt.NDArray[Any]]:  # fmt: skip
        rows, horizon, targets = point.shape
        ids = target_ids(panel, series, joint=self.schema.joint)
        shape = (rows, targets, horizon)
        columns: dict[str, npt.NDArray[Any]] = {
            self.schema.id or "unique_id": np.broadcast_to(ids[:, :, None], shape).reshape(-1),
            self.schema.time: np.broadcast_to(stamps[:, None], shape).reshape(-1),
        }
        named = forecast_columns(point, values, self.fitted.quantiles, self.settings.levels)
        return columns | {name: array.transpose(0, 2, 1).reshape(-1) for name, array in named.items()}

    def cross_validation(self, frame: Frame, *, windows: int = 1, step: int = 1, refit: bool = False) -> Frame:
        """Forecast from the last `windows` origins of every series, `step` rows apart, beside the truth.

        No forecast sees its truth: a model that was trained on rows after the first origin (or not at all) is trained
        anew on the rows before it, and with `refit` before every origin.

        Returns
        -------
        frame of the kind that came in: id, stamp, cutoff (the last stamp known), y, ``Carrousel`` and its bands
        """
        notes: list[str] = []
        if self._fitted is None:
            s = self.settings
            schema = Schema.infer(
                frame, target=s.target, past=s.past, future=s.future, static=s.static, id=s.id, time=s.time,
                frequency=s.frequency, joint=s.joint, notes=notes,
            )  # fmt: skip
        else:
            schema = self.schema
        panel = schema.read(frame, notes=notes)
        results: list[Backtest] = []
        model = self
        for back in range(windows - 1, -1, -1) if refit else [windows - 1]:
            series, origins = rolling_origins(
                panel.lengths, horizon=self.settings.horizon, windows=1 if refit else windows, step=step
            )
            origins = origins - back * step if refit else origins
            first = np.array([origins[series == s].min(initial=panel.lengths[s]) for s in range(len(panel))])
            if refit or not model.unseen(panel, first):
                history = panel.take([(s, 0, int(n)) for s, n in enumerate(first)])
                parts = split(history, self.settings.horizon, 0.15, schema.grid)
                model = Forecaster(**vars(self.settings))._train(parts, schema, notes)
            results.append(model.backtest_panel(panel, series, origins, baselines=False))
        self.notes = notes
        names = {"id_name": schema.id or "unique_id", "time_name": schema.time}
        tables = [result.frame(joint=schema.joint, **names) for result in results]
        return frame_like(frame, {name: np.concatenate([table[name] for table in tables]) for name in tables[0]})

    def unseen(self, panel: Panel, first: Index) -> bool:
        """Whether the model was trained, and on nothing from row `first` (S,) of each series onwards."""
        if self._fitted is None:
            return False
        context = self._fitted.context
        last = {name: context.ds[context.rows(s)][-1] for s, name in enumerate(context.ids)}
        return all(
            name not in last or n >= panel.lengths[s] or panel.ds[panel.rows(s)][int(n)] > last[name]
            for s, (name, n) in enumerate(zip(panel.ids, first, strict=True))
        )

    def backtest(
        self, frame: Frame, *, windows: int | None = None, step: int | None = None, baselines: bool = True
    ) -> Backtest:
        """Forecast from many past origins with the trained model, beside the baselines.

        Parameters
        ----------
        frame : rows that end with those to forecast; what comes before is the history
        windows, step : origins a series, and rows between them; by default every horizon back to the last row trained
            on, at most 200

        Returns
        -------
        Backtest; its notes say where origins lie in the part that the model was trained on
        """
        notes: list[str] = []
        panel = self.schema.read(frame, notes=notes)
        horizon = self.settings.horizon
        step = step or horizon
        if windows is None:
            windows = self._fresh_windows(panel, step)
        series, origins = rolling_origins(panel.lengths, horizon=horizon, windows=windows, step=step)
        result = self.backtest_panel(panel, series, origins, baselines=baselines)
        first = np.array([origins[series == s].min(initial=panel.lengths[s]) for s in range(len(panel))])
        if not self.unseen(panel, first):
            notes.append(
                "some of these rows were trained, validated or calibrated on: the scores flatter the model; "
                "give rows after the training data, or cross_validation"
            )
        return replace(result, notes=(*notes, *result.notes))

    def _fresh_windows(self, panel: Panel, step: int) -> int:
        """Origins a series that need no row trained on, 1 to 200."""
        context = self.fitted.context
        last = {name: context.ds[context.rows(s)][-1] for s, name in enumerate(context.ids)}
        fresh = [
            int((panel.ds[panel.rows(s)] > last[name]).sum()) if name in last else int(panel.lengths[s] // 2)
            for s, name in enumerate(panel.ids)
        ]
        return int(np.clip((max(fresh) - self.settings.horizon) // step + 1, 1, 200))

    def backtest_panel(self, panel: Panel, series: Index, origins: Index, *, baselines: bool) -> Backtest:
        """The backtest of given origins (first rows forecast, counted within their series)."""
        fitted, horizon = self.fitted, self.settings.horizon
        season = fitted.learned.season
        point, values = fitted.forecast(panel, series, origins)
        forecasts = {"Carrousel": point}
        notes: list[str] = []
        if baselines:
            others = run_baselines(
                panel.target, panel.starts, panel.starts[series] + origins, horizon=horizon, season=season
            )
            forecasts |= others.forecasts
            notes += others.notes
        stamps = extend(panel, None, horizon, fitted.frequency)
        rows = (stamps.starts[series] + origins)[:, None] + np.arange(-1, horizon)
        return Backtest(
            panel=panel,
            frequency=fitted.frequency,
            season=season,
            horizon=horizon,
            levels=self.settings.levels,
            series=series,
            origins=origins,
            ds=stamps.ds[rows[:, 1:]],
            cutoff=stamps.ds[rows[:, 0]],
            y=truth(panel, series, origins, horizon),
            forecasts=forecasts,
            quantiles=fitted.quantiles,
            quantile_forecasts=values,
            scale=mase_scales(panel, series, origins, season),
            notes=tuple(notes),
        )

    def stream(self, unique_id: str | None = None) -> ForecastStream:
        """A live stream of one series: a forecast at every new row, going on from the rows trained on.

        Parameters
        ----------
        unique_id : a series of the training data, or a new name, which starts cold; None where there is only one

        Raises
        ------
        SettingError : several series and no name
        """
        fitted = self.fitted
        ids = fitted.context.ids
        if unique_id is None and len(ids) > 1:
            raise SettingError(f"stream: expected one of {len(ids)} series, such as {ids[0]!r}, got no unique_id")
        name = next(iter(ids)) if unique_id is None else unique_id
        rows = fitted.context.rows(ids.index(name)) if name in ids else slice(0, 0)
        series = int(fitted.learned.series_of([name])[0])
        return ForecastStream(
            fitted.decoder,
            fitted.learned,
            self.settings.levels,
            unique_id=name,
            context=fitted.context,
            rows=rows,
            unit=fitted.unit[series - 1] if series else None,
        )

    def save(self, path: str | Path, *, overwrite: bool = False, backtest: Backtest | None = None) -> Path:
        """Write the model as a folder: config.json, model.safetensors, context.safetensors and a model card.

        Parameters
        ----------
        backtest : measured with this model; its table goes into the card

        Raises
        ------
        ArtifactError : the folder exists (and `overwrite` is False), is something else, or cannot be written
        """
        card = forecast_card(self.fitted, vars(self.settings), backtest)
        return save(Path(path), self.fitted.to_artifact(to_dict(self.settings), card), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Forecaster:
        """Read a saved model, as ``carrousel.load`` does."""
        return load(path)

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, dtype: Dtype = "float32") -> Forecaster:
        """The model of an artifact, its weights stored as ``dtype``.

        Raises
        ------
        ArtifactError : settings or statistics that do not fit
        """
        settings = from_dict(ForecastSettings, artifact.settings, where="config.json: settings")
        model = cls(**vars(settings))
        fitted = FittedForecaster.from_artifact(artifact, settings.levels)
        model._fitted = replace(fitted, dtype=check_dtype(dtype))
        model.notes = list(model._fitted.learned.notes)
        return model


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
