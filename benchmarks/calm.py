"""What can be known of a detector of the Mars rover without its labels: later halves of the training parts.

python benchmarks/calm.py --forecasts FOLDER

Nothing is labelled there, so every alarm is false; and disturbed on purpose, they tell what a setting finds. The folder
keeps the forecasts of Telemanom's networks, which are trained on the earlier halves in about half an hour of one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import page
import telemanom
from covariates import commands, fitted
from disturb import disturbed
from simple_detector import SIMPLE, beyond_last
from telemanom import AHEAD, LOOK_BACK, Forecasts
from telemanom_network import forecasts

from carrousel.data.labelled import LabelledSeries, msl
from carrousel.metrics.event import EventCounts, event_counts
from carrousel.metrics.window import windows
from carrousel.online.alarm import Alarm
from carrousel.online.beyond import Beyond
from carrousel.online.covariate import grouped
from carrousel.online.member import MEMBERS
from carrousel.tasks.detect_evaluate import poisson_interval

Floats = npt.NDArray[np.float64]
Spans = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]

FITTED = (0.45, 0.55, 0.65)  # of a training part, what a detector is fitted on
MIDDLE = FITTED[1]  # where disturbances are tried
LEAST = 200  # rows that a detector is fitted on
COPIES = 12  # of each part, with a disturbance each
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SHIPPED = "beyond 0.2"  # the rule of the rover's page
NAIVE = "beyond 0.2, the row before as forecast"
PROMISES_ROWS = (1000, 3000, 10000)
WANTED = 0.8  # the F1 that is asked for
"""The rule of alarm, and what it said of N series: N lists of spans."""
Rules = Mapping[str, list[Spans]]


def part(series: LabelledSeries, share: float) -> LabelledSeries:
    """The later rows of a training part, after the earlier ones."""
    cut = int(share * len(series.train))
    later = series.train[cut:]
    nothing = np.zeros((0, 2), np.int64)
    return replace(series, train=series.train[:cut], values=later, windows=nothing, stamps=np.arange(len(later)))


def said(copies: Sequence[LabelledSeries]) -> Rules:
    """What every rule makes of series that differ in their values only; one detector is fitted on the past of all."""
    first, count = copies[0], len(copies)
    detector = fitted(first, read=True, minutes=0.5, beyond=0.2, seed=0)
    watch = detector.watch(ids=list(detector.ends)).fork(np.zeros(count, np.int64))
    states = {name: array.copy() for name, array in watch.state.items()}
    width = 1 + len(commands(first))
    rules: dict[str, Callable[[Floats, Floats, Floats], npt.NDArray[np.bool_]]] = {}
    for share in SHARES:
        beyond = Beyond(count, 1, share)
        beyond.load(_of(states, "beyond"))
        rules[f"beyond {share:g}"] = lambda y, residual, surprise, rule=beyond: rule.update(y, residual)[1]
    for rows in PROMISES_ROWS:
        alarm = Alarm(count, 1 / rows, factor=detector.factor)
        for name, component in (("alarm", alarm), ("scores", alarm.scores), ("onsets", alarm.onsets)):
            component.load(_of(states, name))

        def promised(y: Floats, residual: Floats, surprise: Floats, rule: Alarm = alarm) -> npt.NDArray[np.bool_]:
            joined = grouped(surprise, len(MEMBERS))[:, None]
            return rule.update(joined, np.ones(count, bool), np.zeros(count)).incident

        rules[f"1/{rows:,} rows"] = promised
    inside = {name: np.zeros((count, len(first.values)), bool) for name in rules}
    table = np.stack([one.values for one in copies])
    for row in range(len(first.values)):
        now = np.ascontiguousarray(table[:, row, :width])
        readings = watch.step(now, np.zeros(count))
        y = np.ascontiguousarray(now[:, :1])
        for name, rule in rules.items():
            inside[name][:, row] = rule(y, readings.residual, readings.contributions[:, 0])
    inside[NAIVE] = beyond_last(first.train[:, 0], table[:, :, 0], 0.2)
    return {name: [windows(flags) for flags in rows] for name, rows in inside.items()}


def _of(states: Mapping[str, Array], name: str) -> dict[str, Array]:
    return {key.removeprefix(f"{name}."): array for key, array in states.items() if key.startswith(f"{name}.")}


def telemanoms(one: LabelledSeries, folder: Path | None) -> dict[str, Spans]:
    """What Telemanom's procedure finds in a part, as published and without later rows; nothing in too short a one."""
    if min(len(one.train), len(one.values)) < LOOK_BACK + 5 * AHEAD:
        return {}
    _, network = forecasts(replace(one, name=f"{one.name}-calm"), seed=0, folder=folder)
    expected = np.full(len(one.values) - LOOK_BACK - AHEAD, one.train[:, 0].mean())
    mean = Forecasts.of(expected, one.values[:, 0])
    return {
        "Telemanom's procedure as published": telemanom.detect(network),
        "the same, 70 rows judged at a time": telemanom.detect_causal(network),
        "Telemanom's thresholds on the mean": telemanom.detect(mean),
    }


def simple(one: LabelledSeries) -> dict[str, Spans]:
    """Where a one-line detector exceeds all that it said of the part before."""
    found: dict[str, Spans] = {}
    for name, detect in SIMPLE.items():
        score = detect(np.concatenate([one.train[:, 0], one.values[:, 0]]))
        flags = np.zeros(len(one.values), bool)
        for row in np.flatnonzero(score[len(one.train) :] > score[: len(one.train)].max()):
            flags[row : row + 100] = True
        found[name] = windows(flags)
    return found


