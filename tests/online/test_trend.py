"""Trend: against least squares solved anew at every row and loops over blocks; what is a change, and how seldom."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.errors import SettingError, ShapeError, TimeError
from carrousel.online.drift import Drift
from carrousel.online.onset import ALLOWANCE, BLOCK
from carrousel.online.trend import CLIP, SCALES, WAIT, WHITE, YOUNG, Trend


def autoregressive(random, rows, streams, phi=0.0):
    x = random.normal(size=(rows, streams))
    x[0] /= math.sqrt(1 - phi**2)
    for t in range(1, rows):
        x[t] += phi * x[t - 1]
    return x


def run(trend: Trend, x, dt=None):
    """Readings of rows (T, N) or (T, N, K), by name, each (T, N, K)."""
    rows = x.reshape(*x.shape[:2], -1)
    readings = [trend.update(row, None if dt is None else dt[t]) for t, row in enumerate(rows)]
    return {name: np.stack([getattr(r, name) for r in readings]) for name in readings[0]._fields}


def kept(trend: Trend):
    return {name: array.tobytes() for name, array in trend.state.items()}


def changed(x, **given_settings):
    """Rows and kinds of the changes in one series."""
    change = run(Trend(1, 1, **given_settings), np.asarray(x, np.float64)[:, None])["change"][:, 0, 0]
    return [(int(t), int(change[t])) for t in np.flatnonzero(change)]


@pytest.mark.parametrize("irregular", [False, True])
def test_line_is_that_of_discounted_least_squares_solved_anew_at_every_row(irregular):
    random = np.random.default_rng(0)
    memory, first = 100.0, 45
    x = 3.0 + 0.02 * np.arange(400) + random.uniform(-1, 1, 400)
    steps = random.uniform(0.2, 3.0, 400) if irregular else np.ones(400)
    if irregular:
        x[random.uniform(size=400) < 0.2] = np.nan
    trend = Trend(1, 1, memory=memory)
    for t in range(first):
        trend.update(x[t].reshape(1, 1), steps[t].reshape(1))
    # All that came before, as three sums and a line: the prior of the rows after it.
    s0, s1, s2 = trend.state["weights"][0, 0, :, 0]
    slope, level = trend.state["line"][0, :2, 0]
    root = np.linalg.cholesky(np.array([[s0, -s1], [-s1, s2]])).T
    clock, beta = np.cumsum(steps), 1 - 1 / memory
    for t in range(first, 400):
        reading = trend.update(x[t].reshape(1, 1), steps[t].reshape(1) if irregular else None)
        assert not reading.change.any()
        came = [i for i in range(first, t + 1) if not np.isnan(x[i])]
        weight = np.sqrt(beta ** np.arange(len(came))[::-1])
        age = clock[t] - clock[came]
        past = clock[t] - clock[first - 1]
        # In terms of the line at row t, whose level was past · slope less when the prior was kept.
        prior = root @ np.array([[1.0, -past], [0.0, 1.0]]) * math.sqrt(beta ** len(came))
        left = np.vstack([prior, weight[:, None] * np.column_stack([np.ones(len(came)), -age])])
        right = np.concatenate([root @ [level, slope] * math.sqrt(beta ** len(came)), weight * x[came]])
        expected = np.linalg.lstsq(left, right)[0]
        np.testing.assert_allclose([reading.level[0, 0], reading.slope[0, 0]], expected, rtol=1e-8, atol=1e-10)


def test_means_their_history_and_cumulative_sums_are_those_of_a_loop():
    random = np.random.default_rng(1)
    x = autoregressive(random, 1_400, 1, phi=0.6)[:, 0]
    x[1_200:] += 0.6
    trend = Trend(1, 1)
    k = 0
    mean, spread, var = [0.0] * len(SCALES), [0.0] * len(SCALES), [1.0] * len(SCALES)
    run_up, run_down, up, down = [], [], 0.0, 0.0
    values, inside = [], []
    anchor = {1: (0.0, 0.0, 0), -1: (0.0, 0.0, 0)}
    for t in range(len(x)):
        line, bound = trend.state["line"][0, :2, 0], trend.state["bound"][0, 0, 0]
        inside.append(max(-1.0, min(1.0, (x[t] - (line[1] + line[0])) / bound)) if t else 0.0)
        values.append(x[t])
        reading = trend.update(x[t].reshape(1, 1))
        assert not reading.change.any()
        if len(values) < BLOCK:
            continue
        z, average = np.mean(inside), np.mean(values)
        values, inside = [], []
        block = (t + 1) // BLOCK
        s = trend.state
        if block > YOUNG:
            k += 1
            (s0, s1, s2), (q0, q1, q2) = s["weights"][0, :, :, 0]
            r = np.linalg.inv([[s0, -s1], [-s1, s2]])
            error = (r @ np.array([[q0, -q1], [-q1, q2]]) @ r)[0, 0]
            for j, scale in enumerate(SCALES):
                a = max(2 / (scale + 1), 1 / k)
                mean[j] += a * (z - mean[j])
                var[j] = 1.0 if k == 1 else (1 - a) ** 2 * var[j] + a * a
                square = mean[j] ** 2 / (var[j] + 8 * error)
                since = k - WAIT[j] // 2
                if since > 0:
                    square = square if k <= WAIT[j] else min(square, CLIP * max(spread[j], WHITE))
                    spread[j] += (square - spread[j]) / since
            unit = z / max(math.sqrt(spread[0]), 0.02)
            mean, spread = ([float(np.float32(number)) for number in numbers] for numbers in (mean, spread))
            np.testing.assert_allclose(s["means"][0, :, 0], mean, rtol=2**-23, atol=1e-12)
            np.testing.assert_allclose(s["spread"][0, :, 0], spread, rtol=2**-23, atol=1e-12)
            up, down = max(0.0, up + unit - ALLOWANCE), max(0.0, down - unit - ALLOWANCE)
            run_up.append((t, average))
            run_down.append((t, average))
        level, slope = float(reading.level[0, 0]), float(reading.slope[0, 0])
        for sign, cusum, blocks in ((1, up, run_up), (-1, down, run_down)):
            if cusum == 0.0:
                blocks.clear()
                anchor[sign] = level, slope, t
            row = s["runs"][0, :, (1 - sign) // 2, 0]
            start = anchor[sign]
            far = [v - (start[0] + start[1] * (i - 3.5 - start[2])) for i, v in blocks]
            times = [i - 3.5 - start[2] for i, _ in blocks]
            expected = [cusum, len(blocks), BLOCK * len(blocks), sum(far), np.dot(times, far), np.dot(times, times)]
            np.testing.assert_allclose(row[:6], expected, rtol=1e-8, atol=1e-8)
    assert k > 150


@pytest.mark.parametrize(("phi", "low"), [(0.0, 0.9), (0.5, 0.9), (0.9, 0.8)])
def test_interval_of_the_slope_covers_it_under_noise_with_a_memory(phi, low):
    x = autoregressive(np.random.default_rng(2), 2_400, 120, phi) + 0.05 * np.arange(2_400)[:, None]
    reading = run(Trend(120, 1), x)
    inside = (reading["lower"][1_000::200] <= 0.05) & (reading["upper"][1_000::200] >= 0.05)
    assert low <= inside.mean() <= 0.99
    assert np.isnan(reading["lower"][:200]).all()


@pytest.mark.parametrize(("phi", "low"), [(0.0, 0.9), (0.5, 0.9), (0.9, 0.8)])
def test_interval_of_the_level_covers_it_under_noise_with_a_memory(phi, low):
    line = 0.05 * np.arange(2_400)[:, None]
    reading = run(Trend(120, 1), autoregressive(np.random.default_rng(4), 2_400, 120, phi) + line)
    truth = line[1_000::200, :, None]
    inside = (reading["level_lower"][1_000::200] <= truth) & (truth <= reading["level_upper"][1_000::200])
    assert low <= inside.mean() <= 0.99
    assert np.isnan(reading["level_lower"][:200]).all()


@pytest.mark.parametrize("kind", ["white", "heavy tails", "AR(1), 0.5", "AR(1), 0.9", "cycle of 24", "cycle of 288"])
def test_false_changes_are_at_most_twice_as_many_as_promised(kind):
    every, streams, rows = 5_000.0, 150, 6_000
    random = np.random.default_rng(3)
    phi = {"AR(1), 0.5": 0.5, "AR(1), 0.9": 0.9}.get(kind, 0.0)
    x = random.standard_t(2, (rows, streams)) if kind == "heavy tails" else autoregressive(random, rows, streams, phi)
    if kind.startswith("cycle"):
        period = int(kind.split()[-1])
        x += 2 * np.sin(2 * np.pi * (np.arange(rows)[:, None] + random.uniform(0, period, streams)) / period)
    rate = np.count_nonzero(run(Trend(streams, 1, every=every), x)["change"]) * every / (rows * streams)
    assert rate <= 2.0
    if kind == "white":
        assert rate >= 0.4


@pytest.mark.parametrize(("phi", "shift", "delay"), [(0.0, 1.5, 40), (0.0, 6.0, 17), (0.5, -4.0, 40)])
def test_a_shift_is_told_once_with_its_onset_and_its_size(phi, shift, delay):
    streams, onset = 60, 1_500
    x = autoregressive(np.random.default_rng(4), 2_300, streams, phi) + 7.0
    x[onset:] += shift
    reading = run(Trend(streams, 1), x)
    change = reading["change"][onset:, :, 0]
    found = np.array([np.argmax(c != 0) if c.any() else -1 for c in change.T])
    assert (found >= 0).mean() >= 0.95
    assert np.median(found) <= delay
    assert (change[found, np.arange(streams)] == 1).mean() >= 0.7
    assert np.count_nonzero(change, axis=0).mean() <= 1.2
    rows = np.arange(streams)[found >= 0]
    when = onset + found[rows]
    estimate = when - reading["since"][when, rows, 0]
    assert (np.abs(estimate - onset) <= reading["margin"][when, rows, 0]).mean() >= 0.9
    assert np.median(reading["level"][-1]) == pytest.approx(7.0 + shift, abs=0.1)


@pytest.mark.parametrize("bend", [0.02, -0.05])
def test_a_bend_is_told_and_the_slope_behind_it_is_right(bend):
    x = autoregressive(np.random.default_rng(5), 2_500, 60)
    x += 0.01 * np.arange(2_500)[:, None] + bend * np.maximum(np.arange(2_500) - 1_500, 0)[:, None]
    reading = run(Trend(60, 1), x)
    found = reading["change"][1_500:1_700, :, 0]
    assert (found != 0).any(axis=0).mean() >= 0.95
    lower, upper = reading["lower"][-1], reading["upper"][-1]
    assert ((lower <= 0.01 + bend) & (upper >= 0.01 + bend)).mean() >= 0.85
    assert np.all(np.abs(reading["slope"][-1] - 0.01 - bend) < 0.004)


def test_most_slow_bends_are_told_as_bends_and_most_shifts_as_shifts():
    x = autoregressive(np.random.default_rng(6), 2_500, 60)
    for added, kind in ((0.01 * np.maximum(np.arange(2_500) - 1_500, 0), 2), (1.5 * (np.arange(2_500) >= 1_500), 1)):
        change = run(Trend(60, 1), x + added[:, None])["change"][1_500:, :, 0]
        first = [c[c != 0][0] for c in change.T if c.any()]
        assert len(first) >= 58
        assert np.mean(np.array(first) == kind) > 0.6


@pytest.mark.parametrize("rows", [[1_000], [1_000, 1_001], [900, 1_300, 1_303]])
def test_spikes_are_no_change_and_hardly_move_the_level(rows):
    x = autoregressive(np.random.default_rng(7), 1_600, 1)
    spiked = x.copy()
    spiked[rows] = 1e9
    clean, reading = run(Trend(1, 1), x), run(Trend(1, 1), spiked)
    assert not clean["change"].any()
    assert not reading["change"].any()
    assert np.max(np.abs(reading["level"] - clean["level"])[BLOCK:]) < 0.1


def test_a_line_that_all_rows_have_left_is_given_up_however_far_such_streams_wander():
    t = np.arange(4_300)
    bursts = autoregressive(np.random.default_rng(13), 4_300, 10) + 20.0 * (t % 300 < 40)[:, None]
    x = bursts + 60.0 * (t >= 4_000)[:, None]
    trend = Trend(10, 1)
    run(trend, x[:4_000])
    change = run(trend, x[4_000:])["change"][:, :, 0]
    assert np.all(change[:40].any(axis=0))


def test_means_start_anew_with_the_line():
    x = autoregressive(np.random.default_rng(14), 1_200, 1)
    x[1_000:] += 5.0
    trend = Trend(1, 1)
    row = next(t for t, value in enumerate(x) if trend.update(value[None]).change[0, 0])
    assert 1_000 < row < 1_030
    assert not trend.state["means"].any()
    assert not trend.state["runs"][0, :6].any()


def test_a_constant_stream_is_flat_for_certain_and_a_step_off_it_is_found_at_once():
    for value in (0.0, -7.25, 1e300):
        reading = run(Trend(1, 1), np.full((1_000, 1), value))
        assert not reading["change"].any()
        assert np.all(reading["level"] == value)
        assert np.all(reading["slope"] == 0.0)
        assert reading["lower"][-1] == reading["upper"][-1] == 0.0
    for before, after in ((0.0, 5.0), (7.0, -1e9), (1e300, -1e300), (0.0, 1e-200)):
        x = np.where(np.arange(1_200) < 1_003, before, after)
        found = changed(x)
        assert [kind for _, kind in found] == [1]
        assert 1_003 <= found[0][0] <= 1_003 + 2 * BLOCK
        assert run(Trend(1, 1), x[:, None])["level"][-1, 0, 0] == pytest.approx(after, rel=1e-9)


def test_an_exact_line_is_its_own_trend():
    reading = run(Trend(1, 1), 3.0 - 0.25 * np.arange(1_500.0)[:, None])
    assert not reading["change"].any()
    np.testing.assert_allclose(reading["slope"][200:], -0.25, rtol=1e-9)
    np.testing.assert_allclose(reading["level"][-1], 3.0 - 0.25 * 1_499, rtol=1e-9)


def test_noise_after_a_constant_is_soon_taken_for_noise():
    x = np.where(np.arange(3_000) < 1_000, 5.0, 5.0 + autoregressive(np.random.default_rng(8), 3_000, 1)[:, 0])
    assert len(changed(x)) <= 2
    assert np.quantile(np.abs(run(Trend(1, 1), x[:, None])["level"][1_200:] - 5.0), 0.95) < 0.6


def test_missing_values_leave_the_line_to_run_on():
    x = autoregressive(np.random.default_rng(9), 2_000, 1) + 0.5 * np.arange(2_000)[:, None]
    gap = x.copy()
    gap[1_000:1_200] = [[np.nan], [np.inf], [-np.inf], [1e301]] * 50
    reading = run(Trend(1, 1), gap)
    assert not reading["change"].any()
    np.testing.assert_allclose(np.diff(reading["level"][1_000:1_200, 0, 0]), reading["slope"][999, 0, 0], rtol=1e-9)
    assert reading["level"][-1, 0, 0] == pytest.approx(0.5 * 1_999, abs=1.0)
    assert reading["since"][-1, 0, 0] == 1_999


def test_nothing_is_known_before_the_first_value():
    trend = Trend(1, 2)
    reading = run(trend, np.full((50, 1, 2), np.nan))
    assert np.isnan(reading["level"]).all()
    assert not reading["change"].any()
    first = trend.update(np.array([[3.0, np.nan]]))
    assert first.level[0, 0] == 3.0
    assert first.slope[0, 0] == 0.0
    assert first.since[0, 0] == 0
    assert np.isnan(first.level[0, 1])


def test_scale_and_offset_of_the_input_change_the_line_alike_and_no_decision():
    x = autoregressive(np.random.default_rng(10), 2_000, 8, 0.4)
    x[1_200:, ::2] += 6.0
    base = run(Trend(8, 1), x)
    assert base["change"].any()
    for factor in (-(2.0**60), 2.0**-300):
        other = run(Trend(8, 1), factor * x)
        for name in ("change", "since", "margin"):
            np.testing.assert_array_equal(other[name], base[name])
        for name in ("level", "slope"):
            np.testing.assert_array_equal(other[name][BLOCK:], factor * base[name][BLOCK:])
    other = run(Trend(8, 1), x + 1_000.0)
    np.testing.assert_array_equal(other["change"], base["change"])
    np.testing.assert_allclose(other["level"], base["level"] + 1_000.0, atol=1e-6)
    np.testing.assert_allclose(other["slope"], base["slope"], atol=1e-6)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(2, 9), split=st.integers(1, 899), timed=st.booleans())
def test_a_stream_alone_or_saved_in_between_gives_the_same_bits(seed, batch, split, timed):
    random = np.random.default_rng(seed)
    x = autoregressive(random, 900, 2 * batch, 0.5).reshape(900, batch, 2) * 10.0 ** random.uniform(-9, 9, (batch, 2))
    x[600:, ::2] *= 4.0
    x[700:, :, 1] += 30.0 * np.abs(x[0, :, 1])
    x[random.uniform(size=x.shape) < random.uniform(-0.1, 0.1, size=(batch, 2))] = np.nan
    dt = random.uniform(0.1, 5.0, (900, batch)) if timed else None
    row = int(random.integers(batch))
    own = None if dt is None else dt[:, [row]]
    late = slice(split, None)
    together, alone = Trend(batch, 2), Trend(1, 2)
    reading, single = run(together, x[:split], dt), run(alone, x[:split, [row]], own)
    for name, array in reading.items():
        np.testing.assert_array_equal(single[name][:, 0], array[:, row])
    loaded, forked = Trend(batch, 2), together.fork([row])
    loaded.load({name: array.copy() for name, array in together.state.items()})
    for component, rows, steps in (
        (together, x, dt),
        (loaded, x, dt),
        (forked, x[:, [row]], own),
        (alone, x[:, [row]], own),
    ):
        run(component, rows[late], None if steps is None else steps[late])
    assert kept(loaded) == kept(together)
    assert kept(forked) == kept(alone) == kept(together.fork([row]))


def test_a_reading_depends_on_no_later_row():
    x = autoregressive(np.random.default_rng(11), 1_200, 2)
    other = x.copy()
    other[1_000:] += 50.0
    one, two = run(Trend(2, 1), x), run(Trend(2, 1), other)
    for name, array in one.items():
        np.testing.assert_array_equal(array[:1_000], two[name][:1_000])
    assert not np.array_equal(one["level"][1_000:], two["level"][1_000:])


def test_usual_steps_of_time_are_those_that_no_time_means():
    x = autoregressive(np.random.default_rng(12), 800, 3)
    one, other = Trend(3, 1), Trend(3, 1)
    run(one, x)
    run(other, x, np.ones((800, 3)))
    assert kept(one) == kept(other)
    half = run(Trend(1, 1), 0.5 * np.arange(800.0)[:, None], np.full((800, 1), 0.5))
    assert half["slope"][-1, 0, 0] == pytest.approx(1.0, rel=1e-9)


def test_memory_of_trend_and_drift_is_at_most_a_kilobyte_a_stream():
    assert sum(a.nbytes for c in (Trend(10, 1), Drift(10, 1)) for a in c.state.values()) <= 10 * 1024


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((2, 1)),), ShapeError, "x: expected float64 (2, 3), got float64 (2, 1)"),
        ((np.zeros((2, 3)), np.ones(3)), ShapeError, "dt: expected float64 (2,), got float64 (3,)"),
        (
            (np.zeros((2, 3)), np.array([1.0, 0.0])),
            TimeError,
            "dt: expected usual steps above 0 and below 1e9, got 0.0 in row 1",
        ),
        (
            (np.zeros((2, 3)), np.array([np.nan, 1.0])),
            TimeError,
            "dt: expected usual steps above 0 and below 1e9, got nan in row 0",
        ),
    ],
)
def test_rows_and_times_of_another_form_are_refused_and_nothing_changes(arguments, error, message):
    trend = Trend(2, 3)
    before = kept(trend)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        trend.update(*arguments)
    assert kept(trend) == before


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"memory": 10}, "memory: expected a number of at least 64, got 10"),
        ({"every": 10}, "every: expected a number of at least 2000, got 10"),
        ({"variables": 0}, "variables: expected an integer of at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(given_settings, message):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        Trend(**{"batch": 1, "variables": 1, **given_settings})
