"""What stands in one column: numbers, time stamps, or texts as codes; anything else is refused by row and value."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.data.frame import Column
from carrousel.errors import ColumnError, TimeError

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

# What other programs write where nothing was observed.
MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "<na>", "nat", "null"))
_MISSING_NUMBER = MISSING | {"none", "-", "?"}
_BOOLEAN = {"true": 1.0, "false": 0.0}
# Larger numbers are sentinels or mistakes; their squares no longer fit into the networks' float32 and float64 sums.
LARGEST = 1e30
_ISO = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?(Z?)")

_log = logging.getLogger("carrousel")


def say(notes: list[str] | None, note: str) -> None:
    """Report what was inferred or mended: to the caller's list, and to the log."""
    _log.info(note)
    if notes is not None:
        notes.append(note)


def encode(column: Column, missing: frozenset[str] = MISSING) -> tuple[Codes, tuple[str, ...]]:
    """Codes (R,) into the sorted distinct values of a column as text; -1 where the value is missing.

    Parameters
    ----------
    column : of texts, whole numbers or booleans
    missing : texts, in lower case, that stand for a missing value

    Raises
    ------
    ColumnError : the column holds neither texts nor whole numbers nor booleans
    """
    values = column.values
    if column.kind in ("integer", "number", "boolean"):
        if column.kind != "integer":
            whole = np.isnan(values) | (values == np.floor(values))
            if not np.all(whole):
                row = int(np.flatnonzero(~whole)[0])
                raise ColumnError(
                    f"column {column.name!r}: expected names or whole numbers, got {values[row]} in row {row + 1}"
                )
        present = ~np.isnan(values)
        distinct, inverse = np.unique(values[present], return_inverse=True)
        codes = np.full(len(values), -1, np.int64)
        codes[present] = inverse
        return codes, tuple(str(int(value)) for value in distinct)
    if column.kind not in ("text", "category"):
        raise ColumnError(f"column {column.name!r}: expected names, got {_describe(column)}")
    # Names mostly come in runs: only the first row of each run is looked up.
    heads = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else np.empty(0, int)
    runs = values[heads].tolist()
    table = {value: i for i, value in enumerate(dict.fromkeys(runs))}
    found = np.fromiter(map(table.__getitem__, runs), np.int64, len(runs))
    names = [None if text is None or text.strip().lower() in missing else text.strip() for text in table]
    labels = sorted({name for name in names if name is not None})
    rank = {label: i for i, label in enumerate(labels)}
    order = np.array([-1 if name is None else rank[name] for name in names], np.int64)
    return np.repeat(order[found], np.diff(np.append(heads, len(values)))), tuple(labels)


def numeric(column: Column) -> bool:
    """Whether a column is to be read as numbers: declared so, or texts that mostly are numbers or signs of absence.

    Raises
    ------
    ColumnError : most of the different texts are numbers, but not all
    """
    if column.kind != "text":
        return column.kind in ("integer", "number", "boolean")
    parsed = [parse_number(label) for label in encode(column)[1]]
    if 2 * parsed.count(None) >= max(len(parsed), 1):
        return False
    numbers(column)
    return True


def numbers(column: Column, notes: list[str] | None = None) -> Floats:
    """A column as float64 (R,), NaN where nothing was observed; infinities count as not observed.

    Raises
    ------
    ColumnError : a value that is no number, or larger than 1e30
    """
    if column.kind in ("integer", "number", "boolean"):
        values = column.values.astype(np.float64)
    elif column.kind in ("text", "category"):
        codes, labels = encode(column)
        parsed = [parse_number(label) for label in labels]
        wrong = [i for i, value in enumerate(parsed) if value is None]
        if wrong:
            row = int(np.flatnonzero(np.isin(codes, wrong))[0])
            raise ColumnError(
                f"column {column.name!r}: expected numbers, got {column.values[row]!r} in row {row + 1}; correct it, "
                "or leave the cell empty if nothing was observed"
            )
        # Code -1, missing, picks the last entry.
        values = np.array([*parsed, np.nan], np.float64)[codes]
    else:
        raise ColumnError(f"column {column.name!r}: expected numbers, got {_describe(column)}")
    infinite = np.isinf(values)
    if np.any(infinite):
        values[infinite] = np.nan
        say(notes, f"column {column.name!r}: {infinite.sum()} infinite values count as not observed")
    if np.any(np.abs(values) > LARGEST):
        row = int(np.flatnonzero(np.abs(values) > LARGEST)[0])
        raise ColumnError(
            f"column {column.name!r}: expected numbers up to {LARGEST:g}, got {values[row]:g} in row {row + 1}; "
            "rescale the column, or leave the cell empty if the number stands for a missing value"
        )
    return values


