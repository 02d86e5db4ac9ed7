"""The engine beside what else runs an LSTM on a CPU, one forecast of a stream, and the memory that a process needs.

    taskset -c 1 python benchmarks/engine.py                # writes docs/benchmarks/engine.md
    taskset -c 1 python benchmarks/engine.py --again step   # measures that section once more

Rivals are those that are installed: torch, onnxruntime with onnx, openvino. What was measured is kept in runs/engine, a
file for each section, so that an interrupted run goes on; the page is written from all of them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy's matrix library is loaded

import argparse
import json
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import page

from carrousel import Forecaster, artifact, bench, load
from carrousel.architecture import LSTM, Architecture, Linear
from carrousel.bench import Result
from carrousel.bench.case import DTYPES, Case, plan
from carrousel.bench.clock import race
from carrousel.bench.rival.carrousel import Carrousel
from carrousel.bench.table import LEGEND, TITLES, digits, limits_text, tables
from carrousel.config import from_dict

PACKAGES = ("carrousel", "numpy", "torch", "onnx", "onnxruntime", "openvino")
KEPT = Path(__file__).resolve().parent.parent / "runs" / "engine"
SECONDS = 4.0  # of turns for each case
ORT = "onnxruntime"
NUMPY, NATIVE = "numpy", ""  # values of CARROUSEL_ISA

STEP_SIZES, STREAM_SIZES, CHUNK_SIZES = (16, 64, 128, 256, 512), (32, 64, 128), (64, 256, 512)
# (must, aim) of each; those in µs, ns and MB were set on another processor, see BEFORE.
STEP_US = {16: (0.4, 0.25), 64: (1.1, 0.75), 128: (3.0, 2.4), 256: (18.0, 15.0), 512: (75.0, 65.0)}
STEP_RATIO = {16: 10.0, 64: 6.0, 128: 3.0, 256: 1.5, 512: 1.15}
INT8_RATIO = {64: (6.0, 20.0), 256: (3.0, 5.0), 512: (1.8, 2.2)}
STREAM_NS = {32: (95.0, 80.0), 64: (330.0, 290.0), 128: (1200.0, 1100.0)}
CHUNK_RATIO = (1.05, 1.2)
MEMORY_MB = (12.0, 8.0)
SETTING = (
    "One LSTM with as many inputs as hidden units, the same weights for all, one thread on one core, called from "
    "Python. Every output is held against the cell's reference in float64 before anything is timed; then the rivals "
    "take turns, round by round, each warmed up and with its state carried over from step to step: torch in inference "
    "mode, onnxruntime and openvino with inputs and outputs bound beforehand, int8 of onnxruntime by "
    "`quantize_dynamic` (per channel)."
)
BEFORE = (
    "The targets were set before there was an engine, from what a throw-away probe reached on a newer processor: AMD "
    "Zen 5, which in a cycle multiplies twice as much as Zen 4 and reads twice as much from L2 (one core: 259 GFLOP/s "
    "in float32, 517 GB/s from L1, 185 to 247 GB/s from L2). Absolute times do not carry over to another processor. "
    "Ratios do in part: what a rival spends on a call before it computes counts for less where computing takes longer."
)


def timed(cases: list[Case], dtypes: tuple[Any, ...], seconds: float) -> dict[str, Any]:
    """A race of everything that is installed."""
    report = bench.run(
        cases, dtypes=dtypes, seconds=seconds, progress=lambda case: print(f"  {case.title}", flush=True)
    )
    for sentence in report.remarks:
        print(f"  {sentence}")
    data = asdict(report)
    return {"results": data["results"], "limits": data["limits"], "remarks": report.remarks}


def step(seconds: float) -> dict[str, Any]:
    return timed(plan(["step"], STEP_SIZES), DTYPES, seconds)


def batch(seconds: float) -> dict[str, Any]:
    return timed(plan(["batch"], STREAM_SIZES), DTYPES, seconds)


def chunk(seconds: float) -> dict[str, Any]:
    return timed(plan(["chunk"], CHUNK_SIZES), DTYPES, seconds)


def update(seconds: float) -> dict[str, Any]:
    """One row into the stream of a saved forecaster, its forecast out, by both engines in turns."""
    hours, random = np.arange(2000), np.random.default_rng(0)
    table = {
        "ds": np.datetime64("2024-01-01T00", "s") + hours * np.timedelta64(3600, "s"),
        "y": 20 + 5 * np.sin(hours * 2 * np.pi / 24) + random.standard_normal(len(hours)),
    }
    with tempfile.TemporaryDirectory() as folder:
        Forecaster(horizon=24, max_steps=30).fit(table).save(Path(folder) / "model")
        models = {}
        for isa in (NATIVE, NUMPY):
            os.environ["CARROUSEL_ISA"] = isa
            models[isa] = load(Path(folder) / "model")
            models[isa].fitted.engine  # noqa: B018 (made now, for the instruction set that is set now)
    os.environ["CARROUSEL_ISA"] = NATIVE
    samples = race([rows(model, table["ds"][-1]) for model in models.values()], seconds)
    sizes = models[NATIVE].fitted.sizes
    return {
        "us": {model.fitted.engine.isa: 1e6 * median(own) for model, own in zip(models.values(), samples, strict=True)},
        "parameters": models[NATIVE].num_parameters,
        "horizon": sizes.horizon,
        "text": f"{sizes.behind} patches of {sizes.patch} rows, {sizes.hidden_size} hidden units",
    }


def rows(model: Any, last: np.datetime64) -> Callable[[int], None]:
    """Rows one after the other into a stream, endlessly."""
    stream = model.stream()

    def stamps() -> Iterator[np.datetime64]:
        stamp = last
        while True:
            stamp = stamp + np.timedelta64(3600, "s")
            yield stamp

    following = stamps()

    def loop(count: int) -> None:
        for _ in range(count):
            stream.update({"ds": next(following), "y": 20.0})

    return loop


BARE = """
    import numpy
    print(resident())
