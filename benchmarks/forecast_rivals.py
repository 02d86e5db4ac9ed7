"""Carrousel against neuralforecast's LSTM and PatchTST and GluonTS' DeepAR, each at its library's defaults.

The rivals run in an environment of their own (benchmarks/requirements-rivals.txt), one after the other, on the same
machine and threads. Raw results, Carrousel's too, are kept in a folder as they come and not computed again unless
asked: the slowest take hours.

  taskset -c 1 python benchmarks/forecast_rivals.py --rival-python /tmp/rivals/bin/python --threads 1
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import page
from task import Task, etth1, synthetic

from carrousel.metrics import coverage, crps, mae, mase, mse, naive_scale

RIVALS = {"lstm": "neuralforecast LSTM", "patchtst": "neuralforecast PatchTST", "deepar": "GluonTS DeepAR"}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ERRORS = ("MAE", "MSE", "MASE", "CRPS")
COVERAGE = "90 % coverage"
# A hundred sampled paths of 96 recurrent steps for each of 19,495 windows take DeepAR hours: every 23rd window then (no
# divisor of a day, so that all hours occur).
DEEPAR_STEP = 23


@dataclass(frozen=True)
class Run:
    """One model on one task: what it cost, and its forecasts, float64 (N, H, S, 5)."""

    cost: dict[str, Any]
    forecast: np.ndarray

    @property
    def fit(self) -> float:
        return self.cost["fit_seconds"]


def kept(stem: Path, options: argparse.Namespace, make: Callable[[], None]) -> Run:
    """The run whose results lie at ``stem``, made first if they do not.

    Results that were measured under other conditions than those asked for are refused: a page compares like with like.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    costs = stem.with_suffix(".json")
    if options.again or not costs.exists():
        make()
    cost = json.loads(costs.read_text())
    asked: dict[str, Any] = {"threads": options.threads, "cores": cores()}
    if stopped(cost):
        asked["minutes_limit"] = limit(cost["model"], options)
    if any(cost[key] != value for key, value in asked.items()):
        raise SystemExit(
            f"{costs}: expected a run with {asked}, got { {key: cost[key] for key in asked} }; use --again"
        )
    with np.load(stem.with_suffix(".npz")) as file:
        run = Run(cost, file["forecast"].astype(np.float64))
    print(f"{stem.name}: fit {run.fit:.0f} s, predict {cost['predict_seconds']:.0f} s", flush=True)
    return run


def stopped(cost: dict[str, Any]) -> bool:
    """Whether a rival's fit was ended by the limit, before its default number of steps."""
    return cost.get("steps", 0) < cost.get("default_steps", 0)


def limit(name: str, options: argparse.Namespace) -> float:
    """Minutes that the fit of a rival may take."""
    return options.minutes.get(name, options.minutes[""])


def minutes(words: list[str]) -> dict[str, float]:
    """``["12", "lstm=20"]`` as the limit of each name; the empty name is that of all others."""
    found = {name: float(value) for name, _, value in (word.rpartition("=") for word in words)}
    if strange := set(found) - {"", *RIVALS}:
        raise SystemExit(f"--minutes: expected one of {', '.join(RIVALS)}, got {min(strange)}")
    return {"": 60.0} | found


