"""The rival of the rover's benchmark: its thresholds are the published ones, and its causal form knows no later row."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from benchmark import load


@pytest.fixture(scope="module")
def telemanom() -> ModuleType:
    return load("telemanom")


def series(seed: int, rows: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Telemetry (T,), and forecasts of its rows that are wrong in some stretches."""
    random = np.random.default_rng(seed)
    values = np.sin(np.arange(rows) / 30) + 0.02 * random.normal(size=rows)
    expected = values[250:-10] + 0.1 * random.normal(size=rows - 260)
    for start in random.integers(0, rows - 260, 6):
        expected[start : start + random.integers(5, 120)] += random.normal(0, 2)
    if seed % 2:  # always wrong, but for a stretch: the errors there are too small
        expected += 1
        expected[400:700] = values[650:950]
    return values, expected


def runs(flags: list[bool]) -> list[tuple[int, int]]:
    edges = [row for row in range(len(flags) + 1) if [*flags, False][row] != [False, *flags][row]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def near(flags: list[bool], rows: int) -> list[bool]:
    return [any(flags[max(row - rows, 0) : row + rows + 1]) for row in range(len(flags))]


def threshold(error: npt.NDArray[np.float64]) -> float:
    mean, deviation, best, found = error.mean(), error.std(), -np.inf, None
    for step in range(19):
        level = mean + (2.5 + step / 2) * deviation
        above = near([bool(value >= level) for value in error], 99)
        if any(above):
            below = error[error < level]
            gain = (mean - below.mean()) / mean + (deviation - below.std()) / deviation
            score = gain / (len(runs(above)) ** 2 + sum(above))
            if score >= best and len(runs(above)) <= 5 and sum(above) < len(error) / 2:
                best, found = score, level
    return float(mean + 12 * deviation if found is None else found)


def events(values: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], *, settled: bool) -> list[list[int]]:
    """The published rules, slowly: every row and every neighbour looked at."""
    count = len(expected)
    raw, error = np.abs(expected - values[250:-10]), np.empty(count)
    for row in range(count):
        weights = (1 - 2 / 106) ** np.arange(row, -1, -1)
        error[row] = weights @ raw[: row + 1] / weights.sum()
    if settled:
        error[:250] = error[:500].mean()
    ahead = np.array([values[row + 250 : row + 260] for row in range(count)])
    ignored = 500 if count >= 2500 else 250 if count >= 1800 else 0
    found = [False] * count
    last = max((count - 2100) // 70, 0)
    for number in range(last + 1):
        first, end = 70 * number, count if number == last else 70 * number + 2100
        part, reach = error[first:end], float(np.subtract(*np.percentile(ahead[first:end], [95, 5])))
        if part.max() <= 0.05 or (part.std() <= 0.05 * ahead[first:end].std() and part.max() <= 0.05 * reach):
            continue
        fresh = [row >= (ignored if number == 0 else end - first - 70) for row in range(end - first)]
        before = list(found[first:end])
        for side in (part, 2 * part.mean() - part):
            limit = threshold(side)
            wide = near([bool(value >= limit and value > 0.05 * reach) for value in side], 100)
            inside = [a and b for a, b in zip(wide, fresh, strict=True)]
            spans = sorted(runs(inside), key=lambda span: -side[span[0] : span[1]].max())
            calm = max(float(v) for v, a, b in zip(side, inside, before, strict=True) if not (a or b))
            peaks = [float(side[start:stop].max()) for start, stop in spans] + [calm]
            while spans and (peaks[-2] - peaks[-1]) / peaks[-2] < 0.13:
                spans, peaks = spans[:-1], peaks[:-1]
            for start, stop in spans:
                found[first + start : first + stop] = [True] * (stop - start)
    return [[start + 250, stop + 250] for start, stop in runs(found)]


@pytest.mark.parametrize(
    ("seed", "rows"), [(0, 1200), (1, 2200), (2, 2400), (3, 2900), (4, 1700), (6, 2200), (7, 1500)]
)
def test_events_are_those_of_the_published_rules(telemanom: ModuleType, seed: int, rows: int) -> None:
    values, expected = series(seed, rows)
    for settled in (True, False):
        found = telemanom.detect(telemanom.Forecasts.of(expected, values), settled=settled).tolist()
        assert found == events(values, expected, settled=settled)


@pytest.mark.parametrize("seed", [0, 2, 6, 8])
def test_causal_events_do_not_change_when_more_rows_come(telemanom: ModuleType, seed: int) -> None:
    values, expected = series(seed, 250 + 10 + 40 * 70)
    past = telemanom.Forecasts.of(*series(seed + 10, 1000)[::-1])
    whole = telemanom.detect_causal(telemanom.Forecasts.of(expected, values), past)
    assert len(whole)
    for batches in (1, 17, 30):
        rows = 70 * batches
        part = telemanom.Forecasts.of(expected[:rows], values[: rows + 260])
        cut = np.minimum(whole, rows + 250)
        assert telemanom.detect_causal(part, past).tolist() == cut[cut[:, 0] < cut[:, 1]].tolist()


def test_an_event_can_begin_with_its_first_large_error(telemanom: ModuleType) -> None:
    values = np.sin(np.arange(1500) / 30)
    expected = values[250:-10] + 0.1
    expected[700:720] += 3
    part = telemanom.Forecasts.of(expected, values)
    (wide,), (late,) = telemanom.detect(part).tolist(), telemanom.detect(part, before=0).tolist()
    assert late == [wide[0] + 100, wide[1]]
    assert wide[0] <= 950 - 90
    assert wide[1] >= 970 + 100
