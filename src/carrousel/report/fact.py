"""What the report says about the model, the data and its own making, as names and plain sentences."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .evidence import Evidence, digits, duration, percent
from .figure import when

if TYPE_CHECKING:
    from carrousel.tasks.forecast import Forecaster

PACKAGES = ("carrousel", "numpy", "torch", "statsforecast")
ROLES = {"target": "Target", "past": "Known up to now", "future": "Known ahead", "static": "Constant"}


def tiles(evidence: Evidence, forecaster: Forecaster, latency_us: npt.NDArray[np.float64]) -> list[tuple[str, str]]:
    """The four numbers that people quote: each with what it is."""
    own = evidence.error(evidence.own) if len(evidence.used) else np.nan
    level = evidence.levels[-1]
    beside = (
        "" if evidence.best_naive is None else f"; {digits(evidence.error(evidence.best_naive))} for the best naive"
    )
    trained = f"{forecaster.num_parameters:,} parameters, trained in {seconds(forecaster.training_seconds)}"
    items = [
        (digits(own), f"{evidence.metric_name}{beside}"),
        (percent(evidence.coverage(level)), f"of the truths inside the {level:g}% band"),
        (size(forecaster.nbytes), f"of weights: {trained}"),
    ]
    if len(latency_us):
        median, p99 = np.percentile(latency_us, [50, 99])
        items.append((duration(median), f"to answer one new row; 99% within {duration(p99)}"))
    return items


def subtitle(evidence: Evidence) -> str:
    """What was forecast, how far and when."""
    ds, horizon, lines = evidence.backtest.ds, evidence.y.shape[1], len(evidence.lines)
    span = f", {when(ds.min())} to {when(ds.max())}" if len(ds) else ""
    steps = f"{horizon} step{'s' if horizon > 1 else ''}"
    return f"{lines:,} series, {evidence.backtest.frequency.describe()}; backtest of forecasts of {steps}{span}"


def model(forecaster: Forecaster, folder: Path | None) -> dict[str, str]:
    """How large the model is and what it is made of."""
    sizes = forecaster.fitted.sizes
    layers = f"{sizes.num_layers} layer{'s' if sizes.num_layers > 1 else ''}"
    members = f"; the mean of {sizes.members} networks" if sizes.members > 1 else ""
    # A loaded model was trained somewhere else, perhaps.
    place = f" on {machine()}" if forecaster.history else ""
    items = {
        "Parameters": f"{forecaster.num_parameters:,}",
        "In memory": size(forecaster.nbytes),
        "Look-back": f"{sizes.look_back} rows, read {sizes.patch} at a time",
        "Network": f"LSTM, {layers} of {sizes.hidden_size} units, correcting a linear forecast{members}",
        "Quantiles": ", ".join(f"{q:g}" for q in forecaster.fitted.quantiles),
        "Training time": f"{seconds(forecaster.training_seconds)}{place}",
    }
    if folder is not None:
        on_disk = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        items["On disk"] = f"{size(on_disk)} in the folder {folder.name}"
    return items


def settings(forecaster: Forecaster) -> dict[str, str]:
    """Every setting as it was given."""
    items: dict[str, str] = {}
    for field in dataclasses.fields(forecaster.settings):
        value = getattr(forecaster.settings, field.name)
        items[field.name] = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if value is None:
            items[field.name] = "none" if field.name == "minutes" else "from the data"
    return {name: text or "none" for name, text in items.items()}


def data(evidence: Evidence, forecaster: Forecaster) -> dict[str, str]:
    """What the table holds and which part of it the model had seen."""
    backtest, panel = evidence.backtest, evidence.backtest.panel
    ids = panel.ids
    items = {
        "Series": ", ".join(ids) if len(ids) <= 5 else f"{len(ids):,}",
        "Rows": f"{len(panel.ds):,} in all, {backtest.frequency.describe()}, season of {backtest.season} rows",
    }
    for role, title in ROLES.items():
        names = getattr(panel, f"{role}_names")
        if names:
            items[title] = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    gaps = float(np.isnan(panel.target).mean()) if panel.target.size else 0.0
    items["Missing targets"] = percent(gaps) if gaps else "none"
    context = forecaster.fitted.context
    if len(context.ds):
        items["Seen by the model"] = f"up to {when(context.ds.max())}"
    if len(backtest.ds):
        items["Tested on"] = f"{when(backtest.ds.min())} to {when(backtest.ds.max())}"
    return items


def overlap(evidence: Evidence, forecaster: Forecaster) -> int:
    """How many windows forecast rows that the model was fitted, validated or calibrated on: 0 in a fair test."""
    context, backtest = forecaster.fitted.context, evidence.backtest
    last = {name: context.ds[context.rows(s)].max() for s, name in enumerate(context.ids) if context.lengths[s]}
    names = [backtest.panel.ids[s] for s in backtest.series.tolist()]
    return sum(bool(name in last and first <= last[name]) for name, first in zip(names, backtest.ds[:, 0], strict=True))


def method(evidence: Evidence, seen: int) -> list[str]:
    """How the numbers came about, so that a reader can judge them."""
    chosen = (
        "Nothing in the model was chosen on these windows: look-back, length of training and width of the bands come "
        "from a validation part that ends before them. Where the parts end was up to whoever split the table."
        if not seen
        else f"{seen:,} windows hold rows that the model had seen, so these numbers flatter it."
    )
    lines = [
        "Rolling-origin backtest: at each origin the model sees the rows before it and forecasts those after it; it is "
        "not trained again on the way.",
        chosen,
        "Every baseline sees the same history at the same origins; all models are compared on the windows that each of "
        "them forecast.",
        "MASE divides by the error that the seasonal naive forecast makes on the rows before the first origin.",
        "Windows close in time resemble each other: the numbers are less certain than the count of windows suggests.",
    ]
    given = len(evidence.y)
    if len(evidence.used) < given:
        lines.insert(3, f"{len(evidence.used):,} of {given:,} windows were forecast by every model.")
    return lines


def size(count: float) -> str:
    """Bytes for reading."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{digits(count)} {unit}"
        count /= 1000
    return f"{digits(count)} GB"


def seconds(count: float) -> str:
    """A duration for reading."""
    return f"{count:.0f} s" if count < 90 else f"{count / 60:.1f} min"


def machine() -> str:
    """The processor in words; Linux hides its name from ``platform``."""
    name = platform.processor()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = cpus.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name or platform.machine()}, {cores} core{'s' if cores > 1 else ''}"


def versions() -> str:
    """The packages that the numbers depend on."""
    found: list[str] = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"Made with {', '.join(found)}, Python {platform.python_version()}, {platform.system()} {platform.machine()}."
    )
