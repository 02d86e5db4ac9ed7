"""Range-AUC and VUS: by hand, by a readable twin of the formulae, and what any such area must satisfy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics.vus import buffer_length, range_auc, volume
from carrousel.metrics.window import windows

ROUNDING = 1e-12  # sums of some hundred float64 values of order one

cases = st.integers(2, 60).flatmap(
    lambda rows: st.tuples(
        st.lists(st.integers(0, 6).map(float), min_size=rows, max_size=rows).map(np.array),
        st.lists(st.sampled_from([False, False, True]), min_size=rows, max_size=rows).filter(any).map(np.array),
        st.integers(0, 12),
    )
)
thresholds = st.sampled_from([None, 2, 7, 250])


def twin(scores: np.ndarray, labelled: np.ndarray, buffer: int, levels: list[float]) -> tuple[float, float]:
    """Both areas of one buffer, threshold after threshold and row after row."""
    rows, ranges, half = len(scores), windows(labelled).tolist(), buffer // 2
    y = labelled.astype(float)
    for start, stop in ranges:
        for d in range(1, half + 1):
            for i in (start - d, stop - 1 + d):
                if 0 <= i < rows:
                    y[i] = min(y[i] + math.sqrt(1 - d / buffer), 1)
    events = [[start - half, stop + half] for start, stop in ranges[:1]]
    for start, stop in ranges[1:]:
        if start - half < events[-1][1]:
            events[-1][1] = stop + half
        else:
            events.append([start - half, stop + half])

    curve = [(0.0, 0.0)]  # false positive rate, recall
    pr = 0.0
    for level in levels:
        p = scores >= level
        true = float(y[p].sum())
        positive = labelled.sum() + y[p & ~labelled].sum() / 2
        found = sum(p[max(start, 0) : stop].any() for start, stop in events) / len(events)
        recall = min(true / positive, 1) * found
        pr += (recall - curve[-1][1]) * true / p.sum()
        curve.append(((p.sum() - true) / (rows - positive) if not labelled.all() else math.nan, recall))
    curve.append((1.0, 1.0))
    roc = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve))
    return roc, pr


def levels_of(scores: np.ndarray, count: int | None) -> list[float]:
    falling = sorted(scores.tolist(), reverse=True)
    if count is None:
        return sorted(set(falling), reverse=True)
    return [falling[int(i)] for i in np.linspace(0, len(falling) - 1, count)]


def average_precision(scores: np.ndarray, labelled: np.ndarray) -> float:
    """Σ (recall_k − recall_{k−1}) · precision_k over the distinct scores, as scikit-learn defines it."""
    total, before = 0.0, 0.0
    for level in levels_of(scores, None):
        p = scores >= level
        recall = float(labelled[p].sum() / labelled.sum())
        total += (recall - before) * float(labelled[p].mean())
        before = recall
    return total


def roc_auc(scores: np.ndarray, labelled: np.ndarray) -> float:
    """The probability that a labelled row scores above another one; equal scores count half (Mann & Whitney)."""
    difference = scores[labelled][:, None] - scores[~labelled][None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def test_without_a_buffer_by_hand():
    # Falling scores are rows 2 (labelled), 0 (not), 3 (labelled), 1, 4:
    # recall 1/2, 1/2, 1, 1, 1; false positive rate 0, 1/3, 1/3, 2/3, 1; precision 1, 1/2, 2/3, 1/2, 2/5
    area = range_auc([4.0, 2.0, 5.0, 3.0, 1.0], [[2, 4]], 0, thresholds=None)
    assert area.pr == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert area.roc == pytest.approx(1 / 3 * 1 / 2 + 2 / 3 * 1)


def test_with_a_buffer_by_hand():
    # ℓ = 2: rows 2 and 4 beside the label in row 3 are anomalous by √(1 − 1/2) = 0.7071. By falling scores:
    # row 2: TP 0.7071, P' 1 + 0.3536; recall 0.5224, precision 0.7071, FPR 0.2929 / 4.6464 = 0.0630
    # row 0: TP 0.7071; recall the same, precision 0.3536, FPR 1.2929 / 4.6464 = 0.2783
    # row 3: TP 1.7071; recall min(1.2612, 1) = 1, precision 0.5690, FPR the same; then only the rate rises, to 1
    area = range_auc([8.0, 1.0, 9.0, 7.0, 3.0, 2.0], [[3, 4]], 2, thresholds=None)
    assert area.pr == pytest.approx(0.522408 * 0.707107 + (1 - 0.522408) * 0.569036, abs=1e-6)
    assert area.roc == pytest.approx(
        0.063036 * 0.522408 / 2 + (0.278254 - 0.063036) * 0.522408 + (1 - 0.278254), abs=2e-6
    )


def test_existence_reward_by_hand():
    # Two events: recall of the first found alone is 1/2 · 1/2, of both 1.
    area = range_auc([9.0, 0.0, 8.0, 7.0], [[0, 1], [3, 4]], 0, thresholds=None)
    assert area.pr == pytest.approx(1 / 4 * 1 + 3 / 4 * 2 / 3)
    assert area.roc == pytest.approx(1 / 2 * 1 / 4 + 1 / 2 * 1)


def test_ranges_whose_buffers_overlap_are_one_event():
    # ℓ = 2 reaches one row, by 0.7071, and two of them add up to 1. Two thresholds: row 0 alone, then all rows.
    scores = [9.0, 8.0, 1.0, 0.0, 2.0]
    apart = range_auc(scores, [[0, 1], [3, 4]], 2, thresholds=2)  # row 0: recall 1/2 · 1/2; all: TP 2 + 3 · 0.7071
    assert apart.pr == pytest.approx(1 / 4 * 1 + 3 / 4 * (2 + 3 * 0.707107) / 5, abs=1e-6)
    joined = range_auc(scores, [[0, 1], [2, 3]], 2, thresholds=2)  # row 0: recall 1/2 · 1; all: TP 2 + 1 + 0.7071
    assert joined.pr == pytest.approx(1 / 2 * 1 + 1 / 2 * (2 + 1 + 0.707107) / 5, abs=1e-6)
    # One row further away their buffers are neighbours, which is not yet one event.
    assert range_auc([9.0, 0.0, 0.0, 1.0], [[0, 1], [3, 4]], 2, thresholds=2).pr == pytest.approx(
        1 / 4 * 1 + 3 / 4 * (2 + 2 * 0.707107) / 4, abs=1e-6
    )


def test_volume_is_the_mean_of_the_areas_of_all_buffers():
    rng = np.random.default_rng(0)
    scores, spans = rng.normal(size=300), [[40, 60], [70, 75], [200, 230]]
    areas = [range_auc(scores, spans, buffer) for buffer in range(21)]
    found = volume(scores, spans, 20)
    assert found.pr == pytest.approx(np.mean([area.pr for area in areas]), abs=ROUNDING)
    assert found.roc == pytest.approx(np.mean([area.roc for area in areas]), abs=ROUNDING)
    assert volume(scores, spans, 0) == areas[0]


@given(cases, thresholds)
def test_areas_are_what_the_twin_gives(case: tuple[np.ndarray, np.ndarray, int], count: int | None):
    scores, labelled, buffer = case
    found = range_auc(scores, windows(labelled), buffer, thresholds=count)
    roc, pr = twin(scores, labelled, buffer, levels_of(scores, count))
    assert found.pr == pytest.approx(pr, abs=ROUNDING)
    assert found.roc == pytest.approx(roc, abs=ROUNDING, nan_ok=True)
    areas = [twin(scores, labelled, length, levels_of(scores, count)) for length in range(buffer + 1)]
    found = volume(scores, windows(labelled), buffer, thresholds=count)
    assert (found.roc, found.pr) == pytest.approx(tuple(np.mean(areas, axis=0)), abs=ROUNDING, nan_ok=True)


@given(st.integers(0, 10_000), st.integers(2, 60), st.data())
def test_single_range_without_a_buffer_gives_average_precision_and_roc_auc(seed: int, rows: int, data: st.DataObject):
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    assume(stop - start < rows)
    scores = np.random.default_rng(seed).integers(0, 20, rows).astype(float)
    labelled = np.zeros(rows, bool)
    labelled[start:stop] = True
    found = range_auc(scores, [[start, stop]], 0, thresholds=None)
    assert found.pr == pytest.approx(average_precision(scores, labelled), abs=ROUNDING)
    assert found.roc == pytest.approx(roc_auc(scores, labelled), abs=ROUNDING)


@given(cases)
def test_scores_that_are_the_labels_without_buffer_reach_1(case: tuple[np.ndarray, np.ndarray, int]):
    _, labelled, _ = case
    found = range_auc(labelled, windows(labelled), 0, thresholds=None)
    assert found.pr == pytest.approx(1)
    assert labelled.all() or found.roc == pytest.approx(1)


@given(cases, thresholds)
def test_areas_lie_between_0_and_1(case: tuple[np.ndarray, np.ndarray, int], count: int | None):
    scores, labelled, buffer = case
    found = volume(scores, windows(labelled), buffer, thresholds=count)
    assert -ROUNDING <= found.pr <= 1 + ROUNDING
    assert labelled.all() or -ROUNDING <= found.roc <= 1 + ROUNDING


@given(cases, thresholds)
def test_areas_depend_on_the_order_of_scores_alone(case: tuple[np.ndarray, np.ndarray, int], count: int | None):
    scores, labelled, buffer = case
    spans = windows(labelled)
    one = volume(scores, spans, buffer, thresholds=count)
    other = volume(np.exp(scores) - 100, spans, buffer, thresholds=count)
    np.testing.assert_array_equal([one.roc, one.pr], [other.roc, other.pr])
    unending = np.where(scores == scores.max(), np.inf, scores)
    assert volume(unending, spans, buffer, thresholds=count).pr == one.pr


@given(cases)
def test_time_turned_round_changes_nothing(case: tuple[np.ndarray, np.ndarray, int]):
    scores, labelled, buffer = case
    one = volume(scores, windows(labelled), buffer, thresholds=None)
    other = volume(scores[::-1], windows(labelled[::-1]), buffer, thresholds=None)
    assert (one.roc, one.pr) == pytest.approx((other.roc, other.pr), abs=ROUNDING, nan_ok=True)


def test_random_scores_are_near_chance():
    rng = np.random.default_rng(1)
    spans = np.array([[2000, 3000]])
    found = [range_auc(rng.normal(size=10_000), spans, 0) for _ in range(20)]
    assert np.mean([area.pr for area in found]) == pytest.approx(0.1, abs=0.01)
    assert np.mean([area.roc for area in found]) == pytest.approx(0.5, abs=0.02)
    wide = [range_auc(rng.normal(size=10_000), spans, 1000) for _ in range(20)]
    # 1000 rows and 2 · Σ √(1 − d/1000) over 500: 862 more
    assert np.mean([area.pr for area in wide]) == pytest.approx(0.186, abs=0.015)


def test_detection_a_few_rows_off_counts_with_a_buffer_only():
    scores = np.zeros(1000)
    scores[490:500] = 1  # ends where the label begins
    without, buffered = range_auc(scores, [[500, 510]], 0), range_auc(scores, [[500, 510]], 40)
    assert without.pr < 0.05
    assert buffered.pr > 0.3


def test_constant_scores_detect_everything_at_once():
    found = range_auc(np.ones(10), [[2, 4]], 0)
    assert (found.roc, found.pr) == pytest.approx((0.5, 0.2))


def test_all_rows_labelled_have_no_roc():
    found = volume([1.0, 2.0, 3.0], [[0, 3]], 4)
    assert math.isnan(found.roc)
    assert found.pr == pytest.approx(1)


def test_250_thresholds_are_close_to_all_of_them():
    rng = np.random.default_rng(2)
    scores, spans = rng.normal(size=5000), [[500, 600], [2000, 2300]]
    for start, stop in spans:
        scores[start:stop] += 1
    few, all_ = volume(scores, spans, 100), volume(scores, spans, 100, thresholds=None)
    assert (few.roc, few.pr) == pytest.approx((all_.roc, all_.pr), abs=0.01)
    assert few != all_


@pytest.mark.parametrize("area", [range_auc, volume])
@pytest.mark.parametrize(
    ("scores", "spans", "settings", "error", "words"),
    [
        ([1.0, np.nan], [[0, 1]], {"buffer": 1}, ShapeError, r"scores: expected one number a row, .* with 1 missing"),
        ([[1.0, 2.0]], [[0, 1]], {"buffer": 1}, ShapeError, r"scores: expected one number a row, got shape \(1, 2\)"),
        ([1.0, 2.0], [], {"buffer": 1}, ShapeError, "windows: expected at least one labelled range, got none"),
        ([1.0, 2.0], [[1, 3]], {"buffer": 1}, ShapeError, r"windows: .* within 2 rows, got \[1, 3\]"),
        ([1.0, 2.0], [[0, 1]], {"buffer": -1}, SettingError, "buffer: expected a number of rows, 0 or more, got -1"),
        ([1.0, 2.0], [[0, 1]], {"buffer": 1, "thresholds": 1}, SettingError, "thresholds: expected at least 2"),
    ],
)
def test_what_has_no_area_is_refused(area, scores: list, spans: list, settings: dict, error: type, words: str):
    with pytest.raises(error, match=words):
        area(scores, spans, **settings)


@pytest.mark.parametrize("seed", range(12))
def test_buffer_length_is_the_highest_peak_of_statsmodels_autocorrelation(seed: int):
    stattools = pytest.importorskip("statsmodels.tsa.stattools")
    rng = np.random.default_rng(seed)
    rows, period = int(rng.integers(*((200, 600) if seed % 2 else (600, 30_000)))), int(rng.integers(2, 500))
    values = 5 + np.sin(np.arange(rows) * 2 * np.pi / period) * rng.choice([0.0, 1.0, 3.0]) + rng.normal(size=rows)
    correlation = stattools.acf(values[:20_000], nlags=400, fft=True)
    peaks = [k for k in range(4, len(correlation) - 1) if correlation[k] > max(correlation[k - 1], correlation[k + 1])]
    highest = max(peaks, key=lambda k: correlation[k])
    assert buffer_length(values) == (highest if 6 <= highest <= 303 else 125)


def test_buffer_length_of_a_period_is_the_period_and_of_none_125():
    day = np.sin(np.arange(2000) * 2 * np.pi / 24)
    assert buffer_length(day) == 24
    assert buffer_length(np.sin(np.arange(2000) * 2 * np.pi / 350)) == 125  # beyond lag 303
    for values in (np.ones(50), np.arange(50.0), [], [1.0, 2.0]):
        assert buffer_length(values) == 125
    with pytest.raises(ShapeError, match="values: expected one number a row"):
        buffer_length([1.0, np.nan])
    with pytest.raises(ShapeError, match="values: expected finite numbers, got 1 infinite ones"):
        buffer_length([1.0, np.inf])
