"""A detector on the command line: fitted, asked about a table, streamed, interrupted and gone on with."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import carrousel
from carrousel import Detector
from carrousel.cli._ending import Ending
from carrousel.cli._row import _lines_or_pauses
from carrousel.cli.stream import detect as stream
from carrousel.stream import store
from cli.program import ENVIRONMENT, PROGRAM, as_csv, here, hours, read, refusal, succeed, write

ROWS, MORE = 700, 80
ODD = ROWS + 30  # the row where the pump runs hot, for four rows


def pump(first: int, last: int, **columns: str) -> list[dict[str, str]]:
    steps = np.arange(first, last)
    noise = np.random.default_rng(first).normal(size=len(steps))
    heat = 60 + 5 * np.sin(2 * np.pi * steps / 24) + 0.3 * noise + 40 * ((steps >= ODD) & (steps < ODD + 4))
    stamps = hours(first, last)
    return [{"time": t, "heat": f"{y:.2f}", **columns} for t, y in zip(stamps, heat, strict=True)]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table of a pump, later rows of it, labels, and a detector in runs/pump."""
    plant = tmp_path_factory.mktemp("plant")
    write(plant / "pump.csv", pump(0, ROWS))
    write(plant / "later.csv", pump(ROWS, ROWS + MORE))
    write(plant / "labels.csv", [{"start": hours(ODD, ODD + 1)[0], "end": hours(ODD + 3, ODD + 4)[0]}])
    done = here(
        "train", "detect", "pump.csv", "--false-alarms", "1/100 rows", "--minutes", 0, "-o", "runs/pump", cwd=plant
    )
    assert done.code == 0, done.err
    (plant / "training.txt").write_text(done.out + done.err)
    return plant


