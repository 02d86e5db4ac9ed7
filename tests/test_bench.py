"""The bench: what is timed is right, what is wrong is not timed, and the tables say what was measured."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carrousel import bench, native
from carrousel.bench import Result, WrongResultError, measure
from carrousel.bench.case import BATCHES, CHUNKS, SIZES, TOLERANCES, Case, Task, plan
from carrousel.bench.clock import LEAST_ROUNDS, SAMPLE_SECONDS, race
from carrousel.bench.limit import Limits
from carrousel.bench.rival import Rival, Run, discover
from carrousel.bench.rival.carrousel import Carrousel
from carrousel.bench.table import digits, tables
from carrousel.errors import SettingError
from cli.program import refusal, succeed

STEP, CHUNK, BATCH = Case("step", 5, 1, 1), Case("chunk", 5, 7, 2), Case("batch", 5, 1, 3)
needs_native = pytest.mark.skipif(native.module() is None, reason="the native engine was not built")


class Guess(Rival):
    """Answers with the right outputs and something on top."""

    name = "guess"
    packages = ()
    dtypes = ("float32",)

    def __init__(self, wrong_by: float) -> None:
        super().__init__(1)
        self.wrong_by = wrong_by

    def prepare(self, task: Task, dtype: native.Dtype) -> Run | None:
        return Answer(task, self.wrong_by)


class WrongCarrousel(Guess, Carrousel):
    """Carrousel, were it wrong."""

    name = Carrousel.name


class Answer(Run):
    def __init__(self, task: Task, wrong_by: float) -> None:
        self.task, self.wrong_by = task, wrong_by

    def values(self) -> np.ndarray:
        values = np.zeros(self.task.x.shape)
        values[:, self.task.rows] = self.task.expected
        values[-1, self.task.rows[-1], 0] += self.wrong_by
        return values

    def loop(self, count: int) -> None:
        time.sleep(1e-3 * count)


def test_plan_has_every_size_and_shape_and_quick_few_of_them():
    assert len(plan(["step", "chunk", "batch"], SIZES)) == len(SIZES) * (1 + len(CHUNKS) + len(BATCHES))
    quick = plan(["chunk", "batch"], [8], quick=True)
    assert [(case.steps, case.batch) for case in quick] == [CHUNKS[0], (1, BATCHES[0])]


@pytest.mark.parametrize(("what", "sizes"), [(["stpe"], [8]), (["step"], [0]), (["step"], [10**6])])
def test_a_plan_of_unknown_things_is_refused(what, sizes):
    with pytest.raises(SettingError, match=r"what: unknown name 'stpe'|sizes: expected"):
        plan(what, sizes)


@pytest.mark.parametrize("case", [STEP, CHUNK, BATCH], ids=lambda case: case.what)
@pytest.mark.parametrize("rival", discover()[0], ids=lambda rival: rival.name)
def test_every_rival_that_is_installed_computes_the_same(rival, case):
    engine, task = rival(1), Task(case)
    for dtype in rival.dtypes:
        run = engine.prepare(task, dtype)
        if run is None:
            continue
        assert task.difference(run.values()) <= TOLERANCES[dtype]
        run.loop(3)
        assert task.difference(run.values()) <= TOLERANCES[dtype], "what was timed left something behind"


def test_a_difference_is_found_in_every_row_that_is_checked_and_in_what_is_no_number():
    task = Task(BATCH)
    right = Answer(task, 0).values()
    assert task.difference(right) == 0
    assert task.difference(Answer(task, 0.5).values()) == pytest.approx(0.5)
    right[0, 0, 0] = np.nan
    assert task.difference(right) == float("inf")
    with pytest.raises(ValueError, match="expected outputs"):
        task.difference(right[:, :1])


@pytest.mark.parametrize("wrong_by", [1e-3, float("nan")])
def test_a_rival_that_is_wrong_is_refused_and_not_timed(wrong_by):
    results = measure(STEP, [Guess(0), Guess(wrong_by)], ["float32"], seconds=0.0, limits=None)
    refused, right = sorted(results, key=lambda result: result.seconds or 0)
    assert refused.seconds is None
    assert "outputs differ from float64" in refused.refused
    assert right.seconds is not None
    report = bench.Report(results, [], None, {})
    assert any(remark.startswith("REFUSED: guess in float32, step H=5") for remark in report.remarks)
    ((_, rows),) = tables([replace(refused, rival="Carrousel"), right]).values()
    assert rows[0][2] == "refused"


def test_carrousel_being_wrong_ends_the_bench():
    with pytest.raises(WrongResultError, match="Carrousel in float32"):
        measure(STEP, [WrongCarrousel(1e-3)], ["float32"], seconds=0.0, limits=None)


def test_a_rival_that_fails_is_named_with_its_reason():
    class Broken(Guess):
        def prepare(self, task: Task, dtype: native.Dtype) -> Run | None:
            raise RuntimeError("no kernel for this shape. Try another")

    (result,) = (r for r in measure(STEP, [Guess(0), Broken(0)], ["float32"], seconds=0.0, limits=None) if r.refused)
    assert result.refused == "RuntimeError: no kernel for this shape"


def test_a_race_gives_every_loop_the_same_number_of_samples_in_turns(monkeypatch):
    clock, turns = [0.0], []

    def loop(name: str, cost: float):
        def run(count: int) -> None:
            turns.append(name)
            clock[0] += count * cost

        return run

    monkeypatch.setattr("carrousel.bench.clock.time.perf_counter", lambda: clock[0])
    fast, slow = race([loop("fast", 1e-6), loop("slow", 5e-4)], 0.0)
    assert len(fast) == len(slow) == LEAST_ROUNDS
    np.testing.assert_allclose(fast, 1e-6)
    np.testing.assert_allclose(slow, 5e-4)
    there, back = ["fast", "fast", "slow", "slow"], ["slow", "slow", "fast", "fast"]
    assert turns[-4 * LEAST_ROUNDS :] == [*there, *back, *there]
    assert SAMPLE_SECONDS >= 1e-3
    turns.clear()
    race([loop("long", 1.0)], 0.0)
    assert turns == ["long"] * (1 + LEAST_ROUNDS)


def test_a_table_states_times_in_its_unit_and_how_many_times_as_long_a_rival_takes():
    def result(rival: str, seconds: float) -> Result:
        return Result(BATCH, rival, "float32", seconds, seconds, 3, 0.0, 1.5e-6)

    ((what, (header, rows)),) = tables([result("other", 12e-6), result("Carrousel", 3e-6)]).items()
    assert what == "batch"
    assert header == ["H", "shape", "weights", "Carrousel", "roofline", "other"]
    assert rows == [["5", "N=3", "float32", "1,000", "50%", "4,000 (4×)"]]


def test_a_table_keeps_the_order_of_the_cases_and_has_a_row_a_precision():
    cases = plan(["chunk"], [4, 8])
    results = [Result(c, "Carrousel", d, 1.0, 1.0, 3, 0.0, None) for c in cases for d in ("int8", "float32")]
    ((_, (_, rows)),) = tables(results).items()
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (str(case.size), case.shape, dtype) for case in cases for dtype in ("float32", "int8")
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.02049, "0.0205"), (5.0, "5.00"), (123.4, "123"), (999.7, "1,000"), (16384.0, "16,400")]
)
def test_numbers_have_three_digits_and_no_exponent(value, shown):
    assert digits(value) == shown


@needs_native
def test_limits_bound_a_step_by_its_weights_and_a_batch_by_its_arithmetic(monkeypatch):
    limits = Limits(native.module().choose_isa(""))
    assert limits.flops > 1e8
    assert limits.bandwidth(1 << 16) > 1e8
    monkeypatch.setattr(limits, "flops", 1e12)
    monkeypatch.setattr(limits, "bandwidth", lambda size: 1e9)
    assert limits.seconds(Case("step", 64, 1, 1), "float32") == pytest.approx(4 * 64 * 128 * 4 / 1e9)
    assert limits.seconds(Case("step", 64, 1, 1), "bfloat16") == pytest.approx(4 * 64 * 128 * 2 / 1e9)
    assert limits.seconds(Case("chunk", 64, 100, 1), "float32") == pytest.approx(4 * 64 * 64 * 101 * 4 / 1e9)
    batch = 10**6 * 2 * 4 * 64 * 128 / 1e12
    assert limits.seconds(Case("batch", 64, 1, 10**6), "float32") == pytest.approx(batch)
    for isa, bfloat16, int8 in (("avx2", 1, 2), ("avx512vnni", 1, 4), ("avx512bf16", 2, 4)):
        monkeypatch.setattr(limits, "isa", isa)
        assert limits.seconds(Case("batch", 64, 1, 10**6), "bfloat16") == pytest.approx(batch / bfloat16)
        assert limits.seconds(Case("batch", 64, 1, 10**6), "int8") == pytest.approx(batch / int8)


def test_the_program_times_a_step_and_writes_it_down(tmp_path: Path) -> None:
    words = ("bench", "--quick", "--what", "step", "--sizes", 8, "--dtype", "float32", "-o")
    text = succeed(*words, "bench.json", cwd=tmp_path)
    data = json.loads((tmp_path / "bench.json").read_text())
    (own,) = (result for result in data["results"] if result["rival"] == "Carrousel")
    assert own["seconds"] > 0
    assert own["difference"] < TOLERANCES["float32"]
    assert "One step of one stream" in text
    assert "outputs differ from those in float64 by at most" in text
    succeed(*words, "bench.md", cwd=tmp_path)
    page = (tmp_path / "bench.md").read_text()
    assert "| H | weights | Carrousel | roofline |" in page
    for fact in ("machine", "kernels", "versions", "date", "command"):
        assert f"- {fact}: " in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sizes", "8,x"], "--sizes: expected whole numbers"),
        (["--what", "stpe"], "did you mean 'step'"),
        (["--dtype", "float16"], "--dtype: unknown name 'float16'"),
        (["-o", "bench.txt"], "-o: expected a file that ends in .md or .json"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_the_program_refuses_what_it_cannot_time(words: list[str], says: str, tmp_path: Path) -> None:
    assert says in refusal("bench", *words, cwd=tmp_path)
