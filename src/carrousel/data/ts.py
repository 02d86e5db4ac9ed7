"""Sequences out of ``.ts`` files, in which the archives of time series classification (UCR, UEA) are published.

Behind a header of ``@`` lines stands a sequence a line: its variables with colons between them, the values of each with
commas, the class last; ``?`` for a missing value.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from carrousel.errors import DataError

Floats = npt.NDArray[np.float64]
MISSING = ("?", "nan")


def read_ts(path: Path) -> tuple[tuple[Floats, ...], tuple[str, ...] | None]:
    """The sequences of a file, each float64 (L, K) with NaN for what is missing, and their classes if there are any.

    Raises
    ------
    DataError : another kind of file, with the number of its line; time stamps, which no set published so far has
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, got the byte 0x{error.object[error.start]:02x}") from None
    except OSError as error:
        raise DataError(f"{path}: expected a file that can be read, got {error.strerror}; check the path") from error
    header: dict[str, str] = {}
    values: list[Floats] = []
    labels: list[str] = []
    begun = classes = False
    for number, line in enumerate(map(str.strip, lines), start=1):
        where = f"{path}, line {number}"
        if not line or line.startswith(("#", "%")):
            continue
        if not begun:
            if not line.startswith("@"):
                raise DataError(f"{where}: expected a line of the header, which begins with @, got {line[:40]!r}")
            name, _, value = line.partition(" ")
            header[name.lower()] = value.strip()
            if name.lower() == "@data":
                begun, classes = True, header.get("@classlabel", "").lower().startswith("true")
                if header.get("@timestamps", "").lower() == "true":
                    raise DataError(f"{path}: expected @timeStamps false, got true; give such data as a long table")
            continue
        *parts, label = line.split(":") if classes else (*line.split(":"), "")
        sequence = [_numbers(part, where) for part in parts]
        if not sequence or len({len(variable) for variable in sequence}) != 1:
            raise DataError(
                f"{where}: expected variables of one length{' and a class' if classes else ''} with colons between "
                f"them, got lengths {[len(variable) for variable in sequence]}"
            )
        if values and len(sequence) != values[0].shape[1]:
            raise DataError(
                f"{where}: expected {values[0].shape[1]} variables as in the first sequence, got {len(sequence)}"
            )
        values.append(np.array(sequence, np.float64).T)
        labels.append(label.strip())
    if not values:
        raise DataError(f"{path}: expected sequences behind a line @data, got none; is it a .ts file?")
    return tuple(values), tuple(labels) if classes else None


def _numbers(text: str, where: str) -> list[float]:
    try:
        return [float("nan") if word.strip().lower() in MISSING else float(word) for word in text.split(",")]
    except ValueError:
        raise DataError(f"{where}: expected numbers with commas between them, got {text[:40]!r}") from None
