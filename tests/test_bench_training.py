"""The bench of training: what is timed is right, what is wrong is not timed."""

from __future__ import annotations

import json

import pytest
import torch

import carrousel.layers.scan as scan
from carrousel.bench import WrongResultError, training
from carrousel.bench.training import NN, OWN, STEPWISE, VARIANTS, Case, Result, Task, plan
from carrousel.errors import SettingError
from cli.program import succeed

pytestmark = pytest.mark.skipif(bool(scan.unavailable()), reason="the native engine was not built")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STEPS", 12)
    monkeypatch.setattr(training, "BATCH", 5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_rival_of_a_variant_computes_its_gradients(variant: str) -> None:
    threads = torch.get_num_threads()
    results = training.run(plan([variant], [8]), seconds=0.0)
    assert torch.get_num_threads() == threads
    assert [result.refused for result in results] == [""] * len(results)
    by_case = {case: [r.rival for r in results if r.case == case] for case in plan([variant], [8])}
    assert all(len(rivals) > 1 and rivals[0] == OWN for rivals in by_case.values())
    assert all(result.seconds is not None and result.seconds > 0 for result in results)


@pytest.mark.parametrize("rival", [OWN, NN])
def test_wrong_gradients_end_the_bench_or_are_refused(rival: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = Task.gradients

    def wrong(self: Task, name: str, output: object) -> list[torch.Tensor]:
        right = gradients(self, name, output)  # pyright: ignore
        return [slope * 1.01 for slope in right] if name == rival else right

    monkeypatch.setattr(Task, "gradients", wrong)
    task = Task(Case("plain", 8, "float32", 1))
    if rival == OWN:
        with pytest.raises(WrongResultError, match=r"differ from float64 by 1\.0e-02"):
            training.measure(task, 0.0)
        return
    refused, own = training.measure(task, 0.0)
    assert (refused.rival, own.rival) == (NN, OWN)
    assert "gradients differ from float64 by 1.0e-02" in refused.refused
    assert training.remarks([refused])[0].startswith("REFUSED: torch nn.LSTM, training plain H=8 float32")


def test_a_table_has_a_row_a_size_and_ratios_to_carrousel() -> None:
    case = Case("layer norm", 64, "float32", 2)
    own = Result(case, OWN, 2e-3, 2e-3, 3, 0.0, roofline=1e-3)
    assert training.tables([own, Result(case, STEPWISE, 9e-3, 9e-3, 3, 0.0)]) == {
        "layer norm, float32": (
            ["H", "threads", OWN, "roofline", STEPWISE],
            [["64", "2", "2.00", "50%", "9.00 (4.50×)"]],
        )
    }


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        # 3 passes, 12 · 5 cells, 4 gates of 8 units, 8 inputs and 8 hidden values
        ("plain", 3 * 60 * 32 * 16),
        # 4 outputs, and their product
        ("projection", 3 * 60 * (32 * 12 + 8 * 4)),
        # 1, 3, 6, 9 and 12 steps
        ("lengths", 3 * 31 * 32 * 16),
    ],
)
def test_the_multiplications_of_a_step_are_those_of_its_products(variant: str, expected: int) -> None:
    assert Case(variant, 8, "float32", 1).multiplications == expected
    assert all(
        (result.roofline is not None) == (result.rival == OWN)
        for result in training.run([Case(variant, 8, "float32", 1)], seconds=0.0)
    )


def test_only_the_plain_layer_is_timed_in_bfloat16() -> None:
    assert {(case.variant, case.precision) for case in plan(sizes=[8])} == {
        ("plain", "bfloat16"), *((variant, "float32") for variant in VARIANTS),
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [(["plane"], [8]), (["plain"], [1])])
def test_what_cannot_be_timed_is_refused(arguments: tuple[list[str], list[int]]) -> None:
    with pytest.raises(SettingError):
        plan(*arguments)


def test_the_command_prints_and_writes_its_tables(tmp_path) -> None:
    out = succeed("bench", "--training", "--quick", "--sizes", "8", "-o", "training.json", cwd=tmp_path)
    assert "Layer norm, float32" in out
    data = json.loads((tmp_path / "training.json").read_text())
    assert {result["rival"] for result in data["results"]} >= {OWN, NN, STEPWISE}
    succeed("bench", "--training", "--quick", "--sizes", "8", "--dtype", "float32", "-o", "training.md", cwd=tmp_path)
    assert (tmp_path / "training.md").read_text().startswith("# Training on this machine")
