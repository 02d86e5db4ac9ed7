"""Drift: a twin written as a loop, the promised rate of false alarms on stable streams, what must change nothing."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.errors import SettingError, ShapeError
from carrousel.online.drift import (
    BLOCK,
    CLIP,
    LONGEST,
    LOWER,
    OFFSET,
    RANKS,
    SAMPLES,
    SCALES,
    SHARE,
    SKEW,
    SLOPE,
    WAIT,
    Drift,
    key_of,
    number_of,
)


def white(random, rows, streams):
    return random.normal(size=(rows, streams))


def student(random, rows, streams):
    return random.standard_t(2, size=(rows, streams))


def autoregressive(phi):
    def make(random, rows, streams):
        x = random.normal(size=(rows, streams))
        x[0] /= math.sqrt(1 - phi**2)
        for t in range(1, rows):
            x[t] += phi * x[t - 1]
        return x

    return make


def seasonal(period):
    def make(random, rows, streams):
        angle = 2 * np.pi * (np.arange(rows)[:, None] + random.uniform(0, period, streams)) / period
        return 2 * np.sin(angle) + autoregressive(0.3)(random, rows, streams)

    return make


def run(drift: Drift, x):
    """Scores and drifts of rows (T, N) or (T, N, K), each (T, N, K)."""
    readings = [drift.update(row) for row in x.reshape(*x.shape[:2], -1)]
    return np.stack([r.score for r in readings]), np.stack([r.drift for r in readings])


def kept(drift: Drift):
    return {name: array.tobytes() for name, array in drift.state.items()}


class Twin:
    """One variable, number by number, as the docstring has it."""

    def __init__(self, every):
        blind = BLOCK * (SAMPLES + WAIT[0])
        self.threshold = [o + SLOPE * math.log(SHARE * (every - blind)) for o in OFFSET]
        self.start()
        self.score, self.block = 0.0, []

    def start(self):
        self.sample, self.edge, self.k = [], [], 0

    def learnt(self):
        ordered = sorted(self.sample)
        self.edge = [ordered[r] for r in RANKS]
        self.usual = [np.float32(0)] * len(RANKS)
        self.mean = [0.0] * len(RANKS)
        self.recent = [[np.float32(0)] * len(RANKS) for _ in SCALES]
        self.spread = [[np.float32(0)] * len(RANKS) for _ in SCALES]
        self.moments = [[0.0, 0.0, 0.0] for _ in SCALES]

    def update(self, x):
        if math.isnan(x):
            return self.score, False
        self.block.append(x)
        if len(self.block) < BLOCK:
            return self.score, False
        block, self.block = self.block, []
        if len(self.sample) < SAMPLES:
            self.sample.append(x)
            self.score = 0.0
            if len(self.sample) == SAMPLES:
                self.learnt()
            return self.score, False
        self.k = min(self.k + 1, LONGEST)
        scores = [self.judged(block, j, b) for j in range(len(SCALES)) for b in range(len(RANKS))]
        self.score = max(scores)
        if self.score >= 1:
            self.start()
            return self.score, True
        return self.score, False

    def judged(self, block, j, b):
        k = self.k
        above = [x >= self.edge[b] if b < LOWER else x > self.edge[b] for x in block]
        share = sum(above) / BLOCK
        if j == 0:
            self.mean[b] = float(self.usual[b]) + (share - float(self.usual[b])) / k
            self.usual[b] = np.float32(self.mean[b])
        a, g = max(2 / (SCALES[j] + 1), 1 / k), 1 / k
        if b == 0:
            e, u, c = self.moments[j]
            self.moments[j] = [(1 - a) ** 2 * e + a * a, (1 - g) ** 2 * u + g * g, (1 - a) * (1 - g) * c + a * g]
        e, u, c = self.moments[j]
        recent = float(self.recent[j][b]) + (share - float(self.recent[j][b])) * a
        self.recent[j][b] = np.float32(recent)
        d = recent - self.mean[b]
        square = d * d / max(e + u - 2 * c, 1e-12)
        p = (k * self.mean[b] + 0.5) / (k + 1)
        known = max(float(self.spread[j][b]), p * (1 - p) / BLOCK)
        waits = k <= WAIT[j]
        since = k - WAIT[j] // 2
        if since > 0:
            counted = square if waits else min(square, CLIP * known)
            self.spread[j][b] = np.float32(float(self.spread[j][b]) + (counted - float(self.spread[j][b])) / since)
        if waits:
            return 0.0
        limit = self.threshold[j] * (1 + SCALES[j] / k) * (1 + SKEW * max(0, d * (1 - 2 * p)) / (p * (1 - p)))
        return math.sqrt(square / known / limit)


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_a_loop_over_numbers_with_gaps_a_drift_and_a_new_start(seed):
    random = np.random.default_rng(seed)
    x = autoregressive(0.7)(random, 12_000, 1)
    x[6_000 + 500 * seed :] += 3.0
    x[random.uniform(size=x.shape) < 0.1] = np.nan
    twin, found = Twin(10_000.0), []
    score, drift = run(Drift(1, 1, every=10_000.0), x)
    for t, value in enumerate(x[:, 0]):
        expected, decided = twin.update(float(value))
        assert score[t, 0, 0] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert drift[t, 0, 0] == decided
        found += [t] * decided
    assert len(found) >= 1
    assert score[3_000:].max() >= 1.0


STABLE = {
    "white": white,
    "heavy tails": student,
    "AR(1), 0.5": autoregressive(0.5),
    "AR(1), 0.9": autoregressive(0.9),
    "a cycle of 24 rows": seasonal(24),
}


@pytest.mark.parametrize("kind", STABLE)
def test_false_alarms_come_as_often_as_promised_within_a_factor_of_two(kind):
    every, streams, rows = 6_000.0, 250, 12_000
    _, drift = run(Drift(streams, 1, every=every), STABLE[kind](np.random.default_rng(11), rows, streams))
    assert 0.5 <= drift.sum() * every / (rows * streams) <= 2.0


def test_false_alarms_on_a_long_cycle_are_fewer_than_promised():
    every, streams, rows = 6_000.0, 100, 12_000
    _, drift = run(Drift(streams, 1, every=every), seasonal(288)(np.random.default_rng(12), rows, streams))
    assert drift.sum() * every / (rows * streams) <= 2.0


CHANGES = {
    "mean": lambda x, random: x + 1.0,
    "spread": lambda x, random: 2.0 * x,
    "less spread": lambda x, random: 0.4 * x,
    "shape": lambda x, random: np.where(random.uniform(size=x.shape) < 0.5, -1.0, 1.0) * np.sqrt(0.91) + 0.3 * x,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_distribution_is_found_within_hundreds_of_rows(change):
    random = np.random.default_rng(5)
    x = white(random, 10_000, 40)
    x[8_000:] = CHANGES[change](x[8_000:], random)
    _, drift = run(Drift(40, 1), x)
    assert drift[:8_000].sum() <= 4
    found = drift[8_000:, :, 0]
    assert found.any(axis=0).mean() >= 0.9
    assert np.median(found.argmax(axis=0)) <= 400


def test_any_increasing_transformation_gives_the_same_bits():
    x = student(np.random.default_rng(6), 4_000, 3)
    x[3_000:, 0] += 4
    score, drift = run(Drift(3, 1), x)
    assert drift.any()
    for change in (lambda v: 1e300 * v, np.arctan):
        other, alarms = run(Drift(3, 1), change(x))
        np.testing.assert_array_equal(other, score)
        np.testing.assert_array_equal(alarms, drift)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e300, 5e-324, math.inf])
def test_a_constant_stream_never_drifts_and_a_step_off_it_does_either_way(value):
    x = np.full((4_000, 2), value)
    score, drift = run(Drift(2, 1), x)
    assert not drift.any()
    assert score.max() < 0.1
    if math.isfinite(value):
        x[3_000:, 0] = value - max(1.0, abs(value) / 2)
        x[3_000:, 1] = value + max(1.0, abs(value) / 2)
        _, drift = run(Drift(2, 1), x)
        assert not drift[:3_000].any()
        assert drift[3_000:3_100, :, 0].sum(axis=0).tolist() == [1, 1]


def test_missing_rows_are_as_if_they_had_not_come():
    random = np.random.default_rng(7)
    x = white(random, 3_000, 1)
    x[2_500:] += 2
    dense, alarms = run(Drift(1, 1), x)
    there = np.sort(random.choice(6_000, 3_000, replace=False))
    sparse = np.full((6_000, 1), np.nan)
    sparse[there] = x
    score, drift = run(Drift(1, 1), sparse)
    np.testing.assert_array_equal(score[there], dense)
    np.testing.assert_array_equal(drift[there], alarms)
    assert drift.sum() == alarms.sum() == 1
    assert not run(Drift(2, 1), np.full((100, 2), np.nan))[0].any()


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(2, 9), split=st.integers(1, 2_499))
def test_a_stream_alone_or_saved_in_between_gives_the_same_bits(seed, batch, split):
    random = np.random.default_rng(seed)
    x = white(random, 2_500, 2 * batch).reshape(2_500, batch, 2)
    x[2_000:, ::2] += 3.0
    x[random.uniform(size=x.shape) < random.uniform(0, 0.1, size=(batch, 2))] = np.nan
    together = Drift(batch, 2)
    score, drift = run(together, x[:split])
    kept_state = {name: array.copy() for name, array in together.state.items()}
    row = int(random.integers(batch))
    alone = Drift(1, 2)
    score_alone, drift_alone = run(alone, x[:split, [row]])
    np.testing.assert_array_equal(score_alone[:, 0], score[:, row])
    np.testing.assert_array_equal(drift_alone[:, 0], drift[:, row])
    loaded, forked = Drift(batch, 2), together.fork([row])
    loaded.load(kept_state)
    for component, rows in ((together, x), (loaded, x), (forked, x[:, [row]]), (alone, x[:, [row]])):
        run(component, rows[split:])
    assert kept(loaded) == kept(together)
    assert kept(forked) == kept(alone) == kept(together.fork([row]))


def test_a_stream_that_is_reset_is_like_a_fresh_one():
    x = white(np.random.default_rng(8), 3_600, 2)
    x[2_000:] += 2
    drift = Drift(2, 1)
    run(drift, x[:1_800])
    drift.reset([0])
    run(drift, x[1_800:])
    fresh = Drift(1, 1)
    run(fresh, x[1_800:, :1])
    assert kept(drift.fork([0])) == kept(fresh)
    assert kept(drift.fork([1])) != kept(fresh)


def test_the_score_a_reading_gave_does_not_change_behind_it():
    drift, x = Drift(1, 1), white(np.random.default_rng(9), 2_400, 1)
    readings = [drift.update(row[:, None]) for row in x]
    scores = [float(r.score[0, 0]) for r in readings]
    assert len(set(scores)) > 20
    assert not any(r.drift.any() for r in readings)


def test_memory_is_at_most_192_bytes_a_stream():
    assert sum(array.nbytes for array in Drift(10, 1).state.values()) <= 10 * 192


def test_keys_are_in_the_order_of_the_numbers_and_tell_a_millionth_apart():
    random = np.random.default_rng(10)
    x = random.normal(size=4_000) * 10.0 ** random.uniform(-320, 305, 4_000)
    x = np.sort(np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, 5e-324, 1.7e308, -1.7e308]]))
    key = key_of(x)
    assert (np.diff(key) >= 0).all()
    assert key[x == 0].tolist() == [0, 0]
    near = number_of(key)
    assert (np.abs(near) <= np.abs(x)).all()
    usual = np.isfinite(x) & (np.abs(x) > 1e-300)
    np.testing.assert_allclose(near[usual], x[usual], rtol=2.0**-20)
    np.testing.assert_array_equal(key_of(near)[usual], key[usual])


@pytest.mark.parametrize("place", [3.7, 1e7 + 0.1, -1e-7])
def test_what_is_alike_lies_on_one_side_of_every_edge(place):
    """What lies on a lower edge counts as above it, on an upper one as below."""
    random = np.random.default_rng(11)
    atoms = place + np.array([0.0, 0.1, 0.3])
    x = random.choice(atoms, size=(SAMPLES * BLOCK, 50))
    x[BLOCK - 1] = place + random.normal(size=50)  # another origin in each stream
    drift = Drift(50, 1)
    run(drift, x)
    edge = drift.state["edge"][:, :, 0]
    sample = np.sort(x[BLOCK - 1 :: BLOCK], axis=0)
    for b, rank in enumerate(RANKS):
        at, here = sample[rank], edge[:, b]
        assert ((at > here) if b < LOWER else (at <= here)).all()
        assert (np.abs(at - here) < 1e-4).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 1)), "x: expected float64 (2, 3), got float64 (2, 1)"),
        (np.zeros((2, 3), np.float32), "x: expected float64 (2, 3), got float32 (2, 3)"),
    ],
)
def test_rows_of_another_form_are_refused(x, message):
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        Drift(2, 3).update(x)


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"every": 100}, "every: expected a number of at least 5000, got 100"),
        ({"every": math.nan}, "every: expected a number of at least 5000, got nan"),
        ({"variables": 0}, "variables: expected an integer of at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(given_settings, message):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        Drift(**{"batch": 1, "variables": 1, **given_settings})
