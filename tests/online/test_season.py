"""The cycle of a stream: what it says, how sure it is, and that one stream alone is read as among others."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.errors import SettingError, ShapeError
from carrousel.online.season import BINS, LEAST_VISITS, Season

HOUR = 3600.0


def feed(season: Season, x: np.ndarray, step: float = HOUR) -> dict[str, np.ndarray]:
    """Readings of rows (T, N, K) that come every so many seconds, stacked."""
    said: list[tuple[np.ndarray, ...]] = []
    for t, row in enumerate(x):
        n = len(row)
        said.append(season.update(row.copy(), np.full(n, t * step), np.full(n, step * (t > 0))))
    return {name: np.stack([one[i] for one in said]) for i, name in enumerate(("season", "lower", "upper", "share"))}


def days(rows: int, *, seed: int = 0, noise: float = 1.0, streams: int = 1, size: float = 3.0, slope: float = 0.0):
    """Streams with a daily shape of 24 parts, the shape (24,), and rows (T, N, 1)."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=24) * size
    shape -= shape.mean()
    x = 100 + slope * np.arange(rows) + shape[np.arange(rows) % 24]
    return shape, (x + noise * rng.normal(size=(streams, rows))).T[:, :, None]


def test_a_cycle_without_noise_is_told_exactly_whatever_the_slope():
    shape, x = days(24 * 6, noise=0.0, slope=0.25)
    said = feed(Season(1, 1), x)
    late = np.arange(24 * 5, 24 * 6)
    np.testing.assert_allclose(said["season"][late, 0, 0], shape[late % 24], atol=5e-4)
    np.testing.assert_allclose(said["upper"][late] - said["lower"][late], 0, atol=1e-3)
    np.testing.assert_allclose(said["share"][late], 1, atol=1e-6)


def test_nothing_is_said_before_every_part_was_seen_often_enough():
    _, x = days(24 * 6)
    said = feed(Season(1, 1), x)
    known = ~np.isnan(said["season"][:, 0, 0])
    first = int(np.argmax(known))
    assert known[first:].all()
    assert 24 * (LEAST_VISITS + 1) <= first <= 24 * (LEAST_VISITS + 2)
    assert (said["share"][:first] == 0).all()


def test_a_reading_does_not_know_its_own_row_or_later_ones():
    _, x = days(24 * 5 + 7)
    season = Season(1, 1)
    before = feed(season, x[:-1])
    other = x.copy()
    other[-1] = 1e6
    plain, strange = feed(Season(1, 1), x), feed(Season(1, 1), other)
    np.testing.assert_array_equal(plain["season"], strange["season"])
    np.testing.assert_array_equal(plain["season"][:-1], before["season"])


@pytest.mark.parametrize(("phi", "least"), [(0.0, 0.91), (0.8, 0.93)])
def test_the_interval_covers_the_season_under_noise_with_a_memory(phi, least):
    rng = np.random.default_rng(3)
    shape, x = days(24 * 14, noise=0.0, streams=200)
    error = np.zeros(200)
    for t in range(len(x)):
        error = phi * error + np.sqrt(1 - phi * phi) * rng.normal(size=200)
        x[t, :, 0] += error
    said = feed(Season(200, 1), x)
    late = np.arange(24 * 8, 24 * 14)
    truth = shape[late % 24][:, None, None]
    inside = (said["lower"][late] <= truth) & (truth <= said["upper"][late])
    assert least <= inside.mean() <= 0.99


def test_noise_has_a_share_of_little_and_a_cycle_of_much():
    rng = np.random.default_rng(0)
    noise = feed(Season(100, 1), rng.normal(size=(24 * 20, 100, 1)))["share"][-1]
    cycle = feed(Season(100, 1), days(24 * 20, streams=100)[1])["share"][-1]
    assert noise.mean() < 0.2
    assert cycle.min() > 0.95


def test_a_spike_and_a_shift_leave_the_season_where_it_was():
    shape, x = days(24 * 20, noise=0.3)
    x[24 * 10 + 5] += 1e6
    x[24 * 12 :] += 500
    said = feed(Season(1, 1), x)
    late = np.arange(24 * 18, 24 * 20)
    assert np.abs(said["season"][late, 0, 0] - shape[late % 24]).max() < 1.0


def wild(seed: int, rows: int, streams: int, variables: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, streams, variables)) * 10.0 ** rng.integers(-6, 7, (streams, variables))
    x += np.sin(np.arange(rows) * np.pi / 12)[:, None, None]
    x[:, 0] = 3.25
    x[rng.random(x.shape) < 0.05] = np.nan
    for value in (np.inf, -1e300, 1e140):
        x[rng.random(x.shape) < 0.002] = value
    return x


CYCLES = [
    pytest.param({}, HOUR, id="a day of hours"),
    pytest.param({}, 300.0, id="a day of five minutes"),
    pytest.param({"period": 604_800.0}, 86_400.0, id="a week of days"),
    pytest.param({"period": 24.0, "clock": False}, 0.0, id="24 rows"),
    pytest.param({"period": 100.7, "clock": False}, 0.0, id="a cycle of no whole number of rows"),
    pytest.param({"clock": False}, 0.0, id="none"),
]


