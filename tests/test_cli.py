"""The program as its users have it: processes, pipes, files, exit codes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from carrousel import cli
from carrousel.cli._option import numbers, words
from carrousel.errors import SettingError

PROGRAM = str(Path(sys.executable).with_name("carrousel"))
HORIZON = 12
ROWS = 480  # hours of each series in the training table
QUICK = ("--minutes", "0.05", "--look-back", "24")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, and a model of two shops in runs/shops."""
    home = tmp_path_factory.mktemp("cli")
    plain = [{k: v for k, v in row.items() if k != "offer"} for s in ("north", "south") for row in demand(s, 0, ROWS)]
    write(home / "shops.csv", plain)
    write(home / "offers.csv", demand("north", 0, ROWS) + demand("south", 0, ROWS))
    later = [row for s in ("north", "south") for row in demand(s, ROWS, ROWS + HORIZON)]
    write(home / "ahead.csv", [{k: v for k, v in row.items() if k != "y"} for row in later])
    done = process(
        "train", "forecast", "shops.csv", "--horizon", HORIZON, "--id", "shop", *QUICK, "-o", "runs/shops", cwd=home
    )
    assert done.code == 0, done.err
    (home / "training.out").write_text(done.out)
    (home / "training.err").write_text(done.err)
    return home


def following(first: int, last: int, *shops: str) -> list[dict[str, str]]:
    """Rows after the training table, mixed as time brings them."""
    series = [[{k: v for k, v in row.items() if k != "offer"} for row in demand(s, first, last)] for s in shops]
    return [row for rows in zip(*series, strict=True) for row in rows]


# Usage


def test_a_process_ends_with_the_code_and_the_line_of_its_command(tmp_path: Path) -> None:
    assert process("--version", cwd=tmp_path).code == 0
    assert "'nowhere'" in refusal("predict", "nowhere", cwd=tmp_path, run=process)


def test_version_names_the_program(tmp_path: Path) -> None:
    assert succeed("--version", cwd=tmp_path).startswith("carrousel ")


@pytest.mark.parametrize("words", [[], ["--help"], ["train"], ["data", "--help"]])
def test_help_without_a_command_lists_the_commands(words: list[str], tmp_path: Path) -> None:
    assert "Commands" in succeed(*words, cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strem"], "'stream'"),
        (["train", "forecast", "x.csv", "-o", "r"], "'--horizon'"),
        (["train", "forecast", "x.csv", "--horizon", "many", "-o", "r"], "'--horizon'"),
        (["predict"], "'RUN'"),
        (["predict", "r", "--colour"], "--colour"),
        (["data", "get", "etth7"], "etth7"),
    ],
)
def test_a_misspelt_command_or_option_is_one_line_and_exit_2(words: list[str], says: str, tmp_path: Path) -> None:
    assert says in refusal(*words, cwd=tmp_path)


def test_a_fault_of_ours_is_a_traceback_and_exit_1(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "application", broken)
    assert cli.main([]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: a fault of carrousel's own; please report")


def test_a_file_in_the_folder_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "detect.py").write_text(
        'EXAMPLES = ("carrousel train detect 3",)\n'
        'def command(number: int) -> None:\n    """Find what is odd."""\n    print(number + 1)\n'
    )
    from carrousel.cli import train

    monkeypatch.setattr(train, "__path__", [*train.__path__, str(tmp_path)])
    assert cli.main(["train", "detect", "3"]) == 0
    assert capsys.readouterr().out == "4\n"
    sys.modules.pop("carrousel.cli.train.detect")


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        (None, ()),
        (["a,b"], ("a", "b")),
        (["a", "b, c"], ("a", "b", "c")),
        (['"wind, m/s",b'], ("wind, m/s", "b")),
    ],
)
def test_columns_come_one_by_one_or_with_commas(given: list[str] | None, columns: tuple[str, ...]) -> None:
    assert words(given, "--past") == columns


@pytest.mark.parametrize("given", ["", "a,,b", ","])
def test_an_empty_column_name_is_refused(given: str) -> None:
    with pytest.raises(SettingError, match="--past: expected column names"):
        words([given], "--past")


def test_levels_are_numbers_with_commas() -> None:
    assert numbers("50, 90", "--levels") == (50.0, 90.0)
    with pytest.raises(SettingError, match="--levels: expected numbers"):
        numbers("50;90", "--levels")


def test_import_of_the_package_brings_neither_typer_nor_rich(tmp_path: Path) -> None:
    code = "import carrousel, sys; print({'typer', 'rich', 'torch', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "set()"


