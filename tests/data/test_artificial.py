"""Artificial series: drawn again they are the same, and an anomaly leaves what came before it as it was."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.data.artificial import KINDS, SHAPES, anomalous, artificial, ordinary
from carrousel.errors import SettingError
from carrousel.metrics.nab import probation
from carrousel.metrics.window import check

SEEDS = range(1000, 1040)
PINNED = {
    1000: ("daily", 4115, [[775, 980], [3420, 3625]], 300, 100753.84921598619),
    1003: ("wander", 3835, [[1243, 1626]], 300, 73071.54458982765),
    1007: ("daily", 2126, [[468, 538], [733, 803], [1864, 1934]], 60, 5147.619854932213),
}  # seed → shape, rows, windows, seconds a row, sum
EXACT = 1e-12  # relative: sines and exponentials of another library may differ in their last bits


def test_the_same_seed_gives_the_same_series_and_another_seed_another():
    one, again, other = artificial(1000), artificial(1000), artificial(1001)
    np.testing.assert_array_equal(one.values, again.values)
    np.testing.assert_array_equal(one.windows, again.windows)
    np.testing.assert_array_equal(one.stamps, again.stamps)
    assert one.values.shape != other.values.shape or not np.allclose(one.values, other.values)


def test_series_are_those_on_which_settings_were_frozen():
    for seed, (shape, rows, windows, step_s, total) in PINNED.items():
        series = artificial(seed)
        assert (series.category, len(series.values), series.windows.tolist()) == (shape, rows, windows)
        assert np.diff(series.stamps).astype(int).tolist() == [step_s] * (rows - 1)
        assert np.nansum(series.values) == pytest.approx(total, rel=EXACT)


def test_windows_are_ordered_behind_probation_and_around_a_tenth_of_the_rows():
    found = [artificial(seed) for seed in SEEDS]
    for series in found:
        rows = len(series.values)
        windows = check(series.windows, rows)
        assert (windows[:, 0] >= probation(rows)).all()
        assert (windows[:, 1] - windows[:, 0]).sum() <= 0.1 * rows
    assert {len(series.windows) for series in found} == {0, 1, 2, 3, 4}


def test_a_series_without_anomalies_has_no_windows():
    assert all(not len(artificial(seed, anomalies=False).windows) for seed in SEEDS)


def test_rows_and_step_are_those_asked_for():
    series = artificial(3, rows=700, step_s=60)
    assert series.values.shape == (700, 1)
    assert (np.diff(series.stamps) == np.timedelta64(60, "s")).all()


def test_every_shape_and_no_other_value_than_numbers_and_missing_ones_is_drawn():
    found = [artificial(seed, rows=400) for seed in range(200)]
    assert {series.category for series in found} == set(SHAPES)
    missing = [np.isnan(series.values).mean() for series in found]
    assert 0 < np.mean(np.array(missing) > 0) < 0.15
    assert max(missing) < 0.05
    assert all(np.isfinite(series.values[~np.isnan(series.values)]).all() for series in found)


@pytest.mark.parametrize("kind", KINDS)
def test_an_anomaly_changes_rows_from_its_start_on_only(kind: str):
    _, y, _ = ordinary(np.random.default_rng(5), 2000, 300)
    kept = y.copy()
    changed = anomalous(np.random.default_rng(1), y, 900, rows=60, step_s=300, kind=kind)
    np.testing.assert_array_equal(y, kept)
    np.testing.assert_array_equal(changed[:900], y[:900])
    assert (changed[900:1300] != y[900:1300]).any()


@pytest.mark.parametrize(("settings", "said"), [({"rows": 299}, "at least 300, got 299"), ({"step_s": 0}, "step_s")])
def test_a_series_too_short_or_without_time_is_refused(settings: dict[str, int], said: str):
    with pytest.raises(SettingError, match=said):
        artificial(1, **settings)
