"""Anomaly detection: from a table, or from nothing, to a detector that watches streams and says what is not usual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrousel.artifact import Artifact, save
from carrousel.config import from_dict, to_dict
from carrousel.data.schema import Schema
from carrousel.digest import sha256
from carrousel.engine import Dtype, Engine, check_dtype
from carrousel.errors import ConfigError, NotTrainedError, SettingError
from carrousel.online.covariate import Scaling
from carrousel.online.watch import Watch
from carrousel.stream import DetectStream, Incident, Rules, Streams
from carrousel.stream.store import load_streams
from carrousel.tasks.detect_evaluate import Evaluation, evaluate
from carrousel.tasks.detect_replay import correction
from carrousel.tasks.detect_saved import Arrays, Statistics, ends_of, saved_form, shipped, states_of
from carrousel.tasks.detect_setting import DetectSettings, Promise
from carrousel.tasks.detect_study import study
from carrousel.tasks.detect_table import Judged, judge

if TYPE_CHECKING:
    from carrousel.training import History, Report

Frame = Any


class Detector:
    """Watches streams of one or several variables: scores, p-values, alarms, and what is expected.

    Takes the fields of ``DetectSettings`` by keyword. ``fit`` adapts it to a table; ``online`` starts without one.

    Examples
    --------
    >>> import numpy as np
    >>> ds = np.datetime64("2024-01-01", "h") + np.arange(600)
    >>> y = 10 + np.sin(np.arange(600) * 2 * np.pi / 24)
    >>> detector = Detector(minutes=0).fit({"ds": ds, "y": y})
    >>> readings = detector.watch().step(np.array([[10.0]]), np.array([0.0]))
    >>> bool(readings.warming[0])
    True

    Raises
    ------
    SettingError : an unknown setting, or one outside its range
    """

    def __init__(self, **settings: Any) -> None:
        for name in ("target", "past"):
            if isinstance(settings.get(name), (str, list)):
                columns = settings[name]
                settings[name] = (columns,) if isinstance(columns, str) else tuple(columns)
        self.settings = from_dict(DetectSettings, settings, where="Detector", error=SettingError)
        self.notes: list[str] = []
        self.history: History | None = None
        self.schema: Schema | None = None
        self.factor = 1.0
        self.interval_s = 0.0
        self.cycle = 0
        self.scaling: Scaling | None = None
        self._variables: tuple[str, ...] = ()
        self._artifact: Artifact | None = None
        self._engine: Engine | None = None
        self._states: dict[str, Arrays] = {}
        self.ends: dict[str, Any] = {}

    @classmethod
    def online(cls, variables: str | Sequence[str] = ("y",), **settings: Any) -> Detector:
        """A detector without any training: its streams start cold, say that they are warming up, and learn as they go.

        The network is the one that Carrousel comes with; all else adapts to the stream.

        Parameters
        ----------
        variables : names of what is watched
        settings : as for the constructor, but for target, past and frequency. ``false_alarms`` is by default one a
            week, or one in 2,000 rows where the first row has no date; ``season`` counts rows; ``id`` and ``time`` are
            by default ``unique_id`` and the first column with a usual name, such as ``ds``

        Raises
        ------
        SettingError : as the constructor, and for a setting that needs a table
        """
        detector = cls(**settings)
        if detector.settings.past:
            raise SettingError(
                "past: expected none without a table, since the network that Carrousel comes with reads no covariates, "
                f"got {', '.join(detector.settings.past)}; use Detector(past=...).fit(table)"
            )
        for name, instead in (("target", "name the variables in the first argument"), ("frequency", "leave it out")):
            if (value := getattr(detector.settings, name)) is not None:
                raise SettingError(f"{name}: expected none without a table, got {value!r}; {instead}")
        names = (variables,) if isinstance(variables, str) else tuple(variables)
        if not names or len(set(names)) < len(names):
            raise SettingError(f"variables: expected different names, at least one, got {variables!r}")
        detector._variables, detector.cycle = names, detector.settings.season or 0
        detector._use(shipped())
        return detector

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the K variables of a stream.

        Raises
        ------
        NotTrainedError
        """
        self._ready()
        return self._variables

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the P columns that are read but not watched, categories as ``name=category``."""
        return () if self.schema is None else self.schema.past_names

    @property
    def engine(self) -> Engine:
        """Of the forecasting network."""
        return self._ready()

    @property
    def num_parameters(self) -> int:
        self._ready()
        assert self._artifact is not None
        return sum(array.size for array in self._artifact.weights.values())

    @property
    def dated(self) -> bool:
        """Whether time stamps are dates rather than integers."""
        return self.schema is None or not self.schema.grid.integer

    @property
    def _by_clock(self) -> bool:
        """Whether the cycle is told by time rather than by rows: months and working days are not of one length."""
        if self.schema is None:
            return not self.cycle
        return self.schema.grid.unit in ("s", "min", "h", "D", "W")

    @property
    def promise(self) -> Promise:
        return self.settings.promise(dated=self.dated)

    @property
    def promised(self) -> float:
        """False alarms a row that are promised; NaN where that depends on an interval not known before the stream."""
        promise = self.promise
        return promise.per_row(self.interval_s) if self.interval_s or not promise.per_second else float("nan")

    def _ready(self) -> Engine:
        if self._engine is None:
            raise NotTrainedError(
                "Detector: expected a trained one, got none yet; call fit, carrousel.load, or use Detector.online"
            )
        return self._engine

    def _use(self, artifact: Artifact) -> None:
        self._artifact, self._engine = artifact, Engine(artifact.architecture, artifact.weights)

    def fit(self, frame: Frame, *, progress: Callable[[Report], None] | None = None) -> Detector:
        """Adapt to a table of what is usual; it may hold a few anomalies, none need be marked.

        Parameters
        ----------
        frame : pandas, polars, pyarrow or a dict of columns; long (``unique_id, ds, y``) or wide (``ds`` and a column a
            variable). Series that are in it are watched further from its last row
        progress : called several times a second while the network is trained; None draws a bar on a terminal

        Raises
        ------
        DataError : a table that cannot be used; the message says which column or row
        HistoryError : too few rows
        MissingExtraError : minutes is above 0 and PyTorch is not installed
        """
        found = study(self.settings, frame, progress)
        s, notes = found.settings, found.notes
        self.settings, self.schema, self._variables, self.factor = s, found.schema, found.variables, 1.0
        self.interval_s, self.cycle, self.scaling = found.interval_s, found.cycle, found.scaling
        self.history = found.history
        self._use(found.artifact)
        self._states, rarity = found.replay(self.watch)
        self.ends = found.ends
        self.factor, counted = correction(rarity, self.promised, seed=s.seed)
        notes.append(counted if s.beyond is None else f"alarms come {s.rule}, not at a rate")
        self.notes = notes
        return self

    def watch(self, batch: int = 1, *, ids: Sequence[str] | None = None, dated: bool | None = None) -> Watch:
        """Streams to feed row by row, many at once.

        Parameters
        ----------
        batch : N, how many; left out with `ids`
        ids : names of the streams. Those that the detector was fitted on go on from the last row of the table; the
            others, and all without names, start cold
        dated : whether rows have dates; by default as in the table, and true without one

        Raises
        ------
        NotTrainedError
        SettingError : a promise by the clock for rows without dates
        """
        engine, promise = self._ready(), self.settings.promise(dated=self.dated if dated is None else dated)
        count = batch if ids is None else len(ids)
        watch = Watch(
            engine,
            count,
            len(self._variables),
            rate=promise.rate,
            per_second=promise.per_second,
            factor=self.factor,
            scaling=self.scaling,
            period=self.cycle * (self.interval_s if self._by_clock else 1.0),
            clock=self._by_clock,
            beyond=self.settings.beyond,
        )
        if ids is not None:
            arrays = watch.state
            for place, name in enumerate(ids):
                for key, value in self._states.get(name, {}).items():
                    arrays[key][place] = value
        return watch

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the state of a stream depends on, in hexadecimal: states of two detectors do not mix."""
        self._ready()
        assert self._artifact is not None
        known = None if self.scaling is None else [part.tolist() for part in self.scaling]
        said = repr(
            (to_dict(self.settings), self._variables, self.factor, self.interval_s, self.cycle, known, Watch.release)
        )
        parts = [said.encode(), *(self._artifact.weights[name].tobytes() for name in sorted(self._artifact.weights))]
        return sha256(b"".join(parts))

    def stream(
        self, unique_id: str | None = None, *, state: str | Path | None = None, rules: Rules | None = None
    ) -> DetectStream:
        """A live stream of one series: an event at every row.

        Parameters
        ----------
        unique_id : a series that the detector was fitted on, whose stream goes on after that table, or a new name,
            which starts cold; None where there is only one
        state : a file that the stream was saved to; it goes on from there with the same bits
        rules : what to do with late rows, gaps and silence

        Raises
        ------
        NotTrainedError
        SettingError : several series and no name, or one that the file does not hold
        ArtifactError : the file is no state of this detector
        """
        if state is None:
            return DetectStream(self, unique_id, rules=rules)
        streams = load_streams(state, self, rules=rules)
        if unique_id is None and len(streams) > 1:
            raise SettingError(
                f"stream: expected one of the {len(streams)} series in {state}, such as {streams.ids[0]!r}, got no name"
            )
        return streams.one(streams.ids[0] if unique_id is None else unique_id)

    def streams(
        self, ids: Sequence[str] = (), *, state: str | Path | None = None, rules: Rules | None = None
    ) -> Streams:
        """Live streams of many series, fed with a table of one row of each.

        Parameters
        ----------
        ids : their names; those of the file where there is one
        state, rules : as for ``stream``

        Raises
        ------
        NotTrainedError
        SettingError : no names, or two that are equal
        ArtifactError : the file is no state of this detector
        """
        return Streams(self, ids, rules=rules) if state is None else load_streams(state, self, rules=rules)

    def judge(self, frame: Frame) -> Judged:
        """Judge every row of a table as a stream would have: everything that is known of them, as arrays.

        Raises
        ------
        NotTrainedError
        DataError : a table that cannot be used
        """
        return judge(self, frame)

    def predict(self, frame: Frame) -> Frame:
        """The events of a table, the same as if its rows came one by one.

        Parameters
        ----------
        frame : pandas, polars, pyarrow or a dict of columns; rows in any order. A series that the detector was fitted
            on goes on after that table if all its rows here are later; any other starts cold

        Returns
        -------
        frame of the kind that came in, by series and time: id, stamp, kind, score, p_value, warming, alarm, incident,
        ended, and by variable expected, lower, upper, residual; level, slope and season with their intervals; change,
        drift, stuck

        Raises
        ------
        NotTrainedError
        DataError : a table that cannot be used
        """
        return self.judge(frame).frame(frame)

    def events(self, frame: Frame) -> tuple[Incident, ...]:
        """The incidents of a table: start, end, highest score, and which variables and members caused them.

        Raises
        ------
        NotTrainedError
        DataError : a table that cannot be used
        """
        return self.judge(frame).incidents

    def evaluate(self, frame: Frame, labels: Frame | str | None = None, *, train: Frame | None = None) -> Evaluation:
        """Judge a table and compare the incidents with labels, beside naive detectors; see ``tasks.detect_evaluate``.

        Parameters
        ----------
        frame : the rows to judge
        labels : a table with ``start`` and ``end`` and, of several series, their id column; or with the time column of
            what is labelled, or of all rows beside one of 0 and 1; or the name of such a column of `frame`. Without
            labels every incident counts as false: does the promise hold on rows that are usual?
        train : the rows before, on which the naive detectors set their thresholds; without them they do so on the first
            15 % of each series, at most 750 rows, which then count for nobody

        Raises
        ------
        NotTrainedError
        DataError : a table or labels that cannot be used
        """
        return evaluate(self, frame, labels, train=train)

    def save(self, path: str | Path, *, overwrite: bool = False, card: str = "") -> Path:
        """Write the detector to a folder; ``carrousel.load`` reads it.

        Raises
        ------
        NotTrainedError, ArtifactError : see ``carrousel.artifact.save``
        """
        self._ready()
        assert self._artifact is not None
        statistics, context = saved_form(self, self._states)
        return save(
            path,
            replace(
                self._artifact,
                settings=to_dict(self.settings),
                statistics=statistics,
                context=context,
                card=card,
                model_class="CarrouselDetector",
            ),
            overwrite=overwrite,
        )

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, dtype: Dtype = "float32") -> Detector:
        """A detector out of its saved form.

        Raises
        ------
        SettingError : another dtype than float32
        ConfigError, WeightsError : settings, statistics or states that do not fit each other
        """
        if check_dtype(dtype) != "float32":
            raise SettingError(
                f"dtype: expected 'float32' for a detector, whose states are continued by the same bits, got {dtype!r}"
            )
        detector = cls.__new__(cls)
        cls.__init__(detector)
        detector.settings = from_dict(DetectSettings, artifact.settings, where="settings")
        known = from_dict(Statistics, artifact.statistics, where="statistics")
        detector.schema = None if known.schema is None else Schema.from_dict(known.schema)
        detector._variables, detector.factor = known.variables, known.factor
        detector.interval_s, detector.cycle, detector.scaling = known.interval_s, known.cycle, known.scaling
        detector.notes = list(known.notes)
        if detector.covariates != known.covariates:
            raise ConfigError(
                f"statistics: expected the covariates of the schema, {', '.join(detector.covariates) or 'none'}, got "
                f"{', '.join(known.covariates) or 'none'}; save the detector again"
            )
        detector._use(artifact)
        detector._states = states_of(artifact.context or {}, known.ids, detector.watch(1).state)
        detector.ends = ends_of(known)
        return detector
