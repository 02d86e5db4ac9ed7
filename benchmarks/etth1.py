"""ETTh1, multivariate, horizon 96: MSE and MAE on every test window, by the split that the literature uses.

python benchmarks/etth1.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import page
from task import Task, etth1

from carrousel.data.public import path
from carrousel.metrics import coverage, mae, mse
from carrousel.tasks.baseline import baselines

# MSE, MAE as published on the same split and windows; Repeat recomputed.
PUBLISHED = {
    "SegRNN, look-back 720 (Lin et al. 2023)": (0.351, 0.392),
    "SegRNN, look-back 96": (0.368, 0.395),
    "PatchTST/64 (Nie et al. 2023)": (0.370, 0.400),
    "NLinear (Zeng et al. 2023)": (0.374, 0.394),
    "DLinear (Zeng et al. 2023)": (0.375, 0.399),
    "iTransformer (Liu et al. 2024)": (0.386, 0.405),
    "DeepAR": (1.097, 0.803),
    "GRU, look-back 720": (1.135, 0.844),
    "Repeat the last value": (1.294, 0.713),
}


def one(task: Task, seed: int, threads: int, settings: dict[str, float]) -> dict[str, float]:
    """Train with one seed and score every test window."""
    import torch

    from carrousel import Forecaster

    torch.set_num_threads(threads)
    first, last = int(task.origins[0]), int(task.origins[-1]) + task.horizon
    clock = time.perf_counter()
    model = Forecaster(horizon=task.horizon, season=task.season, seed=seed, **settings).fit(
        task.frame(0, task.train_rows), validation=task.frame(task.train_rows, first)
    )
    minutes = (time.perf_counter() - clock) / 60
    result = model.backtest(task.frame(0, last), windows=len(task.origins), step=1, baselines=False)
    if len(result.y) != len(task.origins) * len(task.values):
        raise RuntimeError(f"expected {len(task.origins) * len(task.values)} windows, got {len(result.y)}")
    low, high = (result.quantile_forecasts[..., result.quantiles.index(q)] for q in (0.05, 0.95))
    found = {
        "mse": mse(result.y, result.forecasts["Carrousel"]),
        "mae": mae(result.y, result.forecasts["Carrousel"]),
        "coverage": coverage(result.y, low, high),
        "minutes": minutes,
        "look-back": model.fitted.sizes.look_back,
        "parameters": model.num_parameters,
    }
    print(seed, {key: round(value, 4) for key, value in found.items()}, flush=True)
    return found


def ridge(task: Task) -> tuple[float, float]:
    """MSE and MAE of the ridge baseline, fitted on the training rows only."""
    table = task.values.T[: int(task.origins[-1]) + task.horizon]
    result = baselines(
        table, [0, len(table)], task.origins, horizon=task.horizon, season=task.season, models=["ridge"],
        fit_rows=[task.train_rows],
    )  # fmt: skip
    return mse(task.truth(), result.forecasts["ridge"]), mae(task.truth(), result.forecasts["ridge"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--ensemble", type=int, default=1, help="networks averaged (default: %(default)s)")
    options = parser.parse_args()
    task = etth1(path("etth1"))
    settings = {} if options.ensemble == 1 else {"ensemble": options.ensemble}
    found = [one(task, seed, options.threads, settings) for seed in options.seeds]

    def spread(key: str, digits: int = 3) -> str:
        values = [f[key] for f in found]
        return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"

    rows = [[f"**Carrousel**, mean ± deviation of {len(found)} seed(s)", spread("mse"), spread("mae")]]
    rows.append(["ridge (the linear path alone)", *(f"{value:.3f}" for value in ridge(task))])
    rows += [[name, f"{a:.3f}", f"{b:.3f}"] for name, (a, b) in PUBLISHED.items()]
    facts = page.table(
        ["Carrousel", *(f"seed {seed}" for seed in options.seeds)],
        [
            ["MSE", *(f"{f['mse']:.4f}" for f in found)],
            ["MAE", *(f"{f['mae']:.4f}" for f in found)],
            ["coverage of the 90 % band", *(f"{100 * f['coverage']:.1f} %" for f in found)],
            ["training, minutes", *(f"{f['minutes']:.1f}" for f in found)],
            ["look-back chosen on validation", *(f["look-back"] for f in found)],
            ["parameters", *(f"{f['parameters']:,}" for f in found)],
        ],
    )
    text = (
        f"{task.description}: {len(task.origins):,} windows of each of the 7 channels, none dropped. Look-back, "
        "early stopping and calibration use the validation rows only; the weights never see them."
    )
    page.write(
        "etth1",
        "ETTh1, horizon 96",
        [text, page.table(["", "MSE", "MAE"], rows), facts],
        packages=("carrousel", "torch", "numpy"),
        seeds=", ".join(map(str, options.seeds)),
    )


if __name__ == "__main__":
    main()
