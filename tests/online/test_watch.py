"""Many streams watched at once: what must hold whatever the members say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.errors import ShapeError
from online.stream import clock, daily, feed, watch


def wild(seed: int, length: int, streams: int, variables: int) -> np.ndarray:
    """Noise, cycles, constants, bursts, steps, gaps, infinities and huge values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(length, streams, variables)) * 10.0 ** rng.integers(-6, 7, (streams, variables))
    x += rng.normal(size=(streams, variables)) * 100
    kind = rng.integers(0, 5, (streams, variables))
    x = np.where(kind == 1, 3.25, x)
    x = np.where((kind == 2) & (rng.random(x.shape) < 0.97), 0.0, x)
    x[length // 2 :] += np.where(kind == 3, 1e3, 0)
    x[rng.random(x.shape) < 0.03] = np.nan
    x[rng.random(x.shape) < 0.003] = np.inf
    x[rng.random(x.shape) < 0.003] = -1e300
    x[rng.random(x.shape) < 0.003] = 1e36
    return x


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), streams=st.integers(1, 5), variables=st.integers(1, 3), data=st.data())
def test_a_stream_is_read_alike_alone_and_among_others(seed, streams, variables, data):
    x, seconds = wild(seed, 160, streams, variables), clock(160)
    together = feed(watch(streams, variables), x, seconds)
    chosen = data.draw(st.integers(0, streams - 1))
    alone = feed(watch(1, variables), x[:, chosen : chosen + 1], seconds)
    for name, values in together.items():
        np.testing.assert_array_equal(values[:, chosen], alone[name][:, 0], err_msg=name)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), cut=st.integers(1, 199))
def test_a_kept_state_goes_on_with_the_same_bits(seed, cut):
    x, seconds = wild(seed, 200, 2, 2), clock(200)
    whole = feed(watch(2, 2), x, seconds)
    first = watch(2, 2)
    feed(first, x[:cut], seconds[:cut])
    kept = {name: array.copy() for name, array in first.state.items()}
    second = watch(2, 2)
    second.load(kept)
    rest = feed(second, x[cut:], seconds[cut:])
    forked = feed(first.fork([1, 0]), x[cut:, ::-1], seconds[cut:])
    for name, values in whole.items():
        np.testing.assert_array_equal(values[cut:], rest[name], err_msg=name)
        np.testing.assert_array_equal(values[cut:], forked[name][:, ::-1], err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_readings_are_numbers_whatever_comes(seed):
    found = feed(watch(8, 2), wild(seed, 400, 8, 2), clock(400))
    for name in ("score", "onset", "rarity", "p_value", "contributions"):
        assert np.isfinite(found[name]).all(), name
    assert (found["p_value"] > 0).all()
    assert (found["p_value"] <= 1).all()
    assert (found["contributions"] >= 0).all()
    known = ~np.isnan(found["expected"])
    assert known[20:].mean() > 0.9
    assert (found["lower"] <= found["expected"])[known].all()
    assert (found["upper"] >= found["expected"])[known].all()


def test_what_is_not_finite_changes_no_other_stream():
    x, seconds = wild(7, 150, 3, 1), clock(150)
    clean = feed(watch(3, 1), x, seconds)
    x[60:90, 1] = np.nan
    dirty = feed(watch(3, 1), x, seconds)
    for name, values in clean.items():
        np.testing.assert_array_equal(values[:, [0, 2]], dirty[name][:, [0, 2]], err_msg=name)


def test_a_row_without_a_value_is_no_surprise():
    x = daily(600, 0)[:, None, None].copy()
    x[500:520] = np.nan
    found = feed(watch(), x, clock(600))
    assert (found["score"][500:520] == 0).all()
    assert (found["p_value"][500:520] == 1).all()
    assert not found["alarm"][500:520].any()


def test_a_reset_stream_starts_again_and_the_others_go_on():
    x, seconds = wild(3, 240, 2, 1), clock(240)
    watcher = watch(2)
    feed(watcher, x[:120], seconds[:120])
    watcher.reset([1])
    after = feed(watcher, x[120:], seconds[120:])
    fresh = feed(watch(), x[120:, 1:], seconds[120:])
    whole = feed(watch(2), x, seconds)
    for name, values in after.items():
        np.testing.assert_array_equal(values[:, 1], fresh[name][:, 0], err_msg=name)
        np.testing.assert_array_equal(values[:, 0], whole[name][120:, 0], err_msg=name)


def test_units_do_not_matter():
    x, seconds = daily(900, 5)[:, None, None], clock(900)
    plain = feed(watch(), x, seconds)
    # Powers of two change exponents only, so nothing is rounded otherwise.
    scaled = feed(watch(), x * 1024, seconds)
    np.testing.assert_allclose(scaled["score"][1:], plain["score"][1:], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scaled["expected"][1:], plain["expected"][1:] * 1024, rtol=1e-4)


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(lambda x: x.__setitem__(slice(1500, 1503), 40.0), id="a spike"),
        pytest.param(lambda x: x.__setitem__(slice(1500, None), x[1500:] + 12), id="a shift"),
        pytest.param(lambda x: x.__setitem__(slice(1500, 1560), 0.0), id="an outage"),
        pytest.param(lambda x: x.__setitem__(slice(1500, 1560), x[1499]), id="a sensor that sticks"),
        pytest.param(lambda x: x.__setitem__(slice(1500, 1560), 20 - x[1500:1560]), id="a cycle upside down"),
    ],
)
def test_an_incident_alarms_once(disturb):
    x = daily(1700, 1)
    disturb(x)
    found = feed(watch(rate=1 / 300), x[:, None, None], clock(1700))
    alarms = np.flatnonzero(found["alarm"][:, 0])
    assert (alarms < 1500).sum() <= 8
    during = alarms[(alarms >= 1500) & (alarms < 1570)]
    assert len(during) == 1
    assert found["incident"][during[0], 0]


def test_false_alarms_come_as_often_as_promised():
    streams, length, rate = 24, 4000, 1 / 250
    x = np.stack([daily(length, seed) for seed in range(streams)], 1)[:, :, None]
    found = feed(watch(streams, rate=rate), x, clock(length))
    met = found["alarm"][1000:].mean() / rate
    assert 0.5 < met < 2


def test_p_values_are_uniform_on_what_is_usual():
    streams, length = 16, 3000
    x = np.stack([daily(length, seed + 100) for seed in range(streams)], 1)[:, :, None]
    p = feed(watch(streams), x, clock(length))["p_value"][1000:]
    for level in (0.01, 0.05, 0.2):
        assert 0.6 < (p <= level).mean() / level < 1.6


def test_watch_refuses_what_does_not_fit():
    watcher = watch(2, 1)
    with pytest.raises(ShapeError, match=r"\(2, 1\) and \(2,\), got \(2, 2\)"):
        watcher.step(np.zeros((2, 2)), np.zeros(2))
    state = dict(watcher.state)
    state["baseline.mean"] = np.zeros((3, 1))
    with pytest.raises(ShapeError, match=r"baseline\.mean: expected float64 \(2, 1\)"):
        watcher.load(state)
    del state["baseline.mean"]
    with pytest.raises(ShapeError, match=r"'baseline\.mean' is missing"):
        watcher.load(state)
    with pytest.raises(ShapeError, match="'more' is unknown"):
        watcher.load({**watcher.state, "more": np.zeros(2)})
