"""What a detector learns from a table before it watches it: the columns, the usual interval, the cycle, the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from carrousel.artifact import Artifact
from carrousel.data.frame import Frame
from carrousel.data.schema import Schema
from carrousel.errors import HistoryError, SettingError, TimeError, require
from carrousel.online.covariate import Scaling, scaling_of
from carrousel.online.watch import Watch
from carrousel.tasks.detect_cycle import cycle_of
from carrousel.tasks.detect_irregular import ends_of_rows, find_columns, median_interval_s, replay_rows, rows_in_order
from carrousel.tasks.detect_replay import MOST_OFTEN, Arrays, Floats, interval_of, replay
from carrousel.tasks.detect_saved import shipped
from carrousel.tasks.detect_setting import IRREGULAR, DetectSettings

if TYPE_CHECKING:
    from carrousel.training import History, Report

LEAST_ROWS = 200  # of the longest series, to fit
SLOW = "1/200 rows"  # accepted by default where rows come so seldom that one a week were more than can come


@dataclass(frozen=True, eq=False)
class Study:
    """What was learnt.

    Parameters
    ----------
    settings : as they were told; with the accepted rate where the default does not suit, and with frequency "none" with
        the columns that were found
    schema : the columns; None with frequency "none"
    variables : that are watched, (K,)
    ends : the last stamp of each series, by name
    replay : from fresh watches, as many as asked for, to the states of the streams after the table, by name, and the
        rarities of the onsets in the second half of each series
    artifact : the network, adapted or as it comes
    scaling : of the covariates; None without any
    interval_s : seconds from row to row; 0 for stamps that are integers
    cycle : rows of the cycle; 0 for none
    history : of the training; None where there was none
    notes : what was inferred and mended
    """

    settings: DetectSettings
    schema: Schema | None
    variables: tuple[str, ...]
    ends: dict[str, Any]
    replay: Callable[[Callable[[int], Watch]], tuple[dict[str, Arrays], list[Floats]]]
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
    if s.frequency == IRREGULAR:
        return _study_irregular(s, frame, notes)
    if s.past and not s.minutes:
        raise SettingError(
            "past: expected minutes above 0 with it, since the network that Carrousel comes with reads no "
            f"covariates, got minutes=0 and {', '.join(s.past)}"
        )
    try:
        schema = Schema.infer(
            frame, target=s.target, past=s.past, id=s.id, time=s.time, frequency=s.frequency, joint=s.joint, notes=notes
        )
        panel = schema.read(frame, notes=notes)
    except TimeError as error:
        if not any(word in str(error) for word in ("grid", "whole seconds")):
            raise
        raise TimeError(f"{error}; or judge rows as they come: frequency='{IRREGULAR}'") from error
    _require_rows(int(panel.lengths.max()))
    interval_s = interval_of(panel)
    s, said = check_promise(s, dated=not schema.grid.integer, interval_s=interval_s)
    notes += said
    artifact, scaling, history = shipped(), None, None
    if s.minutes > 0:
        require("torch", extra="train", purpose="fit a detector's network (minutes=0 needs none)")
        from carrousel.tasks.detect_fit import adapt  # the only way to torch

        scaling = scaling_of(panel.past, notes=notes, names=panel.past_names) if panel.past_names else None
        artifact, history = adapt(artifact, panel, scaling=scaling, minutes=s.minutes, seed=s.seed, progress=progress)
        notes.append(history_note(history))
    cycle, said = cycle_of(panel, schema.grid, s.season)
    notes.append(said)
    return Study(
        settings=s,
        schema=schema,
        variables=panel.target_names,
        ends={name: panel.ds[panel.rows(s)][-1] for s, name in enumerate(panel.ids)},
        replay=lambda make: replay(make, panel),
        artifact=artifact,
        scaling=scaling,
        interval_s=interval_s,
        cycle=cycle,
        history=history,
        notes=notes,
    )


def _study_irregular(settings: DetectSettings, frame: Frame, notes: list[str]) -> Study:
    s = find_columns(settings, frame, notes)
    rows = rows_in_order(s, frame, notes)
    _require_rows(int(np.bincount(rows.codes).max()))
    interval_s = median_interval_s(rows)
    notes.append(
        f"frequency: none, as told; a row comes every {interval_s:.3g} s in the median. The network that Carrousel "
        "comes with is kept, since examples to adapt it need regular rows"
    )
    s, said = check_promise(s, dated=True, interval_s=interval_s)
    notes += said
    return Study(
        settings=s,
        schema=None,
        variables=s.target or (),
        ends=ends_of_rows(rows),
        replay=lambda make: replay_rows(make, rows),
        artifact=shipped(),
        scaling=None,
        interval_s=interval_s,
        cycle=s.season or 0,
        history=None,
        notes=notes,
    )


def _require_rows(longest: int) -> None:
    if longest < LEAST_ROWS:
        raise HistoryError(
            f"fit: expected at least {LEAST_ROWS} rows of one series, got {longest}; bring more rows, or use "
            "Detector.online, which needs none"
        )


def check_promise(settings: DetectSettings, *, dated: bool, interval_s: float) -> tuple[DetectSettings, list[str]]:
    """Refuse what rows at this interval cannot have, and take another default where one a week is often for them.

    Returns
    -------
    the settings; a sentence where alarms will come otherwise than accepted, or than by default

    Raises
    ------
    SettingError : a rate by the clock for rows that have none, or of at least one false alarm a row
    """
    per_row = settings.promise(dated=dated).per_row(interval_s)
    if per_row <= MOST_OFTEN or settings.beyond is not None:
        return settings, []
    if settings.false_alarms is None:
        note = f"false_alarms: {SLOW} are accepted, since one a week, {per_row:.3g} a row, is more than can come"
        return replace(settings, false_alarms=SLOW), [note]
    if per_row >= 1:
        raise SettingError(
            f"false_alarms: expected fewer than rows, got {settings.false_alarms!r}, which is {per_row:.3g} for each "
            "row" + (f" at one row in {interval_s:g} s" if interval_s else "")
        )
    return settings, [
        f"false_alarms: {settings.false_alarms} is one in {1 / per_row:.3g} rows; fewer will come, since an alarm must "
        f"be above the {1 / MOST_OFTEN:.0f} rows before it"
    ]


def history_note(history: Any) -> str:
    """What the training of the network came to."""
    if history is None or history.best_step == 0:
        return "the network that Carrousel comes with was better on the last part of the table, so it is kept"
    return f"the network was adapted to the table in {history.best_step} steps"
