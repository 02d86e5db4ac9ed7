"""What a saved model is used for: predict and evaluate."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carrousel import artifact
from cli.program import HORIZON, QUICK, ROWS, as_json, demand, following, hours, read, refusal, succeed, write


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


def test_the_model_says_which_task_a_command_is_about(home: Path) -> None:
    assert succeed("predict", "forecast", "runs/shops", cwd=home) == succeed("predict", "runs/shops", cwd=home)
    other = home / "other"
    shutil.copytree(home / "runs/shops", other)
    saved = artifact.read(other)
    artifact.save(other, replace(saved, task="dance"), overwrite=True)
    assert "expected a model for " in (line := refusal("predict", "other", cwd=home))
    assert "got one for 'dance'" in line
