"""Rows in, forecasts out, through real pipes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from carrousel.cli._row import Reader
from carrousel.errors import DataError
from cli.program import (
    ENVIRONMENT,
    HORIZON,
    PROGRAM,
    ROWS,
    as_csv,
    as_json,
    demand,
    following,
    here,
    hours,
    read,
    refusal,
    succeed,
    write,
)


def test_stream_answers_every_row_before_the_next_one_is_sent(home: Path) -> None:
    process = subprocess.Popen(
        [PROGRAM, "stream", "runs/shops"], cwd=home, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    patience = threading.Timer(120, process.kill)  # an answer that is held back would wait for ever
    patience.start()
    for row in following(ROWS, ROWS + 3, "north", "south"):
        process.stdin.write(json.dumps(row).encode() + b"\n")
        process.stdin.flush()
        forecast = json.loads(process.stdout.readline())
        assert forecast["unique_id"] == row["shop"]
        assert forecast["cutoff"][:13] == row["ds"][:13]
        assert len(forecast["Carrousel-hi-90"]) == len(forecast["ds"]) == HORIZON
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0
    patience.cancel()


def test_stream_forecasts_as_predict_does_and_from_csv_as_from_json(home: Path) -> None:
    rows = following(ROWS, ROWS + 5, "north", "south")
    lines = succeed("stream", "runs/shops", cwd=home, text=as_json(rows)).splitlines()
    assert succeed("stream", "runs/shops", cwd=home, text=as_csv(rows)).splitlines() == lines
    assert len(lines) == len(rows)
    full = [row for s in ("north", "south") for row in demand(s, 0, ROWS) + demand(s, ROWS, ROWS + 5)]
    write(home / "full.csv", [{k: v for k, v in row.items() if k != "offer"} for row in full])
    predicted = read(succeed("predict", "runs/shops", "full.csv", cwd=home))
    streamed = json.loads(lines[-2])["Carrousel"] + json.loads(lines[-1])["Carrousel"]
    np.testing.assert_allclose(streamed, [float(row["Carrousel"]) for row in predicted], rtol=1e-4)


def test_stream_takes_the_series_from_the_option_where_rows_do_not_name_it(home: Path) -> None:
    rows = following(ROWS, ROWS + 2, "south")
    named = succeed("stream", "runs/shops", cwd=home, text=as_json(rows))
    nameless = [{k: v for k, v in row.items() if k != "shop"} for row in rows]
    assert succeed("stream", "runs/shops", "--id", "south", cwd=home, text=as_json(nameless)) == named
    assert "line 1" in refusal("stream", "runs/shops", cwd=home, text=as_json(nameless))


def test_stream_answers_a_row_of_a_wide_table_once_a_series(home: Path) -> None:
    north, south = ([float(row["y"]) for row in demand(shop, 0, ROWS)] for shop in ("north", "south"))
    stamps = hours(0, ROWS)
    rows = [{"ds": t, "north": str(a), "south": str(b)} for t, a, b in zip(stamps, north, south, strict=True)]
    write(home / "wide.csv", rows[:-2])
    train = ["train", "forecast", "wide.csv", "--horizon", 6, "--look-back", 24, "--max-steps", 5]
    succeed(*train, "-o", "wide", cwd=home)
    answers = [json.loads(line) for line in succeed("stream", "wide", cwd=home, text=as_csv(rows[-2:])).splitlines()]
    assert [answer["unique_id"] for answer in answers] == ["north", "south"] * 2
    assert answers[0]["Carrousel"][0] < 35 < answers[1]["Carrousel"][0]
    one = succeed("stream", "wide", "--id", "south", cwd=home, text=as_csv(rows[-2:]))
    assert [json.loads(line) for line in one.splitlines()] == answers[1::2]


def test_stream_stops_at_a_bad_row_and_names_its_line(home: Path) -> None:
    rows = as_json(following(ROWS, ROWS + 3, "north")).splitlines()
    for bad in (
        "{not json",
        '["a list"]',
        '{"shop": "north"}',
        '{"shop": "north", "future": [1]}',
        json.dumps(following(0, 1, "north")[0]),
        "\x00",
    ):
        done = here("stream", "runs/shops", cwd=home, text="\n".join([rows[0], "", bad, rows[1]]) + "\n")
        assert done.code == 2
        assert len(done.out.splitlines()) == 1, bad
        (line,) = done.err.splitlines()
        assert line.startswith("error: line 3: ")


def test_stream_goes_on_after_bad_rows_when_told_to(home: Path) -> None:
    rows = as_csv(following(ROWS, ROWS + 3, "north")).splitlines()
    good = succeed("stream", "runs/shops", cwd=home, text="\n".join(rows))
    mixed = [rows[0], rows[1], "north,yesterday,1", "north", rows[2], rows[1], rows[3]]
    done = here("stream", "runs/shops", "--skip-bad", cwd=home, text="\n".join(mixed))
    assert done.code == 0
    assert done.out == good
    assert [line.split(": ")[1] for line in done.err.splitlines()] == ["line 3", "line 4", "line 6"]


def test_stream_ends_quietly_when_nobody_reads(home: Path) -> None:
    rows = as_csv(following(ROWS, ROWS + 200, "north"))
    process = subprocess.Popen(
        [PROGRAM, "stream", "runs/shops"],
        cwd=home,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("".join(rows.splitlines(keepends=True)[:2]))
    process.stdin.flush()
    assert process.stdout.readline()
    process.stdout.close()
    process.stdin.write("".join(rows.splitlines(keepends=True)[2:]))
    process.stdin.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_an_interrupt_ends_a_stream_without_a_traceback(home: Path) -> None:
    process = subprocess.Popen(
        [PROGRAM, "stream", "runs/shops"],
        cwd=home,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(as_json(following(ROWS, ROWS + 1, "north")))
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.read() == "interrupted\n"
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


@pytest.mark.parametrize(
    "lines",
    [
        ["a,b,c", '"x, y",,1.5'],
        ["a;b;c", "x, y;;1.5"],
        ["\ufeffa\tb\tc\r", "x, y\t\t1.5\r"],
        ["", '{"a": "x, y", "b": null, "c": "1.5"}'],
    ],
)
def test_reader_finds_out_how_the_rows_are_written(lines: list[str]) -> None:
    reader = Reader()
    rows = [reader.read(line.encode() + b"\n") for line in lines]
    assert rows == [None, {"a": "x, y", "b": None, "c": "1.5"}]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([b"a,b", b"1"], "expected 2 cells as in the header, got 1"),
        ([b"a,b", b'"1,2'], "expected cells separated by ','"),
        ([b"a,b", b"\xff,1"], "0xff"),
        ([b"{}", b"[1]"], "expected a JSON object"),
        ([b"{}", b"[" * 100_000], "expected a JSON object"),
    ],
)
def test_reader_refuses_what_is_no_row(lines: list[bytes], says: str) -> None:
    reader = Reader()
    reader.read(lines[0])
    with pytest.raises(DataError, match=says):
        reader.read(lines[1])
