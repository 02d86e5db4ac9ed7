"""What a detector learns from a table before it watches it: the columns, the usual interval, the cycle, the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrousel.artifact import Artifact
from carrousel.data.frame import Frame
from carrousel.data.panel import Panel
from carrousel.data.schema import Schema
from carrousel.errors import HistoryError, SettingError, require
from carrousel.online.covariate import Scaling, scaling_of
from carrousel.tasks.detect_cycle import cycle_of
from carrousel.tasks.detect_replay import interval_of
from carrousel.tasks.detect_saved import shipped
from carrousel.tasks.detect_setting import DetectSettings

if TYPE_CHECKING:
    from carrousel.training import History, Report

LEAST_ROWS = 200  # of the longest series, to fit
MOST_OFTEN = 0.01  # alarms a row that one stream can have: each is above the hundred rows before it


@dataclass(frozen=True, eq=False)
class Study:
    """What was learnt.

    Parameters
    ----------
    panel, schema : the table and its columns
    artifact : the network, adapted or as it comes
    scaling : of the covariates; None without any
    interval_s : seconds from row to row; 0 for stamps that are integers
    cycle : rows of the cycle; 0 for none
    history : of the training; None where there was none
    notes : what was inferred and mended
    """

    panel: Panel
    schema: Schema
    artifact: Artifact
    scaling: Scaling | None
    interval_s: float
    cycle: int
    history: History | None
    notes: list[str]


def study(settings: DetectSettings, frame: Frame, progress: Callable[[Report], None] | None) -> Study:
    """Learn from a table of what is usual.

    Raises
    ------
    SettingError : a setting that this table cannot meet
    DataError : a table that cannot be used; the message says which column or row
    HistoryError : too few rows
    MissingExtraError : minutes is above 0 and PyTorch is not installed
    """
    notes: list[str] = []
    s = settings
    if s.past and not s.minutes:
        raise SettingError(
            "past: expected minutes above 0 with it, since the network that Carrousel comes with reads no "
            f"covariates, got minutes=0 and {', '.join(s.past)}"
        )
    schema = Schema.infer(
        frame, target=s.target, past=s.past, id=s.id, time=s.time, frequency=s.frequency, joint=s.joint, notes=notes
    )
    panel = schema.read(frame, notes=notes)
    longest = int(panel.lengths.max())
    if longest < LEAST_ROWS:
        raise HistoryError(
            f"fit: expected at least {LEAST_ROWS} rows of one series, got {longest}; bring more rows, or use "
            "Detector.online, which needs none"
        )
    interval_s = interval_of(panel)
    seldom = check_promise(s, dated=not schema.grid.integer, interval_s=interval_s)
    notes += seldom if s.beyond is None else []
    artifact, scaling, history = shipped(), None, None
    if s.minutes > 0:
        require("torch", extra="train", purpose="fit a detector's network (minutes=0 needs none)")
        from carrousel.tasks.detect_fit import adapt  # the only way to torch

        scaling = scaling_of(panel.past, notes=notes, names=panel.past_names) if panel.past_names else None
        artifact, history = adapt(artifact, panel, scaling=scaling, minutes=s.minutes, seed=s.seed, progress=progress)
        notes.append(history_note(history))
    cycle, said = cycle_of(panel, schema.grid, s.season)
    notes.append(said)
    return Study(panel, schema, artifact, scaling, interval_s, cycle, history, notes)


def check_promise(settings: DetectSettings, *, dated: bool, interval_s: float) -> list[str]:
    """Refuse what rows at this interval cannot have; a sentence where alarms will come more seldom than accepted.

    Raises
    ------
    SettingError : a rate by the clock for rows that have none, or of at least one false alarm a row
    """
    per_row = settings.promise(dated=dated).per_row(interval_s)
    if per_row >= 1:
        raise SettingError(
            f"false_alarms: expected fewer than rows, got {settings.false_alarms!r}, which is {per_row:.3g} for each "
            "row" + (f" at one row in {interval_s:g} s" if interval_s else "")
        )
    if per_row <= MOST_OFTEN:
        return []
    return [
        f"false_alarms: {settings.false_alarms} is one in {1 / per_row:.3g} rows; fewer will come, since an alarm must "
        f"be above the {1 / MOST_OFTEN:.0f} rows before it"
    ]


def history_note(history: Any) -> str:
    """What the training of the network came to."""
    if history is None or history.best_step == 0:
        return "the network that Carrousel comes with was better on the last part of the table, so it is kept"
    return f"the network was adapted to the table in {history.best_step} steps"
