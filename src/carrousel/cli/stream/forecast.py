"""``carrousel stream``, of a forecaster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from carrousel.cli._option import Run, model
from carrousel.cli._row import SkipBad, answer_lines
from carrousel.errors import DataError

EXAMPLES = (
    """echo '{"origin": "JFK", "time_hour": "2014-01-01 00:00", "temp": 30}' |\ncarrousel stream runs/weather""",
)


def command(
    run: Run,
    id: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which series the rows belong to, where they do not say it.")
    ] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Read rows from stdin and answer each at once with one line of JSON: the forecast after that row.

    Rows are JSON objects, one a line, or CSV below a header; several series may be mixed. A JSON row may carry
    "future": a list of rows ahead, with their time stamps and the covariates that are known. A row that cannot be used
    is named on stderr with its line number. A new series is answered without a forecast ("ds" is empty) until it has
    rows enough.
    """
    forecaster = model(run)
    streams: dict[str, Any] = {}

    def answer(row: dict[str, Any]) -> list[str]:
        ahead = _pop_future(row)
        answers: list[str] = []
        for name in (id,) if id is not None else _ids(forecaster.schema, row):
            if name not in streams:
                streams[name] = forecaster.stream(name)
            answers.append(_answer(streams[name], row, ahead))
        return answers

    answer_lines(answer, skip_bad=skip_bad)


def _answer(stream: Any, row: Mapping[str, Any], ahead: Sequence[Mapping[str, Any]]) -> str:
    forecast = stream.update(row, future=ahead)
    if forecast is None:
        return json.dumps({"unique_id": stream.unique_id, "cutoff": str(stream.cutoff), "ds": []})
    return json.dumps(forecast.to_dict(), allow_nan=False)


def _pop_future(row: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The rows ahead that a row carries; a single value is a column of that name."""
    if not isinstance(row.get("future"), list):
        return ()
    ahead = row.pop("future")
    if wrong := [later for later in ahead if not isinstance(later, Mapping)]:
        raise DataError(f"future: expected JSON objects, one a row ahead, got {str(wrong[0])[:40]!r}")
    return ahead


def _ids(schema: Any, row: Mapping[str, Any]) -> Sequence[str]:
    """The series that a row belongs to; a row of a wide table has a value for each of them."""
    if schema.layout == "wide" and not schema.joint and len(schema.target) > 1:
        return schema.target
    return (schema.read_row(row).id,)