"""
STREAM = """
    import numpy
    from carrousel.engine import Engine
    imported = resident()
    session = Engine.load({folder!r}, dtype={dtype!r}).session()
    x, out = numpy.ones((1, 256), numpy.float32), numpy.empty((1, 1), numpy.float32)
    for _ in range(1000):
        session.step(x, out)
    print(resident(), imported)
"""
RESIDENT = """
    def resident():
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
"""


def memory(seconds: float) -> dict[str, Any]:
    """What a process holds that loads a model of a million parameters and steps it, beyond bare Python with NumPy."""
    layers = (
        LSTM(name="lstm", input_size=256, hidden_size=256, num_layers=2),
        Linear(name="head", input_size=256, output_size=1),
    )
    architecture, random = Architecture(layers), np.random.default_rng(0)
    weights = {
        name: random.uniform(-0.06, 0.06, shape).astype(np.float32) for name, shape in architecture.tensors().items()
    }
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as home:
        folder = str(Path(home) / "model")
        artifact.save(folder, artifact.Artifact(task="bench", architecture=architecture, weights=weights, settings={}))
        for _ in range(5):
            (bare,) = process(BARE, NATIVE)
            for isa, dtype in ((NATIVE, "float32"), (NATIVE, "bfloat16"), (NATIVE, "int8"), (NUMPY, "float32")):
                held, imported = process(STREAM.format(folder=folder, dtype=dtype), isa)
                name = f"{'NumPy' if isa else 'native'} {dtype}"
                found.setdefault(name, []).append((held - bare) / 1e3)
                found.setdefault("imports", []).append((imported - bare) / 1e3)
            found.setdefault("bare", []).append(bare / 1e3)
    return {
        "megabytes": {name: median(own) for name, own in found.items()},
        "parameters": sum(array.size for array in weights.values()),
    }


def process(code: str, isa: str) -> list[float]:
    """What a fresh process prints; VmRSS is in units of 1024 bytes."""
    script = textwrap.dedent(RESIDENT) + textwrap.dedent(code)
    environment = {**os.environ, "CARROUSEL_ISA": isa}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return [1.024 * float(word) for word in done.stdout.split()]


SECTIONS = {"step": step, "batch": batch, "chunk": chunk, "update": update, "memory": memory}


@dataclass(frozen=True)
class Target:
    """What was asked for beside what was measured.

    Parameters
    ----------
    must, aim, here, best : times, or with `ratio` how many times as long a rival takes; `best` is what the roofline
        allows here, None where it says nothing
    """

    name: str
    must: float
    aim: float | None
    here: float | None
    best: float | None = None
    ratio: bool = False

    def reaches(self, value: float, target: float) -> bool:
        return value >= target if self.ratio else value <= target

    @property
    def verdict(self) -> str:
        if self.here is None:
            return "not measured"
        if self.aim is not None and self.reaches(self.here, self.aim):
            return "aim reached"
        if self.reaches(self.here, self.must):
            return "met"
        return (
            "missed, "
            + ("within" if self.best is None or self.reaches(self.best, self.must) else "beyond")
            + " the roofline"
        )

    def row(self) -> list[str]:
        sign, times = ("≥", "×") if self.ratio else ("≤", "")
        numbers = [None if value is None else f"{digits(value)}{times}" for value in (self.here, self.best)]
        wanted = ["" if value is None else f"{sign} {value:,g}{times}" for value in (self.must, self.aim)]
        return [self.name, *wanted, numbers[0] or "–", numbers[1] or "", self.verdict]


def targets(results: list[Result], megabytes: dict[str, float]) -> list[Target]:
    """Every target, in the order in which they were set."""
    times = {(result.case, result.dtype, result.rival): result for result in results if result.seconds is not None}

    def absolute(name: str, case: Case, target: tuple[float, float], scale: float) -> Target:
        own = times.get((case, "float32", Carrousel.name))
        here, best = (None, None) if own is None else (own.seconds, own.bound)
        return Target(name, *target, here and here * scale, best and best * scale)

    def against(name: str, case: Case, dtype: str, rivals: set[str], must: float, aim: float | None) -> Target:
        own = times.get((case, dtype, Carrousel.name))
        theirs = [times[key].seconds for rival in rivals if (key := (case, dtype, rival)) in times]
        if own is None or not theirs:
            return Target(name, must, aim, None, ratio=True)
        return Target(name, must, aim, min(theirs) / own.seconds, own.bound and min(theirs) / own.bound, ratio=True)

    def errors(case: Case) -> str:
        pair = [times.get((case, "int8", rival)) for rival in (Carrousel.name, ORT)]
        return "" if None in pair else f" (error {pair[0].difference:.1e}, theirs {pair[1].difference:.1e})"

    found: list[Target] = []
    for case in plan(["step"], STEP_SIZES):
        found += [absolute(f"step, float32, H={case.size}, µs", case, STEP_US[case.size], 1e6)]
    for case in plan(["step"], STEP_SIZES):
        found += [
            against(f"step, float32, H={case.size}, to {ORT}", case, "float32", {ORT}, STEP_RATIO[case.size], None)
        ]
    for case in plan(["step"], list(INT8_RATIO)):
        name = f"step, int8, H={case.size}, to {ORT}{errors(case)}"
        found += [against(name, case, "int8", {ORT}, *INT8_RATIO[case.size])]
    for case in plan(["batch"], STREAM_SIZES):
        name = f"many streams, H={case.size}, N={case.batch:,}, ns a stream"
        found += [absolute(name, case, STREAM_NS[case.size], 1e9 / case.batch)]
    others = {result.rival for result in results if not result.rival.startswith(Carrousel.name)}
    for case in plan(["chunk"], CHUNK_SIZES):
        name = f"sequence, H={case.size}, {case.shape}, to the best rival"
        found += [against(name, case, "float32", others, *CHUNK_RATIO)]
    return [*found, Target("memory above Python with NumPy, MB", *MEMORY_MB, megabytes["native float32"])]


def write(kept: dict[str, Any]) -> None:
    results = [
        from_dict(Result, result, where=name) for name in ("step", "batch", "chunk") for result in kept[name]["results"]
    ]
    parts = [f"{SETTING} {LEGEND}"]
    for what, (header, lines) in tables(results).items():
        parts += [f"## {TITLES[what]}", page.table(header, lines)]
        parts += ["\n".join(f"- {sentence}" for sentence in kept[what]["remarks"])]
    parts += [limits_text(kept["step"]["limits"])]
    times, about = kept["update"]["us"], kept["update"]
    parts += [
        "## One row of a live stream",
        f"`stream.update` of a saved forecaster: a row in, the next {about['horizon']} rows with their "
        f"bands out ({about['text']}, {about['parameters']:,} parameters).",
        page.table(["engine", "µs"], [[name, f"{us:.0f}"] for name, us in times.items()]),
    ]
    sizes = kept["memory"]["megabytes"]
    names = [name for name in sizes if name not in ("bare", "imports")]
    parts += [
        "## Memory",
        f"A fresh process imports NumPy and `carrousel.engine`, loads an artifact of {kept['memory']['parameters']:,} "
        "parameters (two layers of 256 units and a head) with `Engine.load`, and steps it 1,000 times; resident memory "
        f"(VmRSS) beyond that of a process that has only imported NumPy, which holds {sizes['bare']:.1f} MB; median of "
        f"five. Of it, the imports take {sizes['imports']:.1f} MB.",
        page.table(["engine and weights", "MB"], [[name, f"{sizes[name]:.1f}"] for name in names]),
    ]
    asked = targets(results, sizes)
    beyond = [one for one in asked if one.best is not None and not one.reaches(one.best, one.must)]
    listed = {
        f"{re.sub(', N=[0-9,]+,', ',', one.name)} ({one.row()[1]}, at best {one.row()[4]})": one for one in beyond
    }
    parts += [
        "## The targets",
        BEFORE,
        f"{len(beyond)} of the {len(asked)} targets lie beyond what this machine's roofline allows, whatever the code: "
        + ("; ".join(listed) or "none")
        + ".",
        page.table(["what", "must", "aim", "here", "roofline here", ""], [one.row() for one in asked]),
        "Ratios are how many times as long the named rival took in the same run, and at the roofline how many times as "
        "long it would take as a perfect engine. A step timed inside C++, beside RTNeural, is not part of this page.",
    ]
    page.write("engine", "The engine", parts, packages=PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", nargs="*", choices=SECTIONS, metavar="SECTION", help="measure these, or all, anew")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of turns for each case")
    options = parser.parse_args()
    again = set(SECTIONS if options.again == [] else options.again or ())
    KEPT.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {}
    conditions = [page.machine(), page.versions(*PACKAGES)]  # what was measured in others is measured anew
    for name, measure in SECTIONS.items():
        path = KEPT / f"{name}.json"
        kept[name] = json.loads(path.read_text()) if path.exists() else {}
        if name in again or kept[name].get("conditions") != conditions:
            print(f"{name} ...", flush=True)
            kept[name] = {"conditions": conditions, **measure(options.seconds)}
            path.write_text(json.dumps(kept[name], indent=2) + "\n")
    write(kept)


if __name__ == "__main__":
    main()