def cores() -> list[int]:
    """The processor cores that this process, and so every fit, may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def run_rival(name: str, task: Task, options: argparse.Namespace) -> Run:
    """A rival, by the interpreter that has it."""
    stem = options.results / f"{task.name}-{name}"

    def make() -> None:
        inputs = stem.with_name(f"{stem.name}-task.npz")
        task.save(inputs)
        command = [options.rival_python, Path(__file__).with_name("rival.py"), name, inputs, stem]
        limits = ["--minutes", limit(name, options), "--threads", options.threads]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        with stem.with_suffix(".log").open("w") as log:
            subprocess.run(
                [str(part) for part in command + limits], check=True, stdout=log, stderr=log, env=environment
            )

    return kept(stem, options, make)


def run_ours(task: Task, options: argparse.Namespace, seed: int) -> Run:
    """Carrousel at its own defaults."""
    stem = options.results / f"{task.name}-carrousel-{seed}"

    def make() -> None:
        cost, forecast = fit_ours(task, options.threads, seed)
        np.savez_compressed(stem.with_suffix(".npz"), forecast=forecast.astype(np.float32))
        cost |= {"threads": options.threads, "cores": cores()}
        stem.with_suffix(".json").write_text(json.dumps(cost, indent=2) + "\n")

    return kept(stem, options, make)


def fit_ours(task: Task, threads: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    import torch

    from carrousel import Forecaster

    torch.set_num_threads(threads)
    first, last = int(task.origins[0]), int(task.origins[-1]) + task.horizon
    train = task.frame(0, task.train_rows)
    validation = task.frame(task.train_rows, first) if first > task.train_rows else 0.15
    wall, cpu = time.perf_counter(), time.process_time()
    model = Forecaster(horizon=task.horizon, season=task.season, seed=seed).fit(train, validation=validation)
    cost = {"fit_seconds": time.perf_counter() - wall, "fit_cpu_seconds": time.process_time() - cpu}
    wall = time.perf_counter()
    result = model.backtest(task.frame(0, last), windows=len(task.origins), step=task.step, baselines=False)
    cost["predict_seconds"] = time.perf_counter() - wall
    columns = [result.quantiles.index(q) for q in QUANTILES]
    forecast = np.empty((len(task.origins), task.horizon, len(task.values), len(QUANTILES)))
    for s, name in enumerate(result.panel.ids):
        rows = np.flatnonzero(result.series == s)
        rows = rows[np.argsort(result.origins[rows])]
        if not np.array_equal(result.origins[rows], task.origins):
            raise RuntimeError(f"{name}: the windows of the backtest are not those of the task")
        forecast[:, :, s] = result.quantile_forecasts[rows][:, :, 0, columns]
    return cost, forecast


def scores(task: Task, forecast: np.ndarray) -> dict[str, float]:
    """MAE and MSE of the median, MASE, CRPS, and the coverage of the 90 % band."""
    y, point = task.truth(), forecast[..., 2]
    scale = np.array([naive_scale(v[: int(task.origins[0])], task.season) for v in task.values])
    return {
        "MAE": mae(y, point),
        "MSE": mse(y, point),
        "MASE": mase(y, point, scale),
        "CRPS": crps(y, np.sort(forecast, axis=-1), QUANTILES),
        COVERAGE: coverage(y, forecast[..., 0], forecast[..., 4]),
    }


def seasonal_naive(task: Task) -> np.ndarray:
    """The last season again and again, as five equal quantiles: float64 (N, H, S, 5)."""
    rows = task.origins[:, None] - task.season + np.arange(task.horizon) % task.season
    return np.repeat(task.values[:, rows].transpose(1, 2, 0)[..., None], len(QUANTILES), axis=-1)


def line(name: str, found: list[dict[str, float]], runs: list[Run]) -> list[str]:
    """A row of a task's table: means over the runs."""
    shown = (*ERRORS, COVERAGE) if runs else ("MAE", "MSE", "MASE")
    cells = [f"{np.mean([f[key] for f in found]):.4g}" for key in shown]
    if not runs:
        return [name, *cells, "", "", "", ""]
    return [name, *cells, f"{np.mean([r.fit for r in runs]):.0f}", f"{runs[0].cost['predict_seconds']:.1f}"]


def verdict(ours: dict[str, float], theirs: dict[str, float], cost: dict[str, Any], fit: float) -> list[str]:
    """How far the rival came, which of Carrousel's errors are lower, its share of the rival's time, and the answer."""
    came, share = 100 * cost["steps"] / cost["default_steps"], fit / cost["fit_seconds"]
    lower = [key for key in ERRORS if ours[key] < theirs[key]]
    higher = [key for key in ERRORS if key not in lower]
    answer = "no" if not lower or share > 0.2 else "in part" if higher else "yes"
    if stopped(cost) and answer != "no":
        answer += ", as far as it came"
    way = f"stopped after {came:.0f} % of its steps" if stopped(cost) else "all its steps"
    return [way, ", ".join(lower) or "none", ", ".join(higher) or "none", f"{100 * share:.1f} %", answer]


def note(name: str, cost: dict[str, Any]) -> str:
    """What had to be set for a rival, and how far it came."""
    settings = ", ".join(f"{key}={value}" for key, value in cost["settings"].items())
    share = f"{cost['steps']:,} of {cost['default_steps']:,} steps"
    if stopped(cost):
        whole = cost["fit_seconds"] / max(cost["steps"], 1) * cost["default_steps"] / 60
        share += f", **stopped by the limit of {cost['minutes_limit']:g} minutes**, all would take {whole:,.0f} minutes"
    return f"- {RIVALS[name]} {cost['version']} ({settings}; {share}; {cost['fit_cpu_seconds']:.0f} CPU seconds)"


