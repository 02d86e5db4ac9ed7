"""Whole fits by this checkout and by an older one, taking turns: what they cost, and what quality they reach.

    git worktree add ../before c0ea56e^ && pip install --target ../built --no-deps ../before
    cp ../built/carrousel/_native* ../before/src/carrousel/
    python benchmarks/fits.py --before ../before

The older checkout needs a native module of its own, as above, since calibration runs on its engine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import page
from task import etth1

ROOT = Path(__file__).resolve().parent.parent
STEPS = 150  # of the language model
WEATHER = "weather (the demo's)"
ETTH1 = "ETTh1, horizon 96"
LANGUAGE = f"tinyshakespeare, {STEPS} steps"


class Fit(NamedTuple):
    """One fit: seconds on the clock and of all cores together, and its scores by name."""

    wall: float
    cpu: float
    scores: dict[str, float]


class Clock:
    """Time since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> Fit:
        return Fit(time.perf_counter() - self.wall, time.process_time() - self.cpu, {})


def weather(seed: int) -> Fit:
    """The demo's forecaster, without its limit of time: eight months train, eight weeks validate, ten weeks test."""
    from carrousel import Forecaster
    from carrousel.data import public

    validation, test = np.datetime64("2013-08-26"), np.datetime64("2013-10-21")
    roles: Any = public.find("weather").roles
    frame: Any = public.get("weather")
    names = [roles["id"], roles["time"], roles["target"], *roles["past"]]
    table = {name: np.asarray(frame[name]) for name in names}
    day = table[roles["time"]].astype("datetime64[D]")

    def part(keep: Any) -> dict[str, Any]:
        return {name: column[keep] for name, column in table.items()}

    model = Forecaster(horizon=24, seed=seed, **roles)
    clock = Clock()
    model.fit(part(day < validation), validation=part((day >= validation) & (day < test)))
    found = clock.read()
    backtest = model.backtest(table, windows=400, step=4, baselines=False)
    return found._replace(scores=forecast_scores(model, backtest))


def hourly(seed: int) -> Fit:
    """ETTh1 with the default settings, as in etth1.py."""
    from carrousel import Forecaster
    from carrousel.data.public import path

    task = etth1(path("etth1"))
    first, last = int(task.origins[0]), int(task.origins[-1]) + task.horizon
    model = Forecaster(horizon=task.horizon, season=task.season, seed=seed)
    clock = Clock()
    model.fit(task.frame(0, task.train_rows), validation=task.frame(task.train_rows, first))
    found = clock.read()
    backtest = model.backtest(task.frame(0, last), windows=len(task.origins), step=1, baselines=False)
    return found._replace(scores=forecast_scores(model, backtest))


def forecast_scores(model: Any, backtest: Any) -> dict[str, float]:
    from carrousel.metrics import mae, mse

    point = backtest.forecasts["Carrousel"]
    return {
        "validation loss": model.histories[0].best_validation,
        "test MSE": mse(backtest.y, point),
        "test MAE": mae(backtest.y, point),
    }


def language(seed: int, by: str) -> Fit:
    """A language model for a fixed number of steps: as it trains by default, or by torch's kernels in float32."""
    from carrousel import LanguageModel
    from carrousel.data.text import documents, public_text
    from carrousel.layers import backend

    text = "".join(documents(public_text("tinyshakespeare")[0])[0].pieces())
    precision = "float32" if by == "torch" else "auto"
    model = LanguageModel(max_steps=STEPS, precision=precision, seed=seed)
    clock = Clock()
    with backend("torch" if by == "torch" else "auto"):
        model.fit(text)
    found = clock.read()
    return found._replace(scores={"validation nats": model.fitted.learned.validation})


FITS: dict[str, Callable[[int], Fit]] = {
    WEATHER: weather,
    ETTH1: hourly,
    LANGUAGE: partial(language, by="auto"),
    LANGUAGE + ", torch": partial(language, by="torch"),
}