def stamps(column: Column, notes: list[str] | None = None, *, exact: bool = False) -> npt.NDArray[Any]:
    """A column as datetime64[s] in UTC or, if it holds whole numbers, int64; (R,).

    Parameters
    ----------
    column : of dates, ISO texts or whole numbers
    notes : takes a sentence on each thing mended
    exact : let stamps have fractions of a second, as datetime64[us]

    Raises
    ------
    TimeError : a stamp that is missing, cannot be read, or has fractions of a second
    """
    name, values = column.name, column.values
    if column.kind == "integer":
        return values
    if column.kind == "number":
        whole = values == np.floor(values)
        if np.all(whole):
            return values.astype(np.int64)
        row = int(np.flatnonzero(~whole)[0])
        raise TimeError(f"time column {name!r}: expected whole numbers or dates, got {values[row]} in row {row + 1}")
    zone = column.zone
    if column.kind in ("text", "category"):
        codes, labels = encode(column)
        if np.any(codes < 0):
            row = int(np.flatnonzero(codes < 0)[0])
            raise TimeError(f"time column {name!r}: expected a time stamp, got {values[row]!r} in row {row + 1}")
        parsed, zone = _parse(name, np.array(labels, np.str_))
        values = parsed[codes]
    elif column.kind != "time":
        raise TimeError(f"time column {name!r}: expected dates, ISO texts or whole numbers, got {_describe(column)}")
    absent = np.isnat(values)
    if np.any(absent):
        raise TimeError(
            f"time column {name!r}: expected a time stamp in every row, got none in row {np.flatnonzero(absent)[0] + 1}"
        )
    if zone:
        say(notes, f"time column {name!r}: stamps with a time zone ({zone}) were converted to UTC")
    if exact:
        return values.astype("datetime64[us]")
    seconds = values.astype("datetime64[s]")
    fraction = seconds != values
    if np.any(fraction):
        row = int(np.flatnonzero(fraction)[0])
        raise TimeError(
            f"time column {name!r}: expected whole seconds, got {values[row]} in row {row + 1}; round the stamps, or "
            "number the rows of a series 0, 1, 2, ... instead"
        )
    return seconds


def _parse(name: str, texts: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.datetime64], str | None]:
    """ISO 8601 texts as datetime64[us] in UTC, and what time zone they named."""
    zulu = np.strings.endswith(texts, "Z")
    plain = len(texts) > 0 and _ISO.fullmatch(str(texts[0])) and (np.all(zulu) or not np.any(zulu))
    # NumPy would take 20240131 for a year: the first hyphen must come fifth.
    if plain and np.all(np.strings.find(texts, "-") == 4):
        try:
            return np.strings.rstrip(texts, "Z").astype("datetime64[us]"), "UTC" if zulu[0] else None
        except ValueError:
            # Some text has another form of ISO 8601, or none.
            pass
    parsed = [parse_stamp(name, text) for text in texts.tolist()]
    zoned = [stamp.tzinfo is not None for stamp in parsed]
    if any(zoned) and not all(zoned):
        raise TimeError(
            f"time column {name!r}: expected either all or no stamps with a time zone, "
            f"got {texts[zoned.index(True)]!r} and {texts[zoned.index(False)]!r}"
        )
    naive = [stamp.astimezone(UTC).replace(tzinfo=None) if stamp.tzinfo else stamp for stamp in parsed]
    return np.array(naive, "datetime64[us]"), "offsets from UTC" if any(zoned) else None


def parse_stamp(name: str, text: str) -> datetime:
    """One stamp in any form of ISO 8601, also a year or a month.

    Raises
    ------
    TimeError : in another form
    """
    try:
        return datetime.fromisoformat(f"{text}-01-01"[:10] if re.fullmatch(r"\d{4}(-\d\d)?", text) else text)
    except ValueError as error:
        raise TimeError(
            f"time column {name!r}: expected ISO stamps such as '2024-01-31' or '2024-01-31 13:00:00', got {text!r}"
        ) from error


def parse_number(text: str) -> float | None:
    """The number that a text says, NaN for a sign of absence, None for anything else."""
    folded = text.lower()
    if folded in _BOOLEAN:
        return _BOOLEAN[folded]
    if folded in _MISSING_NUMBER:
        return np.nan
    try:
        return float(text)
    except ValueError:
        return None


def _describe(column: Column) -> str:
    """The kind of a column, with an example if its type says little."""
    kinds = {"integer": "whole numbers", "number": "numbers", "boolean": "booleans", "time": "dates", "text": "texts"}
    if column.kind in kinds:
        return kinds[column.kind]
    return f"{type(column.values[0]).__name__} values" if len(column.values) else column.kind
