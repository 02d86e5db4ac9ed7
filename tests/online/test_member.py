"""The baseline and the members, each against its definition written as a loop."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.baseline import DAY_MEMORY, Baseline
from carrousel.online.member import (
    EVERY,
    FAR,
    FEWEST,
    KEPT,
    LEVEL_ROWS,
    SPAN,
    STEPS,
    VARIANCE_ROWS,
    Members,
    nearest,
)

YES = np.array([True])


def run(values, seconds=None):
    """Baseline, members and the members' statistics (T, 4) of one stream."""
    baseline, members = Baseline(1, 1), Members(1, 1)
    seconds = np.zeros(len(values)) if seconds is None else seconds
    found = np.zeros((len(values), 1, 4))
    for t, value in enumerate(values):
        ok = np.isfinite([value])
        baseline.update(np.array([value], float), ok, seconds[t : t + 1])
        members.update(baseline, ok, found[t])
    return baseline, members, found[:, 0]


def test_level_and_spread_of_a_young_stream_are_plain_means():
    x = np.random.default_rng(0).normal(5, 2, 40)
    baseline, _, _ = run(x)
    mean, spread = x[0], 0.0
    for n, value in enumerate(x[1:], start=2):
        moved = value - mean
        mean += moved / n
        spread += (abs(moved) - spread) / n
    assert baseline.mean[0] == pytest.approx(x.mean())
    assert baseline.mean[0] == pytest.approx(mean)
    assert baseline.spread[0] == pytest.approx(spread)


def test_habits_are_means_of_the_half_hour():
    step = 600.0
    seconds = np.arange(2000) * step
    x = np.random.default_rng(1).normal(size=2000)
    baseline, _, _ = run(x, seconds)
    half_hours = (seconds // 1800).astype(int) % 48
    for place in (0, 17, 47):
        visits = x[half_hours == place]
        assert len(visits) <= DAY_MEMORY
        assert habits(baseline)[place] == pytest.approx(visits.mean(), abs=5e-3)


def habits(baseline: Baseline) -> np.ndarray:
    """Of the day, in the units of the series."""
    return baseline.origin[0] + baseline.unit[0] * baseline.arrays["day"][0, 0].astype(float)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e12])
