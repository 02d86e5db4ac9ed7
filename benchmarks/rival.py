"""Fit one rival on one task and forecast its test windows. Runs in the rivals' environment, which lacks Carrousel.

Called by forecast_rivals.py; reads a task as .npz, writes forecasts as .npz and what it cost as JSON. Every setting
that is not a library's own default stands in ``settings`` of that JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the levels 50 and 90, and the median


class Cost:
    """Wall and processor seconds of the parts of a run; the latter say something on a busy machine as well."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self, part: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.seconds |= {f"{part}_seconds": wall - self._wall, f"{part}_cpu_seconds": cpu - self._cpu}
        self._wall, self._cpu = wall, cpu


def step_counter(callback: type) -> object:
    """A callback of the trainer that counts its steps; each library brings a Lightning of its own."""

    class Count(callback):
        steps = 0

        def on_train_batch_end(self, *_: object) -> None:
            self.steps += 1

    return Count()


def trainer_arguments(minutes: float, counter: object) -> dict[str, object]:
    """The same for every rival: one CPU, no progress bar, and a limit of wall time."""
    return {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_time": {"seconds": round(minutes * 60)},
        "callbacks": [counter],
        "default_root_dir": tempfile.mkdtemp(),
    }


def neuralforecast(task: dict[str, np.ndarray], model: str, minutes: float, seed: int) -> dict[str, object]:
    import pandas as pd
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import LSTM, PatchTST
    from pytorch_lightning import Callback

    values, horizon, step = task["values"], int(task["horizon"]), int(task["step"])
    first, train_rows = int(task["origins"][0]), int(task["train_rows"])
    stamps = pd.date_range(str(task["start"]), periods=values.shape[1], freq="h")
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{i:04}" for i in range(len(values))], values.shape[1]),
            "ds": np.tile(stamps, len(values)),
            "y": values.ravel().astype(np.float32),
        }
    )
    train = frame.groupby("unique_id").head(train_rows)
    last = int(task["origins"][-1]) + horizon
    history = frame.groupby("unique_id").head(last)
    counter = step_counter(Callback)
    settings: dict[str, object] = {"h": horizon, "loss": "MQLoss(level=[50, 90])", "random_seed": seed}
    if model == "patchtst":  # has no default
        settings["input_size"] = int(task["patchtst_input"])
    network = {"lstm": LSTM, "patchtst": PatchTST}[model](
        **{**settings, "loss": MQLoss(level=[50, 90])}, **trainer_arguments(minutes, counter)
    )
    forecaster = NeuralForecast(models=[network], freq="h")
    cost = Cost()
    forecaster.fit(train)
    cost.lap("fit")
    [trained] = forecaster.models  # a deep copy of the network, and of the counter
    [steps] = [c.steps for c in trained.trainer_kwargs["callbacks"] if isinstance(c, type(counter))]
    if not steps:
        raise RuntimeError("neuralforecast counted no training step")
    out = forecaster.cross_validation(
        history, n_windows=None, test_size=last - first, step_size=step, refit=False, use_fitted=True
    )
    cost.lap("predict")
    name = type(network).__name__
    columns = [f"{name}-lo-90", f"{name}-lo-50", f"{name}-median", f"{name}-hi-50", f"{name}-hi-90"]
    out = out.reset_index().sort_values(["unique_id", "cutoff", "ds"])
    windows = len(task["origins"])
    forecast = out[columns].to_numpy().reshape(len(values), windows, horizon, 5)
    truth = out["y"].to_numpy().reshape(len(values), windows, horizon)
    expected = np.stack([values[:, o : o + horizon] for o in task["origins"]], axis=1)
    if not np.allclose(truth, expected, rtol=1e-5, atol=1e-5):
        raise RuntimeError("the windows that neuralforecast returned are not those of the task")
    return {
        "forecast": forecast.transpose(1, 2, 0, 3),
        **cost.seconds,
        "steps": steps,
        "default_steps": int(network.max_steps),
        "settings": settings,
        "version": version("neuralforecast"),
    }


def deepar(task: dict[str, np.ndarray], minutes: float, seed: int) -> dict[str, object]:
    import pandas as pd
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator
    from lightning import seed_everything
    from lightning.pytorch import Callback

    seed_everything(seed, verbose=False)
    values, horizon, origins = task["values"], int(task["horizon"]), task["origins"]
    start_period = pd.Period(str(task["start"]), freq="h")

    def dataset(spans: list[tuple[int, int]]) -> ListDataset:
        entries = [{"start": start_period, "target": values[s, :end], "item_id": str(s)} for s, end in spans]
        return ListDataset(entries, freq="h")

    counter = step_counter(Callback)
    estimator = DeepAREstimator(freq="h", prediction_length=horizon, trainer_kwargs=trainer_arguments(minutes, counter))
    cost = Cost()
    predictor = estimator.train(dataset([(s, int(task["train_rows"])) for s in range(len(values))]))
    cost.lap("fit")
    spans = [(s, int(origin)) for origin in origins for s in range(len(values))]
    forecast = np.stack(
        [np.stack([np.asarray(f.quantile(q)) for q in QUANTILES], axis=-1) for f in predictor.predict(dataset(spans))]
    )
    cost.lap("predict")
    return {
        "forecast": forecast.reshape(len(origins), len(values), horizon, 5).transpose(0, 2, 1, 3),
        **cost.seconds,
        "steps": counter.steps,
        "default_steps": 100 * 50,
        "settings": {"freq": "h", "prediction_length": horizon, "seed_everything": seed},
        "version": version("gluonts"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["lstm", "patchtst", "deepar"])
    parser.add_argument("task", type=Path, help="task as written by forecast_rivals.py, .npz")
    parser.add_argument("output", type=Path, help="where to write OUTPUT.npz (forecasts) and OUTPUT.json (costs)")
    parser.add_argument("--minutes", type=float, default=15, help="wall-time limit of the fit (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed (default: %(default)s, neuralforecast's own)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # the rivals' own deprecations are not ours to show
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import torch

    torch.set_num_threads(options.threads)
    with np.load(options.task) as file:
        task = {name: file[name] for name in file.files}
    if options.model == "deepar":
        result = deepar(task, options.minutes, options.seed)
    else:
        result = neuralforecast(task, options.model, options.minutes, options.seed)
    forecast = np.asarray(result.pop("forecast"), np.float32)
    np.savez_compressed(options.output.with_suffix(".npz"), forecast=forecast)
    result |= {
        "model": options.model,
        "threads": options.threads,
        "cores": sorted(os.sched_getaffinity(0)),
        "minutes_limit": options.minutes,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    options.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
