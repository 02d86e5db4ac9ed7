"""M4 Hourly: 414 series, horizon 48, one global model; sMAPE, MASE and OWA as the competition defined them.

python benchmarks/m4_hourly.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import page

from carrousel.data.public import paths
from carrousel.metrics import coverage, mase, naive_scale, owa, smape
from carrousel.tasks.baseline import baselines, naive2

HORIZON, SEASON = 48, 24
# The competition's workbook.
PUBLISHED = {
    "ES-RNN (Smyl, the winner)": (9.328, 0.893, 0.440),
    "the competition's RNN benchmark": (14.698, 3.048, 1.036),
    "Theta, as submitted": (18.138, 2.455, 1.006),
    "seasonal naive, as submitted": (13.912, 1.193, 0.627),
}


def read(path: Path) -> dict[str, np.ndarray]:
    """Series by name, unequal length."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: np.array([float(v) for v in row[1:] if v]) for row in rows}


def long(series: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A long table on an integer grid: the competition's series carry no common calendar."""
    return {
        "unique_id": np.concatenate([np.full(len(v), name) for name, v in series.items()]),
        "ds": np.concatenate([np.arange(len(v)) for v in series.values()]),
        "y": np.concatenate(list(series.values())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    parser.add_argument("--ensemble", type=int, default=1, help="networks averaged (default: %(default)s)")
    options = parser.parse_args()
    import torch

    from carrousel import Forecaster

    torch.set_num_threads(options.threads)
    by_name = {path.stem: read(path) for path in paths("m4_hourly")}
    train, after = by_name["Hourly-train"], by_name["Hourly-test"]
    test = np.stack([after[name] for name in train])
    scale = np.array([naive_scale(v, SEASON) for v in train.values()])[:, None]
    reference = np.stack([naive2(v, HORIZON, SEASON) for v in train.values()])
    base = {"naive2_smape": smape(test, reference), "naive2_mase": mase(test, reference, scale)}

    def errors(forecast: np.ndarray) -> tuple[float, float, float]:
        pair = smape(test, forecast), mase(test, forecast, scale)
        return (*pair, owa(*pair, **base))

    def line(name: str, forecast: np.ndarray) -> list[str]:
        return [name, *(f"{error:.3f}" for error in errors(forecast))]

    rows, found, seconds, covered = [], [], [], []
    for seed in options.seeds:
        clock = time.perf_counter()
        settings = {} if options.ensemble == 1 else {"ensemble": options.ensemble}
        model = Forecaster(horizon=HORIZON, season=SEASON, seed=seed, **settings).fit(long(train))
        seconds.append(time.perf_counter() - clock)
        table = model.predict()
        place = {name: n for n, name in enumerate(train)}
        order = np.argsort([place[str(name)] for name in np.asarray(table["unique_id"])], kind="stable")
        columns = {
            key: np.asarray(values)[order].reshape(test.shape) for key, values in table.items() if key != "unique_id"
        }
        rows.append(line(f"Carrousel, seed {seed}", columns["Carrousel"]))
        found.append(errors(columns["Carrousel"]))
        covered.append(coverage(test, columns["Carrousel-lo-90"], columns["Carrousel-hi-90"]))
        print(rows[-1], f"{seconds[-1]:.0f} s", f"coverage {covered[-1]:.3f}", flush=True)
    spread = [f"{m:.3f} ± {d:.3f}" for m, d in zip(np.mean(found, axis=0), np.std(found, axis=0), strict=True)]
    rows.insert(0, [f"**Carrousel**, mean ± deviation of {len(found)} seed(s)", *spread])
    whole = [np.concatenate([v, test[n]]) for n, v in enumerate(train.values())]
    starts = np.concatenate([[0], np.cumsum([len(v) for v in whole])])
    result = baselines(
        np.concatenate(whole)[:, None], starts, starts[1:] - HORIZON, horizon=HORIZON, season=SEASON, fits=None
    )
    rows += [line(f"{name} (here)", forecast[..., 0]) for name, forecast in result.forecasts.items()]
    rows.append(line("Naive2 (here)", reference))
    rows += [[name, f"{a:.3f}", f"{b:.3f}", f"{c:.3f}"] for name, (a, b, c) in PUBLISHED.items()]
    text = (
        "414 series, horizon 48. One global model; look-back, early stopping and calibration use the end of the "
        f"training part only. Training took {np.mean(seconds):.0f} s a seed on {page.cores(options.threads)}; the 90 % "
        f"band covers {100 * np.mean(covered):.1f} % of the test values."
    )
    page.write(
        "m4_hourly",
        "M4 Hourly",
        [text, page.table(["", "sMAPE", "MASE", "OWA"], rows), "\n".join(f"- {note}" for note in result.notes)],
        packages=("carrousel", "torch", "numpy", "statsforecast"),
        seeds=", ".join(map(str, options.seeds)),
    )


if __name__ == "__main__":
    main()