def needed(false: float, labels: int) -> str:
    """How many of the labels F1 above ``WANTED`` takes, with so many false alarms."""
    # 2 n > WANTED (n + false + labels)
    least = math.floor(WANTED * (false + labels) / (2 - WANTED)) + 1
    return f"{least}" if least <= labels else "more than there are"


def _bold(name: str) -> str:
    return f"**{name}**" if name == SHIPPED else name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasts", type=Path, help="folder for those of Telemanom's networks")
    options = parser.parse_args()
    series = msl()
    rows, labels = sum(len(one.values) for one in series), sum(len(one.windows) for one in series)
    alarms: dict[tuple[str, float], int] = {}
    watched: dict[tuple[str, float], int] = {}
    counts: dict[str, EventCounts] = {}
    disturbed_rows = 0
    for share in FITTED:
        for one in series:
            calm = part(one, share)
            if len(calm.train) < LEAST:
                continue
            copies = [calm, *(disturbed(calm, COPIES, seed=0) if share == MIDDLE else ())]
            rules = said(copies)
            found = {name: events[0] for name, events in rules.items()} | simple(calm)
            if share == MIDDLE:
                found |= telemanoms(calm, options.forecasts)
            for name, events in found.items():
                key = name, share
                alarms[key] = alarms.get(key, 0) + len(events)
                watched[key] = watched.get(key, 0) + len(calm.values)
            disturbed_rows += len(calm.values) * (len(copies) - 1)
            for name, events in rules.items():
                for place, copy in enumerate(copies[1:], 1):
                    counts[name] = counts.get(name, EventCounts()) + event_counts(events[place], copy.windows)
            print(f"{share:.0%} of {one.name}", flush=True)
    page.write(
        "calm",
        "The rover without its labels",
        text(alarms, watched, counts, disturbed_rows, rows, labels),
        packages=("carrousel", "torch", "numpy"),
        seeds="0, of training and of disturbances",
    )


def text(
    alarms: Mapping[tuple[str, float], int],
    watched: Mapping[tuple[str, float], int],
    counts: Mapping[str, EventCounts],
    disturbed_rows: int,
    rows: int,
    labels: int,
) -> list[str]:
    """The page."""
    names = list(dict.fromkeys(name for name, _ in alarms))
    false: list[list[object]] = []
    for name in names:
        count, longer = alarms[name, MIDDLE], rows / watched[name, MIDDLE]
        low, high = poisson_interval(count)
        as_many = f"{longer * count:.0f} ({longer * low:.0f}–{longer * high:.0f})"
        each = (alarms.get((name, share), "–") for share in FITTED)
        false.append([_bold(name), *each, as_many, needed(longer * count, labels)])
    total = next(iter(counts.values()))
    anomalies = total.true_positives + total.false_negatives
    weight = (anomalies / disturbed_rows) / (labels / rows)  # as many rows a label as the rover has
    scores = {
        name: 2 * one.true_positives / (2 * one.true_positives + weight * one.false_positives + one.false_negatives)
        for name, one in counts.items()
    }
    found = [
        [_bold(name), f"{one.true_positives / anomalies:.3f}", one.false_positives, f"{scores[name]:.3f}"]
        for name, one in counts.items()
    ]
    lengths = ", ".join(f"{watched[names[0], share]:,}" for share in FITTED)
    return [
        "The settings of [the rover's benchmark](msl.md) may not be chosen by its labels. What its training parts, in "
        "which nothing is labelled, say of them: a detector a channel is fitted on their first "
        f"{', '.join(f'{share:.0%}' for share in FITTED)}, and goes on through the rest, {lengths} rows.",
        "## False alarms where nothing is labelled",
        f"The labelled test parts have {rows:,} rows and {labels} labels. How many of these an F1 above "
        f"{WANTED:.2f} would take, if false alarms were as frequent there as here after {MIDDLE:.0%}:",
        page.table(
            [
                "rule",
                *(f"false alarms after {share:.0%}" for share in FITTED),
                f"in {rows:,} rows (95 %)",
                f"labels for F1 > {WANTED:.2f}",
            ],
            false,
        ),
        "The row before as forecast: the same rule without a network. A one-line detector alarms above all that it "
        "said of the part before. Telemanom's procedure does not judge the first 250 rows of a part, and leaves out "
        "channels whose parts are shorter. Its precision on the rover is owed to the test parts too: each was "
        "published because something is wrong in it, and what is not wrong is held against that. Where nothing is "
        "wrong the largest errors of a window are found all the same.",
        f"With so many false alarms no rule could be expected to have an F1 above {WANTED:.2f}, but by finding that "
        "many of the labels. The test parts come after longer training parts than the rests here, which speaks for "
        "somewhat fewer.",
        "## What disturbances say of the settings",
        f"{anomalies} copies of the rests after {MIDDLE:.0%}, each with one disturbance (`benchmarks/disturb.py`): "
        "rows from elsewhere, a stuck sensor, another pace, an offset, spikes, noise, rows backwards or upside down, "
        "late or half an answer to commands. F1 counts false alarms as if labels were as rare as in the test parts.",
        page.table(["rule", "recall", "false alarms", "F1"], found),
        f"The best of them by this F1 is {max(counts, key=lambda name: scores[name])}. The rover's page uses "
        f"{SHIPPED}, which was fixed on [artificial series](covariates.md) before.",
    ]


if __name__ == "__main__":
    main()
