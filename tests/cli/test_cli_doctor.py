"""What the program says about the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from carrousel import native
from carrousel.engine import Engine
from cli.program import PROGRAM, process, refusal, succeed

needs_native = pytest.mark.skipif(native.module() is None, reason="the native engine was not built")


def doctor(*words: str, isa: str | None = None, folder: Path) -> subprocess.CompletedProcess[str]:
    """The program as a process of its own, with CARROUSEL_ISA or without."""
    env = {name: value for name, value in os.environ.items() if name != "CARROUSEL_ISA"}
    env |= {} if isa is None else {"CARROUSEL_ISA": isa}
    return subprocess.run([PROGRAM, "doctor", *words], cwd=folder, env=env, text=True, capture_output=True, check=False)


def test_doctor_names_the_kernels_that_an_engine_then_uses(tmp_path: Path) -> None:
    found = json.loads(succeed("doctor", "--json", cwd=tmp_path))
    layers = [{"kind": "linear", "name": "head", "input_size": 1, "output_size": 1}]
    weights = {"head.weight": np.ones((1, 1), np.float32), "head.bias": np.ones(1, np.float32)}
    assert found["isa"] == Engine(layers, weights).isa
    assert [one["name"] for one in found["kernels"] if one["chosen"]] == [found["isa"]]
    assert found["versions"]["numpy"] == np.__version__
    assert found["usable"] == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else True
    assert all(size > 0 for size in found["caches"].values())


def test_doctor_says_of_every_instruction_set_whether_it_runs(tmp_path: Path) -> None:
    text = succeed("doctor", cwd=tmp_path)
    for name, runs, lacks, _ in native.module().instruction_sets() if native.module() else []:
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        assert ("runs" if runs else f"lacks {lacks}") in line
    assert "native engine" in text
    assert "openvino" in text


@needs_native
def test_doctor_says_that_the_numpy_engine_was_asked_for_and_what_that_costs(tmp_path: Path) -> None:
    done = doctor(isa="numpy", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "chosen: CARROUSEL_ISA asks for it" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("advice: CARROUSEL_ISA=numpy keeps the faster kernels out")


@needs_native
def test_doctor_has_no_advice_where_the_best_kernels_run(tmp_path: Path) -> None:
    done = doctor("--json", folder=tmp_path)
    best = [one["name"] for one in json.loads(done.stdout)["kernels"] if one["runs"]][-1]
    assert json.loads(done.stdout)["isa"] == best
    assert json.loads(done.stdout)["advice"] == ""


def test_an_unknown_instruction_set_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = doctor(isa="sse9", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: CARROUSEL_ISA: expected")
    assert "'sse9'" in line


def test_doctor_tells_how_to_get_the_native_engine_where_it_is_missing_and_loads_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['carrousel._native'] = None; from carrousel import cli; code = cli.main(['doctor']);"
        "print(code, sorted({'torch', 'onnxruntime', 'pandas'} & sys.modules.keys()))"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("CARROUSEL_ISA", "PATH")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env | {"PATH": str(tmp_path)},
        text=True,
        capture_output=True,
        check=True,
    )
    *lines, advice, ends = done.stdout.splitlines()
    assert any("native engine" in line and "not built: " in line for line in lines)
    assert any("none on the path" in line for line in lines)
    assert "C++20 compiler" in advice
    assert ends == "0 []"


def test_doctor_takes_no_arguments(tmp_path: Path) -> None:
    assert "extra argument" in refusal("doctor", "all", cwd=tmp_path, run=process)
