"""Carrousel against neuralforecast's LSTM and PatchTST and GluonTS' DeepAR, each at its library's defaults.

The rivals run in an environment of their own (benchmarks/requirements-rivals.txt), one after the other, on the same
machine and threads. Their raw results are kept in a folder and not computed again unless asked:
the slowest take hours.

  python benchmarks/forecast_rivals.py --rival-python /tmp/rivals/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import page
from task import Task, etth1, synthetic

from carrousel.metrics import coverage, crps, mae, mase, mse, naive_scale

RIVALS = {"lstm": "neuralforecast LSTM", "patchtst": "neuralforecast PatchTST", "deepar": "GluonTS DeepAR"}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# A hundred sampled paths of 96 recurrent steps for each of 19,495 windows take DeepAR hours: every 23rd window then (no
# divisor of a day, so that all hours occur).
DEEPAR_STEP = 23


def run_rival(name: str, task: Task, options: argparse.Namespace) -> tuple[dict[str, object], np.ndarray]:
    """Costs and forecasts (N, H, S, 5) of a rival, from the folder of results or from a run."""
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{task.name}-{name}"
    if options.again or not stem.with_suffix(".json").exists():
        inputs = folder / f"{task.name}-{name}-task.npz"
        task.save(inputs)
        script = Path(__file__).with_name("rival.py")
        command = [options.rival_python, script, name, inputs, stem]
        limits = ["--minutes", options.minutes, "--threads", options.threads]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        with stem.with_suffix(".log").open("w") as log:
            subprocess.run(
                [str(part) for part in command + limits], check=True, stdout=log, stderr=log, env=environment
            )
    with np.load(stem.with_suffix(".npz")) as file:
        return json.loads(stem.with_suffix(".json").read_text()), file["forecast"].astype(np.float64)


def run_ours(task: Task, options: argparse.Namespace, seed: int) -> tuple[dict[str, float], np.ndarray]:
    """Costs and forecasts (N, H, S, 5) of Carrousel at its own defaults."""
    import torch

    from carrousel import Forecaster

    torch.set_num_threads(options.threads)
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
        "90 % coverage": coverage(y, forecast[..., 0], forecast[..., 4]),
    }


def compare(task: Task, names: list[str], options: argparse.Namespace) -> str:
    """The section of one task."""
    print(f"{task.name}: Carrousel", flush=True)
    ours = [run_ours(task, options, seed) for seed in options.seeds]
    fit = [cost["fit_seconds"] for cost, _ in ours]
    lines, notes = [], []

    def line(name: str, found: list[dict[str, float]], seconds: list[float], predicted: float, ratio: str) -> list[str]:
        cells = [f"{np.mean([f[key] for f in found]):.4g}" for key in ("MAE", "MSE", "MASE", "CRPS", "90 % coverage")]
        return [name, *cells, f"{np.mean(seconds):.0f}", f"{predicted:.1f}", ratio]

    for name in names:
        rival_task = task
        if name == "deepar" and len(task.origins) > 500:
            rival_task = options.thinned
        print(f"{task.name}: {RIVALS[name]}", flush=True)
        cost, forecast = run_rival(name, rival_task, options)
        theirs = scores(rival_task, forecast)
        rows = np.isin(task.origins, rival_task.origins)
        same = [scores(rival_task, values[rows]) for _, values in ours]
        label = RIVALS[name]
        if rival_task is not task:
            label += f" ({len(rival_task.origins)} windows)"
            lines.append(
                line(f"Carrousel ({len(rival_task.origins)} windows)", same, fit, ours[0][0]["predict_seconds"], "1")
            )
        lower = np.mean([s["MAE"] for s in same]) <= theirs["MAE"]
        ratio = cost["fit_seconds"] / np.mean(fit)
        lines.append(
            line(
                label,
                [theirs],
                [cost["fit_seconds"]],
                cost["predict_seconds"],
                f"{ratio:.1f}" if lower else "not reached",
            )
        )
        settings = ", ".join(f"{key}={value}" for key, value in cost["settings"].items())
        share = f"{cost['steps']:,} of {cost['default_steps']:,} steps"
        if cost["steps"] < cost["default_steps"]:
            whole = cost["fit_seconds"] / max(cost["steps"], 1) * cost["default_steps"] / 60
            share += f": stopped by the limit of {cost['minutes_limit']:g} minutes; all of them would take {whole:,.0f}"
        notes.append(
            f"- {RIVALS[name]} {cost['version']} ({settings}; {share}; {cost['fit_cpu_seconds']:.0f} CPU seconds)"
        )
    everything = [scores(task, values) for _, values in ours]
    lines.insert(0, line("**Carrousel**", everything, fit, ours[0][0]["predict_seconds"], "1"))
    cpu = np.mean([cost["fit_cpu_seconds"] for cost, _ in ours])
    notes.insert(0, f"- Carrousel at its defaults (horizon, season and seed given; {cpu:.0f} CPU seconds)")
    header = ["", "MAE", "MSE", "MASE", "CRPS", "90 % coverage", "fit, s", "predict, s", "time ratio"]
    return "\n\n".join([f"## {task.name}", task.description + ".", page.table(header, lines), "\n".join(notes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rival-python", default="python", help="interpreter that has the rivals (default: %(default)s)"
    )
    parser.add_argument("--rivals", nargs="*", choices=list(RIVALS), default=list(RIVALS), help="default: all")
    parser.add_argument("--tasks", nargs="*", choices=["etth1", "synthetic"], default=["synthetic", "etth1"])
    parser.add_argument("--results", type=Path, default=Path("runs/rivals"), help="raw results (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="run the rivals again although there are results")
    parser.add_argument("--minutes", type=float, default=60, help="limit of a rival's fit (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every fit (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Carrousel's seeds (default: 0)")
    options = parser.parse_args()
    sections = []
    for name in options.tasks:
        if name == "etth1":
            from carrousel.data.public import path

            task = etth1(path("etth1"))
            options.thinned = etth1(path("etth1"), step=DEEPAR_STEP)
        else:
            task = synthetic()
        sections.append(compare(task, options.rivals, options))
    intro = (
        "Each rival at its library's own defaults; what had to be set stands below each table. CRPS is taken from the "
        "quantiles 0.05, 0.25, 0.5, 0.75 and 0.95; errors are of the median. The time ratio is the rival's time to fit "
        "over Carrousel's time to fit, which is an upper bound of its time to reach the rival's MAE; "
        "“not reached” where Carrousel's MAE is higher."
    )
    page.write(
        "forecast_rivals",
        "Forecasts against other libraries",
        [intro, *sections],
        packages=("carrousel", "torch", "numpy"),
        seeds=f"Carrousel {', '.join(map(str, options.seeds))}; rivals 1",
    )


if __name__ == "__main__":
    main()
