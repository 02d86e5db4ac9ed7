"""The model card: what a saved forecaster is, and the numbers that were measured on it."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from carrousel.features.learned import Rounding
from carrousel.features.window import WindowBatch
from carrousel.tasks.backtest import Backtest
from carrousel.tasks.fitted import FittedForecaster


def update_latency_us(fitted: FittedForecaster, repeats: int = 30) -> float:
    """Median time of one forecast of one window on this machine, in microseconds."""
    s = fitted.sizes
    window = WindowBatch(
        target=np.random.default_rng(0).standard_normal((1, s.look_back, s.targets)),
        past=np.zeros((1, s.look_back, s.past), np.float32),
        future=np.zeros((1, s.ahead * s.patch, s.future), np.float32),
        calendar_past=np.zeros((1, s.behind, s.calendar), np.float32),
        calendar_future=np.zeros((1, s.ahead, s.calendar), np.float32),
        static=np.zeros((1, s.static), np.float32),
        series=np.zeros(1, np.int64),
    )
    seconds: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        fitted.decoder(window, np.ones((1, s.targets)))
        seconds.append(time.perf_counter() - began)
    return 1e6 * float(np.median(seconds))


def forecast_card(fitted: FittedForecaster, settings: dict[str, Any], backtest: Backtest | None) -> str:
    """README.md of the artifact, in Markdown.

    Parameters
    ----------
    settings : as the forecaster was told them
    backtest : measured with this model, if there is one; the card says whether it had seen the rows
    """
    sizes, learned = fitted.sizes, fitted.learned
    told = ", ".join(f"{key}={value!r}" for key, value in settings.items() if value not in (None, (), False))
    lines = [
        "---", "library_name: carrousel", "pipeline_tag: time-series-forecasting", "---", "",
        "# Forecaster", "",
        f"Forecasts {sizes.horizon} rows ({fitted.frequency.describe()}) from the last {sizes.look_back}, bands of "
        + " and ".join(f"{level:g}%" for level in fitted.levels) + ".", "",
        "```python", "import carrousel", "",
        'model = carrousel.load("path/to/this/folder")', "model.predict()", "```", "",
        "## Measured", "",
        "| what | value |", "|---|---|",
        f"| parameters | {fitted.num_parameters:,} ({4 * fitted.num_parameters / 2**20:.2f} MiB of float32) |",
        f"| training time | {learned.seconds:.0f} s |",
        f"| one forecast, engine on {fitted.engine.isa}, {platform.machine()} | {update_latency_us(fitted):.0f} µs |",
    ]  # fmt: skip
    lines += [f"| {name}, validation part | {value:.6g} |" for name, value in learned.scores.items()]
    lines += ["", "The validation part ended the training and calibrated the bands, so its scores are no test."]
    lines += _rounding(learned.rounding)
    if backtest is not None:
        lines += ["", *_scores(backtest)]
    lines += [
        "", "## How it was made", "",
        f"An LSTM over patches of {sizes.patch} rows (hidden size {sizes.hidden_size}, {sizes.num_layers} layer(s), "
        f"{sizes.members} network(s)) corrects a mixture of linear maps; the bands are split-conformal.", "",
        f"Settings: {told}.", "",
        *[f"- {note}" for note in learned.notes], "",
    ]  # fmt: skip
    return "\n".join(lines)


def _rounding(losses: Mapping[str, Rounding]) -> list[str]:
    """What smaller weights cost."""
    exact = losses.get("float32")
    if exact is None:
        return []
    lines = [
        "", f"What it costs when the engine stores the weights in fewer bits, on {exact.windows} windows of the "
        "validation part (int8 is measured where the native engine was built):", "",
        "| weights | MAE | change of the MAE | mean change of a forecast |", "|---|---|---|---|",
    ]  # fmt: skip
    for dtype, loss in losses.items():
        change = 100 * (loss.mae / exact.mae - 1) if exact.mae else 0.0
        shown = f"{change:+.3f}%" if abs(change) >= 5e-4 else "below 0.001%"
        lines.append(f"| {dtype} | {loss.mae:.6g} | {'–' if loss is exact else shown} | {loss.shift:.3g} |")
    return lines


def _scores(backtest: Backtest) -> list[str]:
    table = backtest.table()
    flattered = any("flatter" in note for note in backtest.notes)
    seen = ", some of which trained, validated or calibrated the model" if flattered else ", none of which it had seen"
    metrics = ("mae", "rmse", "mase")
    lines = [
        f"Backtest: {table.windows} windows of {backtest.horizon} rows, from {backtest.cutoff.min()} to "
        f"{backtest.cutoff.max()}{seen}.", "",
        "| model | " + " | ".join(name.upper() for name in metrics) + " |", "|---" * (len(metrics) + 1) + "|",
    ]  # fmt: skip
    lines += [
        f"| {name} | " + " | ".join(f"{row.get(metric, np.nan):.4g}" for metric in metrics) + " |"
        for name, row in table.rows.items()
    ]
    own = table.rows["Carrousel"]
    held = ", ".join(f"{level:g}% band: {100 * own[f'coverage-{level:g}']:.1f}%" for level in backtest.levels)
    return [*lines, "", f"Share of truths inside the bands: {held}."]
