"""Artificial telemetry that obeys commands."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.data.artificial_command import KINDS, commanded


def test_a_seed_is_a_series_for_ever():
    one, again = commanded(3), commanded(3)
    np.testing.assert_array_equal(one.values, again.values)
    assert (one.category, one.train.shape, one.windows.tolist()) == ("pulse", (2333, 15), [[2026, 2145]])
    assert one.values[:, 0].sum() == pytest.approx(2385.79266763, rel=1e-9)


def test_commands_are_0_and_1_and_the_last_two_come_in_the_test_part_only():
    for seed in range(12):
        series = commanded(seed)
        assert set(np.unique(series.values[:, 1:])) <= {0.0, 1.0}
        assert not series.train[:, -2:].any()
        assert series.values[:, -2:].any()
        assert np.isfinite(series.values).all()
        assert series.category in KINDS


def test_an_anomaly_lies_in_its_window_and_the_calm_part_has_none():
    for seed in range(12):
        series, calm = commanded(seed), commanded(seed, anomalies=False)
        assert 1 <= len(series.windows) <= 2
        assert not len(calm.windows)
        np.testing.assert_array_equal(series.values[:, 1:].shape, calm.values[:, 1:].shape)
        np.testing.assert_array_equal(series.train.shape, calm.train.shape)
        assert (series.windows[:, 0] < series.windows[:, 1]).all()
        assert series.windows.max() <= len(series.values)