def compare(task: Task, thinned: Task | None, options: argparse.Namespace) -> tuple[str, list[list[str]]]:
    """The section of one task, and a row of the summary for each rival; DeepAR forecasts the thinned task if given."""
    ours = [run_ours(task, options, seed) for seed in options.seeds]
    fit = float(np.mean([run.fit for run in ours]))
    cpu = float(np.mean([run.cost["fit_cpu_seconds"] for run in ours]))
    lines = [
        line("**Carrousel**", [scores(task, run.forecast) for run in ours], ours),
        line("seasonal naive", [scores(task, seasonal_naive(task))], []),
    ]
    notes = [f"- Carrousel at its defaults (horizon, season and seed given; {cpu:.0f} CPU seconds)"]
    summary: list[list[str]] = []
    for name in options.rivals:
        on = thinned if name == "deepar" and thinned else task
        run = run_rival(name, on, options)
        theirs = scores(on, run.forecast)
        rows = np.isin(task.origins, on.origins)
        same = [scores(on, our.forecast[rows]) for our in ours]
        windows = "" if on is task else f" ({len(on.origins)} windows a series)"
        if windows:
            lines.append([*line(f"**Carrousel**{windows}", same, ours)[:-2], "", ""])
        lines.append(line(RIVALS[name] + windows, [theirs], [run]))
        notes.append(note(name, run.cost))
        mean = {key: float(np.mean([found[key] for found in same])) for key in ERRORS}
        summary.append([task.name, RIVALS[name], *verdict(mean, theirs, run.cost, fit)])
    header = ["", *ERRORS, COVERAGE, "fit, s", "predict, s"]
    return "\n\n".join(
        [f"## {task.name}", task.description + ".", page.table(header, lines), "\n".join(notes)]
    ), summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rival-python", default="python", help="interpreter that has the rivals (default: %(default)s)"
    )
    parser.add_argument("--rivals", nargs="*", choices=list(RIVALS), default=list(RIVALS), help="default: all")
    parser.add_argument("--tasks", nargs="*", choices=["etth1", "synthetic"], default=["synthetic", "etth1"])
    parser.add_argument("--results", type=Path, default=Path("runs/rivals"), help="raw results (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="run everything again although there are results")
    parser.add_argument(
        "--minutes", nargs="+", default=["60"], help="limit of a rival's fit, as in 12 lstm=20 (default: 60)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of every fit (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Carrousel's seeds (default: 0)")
    options = parser.parse_args()
    options.minutes = minutes(options.minutes)
    sections, summary = [], []
    for name in options.tasks:
        if name == "etth1":
            from carrousel.data.public import path

            section, rows = compare(etth1(path("etth1")), etth1(path("etth1"), step=DEEPAR_STEP), options)
        else:
            section, rows = compare(synthetic(), None, options)
        sections.append(section)
        summary += rows
    threads = "one thread" if options.threads == 1 else f"{options.threads} threads"
    where = "one core" if len(cores()) == 1 else f"{len(cores())} cores"
    longest = ", ".join(
        f"{value:g} minutes" + (f" for {RIVALS[name]}" if name else "") for name, value in options.minutes.items()
    )
    intro = (
        "Each rival at its library's own defaults; what had to be set stands below each table. Every fit, Carrousel's "
        f"and the rivals', ran alone with {threads} on {where}; a rival's to the end of its default number of steps or "
        f"to a limit ({longest}), whichever came first. Is Carrousel's error lower after at most a fifth of the time "
        "that the rival's fit took?"
    )
    after = (
        "Where a rival was stopped by the limit, the answer is about the rival as far as it came by then: longer, it "
        "may get better. What others have published on ETTh1 with longer trainings stands on "
        "[its own page](etth1.md). Errors are of the median; CRPS is taken from the quantiles 0.05, 0.25, 0.5, 0.75 "
        "and 0.95. All fit their weights on the training rows alone. Where a task has validation rows, Carrousel "
        "chooses its look-back, stops and calibrates on them, which the rivals' defaults have no use for; where it has "
        "none, Carrousel takes them out of its training rows."
    )
    header = ["task", "rival", "rival's fit", "Carrousel lower in", "not lower in", "share of the rival's time", "so?"]
    page.write(
        "forecast_rivals",
        "Forecasts against other libraries",
        [intro, page.table(header, summary, left=5), after, *sections],
        packages=("carrousel", "torch", "numpy"),
        seeds=f"Carrousel {', '.join(map(str, options.seeds))}; rivals 1",
    )


if __name__ == "__main__":
    main()