def child(name: str, seed: int, threads: int) -> None:
    """One fit in this process, told on the last line; torch is imported before the clock starts."""
    import torch

    from carrousel.native import chosen

    if chosen() == "numpy":
        raise SystemExit("fits: expected a checkout with its native module, got none; build it as fits.py says")
    torch.set_num_threads(threads)
    print(json.dumps(FITS[name](seed)))


def run(name: str, checkout: Path, seed: int, threads: int) -> Fit:
    """One fit by a checkout, in a process of its own."""
    command = [sys.executable, __file__, "--child", name, "--seed", str(seed), "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"fits: {name}: the fit by {checkout.name} failed; see above")
    found = Fit(*json.loads(done.stdout.splitlines()[-1]))
    print(name, checkout.name, found, flush=True)
    return found


def commit(checkout: Path) -> str:
    """Its commit, short, and that something was changed since then."""
    git = ["git", "-C", str(checkout)]
    name = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src", "native"]).returncode
    return f"{name} and what was not committed" if changed else name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the older checkout")
    parser.add_argument(
        "--rounds", type=int, default=3, help="fits of each kind, each from a seed of its own (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--child", choices=FITS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.seed, options.threads)
    if options.before is None:
        parser.error("--before: expected the folder of an older checkout, got none")
    before = options.before.resolve()
    found: dict[str, tuple[list[Fit], list[Fit]]] = {name: ([], []) for name in (WEATHER, ETTH1, LANGUAGE)}
    for seed in range(options.rounds):
        for name, (old, new) in found.items():
            # There was no language model yet: what stands for it is this one by torch's kernels.
            other = (LANGUAGE + ", torch", ROOT) if name == LANGUAGE else (name, before)
            old.append(run(*other, seed, options.threads))
            new.append(run(name, ROOT, seed, options.threads))
    cost: list[list[object]] = []
    quality: list[list[object]] = []
    for name, sides in found.items():
        wall, cpu = (
            [statistics.median(getattr(fit, kind) for fit in side) for side in sides] for kind in ("wall", "cpu")
        )
        cost.append([name, *(f"{part:.1f}" for part in (*wall, *cpu))])
        cost[-1] += [f"**{wall[0] / wall[1]:.2f}×**", f"{cpu[0] / cpu[1]:.2f}×"]
        for score in sides[1][0].scores:
            values = [[fit.scores[score] for fit in side] for side in sides]
            quality.append([name, score, *(f"{np.mean(v):.4f} ± {np.std(v):.4f}" for v in values)])
    text = (
        f"Before: commit {commit(before)}, which trained on torch's kernels. After: {commit(ROOT)}. The language model "
        "came later than that commit: before, for it, is the same code on torch's kernels in float32 "
        '(`backend("torch")`); after, as it trains by default. Seconds of the call of `fit` alone: reading the table, '
        "linear path, training, validations, calibration; PyTorch was imported before. Every fit ran in a process of "
        f"its own, before and after taking turns, {options.rounds} of each; medians. Settings are the defaults, and "
        "no fit was limited by a clock."
    )
    same = (
        "Both sides see the same windows in the same order, for up to 600 steps. What differs is rounding, in sums "
        "and, where the processor multiplies bfloat16, in the products of the LSTM while it trains; the masks of "
        "dropout, which are drawn otherwise; and that half as many windows are validated on where there are more than "
        "4,096, as on ETTh1, whose two validation losses are means over different windows. The scores on the test "
        "parts stand here to be compared; nothing was chosen by them. Mean ± deviation of the seeds."
    )
    # A reader's folder is another one.
    sys.argv = [part.replace(str(options.before), "../before") for part in sys.argv]
    header = ["", "wall s, before", "after", "CPU s, before", "after", "wall, ratio", "CPU, ratio"]
    page.write(
        "fits",
        "Whole fits, before and after training became native",
        [text, page.table(header, cost), same, page.table(["", "", "before", "after"], quality, left=2)],
        packages=("carrousel", "torch", "numpy"),
        seeds=f"{', '.join(map(str, range(options.rounds)))}; {page.cores(options.threads)}",
    )


if __name__ == "__main__":
    main()
