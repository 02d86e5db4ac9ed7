"""The specification of every figure: plain data that the page's script draws, rounded to what a screen shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from carrousel.metrics import calibration, pit_histogram

from .evidence import Evidence, Line, digits, duration, percent

Floats = npt.NDArray[np.float64]
Spec = dict[str, Any]

LINES_IN_VIEWER = 30
LINES_IN_ERRORS = 24
ORIGINS = 14
SHAPES = {"seasonal_naive": "triangle", "ets": "square", "theta": "diamond", "ridge": "star"}
NUMBERS = 300_000  # in the viewer: about 2 MB


def numbers(values: npt.ArrayLike, spread: float | None = None) -> list[Any]:
    """Values as JSON: rounded to a ten-thousandth of their spread, None for NaN."""
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    if spread is None:
        spread = float(np.ptp(finite)) or float(np.abs(finite).max()) if len(finite) else 1.0
    places = 4 - int(np.floor(np.log10(spread))) if spread > 0 else 4
    rounded = np.round(array, places)
    return [None if not np.isfinite(v) else int(v) if float(v).is_integer() else float(v) for v in rounded.ravel()]


def seconds(ds: npt.NDArray[Any]) -> list[int]:
    """Stamps as seconds since 1970, integer stamps as they are."""
    return np.asarray(ds).astype("datetime64[s]" if ds.dtype.kind == "M" else np.int64).astype(np.int64).tolist()


def when(stamp: Any) -> str:
    """A stamp for reading, without what is zero anyway."""
    text = str(stamp).replace("T", " ")
    return text.removesuffix(":00").removesuffix(" 00:00") if isinstance(stamp, np.datetime64) else text


def viewer(evidence: Evidence) -> Spec | None:
    """Windows to leaf through: per line some evenly spaced origins, with the typical, the best and the worst one."""
    backtest = evidence.backtest
    horizon = backtest.y.shape[1]
    past = max(24, min(2 * horizon, horizon + 48))
    models = [evidence.own, *evidence.baselines]
    levels = list(reversed(evidence.levels))
    size = 2 * past + horizon * (2 + len(models) + 2 * len(levels))
    room = max(1, NUMBERS // size)
    lines = evidence.spread(min(LINES_IN_VIEWER, max(1, room // 4)))
    each = max(1, min(ORIGINS, room // len(lines))) if lines else 0
    drawn = [d for line in lines if (d := _leaves(evidence, line, each, past, levels, models))]
    if not drawn:
        return None
    return {
        "lines": drawn,
        "levels": [float(f"{level:g}") for level in levels],
        "models": [{"name": evidence.name(m), "style": evidence.style(m)} for m in models],
        "default": [evidence.name(evidence.best_naive)] if evidence.best_naive else [],
        "time": backtest.ds.dtype.kind == "M",
        "target": backtest.panel.target_names[0] if len(backtest.panel.target_names) == 1 else None,
    }


def _leaves(
    evidence: Evidence, line: Line, each: int, past: int, levels: list[float], models: list[str]
) -> Spec | None:
    windows = np.intersect1d(line.windows, evidence.own_used)
    if not len(windows):
        return None
    windows = windows[np.argsort(evidence.backtest.origins[windows], kind="stable")]
    error = evidence.error(evidence.own, windows, target=line.target, metric="mae", axis=(1, 2))
    order = np.argsort(error)  # NaN, a window without a single truth, last
    scored = order[: max(1, int((~np.isnan(error)).sum()))]
    picks = {"typical": scored[len(scored) // 2], "best": scored[0], "worst": scored[-1]}
    # An even choice that gives way to the picks, so that no more than `each` are drawn.
    even = np.linspace(0, len(windows) - 1, max(0, each - len(set(picks.values())))).round().astype(int)
    kept = np.unique([*even.tolist(), *picks.values()]).tolist()
    return {
        "name": line.name,
        "picks": {name: kept.index(int(i)) for name, i in picks.items()},
        "windows": [_leaf(evidence, line, int(windows[i]), past, levels, models) for i in kept],
    }


def _leaf(evidence: Evidence, line: Line, n: int, past: int, levels: list[float], models: list[str]) -> Spec:
    backtest, k = evidence.backtest, line.target
    first = int(backtest.panel.starts[line.series]) + int(backtest.origins[n])
    known = slice(max(int(backtest.panel.starts[line.series]), first - past), first)
    history, y = backtest.panel.target[known, k], backtest.y[n, :, k]
    stamps = np.concatenate([backtest.panel.ds[known], backtest.ds[n]])
    bands = [[bound[n, :, k] for bound in evidence.band(level)] for level in levels]
    seen = np.concatenate([history, y, backtest.quantile_forecasts[n, :, k].ravel()])
    spread = float(np.ptp(seen[np.isfinite(seen)])) or 1.0

    def values(array: Floats) -> list[Any]:
        return numbers(array, spread)

    return {
        "when": when(stamps[len(history) - 1]) if len(history) else when(stamps[0]),
        "x": seconds(stamps),
        "history": values(history),
        "y": values(y),
        "forecasts": [None if np.isnan(f := evidence.forecasts[m][n, :, k]).all() else values(f) for m in models],
        "bands": [[values(bound) for bound in pair] for pair in bands],
        "text": _window_text(evidence, n, k),
    }


def _window_text(evidence: Evidence, n: int, k: int) -> str:
    window = np.array([n])
    own = evidence.error(evidence.own, window, target=k, metric="mae")
    observed = ~np.isnan(evidence.y[n, :, k])
    if not observed.any():
        return "Nothing was observed in this window: there is no truth to compare with."
    text = f"In this window {evidence.own} misses by {digits(own)} on average"
    if evidence.best_naive:
        other = evidence.error(evidence.best_naive, window, target=k, metric="mae")
        text += f", {evidence.inside(evidence.best_naive)} by {digits(other)}" if np.isfinite(other) else ""
    level = evidence.levels[-1]
    lower, upper = (bound[n, :, k] for bound in evidence.band(level))
    inside = int(((lower <= evidence.y[n, :, k]) & (evidence.y[n, :, k] <= upper))[observed].sum())
    return f"{text}; {inside} of {int(observed.sum())} truths lie inside the {level:g}% band."


def errors_by_series(evidence: Evidence) -> Spec:
    """One row a series, one mark a model: how far left is how good."""
    lines = evidence.spread(LINES_IN_ERRORS)
    models = [evidence.own, *evidence.baselines]  # the large dot first, below the others
    marks: list[Spec] = []
    for model in models:
        own = model == evidence.own
        marks.append(
            {
                "kind": "dots",
                "name": evidence.name(model),
                "style": f"{evidence.style(model)}{'' if own else ' hollow'}",
                "x": numbers([evidence.line_error(model, line) for line in lines]),
                "y": list(range(len(lines))),
                "radius": 7 if own else 4.5,
                "shape": SHAPES.get(model),
                "rank": 0 if own else 1,
            }
        )
    found = [x for mark in marks for x in mark["x"] if x is not None and x > 0]
    wide = bool(found) and max(found) > 30 * min(found)
    return {
        "label": f"{evidence.metric_name} of every model for each series",
        "height": 66 + len(lines) * int(np.clip(240 // max(1, len(lines)), 26, 70)),
        "x": {"kind": "log" if wide else "linear", "label": f"{evidence.metric_name} (further left is better)"}
        | ({} if wide else {"min": 0})
        | {"pad": True},
        "y": {"kind": "category", "labels": [line.name for line in lines]},
        "marks": marks,
    }


def errors_by_step(evidence: Evidence) -> Spec:
    """Error of every model at each step ahead."""
    return {
        "label": f"{evidence.metric_name} of every model at each step ahead",
        "height": 340,
        "x": {"label": f"steps ahead ({evidence.backtest.frequency.describe()})", "unit": "steps ahead"},
        "y": {"label": evidence.metric_name, "min": 0},
        "marks": [
            {
                "kind": "line",
                "name": evidence.name(model),
                "style": evidence.style(model),
                "x": list(range(1, evidence.y.shape[1] + 1)),
                "y": numbers(evidence.error(model, axis=(0, 2))),
                "rank": 0 if model == evidence.own else 1,
            }
            for model in [*evidence.baselines, evidence.own]
        ],
    }


def reliability(evidence: Evidence) -> tuple[Spec, list[tuple[float, float]]]:
    """Promised against observed share of truths below each quantile, and the same as pairs."""
    quantiles = np.asarray(evidence.backtest.quantiles, np.float64)
    rows = evidence.own_used
    observed = calibration(evidence.y[rows], evidence.backtest.quantile_forecasts[rows], quantiles)
    ticks = [[v, f"{100 * v:g}%"] for v in (0, 0.25, 0.5, 0.75, 1)]
    spec = {
        "label": "Observed share of truths below each quantile against the promised share",
        "height": 300,
        "legend": False,
        "x": {"label": "promised share below", "min": 0, "max": 1, "ticks": ticks},
        "y": {"label": "observed share below", "min": 0, "max": 1, "ticks": ticks},
        "marks": [
            {"kind": "diagonal", "style": "", "from": 0, "to": 1},
            {
                "kind": "line",
                "name": "observed",
                "style": "s-carrousel",
                "x": numbers(quantiles),
                "y": numbers(observed),
                "dots": 5,
            },
        ],
    }
    return spec, list(zip(quantiles.tolist(), observed.tolist(), strict=True))


def coverage_by_step(evidence: Evidence) -> Spec:
    """Share of truths inside each band at each step ahead, in per cent."""
    marks: list[Spec] = []
    for i, level in enumerate(reversed(evidence.levels)):
        covered = np.asarray(evidence.coverage(level, axis=(0, 2)))
        marks.append({"kind": "rule", "style": "", "y": level})
        marks.append(
            {
                "kind": "line",
                "name": f"{level:g}% band",
                "style": f"{'s-carrousel' if i == 0 else f's-{i}'} plain",
                "x": list(range(1, len(covered) + 1)),
                "y": numbers(100 * covered),
            }
        )
    promised = list(evidence.levels)
    shown = [v for v in (0.0, 100.0) if all(abs(v - level) > 6 for level in promised)] + promised
    return {
        "label": "Share of truths inside each band at each step ahead",
        "height": 300,
        "x": {"label": "steps ahead", "unit": "steps ahead"},
        "y": {"label": "truths inside the band", "min": 0, "max": 100, "ticks": [[v, f"{v:g}%"] for v in shown]},
        "marks": marks,
    }


def pit(evidence: Evidence) -> Spec:
    """Probability integral transform: where in the forecast distribution the truths fell, relative to the promise."""
    edges = np.array([0.0, *evidence.backtest.quantiles, 1.0])
    rows = evidence.own_used
    share = pit_histogram(evidence.y[rows], evidence.backtest.quantile_forecasts[rows], evidence.backtest.quantiles)
    relative = share / np.diff(edges)
    return {
        "label": "Histogram of where in the forecast distribution the truths fell; flat at 1 is ideal",
        "height": 300,
        "legend": False,
        "bins": True,
        "x": {
            "label": "place of the truth in the forecast distribution",
            "min": 0,
            "max": 1,
            "ticks": [[v, f"{100 * v:g}%"] for v in (0, 0.25, 0.5, 0.75, 1)],
        },
        "y": {"label": "truths, relative to the promise", "min": 0, "max": max(2.0, float(np.nanmax(relative)) * 1.05)}
        if np.isfinite(relative).any()
        else {"label": "truths", "min": 0, "max": 2},
        "marks": [
            {
                "kind": "bars",
                "name": "truths here",
                "style": "s-carrousel",
                "x0": edges[:-1].tolist(),
                "x1": edges[1:].tolist(),
                "y": numbers(np.maximum(relative, 0)),
                "tips": [f"{percent(s)}, promised {percent(p)}" for s, p in zip(share, np.diff(edges), strict=True)],
            },
            {"kind": "rule", "style": "", "y": 1},
        ],
    }


def training(history: Any, loss: str = "quantile loss") -> dict[str, Spec]:
    """Loss, whose unit is given, and learning rate over the epochs of one training history."""
    rows = history.rows
    epoch = numbers([row.epoch for row in rows], 100.0)
    losses = {name: np.array([getattr(row, f"{name}_loss") for row in rows], float) for name in ("train", "validation")}
    best = next((row.epoch for row in rows if row.step == history.best_step), None)
    found = np.concatenate(list(losses.values()))
    found = found[np.isfinite(found) & (found > 0)]
    wide = len(found) > 0 and found.max() > 20 * found.min()
    curve: Spec = {
        "label": "Training and validation loss by epoch",
        "height": 300,
        "x": {"label": "epoch"},
        "y": {"kind": "log" if wide else "linear", "label": loss},
        "marks": [
            {"kind": "line", "name": "training", "style": "s-0", "x": epoch, "y": numbers(losses["train"])},
            {
                "kind": "line",
                "name": "validation",
                "style": "s-carrousel",
                "x": epoch,
                "y": numbers(losses["validation"]),
                "dots": 3 if len(rows) <= 40 else 0,
            },
        ],
    }
    if best is not None:
        curve["marks"].append({"kind": "rule", "style": "", "x": best, "text": f"kept: epoch {best:.4g}"})
    rate = {
        "label": "Learning rate by epoch",
        "height": 300,
        "legend": False,
        "x": {"label": "epoch"},
        "y": {"label": "learning rate", "min": 0},
        "marks": [
            {
                "kind": "line",
                "name": "learning rate",
                "style": "s-carrousel",
                "x": epoch,
                "y": [float(f"{row.learning_rate:.3g}") for row in rows],
            }
        ],
    }
    return {"loss": curve, "rate": rate}


def latency(latency_us: Floats) -> Spec:
    """Histogram of the time of one streaming update, in microseconds; its slowest 1% is cut off."""
    median, p99 = np.percentile(latency_us, [50, 99])
    shown = latency_us[latency_us <= p99]
    bins = min(40, max(5, len(shown) // 8))
    # A tail many times longer than the rest would squeeze it into one bar.
    wide = p99 > 3 * median
    edges = np.geomspace(shown.min(), p99, bins + 1) if wide else np.linspace(shown.min(), p99, bins + 1)
    counts, edges = np.histogram(shown, edges)
    return {
        "label": f"Histogram of the time of one update: median {duration(median)}, 99% below {duration(p99)}",
        "height": 280,
        "legend": False,
        "bins": True,
        "x": {"kind": "log" if wide else "linear", "label": "time of one update, µs", "max": float(p99 * 1.02)},
        "y": {"label": "updates", "min": 0, "max": 1.2 * float(counts.max())},
        "marks": [
            {
                "kind": "bars",
                "name": "updates",
                "style": "s-carrousel",
                "x0": numbers(edges[:-1]),
                "x1": numbers(edges[1:]),
                "y": counts.tolist(),
                "tips": [
                    f"{n} took {digits(a)}–{digits(b)} µs"
                    for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
                ],
            },
            {"kind": "rule", "style": "", "x": float(median), "text": f"median {duration(median)}"},
            {"kind": "rule", "style": "", "x": float(p99), "text": f"99% below {duration(p99)}", "row": 1},
        ],
    }
