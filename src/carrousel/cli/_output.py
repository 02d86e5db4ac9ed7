"""What the commands print: results on stdout, progress and remarks on stderr."""

from __future__ import annotations

import csv
import logging
import math
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console

    from carrousel.metrics import ScoreTable

# The scores worth a column on a terminal, best known ones first; the report and --json have all of them.
SCORES = {"mae": "MAE", "rmse": "RMSE", "mase": "MASE", "smape": "sMAPE %", "crps": "CRPS"}
WIDTH = 1000  # columns of text where there is no terminal to ask: lines are not to be broken
ROWS = 48  # of a table on the terminal


def remark(sentence: str) -> None:
    """One line on stderr."""
    console(stderr=True).print(sentence, style="dim", markup=False, highlight=False, soft_wrap=True)


class _Notes(logging.Handler):
    """Every sentence once: reading a table again says the same again."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())

    def show(self, sentence: str) -> None:
        if sentence not in self._seen:
            self._seen.add(sentence)
            remark(f"note: {sentence}")


@cache
def _notes() -> _Notes:
    notes, logger = _Notes(), logging.getLogger("carrousel")
    logger.setLevel(logging.INFO)
    logger.addHandler(notes)
    return notes


def show_notes(sentences: Iterable[str] = ()) -> None:
    """Print what was inferred and mended, and from here on whatever else is, as soon as it is known."""
    for sentence in sentences:
        _notes().show(sentence)
    _notes()


def print_scores(scores: ScoreTable) -> None:
    """Every model's errors on the windows that all of them forecast, the best of each column in bold."""
    names = [name for name in SCORES if any(name in row for row in scores.rows.values())]
    bands = [name for name in next(iter(scores.rows.values()), {}) if name.startswith("coverage-")]
    cells = {model: [row.get(name, math.nan) for name in names] for model, row in scores.rows.items()}
    best = [
        min((c for c in column if not math.isnan(c)), default=math.nan) for column in zip(*cells.values(), strict=True)
    ]
    table = _table(["model", *(SCORES[n] for n in names), *(f"in {b.partition('-')[2]} % band" for b in bands)])
    for model, row in scores.rows.items():
        shares = [f"{100 * row[b]:.1f} %" if b in row else "" for b in bands]
        values = [
            f"[bold]{_number(value)}[/bold]" if value == least else _number(value)
            for value, least in zip(cells[model], best, strict=True)
        ]
        table.add_row(model, *values, *shares)
    console().print(table)
    print(comparison(scores))


def comparison(scores: ScoreTable) -> str:
    """The first model's mean absolute error beside the best of the others, in one sentence."""
    (name, own), *others = [(model, row["mae"]) for model, row in scores.rows.items()]
    rivals = {model: error for model, error in others if not math.isnan(error)}
    windows = f"{scores.windows} window{'s' * (scores.windows != 1)}"
    if not rivals or math.isnan(own):
        return f"{windows}; no baseline to compare with"
    rival = min(rivals, key=lambda model: rivals[model])
    if rivals[rival] == 0:
        return f"{windows}; {rival} makes no error at all on them"
    ratio = own / rivals[rival]
    if ratio < 2:
        size = f"{100 * abs(ratio - 1):.1f} % {'below' if ratio < 1 else 'above'} that"
    else:
        size = f"{ratio:.3g} times that"
    return f"{windows}; the mean absolute error of {name} is {size} of {rival}, the best baseline"


def print_frame(frame: Any) -> None:
    """A table on the terminal, CSV into a pipe or file."""
    columns = frame_columns(frame)
    rows = list(zip(*columns.values(), strict=True))
    if not sys.stdout.isatty():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return
    table = _table(list(columns))
    for row in rows[:ROWS]:
        table.add_row(*(_number(cell) if isinstance(cell, float) else str(cell) for cell in row))
    console().print(table)
    if len(rows) > ROWS:
        remark(f"the first {ROWS} of {len(rows)} rows; -o FILE writes all of them")


def print_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Plain text in columns."""
    table = _table(header, right=False)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def frame_columns(frame: Any) -> dict[str, list[Any]]:
    """The columns of any kind of frame as lists of plain Python values."""
    import narwhals as nw

    if isinstance(frame, Mapping):
        return {str(name): np.asarray(column).tolist() for name, column in frame.items()}
    return {name: column.to_list() for name, column in nw.from_native(frame, eager_only=True).to_dict().items()}


@contextmanager
def download() -> Generator[Callable[[str, int, int | None], None]]:
    """A bar on stderr while files come, one line a file where nobody watches."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    err = console(stderr=True)
    if not err.is_terminal:
        seen: set[str] = set()

        def say(name: str, done: int, total: int | None) -> None:
            if name not in seen:
                seen.add(name)
                remark(f"downloading {name}")

        yield say
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=err) as bar:
        tasks: dict[str, Any] = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield show


@cache
def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    watched = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if watched else WIDTH)


def _table(header: Sequence[str], *, right: bool = True) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if console().is_terminal else None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if right and i else "left", overflow="fold")
    return table


def _number(value: float) -> str:
    """Four digits."""
    return "–" if math.isnan(value) else f"{value:#,.4g}".rstrip(".") if abs(value) < 1e6 else f"{value:.4g}"