# Training


def test_training_prints_scores_beside_baselines_and_the_next_commands(home: Path) -> None:
    out = (home / "training.out").read_text()
    for model in ("Carrousel", "naive", "seasonal_naive", "ridge", "ets", "theta"):
        assert any(line.split()[:1] == [model] for line in out.splitlines()), model
    assert "saved runs/shops" in out
    assert "carrousel predict runs/shops" in out


def test_training_says_on_stderr_what_was_inferred_and_how_far_it_is(home: Path) -> None:
    err = (home / "training.err").read_text()
    assert "note: " in err
    assert "hourly" in err
    assert "validation" in err
    assert len(err.splitlines()) == len(set(err.splitlines()))  # nothing is said twice


def test_training_leaves_the_model_and_nothing_else(home: Path) -> None:
    assert [path.name for path in (home / "runs").iterdir()] == ["shops"]


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        ("none.csv", ["--horizon", "3"], "'none.csv'"),
        ("shops.csv", ["--horizon", "3", "--id", "shop", "--past", "rain"], "rain"),
        ("shops.csv", ["--horizon", "0", "--id", "shop"], "horizon"),
        ("shops.csv", ["--horizon", "400", "--id", "shop"], "480"),
        ("shops.csv", ["--horizon", "3", "--id", "shop", "--levels", "95,x"], "--levels"),
        ("empty.csv", ["--horizon", "3"], "empty.csv"),
        ("header.csv", ["--horizon", "3"], "row"),
        ("picture.csv", ["--horizon", "3"], "picture.csv"),
        ("shops.csv", ["--horizon", "3", "--id", "shop", "--resume"], "resume"),
    ],
)
def test_a_table_that_cannot_be_trained_on_leaves_one_line_and_no_folder(
    home: Path, table: str, options: list[str], says: str
) -> None:
    (home / "empty.csv").write_text("")
    (home / "header.csv").write_text("ds,y\n")
    (home / "picture.csv").write_bytes(bytes(range(256)) * 8)
    assert says in refusal("train", "forecast", table, *options, "--minutes", 0.02, "-o", "runs/bad", cwd=home)
    assert [path.name for path in (home / "runs").iterdir()] == ["shops"]


@pytest.mark.parametrize(
    ("output", "options", "says"),
    [
        ("runs/shops", [], "--overwrite"),
        ("notes", ["--overwrite"], "neither"),
        ("shops.csv/run", [], "shops.csv"),
    ],
)
def test_training_refuses_beforehand_where_it_cannot_save(
    home: Path, output: str, options: list[str], says: str
) -> None:
    (home / "notes").mkdir(exist_ok=True)
    (home / "notes" / "diary.txt").write_text("kept")
    line = refusal("train", "forecast", "shops.csv", "--horizon", 3, "--id", "shop", *options, "-o", output, cwd=home)
    assert says in line
    assert (home / "notes" / "diary.txt").read_text() == "kept"


def test_a_killed_training_resumes_to_the_same_weights(home: Path) -> None:
    command = ["train", "forecast", "shops.csv", "--horizon", "6", "--id", "shop", "--look-back", "24"]
    command += ["--max-steps", "10"]
    succeed(*command, "-o", "runs/whole", cwd=home)
    killed = subprocess.Popen([PROGRAM, *command, "-o", "runs/cut"], cwd=home, env=ENVIRONMENT, stderr=subprocess.PIPE)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith(b"epoch"):
            break
    killed.kill()
    killed.wait()
    killed.stderr.close()
    assert "--resume" in refusal(*command, "-o", "runs/cut", cwd=home)
    succeed(*command, "-o", "runs/cut", "--resume", cwd=home)
    assert (home / "runs/cut/model.safetensors").read_bytes() == (home / "runs/whole/model.safetensors").read_bytes()
    assert not (home / "runs/cut.training").exists()
    shutil.rmtree(home / "runs/cut")
    shutil.rmtree(home / "runs/whole")


# Predict and evaluate