@contextmanager
def live(plant: Path, *words: str, run: str = "runs/pump") -> Generator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A stream that waits for rows: the process, where they are given to it, and where it answers."""
    command = [PROGRAM, "stream", run, *words]
    with subprocess.Popen(
        command, cwd=plant, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process, process.stdin, process.stdout


def answers(given: IO[str], said: IO[str], rows: str, count: int) -> list[str]:
    """The first lines that a live stream answers to rows."""
    given.write(rows)
    given.flush()
    return [said.readline().rstrip("\n") for _ in range(count)]


def streamed(plant: Path, *words: object, rows: list[dict[str, str]]) -> list[dict]:
    return [
        json.loads(line)
        for line in succeed("stream", "runs/pump", *words, cwd=plant, text=as_csv(rows)).split("\n")[:-1]
    ]


def test_training_says_what_it_found_and_what_comes_next(plant: Path) -> None:
    said = (plant / "training.txt").read_text()
    assert "saved runs/pump; now try" in said
    assert "carrousel stream runs/pump --alarms" in said
    assert "note: frequency: hourly ('h')" in said
    assert json.loads((plant / "runs/pump/config.json").read_text())["task"] == "detect"


def test_predict_prints_the_events_that_stream_prints(plant: Path) -> None:
    table = read(succeed("predict", "runs/pump", "later.csv", cwd=plant))
    events = streamed(plant, rows=pump(ROWS, ROWS + MORE))
    assert len(table) == len(events) == MORE
    for row, event in zip(table, events, strict=True):
        assert row["time"].replace(" ", "T")[:19] == event["ds"]
        assert float(row["score"]) == event["score"]
        assert (row["alarm"] == "True") == event["alarm"]
        assert int(row["incident"]) == (event["incident"] or 0)
        assert float(row["expected"]) == event["expected"]["heat"]
        assert [float(row["lower"]), float(row["upper"])] == event["band"]["heat"]
    hot = [event for event in events if event["ds"] == hours(ODD, ODD + 1)[0]]
    assert [event["alarm"] for event in hot] == [True]
    assert hot[0]["contributions"][0]["variable"] == "heat"


def test_predict_lists_incidents_with_their_causes(plant: Path) -> None:
    done = here("predict", "runs/pump", "later.csv", "--incidents", "-o", "incidents.csv", cwd=plant)
    assert done.code == 0
    found = read((plant / "incidents.csv").read_text())
    assert hours(ODD, ODD + 1)[0] in [row["start"].replace(" ", "T")[:19] for row in found]
    assert all(row["causes"].startswith("heat: ") for row in found)
    assert len(found) == 1
    assert f"1 incident in {MORE} rows" in done.err


def test_stream_with_alarms_says_only_what_begins_and_ends(plant: Path) -> None:
    rows = pump(ROWS, ROWS + MORE)
    every = streamed(plant, rows=rows)
    some = streamed(plant, "--alarms", rows=rows)
    assert some == [event for event in every if event["alarm"] or event["ended"]]
    assert 0 < len(some) < MORE / 4


def test_a_stream_that_was_killed_goes_on_with_the_same_events(plant: Path) -> None:
    rows = pump(ROWS, ROWS + MORE)
    whole = succeed("stream", "runs/pump", cwd=plant, text=as_csv(rows)).splitlines()
    with live(plant, "--state", "killed.state", "--every", "10") as (process, given, said):
        first = answers(given, said, as_csv(rows[:35]), 35)
        process.send_signal(signal.SIGKILL)
        given.close()
    assert first == whole[:35]
    rest = succeed("stream", "runs/pump", "--state", "killed.state", cwd=plant, text=as_csv(rows)).splitlines()
    kinds = [json.loads(line)["kind"] for line in rest]
    assert kinds == ["late"] * 29 + ["duplicate"] + ["row"] * 50
    assert rest[30:] == whole[30:]
    again = succeed("stream", "runs/pump", "--state", "killed.state", cwd=plant, text=as_csv(rows[-1:]))
    assert json.loads(again)["kind"] == "duplicate"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stream_that_is_asked_to_end_keeps_its_state(plant: Path, number: signal.Signals, code: int) -> None:
    rows = pump(ROWS, ROWS + MORE)
    whole = succeed("stream", "runs/pump", cwd=plant, text=as_csv(rows)).splitlines()
    state = f"ended.{number}.state"
    with live(plant, "--state", state) as (process, given, said):
        first = answers(given, said, as_csv(rows[:35]), 35)
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    assert first == whole[:35]
    rest = succeed("stream", "runs/pump", "--state", state, cwd=plant, text=as_csv(rows[35:])).splitlines()
    assert rest == whole[35:]


def test_a_signal_waits_until_the_row_at_hand_is_done() -> None:
    done = []

    def row(ending: Ending) -> None:
        with ending.whole():
            signal.raise_signal(signal.SIGTERM)
            done.append("the row")

    with Ending() as ending:
        with pytest.raises(SystemExit) as ended:
            row(ending)
        assert ended.value.code == 143
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert done == ["the row"]


def test_the_state_is_never_ahead_of_the_answers_that_were_given(plant: Path) -> None:
    rows = pump(ROWS, ROWS + MORE)
    with live(plant, "--state", "unread.state", "--every", "10") as (process, given, said):
        answers(given, said, as_csv(rows[:25]), 25)
        said.close()
        given.write(as_csv(rows[25:26]).splitlines(keepends=True)[1])  # nobody will read its answer
        given.close()
        assert process.wait(timeout=60) == 141
    rest = streamed(plant, "--state", "unread.state", rows=rows)
    assert [event["kind"] for event in rest] == ["late"] * 19 + ["duplicate"] + ["row"] * 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_no_answer_is_lost(plant: Path) -> None:
    rows = as_csv(pump(ROWS, ROWS + 20))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "stream", "runs/pump", "--state", "full.state"],
            cwd=plant, env=ENVIRONMENT, input=rows, text=True, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output could not be written (No space left on device)")
    assert len(done.stderr.splitlines()) == 1
    assert not (plant / "full.state").exists()


def test_a_stream_watches_on_while_its_state_cannot_be_saved(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = succeed("stream", "runs/pump", cwd=plant, text=as_csv(pump(ROWS, ROWS + 30)))
    write_whole, calls = store.write_whole, []

    def full_at_first(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(store, "write_whole", full_at_first)
    words = ("stream", "runs/pump", "--state", "later.state", "--every", 10)
    done = here(*words, cwd=plant, text=as_csv(pump(ROWS, ROWS + 30)))
    assert (done.code, done.out, len(calls)) == (0, whole, 4)
    assert done.err.count("warning: later.state: the state could not be written (No space left on device)") == 2
    assert "tried again after 10 rows" in done.err
    monkeypatch.setattr(store, "write_whole", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    assert here(*words, cwd=plant, text=as_csv(pump(ROWS + 30, ROWS + 31))).code == 2


def test_a_state_that_is_none_is_refused(plant: Path) -> None:
    (plant / "labels.state").write_text("start,end\n")
    line = refusal("stream", "runs/pump", "--state", "labels.state", cwd=plant, text=as_csv(pump(ROWS, ROWS + 1)))
    assert "labels.state: expected the state of a stream" in line
    assert (plant / "labels.state").read_text() == "start,end\n"


def test_stream_takes_messy_rows_and_names_the_line_of_an_impossible_one(plant: Path) -> None:
    rows = pump(ROWS, ROWS + 6)
    messy = [rows[0], rows[2], rows[1], rows[2], {**rows[3], "heat": "nan"}, {**rows[4], "heat": "inf"}]
    events = streamed(plant, rows=messy)
    assert [event["kind"] for event in events] == ["row", "row", "late", "duplicate", "row", "row"]
    assert events[1]["notes"] == [f"1 row skipped after {rows[0]['time']}"]
    assert "counts as not observed" in events[5]["notes"][0]
    for bad in ({**rows[5], "heat": "hot"}, {**rows[5], "time": "noon"}):
        done = here("stream", "runs/pump", cwd=plant, text=as_csv([rows[0], bad]))
        assert done.code == 2
        assert done.err.startswith("error: line 3: ")
        assert len(done.out.splitlines()) == 1
    done = here("stream", "runs/pump", "--late", "refuse", cwd=plant, text=as_csv([rows[1], rows[0]]))
    assert done.code == 2
    assert "expected a row after" in done.err


def test_streams_of_several_series_are_told_apart_and_missed(plant: Path) -> None:
    write(plant / "two.csv", pump(0, 220, pump="a") + pump(0, 220, pump="b"))
    succeed("train", "detect", "two.csv", "--id", "pump", "--target", "heat", "--minutes", 0, "-o", "two", cwd=plant)
    text = as_csv(
        [row for i in range(220, 236) for name in "ab" if name == "a" or i < 224 for row in pump(i, i + 1, pump=name)]
    )
    events = [json.loads(line) for line in succeed("stream", "two", "--silence", cwd=plant, text=text).splitlines()]
    assert {event["unique_id"] for event in events if event["kind"] == "row"} == {"a", "b"}
    silent = [event for event in events if event["kind"] == "silent"]
    assert [(event["unique_id"], event["ds"]) for event in silent] == [("b", hours(234, 235)[0])]


def test_a_pipe_in_which_nothing_comes_is_said_to_be_silent_by_the_clock(plant: Path) -> None:
    Detector.online("heat").save(plant / "cold")
    begin = np.datetime64("now", "s") - np.timedelta64(100, "s")
    text = "".join(json.dumps({"ds": str(begin + np.timedelta64(i, "s")), "heat": 1.0}) + "\n" for i in range(10))
    with live(plant, "--clock", "--state", "clock.state", run="cold") as (process, given, said):
        events = [json.loads(line) for line in answers(given, said, text, 11)]
        later = {"ds": str(begin + np.timedelta64(60, "s")), "heat": 1.0}
        given.write(json.dumps(later))  # the last line need not end
        given.close()
        last = json.loads(said.readline())
        assert process.wait(timeout=60) == 0
    assert [event["kind"] for event in events] == ["row"] * 10 + ["silent"]
    assert events[10]["notes"] == [f"silent: no row since {begin + np.timedelta64(9, 's')}"]
    assert "the stream is back after its silence" in last["notes"]


def test_lines_of_a_pipe_are_whole_however_they_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"ds,y\n1,2\n\n3,4")
    read = os.read
    monkeypatch.setattr(os, "read", lambda pipe, most: read(pipe, 3))
    with path.open("rb") as file:
        assert list(_lines_or_pauses(file)) == [b"ds,y\n", b"1,2\n", b"\n", b"3,4"]
    assert list(_lines_or_pauses(io.BytesIO(b"a\nb"))) == [b"a\n", b"b"]


def test_a_row_names_its_series_and_the_option_names_it_where_the_row_does_not(plant: Path) -> None:
    write(plant / "pair.csv", pump(0, 220, pump="a") + pump(0, 220, pump="b"))
    succeed("train", "detect", "pair.csv", "--id", "pump", "--target", "heat", "--minutes", 0, "-o", "pair", cwd=plant)
    row, other = pump(220, 221)[0], pump(221, 222, pump="c")[0]
    assert "expected the series of the row, got the columns time, heat" in refusal(
        "stream", "pair", cwd=plant, text=as_csv([row])
    )
    text = json.dumps(row) + "\n" + json.dumps(other) + "\n"
    events = [json.loads(line) for line in succeed("stream", "pair", "--id", "a", cwd=plant, text=text).splitlines()]
    assert [event["unique_id"] for event in events] == ["a", "c"]
    assert not events[0]["warming"]
    assert events[1]["warming"]
    assert events[1]["notes"] == ["'c' was not in the table that the detector was fitted on: it starts cold"]


def test_a_state_keeps_series_of_which_no_row_came_since(plant: Path) -> None:
    write(plant / "trio.csv", pump(0, 220, pump="a") + pump(0, 220, pump="b"))
    succeed("train", "detect", "trio.csv", "--id", "pump", "--target", "heat", "--minutes", 0, "-o", "trio", cwd=plant)

    def feed(state: str, first: int, last: int, *names: str) -> list[str]:
        text = as_csv([row for i in range(first, last) for name in names for row in pump(i, i + 1, pump=name)])
        return succeed("stream", "trio", "--state", state, cwd=plant, text=text).splitlines()

    feed("parts.state", 220, 230, "a", "b", "new")
    feed("parts.state", 230, 240, "b")  # the others are not touched
    feed("parts.state", 230, 240, "new", "newer")
    feed("whole.state", 220, 230, "a", "b", "new")
    feed("whole.state", 230, 240, "b", "new", "newer")
    assert feed("parts.state", 240, 250, "newer", "a", "new") == feed("whole.state", 240, 250, "newer", "a", "new")
    (one, other) = (
        store.load_streams(plant / f"{name}.state", carrousel.load(plant / "trio")) for name in ("parts", "whole")
    )
    assert set(one.ids) == set(other.ids) == {"a", "b", "new", "newer"}
    for name in one.ids:
        for key, array in one.one(name).streams.state.items():
            np.testing.assert_array_equal(other.one(name).streams.state[key], array, err_msg=f"{name} {key}")


def test_a_report_that_cannot_be_written_is_named_as_it_was_given(plant: Path) -> None:
    done = here("evaluate", "runs/pump", "later.csv", "--labels", "labels.csv", "--report", "runs", cwd=plant)
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"error: {plant / 'runs'}: Is a directory"


def test_the_more_streams_there_are_the_more_rows_lie_between_two_states(
    plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    write_whole = store.write_whole
    monkeypatch.setattr(store, "write_whole", lambda path, content: (saved.append(1), write_whole(path, content))[1])
    monkeypatch.setattr(stream, "EVERY", 4)
    monkeypatch.setattr(stream, "EACH", 3)
    train = ("train", "detect", "both.csv", "--id", "pump", "--target", "heat", "--minutes", 0, "-o", "both")
    write(plant / "both.csv", pump(0, 220, pump="a") + pump(0, 220, pump="b"))
    succeed(*train, cwd=plant)
    for names, first, count in (("a", 220, 4), ("ab", 240, 3)):  # after 4 rows of one, 6 of two, and at the end
        saved.clear()
        text = as_csv(
            [row for i in range(first, first + 12 // len(names)) for n in names for row in pump(i, i + 1, pump=n)]
        )
        succeed("stream", "both", "--state", "both.state", cwd=plant, text=text)
        assert len(saved) == count


def test_evaluate_without_labels_holds_every_incident_against_the_promise(plant: Path) -> None:
    done = here("evaluate", "runs/pump", "later.csv", "--train", "pump.csv", cwd=plant)
    assert done.code == 0
    assert "no labels were given, so that every incident counts as false" in done.err
    assert "0 of 0" in done.out.splitlines()[1]
    assert done.out.splitlines()[5].startswith("false alarms: 10.0 a 1,000 rows promised; 80 unlabelled rows")


def test_evaluate_says_the_rule_where_no_rate_is_promised(plant: Path) -> None:
    words = ("train", "detect", "pump.csv", "--beyond", 0.25, "--minutes", 0, "-o", "runs/beyond")
    done = here(*words, cwd=plant)
    assert done.code == 0
    assert "note: alarms come where a value" in done.err
    assert "the threshold corrects" not in done.err
    words = ("evaluate", "runs/beyond", "later.csv", "--labels", "labels.csv", "--train", "pump.csv")
    lines = succeed(*words, "--report", "beyond.html", cwd=plant).splitlines()
    assert lines[5].startswith("Carrousel alarms where a value, or its distance from the forecast, is beyond all in")
    assert lines[6].startswith("naive detectors: 1.00 a week accepted; 76 unlabelled rows")
    page = (plant / "beyond.html").read_text()
    assert "were promised" not in page
    assert "promised and met" not in page
    assert "none promised" in page
    assert "not at a promised rate" in page
    assert json.loads(succeed(*words, "--json", cwd=plant))["promised"] is None
    card = (plant / "runs/beyond/README.md").read_text()
    assert "alarms once an incident, where a value" in card
    assert "are accepted" not in card


def test_evaluate_counts_events_beside_naive_detectors(plant: Path) -> None:
    words = ("evaluate", "runs/pump", "later.csv", "--labels", "labels.csv", "--train", "pump.csv")
    printed = succeed(*words, cwd=plant)
    lines = printed.splitlines()
    assert lines[0].split()[:3] == ["detector", "found", "precision"]
    assert [line.split("  ")[0] for line in lines[1:5]] == ["Carrousel", "rolling deviation", "last value", "range"]
    assert lines[5].startswith("false alarms: 10.0 a 1,000 rows promised; 76 unlabelled rows")
    numbers = json.loads(succeed(*words, "--json", cwd=plant))
    own = numbers["scores"]["Carrousel"]
    assert (own["labels"], own["found"], own["recall"], own["delay_rows"]) == (1, 1, 1.0, 0.0)
    assert numbers["promised"] == 10.0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("evaluate", "runs/pump", "later.csv", "--labels", "nowhere.csv"),
            "--labels: expected a file or a column of DATA",
        ),
        (("evaluate", "runs/pump", "later.csv", "--labels", "heat"), "label column 'heat': expected 0 or 1"),
        (("predict", "runs/pump"), "Missing argument 'DATA'"),
        (("train", "detect", "pump.csv", "--false-alarms", "often", "-o", "x"), "expected a rate such as '1/week'"),
        (("train", "detect", "pump.csv", "-o", "runs/pump"), "add --overwrite"),
        (("train", "detect", "labels.csv", "--minutes", 0, "-o", "x"), "name the time column with time"),
        (
            ("train", "detect", "pump.csv", "--false-alarms", "5/row", "-o", "x"),
            "expected fewer than rows, got '5/row'",
        ),
        (
            ("stream", "runs/pump", "--state", "nowhere/pump.state"),
            "--state: expected a file in a folder that is there",
        ),
    ],
)
def test_mistakes_are_answered_with_one_line(plant: Path, words: tuple[object, ...], says: str) -> None:
    assert says in refusal(*words, cwd=plant)


def test_a_detector_reads_covariates_and_says_which_are_missing(plant: Path) -> None:
    rows = [
        row | {"valve": str(n % 3 % 2), "mode": "low" if n % 2 else "high"}
        for n, row in enumerate(pump(0, ROWS + MORE))
    ]
    write(plant / "valves.csv", rows[:ROWS])
    write(plant / "more.csv", rows[ROWS:])
    words = ("--target", "heat", "--past", "valve,mode", "--beyond", "0.2", "--minutes", "0.02", "-o", "runs/valves")
    done = here("train", "detect", "valves.csv", *words, cwd=plant)
    assert done.code == 0, done.err
    assert "alarms come where a value" in done.out + done.err
    table = read(succeed("predict", "runs/valves", "more.csv", cwd=plant))
    lines = succeed("stream", "runs/valves", cwd=plant, text=as_csv(rows[ROWS:])).split("\n")[:-1]
    events = [json.loads(line) for line in lines]
    assert [float(row["score"]) for row in table] == [event["score"] for event in events]
    assert {"level_lower", "level_upper", "season", "season_lower", "season_upper"} <= set(table[0])
    assert events[-1]["trend"]["heat"]["season_band"][0] < events[-1]["trend"]["heat"]["season"]
    assert all(event["notes"] == [] for event in events)
    lost = {**rows[ROWS], "valve": "", "mode": ""}
    (line,) = succeed("stream", "runs/valves", cwd=plant, text=as_csv([lost])).splitlines()
    assert json.loads(line)["notes"] == ["valve, mode: missing, so taken as it was last"]
    write(plant / "lost.csv", [{**row, "valve": "" if n < 3 else row["valve"]} for n, row in enumerate(rows[ROWS:])])
    done = here("predict", "runs/valves", "lost.csv", cwd=plant)
    assert "note: column 'valve': 3 missing values, taken as the column was last" in done.err
    assert "past column 'valve': not in the table" in refusal("predict", "runs/valves", "later.csv", cwd=plant)
    refused = refusal("train", "detect", "valves.csv", "--past", "valve", "--minutes", 0, "-o", "x", cwd=plant)
    assert "past: expected minutes above 0" in refused
