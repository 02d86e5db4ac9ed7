"""Training steps of the LSTM and its variants beside torch: nn.LSTM, packed sequences, step by step, torch.compile.

    python benchmarks/training.py                    # writes docs/benchmarks/training.md; 1 and 2 threads
    python benchmarks/training.py --again plain      # measures that variant once more
    python benchmarks/training.py --memory           # and the memory that a very long sequence takes, once more

What was measured is kept in runs/training, a file for each variant, so that an interrupted run goes on; the page is
written from all of them. What torch does step by step takes minutes to compile: --no-compile leaves it out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import page

from carrousel.bench import training
from carrousel.bench.table import markdown
from carrousel.bench.training import Case, Result

KEPT = Path(__file__).resolve().parent.parent / "runs" / "training"
SECONDS = 6.0  # of turns for each case
LONG, WIDE = 100_000, 256  # steps of one row, hidden units: with every gate kept 0.5 GB for them alone
SETTING = (
    "One layer with as many inputs as hidden units, T=100, N=32; forward and backward with all gradients, that of the "
    "input too. All gradients are held against those in float64 before anything is timed; then the rivals take turns, "
    "round by round. bfloat16 is `torch.autocast`: Carrousel rounds the factors of all products to it and sums in "
    "float32. Lengths are spread evenly from 10 to 100 steps. torch.compile is that of the step by step form."
)


def measure(variant: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    cases = training.plan([variant], options.sizes, threads=options.threads)
    results = training.run(
        cases,
        seconds=options.seconds,
        compiled=options.compile,
        progress=lambda case: print(f"  {case.title}", flush=True),
    )
    for sentence in training.remarks(results):
        print(f"  {sentence}")
    return [result.to_data() for result in results]


def long_sequence(recompute: bool) -> dict[str, float]:
    """Seconds and most memory of one training step over a very long sequence; called in a process of its own."""
    import torch

    from carrousel.layers import LSTM, backend

    layer, x = LSTM(WIDE, WIDE), torch.randn(LONG, 1, WIDE)
    with backend("native"):
        layer(x[:10])[0].sum().backward()  # what is loaded once is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    with backend("native", recompute=recompute):
        y, _ = layer(x)
    (y**2).mean().backward()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def memory() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for recompute in (False, True):
        line = [sys.executable, __file__, "--long", str(int(recompute))]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        found["recomputed" if recompute else "kept"] = json.loads(done.stdout)
    return found


def write(results: list[Result], long: dict[str, dict[str, float]]) -> None:
    parts = [training.LEGEND, SETTING]
    for title, (header, rows) in training.tables(results).items():
        parts += [f"## {title[0].upper()}{title[1:]}, ms", markdown(header, rows)]
    rows = [[name, f"{of['mb']:,.0f}", f"{of['seconds']:.1f}"] for name, of in long.items()]
    parts += [
        "## A very long sequence",
        f"One row of {LONG:,} steps, {WIDE} inputs and hidden units, in float32: what a training step adds to the most "
        f"memory that the process held with its layer and its input of {LONG * WIDE * 4 / 2**20:,.0f} MB. The output, "
        f"its square and their gradients, of as many MB each, are part of it. `backend(..., recompute=True)` keeps the "
        f"state before every 1,024 steps.",
        page.table(["gates", "MB", "seconds"], rows),
        "## Agreement",
        "\n".join(f"- {sentence}" for sentence in training.remarks(results)),
    ]
    page.write("training", "Training", parts, packages=("carrousel", "numpy", "torch"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", nargs="*", choices=training.VARIANTS, metavar="VARIANT", help="measure these anew")
    parser.add_argument("--memory", action="store_true", help="measure the memory anew")
    parser.add_argument("--sizes", type=int, nargs="+", default=training.SIZES)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of turns for each case")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--long", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.long is not None:
        print(json.dumps(long_sequence(bool(options.long))))
        return
    again = set(training.VARIANTS if options.again == [] else options.again or ())
    KEPT.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for variant in training.VARIANTS:
        path = KEPT / f"{variant.replace(' ', '_')}.json"
        if variant in again or not path.exists():
            print(f"{variant} ...", flush=True)
            path.write_text(json.dumps(measure(variant, options), indent=2) + "\n")
        results += [Result(**{**one, "case": Case(**one["case"])}) for one in json.loads(path.read_text())]
    path = KEPT / "memory.json"
    if options.memory or not path.exists():
        path.write_text(json.dumps(memory(), indent=2) + "\n")
    write(results, json.loads(path.read_text()))


if __name__ == "__main__":
    main()
