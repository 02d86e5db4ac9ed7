"""Training from the shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cli.program import ENVIRONMENT, PROGRAM, process, refusal


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


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(home: Path) -> None:
    command = ["train", "forecast", "shops.csv", "--horizon", "6", "--id", "shop", "--look-back", "24"]
    command += ["--max-steps", "10"]
    # Processes of their own for all three: with another number of threads PyTorch adds in another order.
    assert process(*command, "-o", "runs/whole", cwd=home).code == 0
    killed = subprocess.Popen([PROGRAM, *command, "-o", "runs/cut"], cwd=home, env=ENVIRONMENT, stderr=subprocess.PIPE)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith(b"epoch"):
            break
    killed.kill()
    killed.wait()
    killed.stderr.close()
    assert "--resume" in refusal(*command, "-o", "runs/cut", cwd=home)
    assert process(*command, "-o", "runs/cut", "--resume", cwd=home).code == 0
    assert (home / "runs/cut/model.safetensors").read_bytes() == (home / "runs/whole/model.safetensors").read_bytes()
    assert not (home / "runs/cut.training").exists()
    shutil.rmtree(home / "runs/cut")
    shutil.rmtree(home / "runs/whole")