@pytest.mark.parametrize(("cycle", "step"), CYCLES)
def test_plain_python_for_one_stream_gives_the_bits_of_many(cycle, step):
    x = wild(5, 1200, 4, 1)
    together, alone = Season(4, 1, **cycle), [Season(1, 1, **cycle) for _ in range(4)]
    many = feed(together, x, step)
    for n, season in enumerate(alone):
        one = feed(season, x[:, n : n + 1], step)
        for name, values in many.items():
            np.testing.assert_array_equal(values[:, n], one[name][:, 0], err_msg=name)
        for name, array in season.state.items():
            assert array.tobytes() == np.ascontiguousarray(together.state[name][n : n + 1]).tobytes(), name


def test_sums_that_are_moved_on_are_those_of_the_parts():
    season = Season(3, 2)
    feed(season, wild(1, 24 * 9 + 11, 3, 2))
    kept = season.arrays["sums"].copy()
    season._add_up(np.arange(6), np.repeat(season.arrays["parts"], 2))
    np.testing.assert_allclose(season.arrays["sums"], kept, rtol=1e-9, atol=1e-6)


def test_a_kept_state_goes_on_with_the_same_bits():
    x = wild(2, 400, 2, 2)
    whole = feed(Season(2, 2), x)
    first, second = Season(2, 2), Season(2, 2)
    feed(first, x[:211])
    second.load({name: array.copy() for name, array in first.state.items()})
    for t in range(211, 400):
        said = second.update(x[t].copy(), np.full(2, t * HOUR), np.full(2, HOUR))
        np.testing.assert_array_equal(said.season, whole["season"][t])
        np.testing.assert_array_equal(said.upper, whole["upper"][t])


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
def test_any_state_is_survived(shape):
    random = np.random.default_rng(0)
    for clock in (True, False):
        season = Season(*shape, period=0.0 if clock else 24.0, clock=clock)
        for _ in range(60):
            for array in season.arrays.values():
                array[...] = np.frombuffer(random.bytes(array.nbytes), array.dtype).reshape(array.shape)
            for t in range(20):
                with np.errstate(all="ignore"):
                    season.update(random.normal(size=shape), np.full(shape[0], t * HOUR), np.full(shape[0], HOUR))


@pytest.mark.parametrize(
    ("step", "parts"), [(HOUR, 24), (1800.0, 48), (300.0, 72), (900.0, 48), (86_400.0, 7), (200_000.0, 0)]
)
def test_the_parts_of_a_cycle_follow_from_the_interval(step, parts):
    season = Season(1, 1)
    feed(season, np.zeros((30, 1, 1)), step)
    assert season.arrays["parts"].tolist() == [parts]
    assert parts <= BINS


def test_what_is_no_cycle_is_refused():
    with pytest.raises(SettingError, match="period: expected a number of at least 0, got -1"):
        Season(1, 1, period=-1)
    with pytest.raises(ShapeError, match=r"x: expected float64 \(1, 1\)"):
        Season(1, 1).update(np.zeros((1, 2)), np.zeros(1), np.zeros(1))


def test_a_trend_begins_anew_once_the_season_is_clear_and_then_sees_no_cycle():
    from carrousel.online.trend import Trend

    _, x = days(24 * 40, noise=0.5, streams=3)
    x[:, 2, 0] = 0.5 * np.random.default_rng(1).normal(size=len(x))  # no cycle: the trend must see it as it is
    season, trend, plain = Season(3, 1), Trend(3, 1), Trend(3, 1)
    since, level, seen = [], [], []
    for t, row in enumerate(x):
        said = season.update(row.copy(), np.full(3, t * HOUR), np.full(3, HOUR * (t > 0)))
        rest = season.without(row.copy(), said, trend)
        reading = trend.update(rest)
        same = plain.update(row.copy())
        since.append(reading.since[:, 0])
        level.append(reading.level[:, 0])
        seen.append(rest[:, 0])
        np.testing.assert_array_equal(reading.level[2], same.level[2])
    assert season.arrays["apart"].ravel().tolist() == [True, True, False]
    again = np.flatnonzero(np.diff(np.array(since)[:, 0]) < 0)
    assert len(again) == 1
    assert 72 <= again[0] <= 97
    late = slice(24 * 20, None)
    assert np.array(seen)[late, :2].std(axis=0).max() < 1.0 < x[late, :2, 0].std(axis=0).min()
    assert np.abs(np.array(level)[late, :2] - 100).max() < 0.5


def test_a_shift_that_the_cycle_hid_is_found_by_a_watch():
    from online.stream import watch

    rows = np.arange(24 * 60)
    x = 10 + 3 * np.sin(2 * np.pi * rows / 24) + 0.5 * np.random.default_rng(2).normal(size=len(rows))
    x[24 * 50 :] += 1.0
    watcher = watch()
    change = [watcher.step(np.array([[v]]), np.array([t * HOUR])).change[0, 0] for t, v in zip(rows, x, strict=True)]
    assert not np.any(change[: 24 * 50])
    assert np.flatnonzero(change)[0] < 24 * 53