def test_predict_writes_the_same_forecast_into_file_and_pipe(home: Path) -> None:
    succeed("predict", "runs/shops", "-o", "forecast.csv", cwd=home)
    succeed("predict", "runs/shops", "-o", "forecast.parquet", cwd=home)
    rows = read((home / "forecast.csv").read_text())
    assert [row["shop"] for row in rows] == ["north"] * HORIZON + ["south"] * HORIZON
    assert [row["ds"].replace(" ", "T")[:13] for row in rows[:HORIZON]] == [h[:13] for h in hours(ROWS, ROWS + HORIZON)]
    for row in rows:
        low, point, high = (float(row[f"Carrousel{end}"]) for end in ("-lo-90", "", "-hi-90"))
        assert low < point < high
    piped = read(succeed("predict", "runs/shops", cwd=home))
    import narwhals as nw

    from carrousel.data.table import read_table

    parquet = nw.from_native(read_table(home / "forecast.parquet"))["Carrousel"].to_list()
    for other in ([row["Carrousel"] for row in piped], parquet):
        np.testing.assert_allclose(np.array(other, float), [float(row["Carrousel"]) for row in rows], rtol=1e-9)


def test_predict_from_a_table_forecasts_what_comes_after_it(home: Path) -> None:
    more = demand("north", 0, ROWS) + demand("north", ROWS, ROWS + 5)
    write(home / "more.csv", [{k: v for k, v in row.items() if k != "offer"} for row in more])
    rows = read(succeed("predict", "runs/shops", "more.csv", cwd=home))
    assert [row["ds"].replace(" ", "T")[:13] for row in rows] == [h[:13] for h in hours(ROWS + 5, ROWS + 5 + HORIZON)]


def test_predict_asks_for_the_covariates_that_must_be_known_ahead(home: Path) -> None:
    train = ["train", "forecast", "offers.csv", "--horizon", HORIZON, "--id", "shop", "--future", "offer", *QUICK]
    succeed(*train, "-o", "runs/offers", cwd=home)
    assert "offer" in refusal("predict", "runs/offers", cwd=home)
    rows = read(succeed("predict", "runs/offers", "--future", "ahead.csv", cwd=home))
    assert len(rows) == 2 * HORIZON
    row = {**demand("north", ROWS, ROWS + 1)[0]}
    ahead = [{k: v for k, v in r.items() if k != "y"} for r in demand("north", ROWS + 1, ROWS + 1 + HORIZON)]
    line = succeed("stream", "runs/offers", cwd=home, text=json.dumps({**row, "future": ahead}) + "\n")
    assert len(json.loads(line)["Carrousel"]) == HORIZON
    assert "offer" in refusal("stream", "runs/offers", cwd=home, text=json.dumps(row) + "\n")
    shutil.rmtree(home / "runs/offers")


def test_evaluate_scores_the_model_beside_the_baselines(home: Path) -> None:
    later = [row for s in ("north", "south") for row in demand(s, 0, ROWS) + demand(s, ROWS, ROWS + 3 * HORIZON)]
    write(home / "later.csv", [{k: v for k, v in row.items() if k != "offer"} for row in later])
    out = succeed("evaluate", "runs/shops", "later.csv", "--windows", 3, "--json", cwd=home)
    found = json.loads(out)
    assert found["windows"] == 6
    assert {"Carrousel", "naive", "seasonal_naive", "ridge"} <= found["scores"].keys()
    assert 0 < found["scores"]["Carrousel"]["mae"] < found["scores"]["naive"]["mae"]
    assert 0.5 < found["scores"]["Carrousel"]["coverage-90"] <= 1
    table = succeed("evaluate", "runs/shops", "later.csv", "--windows", 3, "--report", "report.html", cwd=home)
    assert f"{found['scores']['ridge']['mae']:.4g}" in table
    assert "6 windows" in table
    assert "<html" in (home / "report.html").read_text()


@pytest.mark.parametrize("command", ["predict", "evaluate", "stream"])
def test_a_damaged_model_is_one_line_and_exit_2(home: Path, command: str, tmp_path: Path) -> None:
    data = [str(home / "shops.csv")] if command == "evaluate" else []
    assert "no folder" in refusal(command, "nowhere", *data, cwd=tmp_path)
    run = shutil.copytree(home / "runs/shops", tmp_path / "run")
    weights = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "model.safetensors" in refusal(command, run, *data, cwd=tmp_path)


def test_use_of_a_model_imports_no_torch(home: Path) -> None:
    code = (
        "import sys; from carrousel.cli import main; main(['stream', 'runs/shops']);"
        "print({'torch', 'pandas', 'polars', 'pyarrow'} & sys.modules.keys())"
    )
    text = as_json(following(ROWS, ROWS + 1, "north"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, input=text, text=True, capture_output=True, check=True
    )
    assert done.stdout.splitlines()[1] == "set()"


# Streams


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