def test_habits_go_with_a_stream_that_wanders_and_grows(scale: float):
    """Far from where it began, and many times as loud: a habit remains the mean of the last visits."""
    random, days = np.random.default_rng(1), 120
    t = np.arange(days * 48)
    wave = np.sin(t * (2 * np.pi / 48))
    x = scale * (1e4 + (1 + t / 500) * (wave + t / 1000) + 0.01 * random.normal(size=len(t)))
    baseline, right, visits = Baseline(1, 1), np.zeros(48), 0
    origins, worst = set(), 0.0
    for number, value in enumerate(x):
        baseline.update(np.array([value]), YES, np.array([1800.0 * number]))
        visits = min(number // 48 + 1, DAY_MEMORY)
        right[number % 48] += (value - right[number % 48]) / visits
        origins.add(baseline.origin[0])
        if number % 97 == 0 and number > 48:
            worst = max(worst, np.max(np.abs(habits(baseline) - right)) / baseline.unit[0])
    assert 3 < len(origins) < 60
    assert worst < 0.03


def test_a_habit_follows_what_moves_it_by_less_than_a_step():
    days, drift = 400, 2e-4
    baseline = Baseline(1, 1)
    for number in range(days * 48):
        day, place = divmod(number, 48)
        value = (1.0 if place < 24 else -1.0) * (1 + drift * day)
        baseline.update(np.array([value]), YES, np.array([1800.0 * number]))
    found = habits(baseline) / np.where(np.arange(48) < 24, 1, -1) - 1
    lag = drift * (DAY_MEMORY - 1)  # of a mean that forgets in so many visits
    assert found.mean() == pytest.approx(drift * (days - 1) - lag, abs=1e-3)


def test_a_value_beyond_all_measure_leaves_habits_that_are_numbers():
    x = np.random.default_rng(3).normal(size=300)
    x[100] = 1e150
    baseline, _, _ = run(x, np.arange(300) * 1800.0)
    assert np.isfinite(habits(baseline)).all()
    assert np.isfinite(baseline.predicted).all()


def test_a_missing_row_changes_nothing_that_is_learnt():
    x = np.random.default_rng(2).normal(size=60)
    plain, members, _ = run(x)
    gaps, others, _ = run(np.insert(x, 30, [np.nan] * 5))
    for name in ("mean", "spread", "error", "origin", "unit", "day", "week", "count"):
        np.testing.assert_array_equal(plain.arrays[name][0, 0].ravel()[:4], gaps.arrays[name][0, 0].ravel()[:4])
    np.testing.assert_array_equal(members.level, others.level)


def test_an_outlier_is_clipped_before_it_is_learnt():
    x = np.random.default_rng(3).normal(size=300)
    calm, _, _ = run(x)
    x[-1] = 1e9
    shaken, _, _ = run(x)
    assert abs(shaken.mean[0] - calm.mean[0]) < 0.1
    assert shaken.spread[0] < 1.1 * calm.spread[0]


def test_range_is_what_lies_beyond_everything_seen():
    x = np.concatenate([np.tile([0.0, 10.0], 20), [10.0, 15.0, 15.0, -30.0]])
    _, _, y = run(x)
    assert (y[:41, 0] == 0).all()
    assert y[41, 0] == pytest.approx(np.log1p(5 / 10))
    assert y[42, 0] == 0
    assert y[43, 0] == pytest.approx(np.log1p(30 / 15))


def test_level_grows_with_a_shift_and_not_with_a_spike():
    noise = 0.1 * np.random.default_rng(4).normal(size=400)
    shift, spike = noise.copy(), noise.copy()
    shift[300:] += 2
    spike[300] += 2
    _, _, shifted = run(shift)
    _, _, spiked = run(spike)
    assert shifted[300 + 2 * LEVEL_ROWS, 1] > np.log1p(5)
    assert spiked[300 + 2 * LEVEL_ROWS, 1] < np.log1p(1.5)


def test_variance_sees_more_and_less():
    rng = np.random.default_rng(5)
    x = rng.normal(size=600)
    _, _, plain = run(x)
    wild, stuck = x.copy(), x.copy()
    wild[500:] *= 5
    stuck[500:] = stuck[500]
    usual = np.quantile(plain[200:500, 2], 0.99)
    assert run(wild)[2][500 + 2 * VARIANCE_ROWS, 2] > usual
    assert run(stuck)[2][500 + 4 * VARIANCE_ROWS, 2] > 2 * usual


def by_hand(x: np.ndarray) -> tuple[float, int]:
    """Of the last SPAN of the steps x (T,), the distance from the nearest two stretches, and how many there were."""
    t, kept = len(x) - 1, EVERY * KEPT
    begins = [first for first in range(0, t - SPAN + 1, EVERY) if first + kept > t // EVERY * EVERY]
    far = sorted(((x[first : first + SPAN] - x[-SPAN:]) ** 2).sum() for first in begins)
    return np.sqrt(sum(far[:2]) / (2 * SPAN)) / STEPS, len(begins)


@pytest.mark.parametrize("rows", [41, 100, EVERY * KEPT + 3, 5 * EVERY * KEPT, 5 * EVERY * KEPT + 7])
def test_shape_is_the_distance_to_the_nearest_stretches_that_are_kept(rows: int):
    x = np.random.default_rng(6).integers(-126, 127, (3, rows))
    x[:, -41] = x[:, -1]
    kept = np.zeros((3, EVERY, KEPT), np.int8)
    for t in range(rows):
        kept[:, t % EVERY, t // EVERY % KEPT] = x[:, t]
    found, count = nearest(kept, np.full(3, rows - 1))
    for row in range(3):
        right, stretches = by_hand(x[row].astype(float))
        assert count[row] == stretches
        if stretches >= 2:
            assert found[row] == pytest.approx(right, rel=1e-12)


def test_a_kept_row_is_its_distance_from_the_mean_in_steps():
    x = np.random.default_rng(7).normal(size=EVERY * KEPT + 100)
    x[EVERY * KEPT] = 1e9
    baseline = Baseline(1, 1)
    members, said = Members(1, 1), np.zeros((1, 4))
    right = np.zeros((EVERY, KEPT))
    for t, value in enumerate(x):
        baseline.update(np.array([value]), YES, np.zeros(1))
        members.update(baseline, YES, said)
        off = (value - baseline.mean[0]) / baseline.scale[0]
        right[t % EVERY, t // EVERY % KEPT] = np.rint(STEPS * min(max(off, -FAR), FAR))
    assert right.max() == STEPS * FAR
    np.testing.assert_array_equal(members.kept[0], right)


def test_no_shape_is_strange_before_there_are_stretches_enough():
    first = SPAN + (FEWEST - 1) * EVERY
    _, _, y = run(np.random.default_rng(8).normal(size=first + 50))
    assert (y[:first, 3] == 0).all()
    assert (y[first:, 3] > 0).all()


def test_a_constant_is_no_surprise_and_its_first_change_is():
    x = np.full(400, 7.0)
    x[350:] = 8.0
    _, _, y = run(x)
    assert (y[100:350, [0, 1]] == 0).all()
    assert (y[350, :2] > 0).all()
    assert np.isfinite(y).all()
