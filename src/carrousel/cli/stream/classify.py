"""``carrousel stream``, of a classifier."""

from __future__ import annotations

import json
from typing import Any

from carrousel.cli._option import Run, model
from carrousel.cli._row import SkipBad, answer_lines
from carrousel.errors import DataError

EXAMPLES = ("""echo '{"text": "win a prize today"}' |\ncarrousel stream runs/mail""",)


def command(run: Run, skip_bad: SkipBad = False) -> None:
    """Read rows from stdin and answer each at once with one line of JSON: the class by what has come so far.

    Rows are JSON objects, one a line, or CSV below a header. Of a model of texts each row is a whole text. Of numbers
    each row is the next sample of its sequence, which the column says that said so in training; several may be mixed. A
    model that reads one way (--one-way in training) takes as long for the thousandth sample as for the first, a
    bidirectional one reads all of the sequence again.
    """
    classifier = model(run)
    columns: dict[str, str] = classifier.fitted.learned.columns
    streams: dict[str, Any] = {}

    def text(row: dict[str, Any]) -> list[str]:
        name = columns.get("text", "text")
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise DataError(
                f"{name}: expected a text, got {row.get(name)!r}; the row has {', '.join(row) or 'nothing'}"
            )
        stream = classifier.stream()
        stream.update(row[name])
        return [json.dumps(stream.finish().to_dict(), ensure_ascii=False)]

    def sample(row: dict[str, Any]) -> list[str]:
        id = columns.get("id", "sequence")
        ignored = {id, columns.get("time"), columns.get("label")}
        name = str(row.get(id, ""))
        if name not in streams:
            streams[name] = classifier.stream()
        answer = streams[name].update({key: value for key, value in row.items() if key not in ignored})
        whose = {id: row[id]} if id in row else {}
        return [json.dumps(whose | answer.to_dict(), ensure_ascii=False)]

    answer_lines(text if classifier.fitted.words is not None else sample, skip_bad=skip_bad)
