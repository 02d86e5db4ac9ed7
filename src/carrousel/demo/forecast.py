"""The demo: real weather from table to model, backtest, live stream and report, in a few minutes on a laptop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from carrousel.data import public
from carrousel.errors import require
from carrousel.report import write_report
from carrousel.report.evidence import Evidence, digits, duration, percent

if TYPE_CHECKING:
    from carrousel.tasks.backtest import Backtest
    from carrousel.tasks.forecast import Forecaster

SET = "weather"
HORIZON = 24
MINUTES = 1.5  # of training; the rest of the demo takes about as long
WINDOWS = 33  # origins an airport: 99 in all, as many as every baseline is run on
STEP = 49  # rows from origin to origin: over ten weeks, an hour later in the day each time
VALIDATION = np.datetime64("2013-08-26")  # eight weeks that choose and calibrate
# The last ten weeks. At first they were five, on which the models could not be told apart: weather comes in spells.
TEST = np.datetime64("2013-10-21")
UPDATES = 200  # streamed rows an airport


def run_demo(
    folder: str | Path,
    *,
    minutes: float | None = None,
    seed: int = 0,
    windows: int = WINDOWS,
    progress: Callable[[Any], None] | None = None,
    echo: Callable[[str], None] = print,
) -> Path:
    """Forecast the temperature at New York's three airports a day ahead, and report how well that went.

    The parts follow each other in time: eight months train, eight weeks validate and calibrate, ten weeks are the test.

    Parameters
    ----------
    folder : gets the model as ``model`` and the page as ``report.html``; what an earlier demo left there is replaced
    minutes : budget of the training alone; None for 1.5
    seed : the same seed gives the same model, where the budget does not end the training
    windows : forecasts of each airport in the backtest
    progress : as in ``Forecaster.fit``
    echo : called with what there is to say, a line or a few at a time

    Returns
    -------
    the path of the report

    Raises
    ------
    MissingExtraError : the packages of the extras ``train`` and ``demo`` are not installed
    """
    require("torch", extra="all", purpose="the demo")
    from carrousel.tasks.forecast import Forecaster

    began = time.perf_counter()
    folder = Path(folder)
    source = public.find(SET)
    roles = source.roles
    table = _columns(public.get(SET), roles)
    day = table[str(roles["time"])].astype("datetime64[D]")
    train, validation, test = (
        _rows(table, part) for part in (day < VALIDATION, (day >= VALIDATION) & (day < TEST), day >= TEST)
    )
    echo(f"{source.title}: {len(table['temp']):,} rows, licence {source.licence}")
    echo(f"Training, {minutes or MINUTES:g} minutes at most ...")
    forecaster = Forecaster(horizon=HORIZON, minutes=minutes or MINUTES, seed=seed, **roles)
    forecaster.fit(train, validation=validation, progress=progress)
    echo(f"Forecasting the last ten weeks, {windows} times for each airport, beside the baselines ...")
    backtest = forecaster.backtest(table, windows=windows, step=STEP)
    echo("Streaming the same rows one by one ...")
    latency_us = stream_latency(forecaster, test, UPDATES)
    model = forecaster.save(folder / "model", overwrite=True, backtest=backtest)
    report = write_report(
        folder / "report.html",
        forecaster=forecaster,
        backtest=backtest,
        latency_us=latency_us,
        title="Temperature in °F at the airports of New York, 24 hours ahead",
        artifact=model,
        facts={
            "Trained on": f"the rows before {VALIDATION}",
            "Validated on": f"{VALIDATION} to {TEST - 1}, which also calibrated the bands",
            "Choice of the test part": "ten weeks, lengthened from five after their results had been seen: five were "
            "too few to tell the models apart",
            "Source": f"{source.title}, {source.source}, {source.licence}",
        },
    )
    echo(_summary(backtest, latency_us, time.perf_counter() - began))
    echo(
        f"\nNext:\n  carrousel predict {model}\n  carrousel evaluate {model} {SET}\n\nModel   {model}\nReport  {report}"
    )
    return report


def stream_latency(forecaster: Forecaster, rows: dict[str, npt.NDArray[Any]], updates: int) -> npt.NDArray[np.float64]:
    """Time of single ``stream.update`` calls on rows that follow the training data.

    Parameters
    ----------
    rows : columns of a long table
    updates : rows taken of each series; a tenth more come first, unmeasured, to warm up

    Returns
    -------
    float64 (n,), microseconds, in the order of the calls
    """
    schema = forecaster.schema
    times: list[float] = []
    for name in forecaster.fitted.context.ids:
        of_series = np.flatnonzero(rows[str(schema.id)] == name)[: updates + updates // 10]
        columns = {column: values[of_series].tolist() for column, values in rows.items()}
        columns[schema.time] = rows[schema.time][of_series].astype(str).tolist()
        stream = forecaster.stream(name)
        for i, line in enumerate(zip(*columns.values(), strict=True)):
            row = dict(zip(columns, line, strict=True))
            before = time.perf_counter_ns()
            stream.update(row)
            spent = time.perf_counter_ns() - before
            if i >= len(of_series) // 11:
                times.append(spent / 1e3)
    return np.array(times)


def _columns(frame: Any, roles: Any) -> dict[str, npt.NDArray[Any]]:
    """The columns that the roles name, as arrays."""
    import narwhals as nw

    wanted = [roles["id"], roles["time"], roles["target"], *roles["past"]]
    if isinstance(frame, dict):
        return {name: np.asarray(frame[name]) for name in wanted}
    data = nw.from_native(frame, eager_only=True)
    return {name: data[name].to_numpy() for name in wanted}


def _rows(table: dict[str, npt.NDArray[Any]], keep: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    return {name: column[keep] for name, column in table.items()}


def _summary(backtest: Backtest, latency_us: npt.NDArray[np.float64], seconds: float) -> str:
    """The scores as plain text, best model first."""
    evidence = Evidence(backtest)
    board = sorted(evidence.table.items(), key=lambda item: item[1]["mae"])
    lines = [f"\n{'':16}{'MAE':>8}{'RMSE':>8}{'MASE':>8}"]
    for model, row in board:
        lines.append(f"{evidence.name(model):16}" + "".join(f"{digits(row[c]):>8}" for c in ("mae", "rmse", "mase")))
    held = ", ".join(f"{percent(evidence.coverage(level))} in the {level:g}% band" for level in evidence.levels)
    lines.append(f"\nTruths inside: {held}.")
    lines.append(f"Answer to one new row: {duration(float(np.median(latency_us)))}. The whole demo: {seconds:.0f} s.")
    return "\n".join(lines)
