"""The program as its users have it, and the tables that it is given."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carrousel import cli

PROGRAM = str(Path(sys.executable).with_name("carrousel"))
HORIZON = 12
ROWS = 480  # hours of each series in the training table
QUICK = ("--minutes", "0.05", "--look-back", "24")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # it would flush where the program forgets to


@dataclass
class Done:
    code: int
    out: str
    err: str


def process(*words: object, cwd: Path, text: str = "") -> Done:
    """The program as a process of its own."""
    done = subprocess.run(
        [PROGRAM, *map(str, words)], cwd=cwd, input=text, text=True, capture_output=True, env=ENVIRONMENT, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def here(*words: object, cwd: Path, text: str = "") -> Done:
    """The program within this process, which spares it the import of PyTorch: warnings are errors."""
    out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main([str(word) for word in words])
    finally:
        sys.stdin = stdin
    return Done(code, out.getvalue(), err.getvalue())


def succeed(*words: object, cwd: Path, text: str = "") -> str:
    done = here(*words, cwd=cwd, text=text)
    assert done.code == 0, done.err
    return done.out


def refusal(*words: object, cwd: Path, text: str = "", run: Callable[..., Done] = here) -> str:
    """The one line on stderr of a command that must end with 2."""
    done = run(*words, cwd=cwd, text=text)
    assert done.code == 2, done
    assert done.out == ""
    (line,) = (line for line in done.err.splitlines() if not line.startswith("note: "))
    assert line.startswith("error: ")
    return line


def hours(first: int, last: int) -> list[str]:
    return [str(np.datetime64("2024-01-01T00", "s") + np.timedelta64(3600 * i, "s")) for i in range(first, last)]


def demand(shop: str, first: int, last: int) -> list[dict[str, str]]:
    """Rows of a shop: a daily cycle of its own height, an offer that is known ahead and lifts it, and noise."""
    height = {"north": 10.0, "south": 50.0}[shop]
    steps = np.arange(first, last)
    offer = (steps // 7) % 5 == 0
    noise = np.random.default_rng([len(shop), first]).normal(size=len(steps))
    values = height * (2 + np.sin(2 * np.pi * steps / 24) + 0.5 * offer) + noise
    return [
        {"shop": shop, "ds": ds, "y": f"{y:.3f}", "offer": str(int(o))}
        for ds, y, o in zip(hours(first, last), values, offer, strict=True)
    ]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def as_csv(rows: list[dict[str, str]]) -> str:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def as_json(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps({**row, "y": float(row["y"])}) + "\n" for row in rows)


def following(first: int, last: int, *shops: str) -> list[dict[str, str]]:
    """Rows after the training table, mixed as time brings them."""
    series = [[{k: v for k, v in row.items() if k != "offer"} for row in demand(s, first, last)] for s in shops]
    return [row for rows in zip(*series, strict=True) for row in rows]
