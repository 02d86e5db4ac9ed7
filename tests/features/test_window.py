"""Windows: cut where they should be, filled without looking ahead, normalised so that level and unit do not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from carrousel.data.panel import Panel
from carrousel.features.scaler import Scaler, moments
from carrousel.features.window import Grid, carry_forward, cut, normalise, offsets, prepare, series_unit, unit_of

NAN = np.nan


def panel(*series: list[float], past: int = 0, future: int = 0) -> Panel:
    starts = np.concatenate([[0], np.cumsum([len(s) for s in series])])
    rows = int(starts[-1])
    columns = np.arange(rows, dtype=float)[:, None]
    return Panel(
        ids=tuple(f"s{i}" for i in range(len(series))),
        starts=starts,
        ds=np.concatenate([np.arange(len(s)) for s in series]),
        target=np.concatenate(series)[:, None],
        past=np.tile(columns, (1, past)),
        future=np.tile(columns + 1000, (1, future)),
        static=np.zeros((len(series), 0)),
        target_names=("y",),
        past_names=tuple(f"p{i}" for i in range(past)),
        future_names=tuple(f"f{i}" for i in range(future)),
    )


def grid(table: Panel, flag_missing: bool = False) -> Grid:
    identity = {name: Scaler((0.0,) * n, (1000.0,) * n) for name, n in
                (("past", table.past.shape[1]), ("future", table.future.shape[1]), ("static", 0))}  # fmt: skip
    return prepare(
        table,
        calendar=np.arange(len(table.target), dtype=np.float32)[:, None],
        series=np.arange(1, len(table) + 1),
        flag_missing=flag_missing,
        **identity,
    )


def test_carry_forward_fills_each_gap_from_its_own_series_only():
    values = np.array([[NAN], [1.0], [NAN], [3.0], [NAN], [NAN], [7.0], [NAN]])
    filled = carry_forward(values, np.array([0, 4, 8]))
    assert filled[:, 0].tolist() == [1.0, 1.0, 1.0, 3.0, 7.0, 7.0, 7.0, 7.0]


def test_carry_forward_of_a_series_without_values_is_zero():
    assert carry_forward(np.full((3, 1), NAN), np.array([0, 3])).tolist() == [[0.0]] * 3


@given(st.lists(st.floats(-1e6, 1e6) | st.just(NAN), min_size=2, max_size=30), st.integers(1, 29))
def test_carry_forward_never_looks_ahead_once_a_value_was_seen(values: list[float], at: int):
    at = min(at, len(values) - 1)
    before = np.array(values[:at])[:, None]
    if not np.isfinite(before).any():
        return
    whole = carry_forward(np.array(values)[:, None], np.array([0, len(values)]))
    np.testing.assert_array_equal(whole[:at], carry_forward(before, np.array([0, at])))


def test_cut_takes_the_rows_around_each_origin():
    g = grid(panel(list(range(10)), list(range(100, 120)), past=1, future=1))
    batch, ahead = cut(g, np.array([6, 14]), offsets(4, 3, 2), horizon=3, patch=2)
    assert batch.target[..., 0].tolist() == [[2, 3, 4, 5], [100, 101, 102, 103]]
    np.testing.assert_allclose(batch.past[..., 0], [[0.002, 0.003, 0.004, 0.005], [0.010, 0.011, 0.012, 0.013]])
    # The second patch ahead reaches one row past the horizon: zero there.
    np.testing.assert_allclose(batch.future[0, :, 0], [1.006, 1.007, 1.008, 0.0])
    assert batch.calendar_past[..., 0].tolist() == [[2, 4], [10, 12]]
    assert batch.calendar_future[..., 0].tolist() == [[6, 8], [14, 16]]
    assert batch.series.tolist() == [1, 2]
    assert ahead.tolist() == [[6, 7, 8], [14, 15, 16]]


def test_cut_repeats_the_first_row_of_a_series_that_is_too_short():
    g = grid(panel(list(range(10)), list(range(100, 120))))
    batch, _ = cut(g, np.array([12]), offsets(4, 2, 2), horizon=2, patch=2)
    assert batch.target[0, :, 0].tolist() == [100, 100, 100, 101]


def test_cut_gives_the_same_windows_to_torch_and_numpy():
    table = panel(list(np.sin(np.arange(50.0))), list(np.cos(np.arange(40.0))), past=2, future=1)
    g = grid(table, flag_missing=True)
    origin, steps = np.array([20, 55, 70]), offsets(12, 5, 4)
    ours, rows = cut(g, origin, steps, horizon=5, patch=4)
    theirs, torch_rows = cut(
        g.map(torch.as_tensor), torch.as_tensor(origin), torch.as_tensor(steps), horizon=5, patch=4
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    np.testing.assert_array_equal(rows, torch_rows.numpy())
    unit = np.array([[0.5], [2.0], [1.0]])
    norms = normalise(ours.target, unit), normalise(theirs.target, torch.as_tensor(unit))
    for a, b in zip(*norms, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_whole_windows_are_those_cut_row_by_row(convert):
    two = replace(panel(list(range(30)), list(range(100, 140)), past=2, future=1))
    g = replace(grid(two), target=np.stack([np.arange(70.0), -np.arange(70.0)], axis=1)).map(convert)
    origin, steps = convert(np.array([12, 25, 42, 60, 70 - 5])), convert(offsets(12, 5, 4))
    plain, rows = cut(g, origin, steps, horizon=5, patch=4)
    whole, same_rows = cut(g, origin, steps, horizon=5, patch=4, whole=True)
    for a, b in zip((*plain, rows), (*whole, same_rows), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@given(st.floats(-1e3, 1e3))
def test_normalised_windows_do_not_depend_on_the_level(shift: float):
    window = np.random.default_rng(3).standard_normal((2, 20, 1))
    unit = np.full((2, 1), 0.5)
    moved, level = normalise(shift + window, unit)
    np.testing.assert_allclose(moved, normalise(window, unit)[0], atol=1e-11)
    np.testing.assert_array_equal(level, shift + window[:, -1:])
    np.testing.assert_array_equal(moved[:, -1], 0)


def test_the_unit_is_the_seasonal_naive_error_and_follows_the_unit_of_the_series():
    values = np.array([0.0, 10.0, 1.0, 13.0, 4.0, 10.0])[:, None]
    assert unit_of(values, 2).tolist() == [(1 + 3 + 3 + 3) / 4]
    np.testing.assert_allclose(unit_of(7 + 100 * values, 2), 100 * unit_of(values, 2))


def test_missing_targets_are_flagged_as_a_past_covariate():
    g = grid(panel([1.0, NAN, 3.0]), flag_missing=True)
    assert g.past[:, 0].tolist() == [0, 1, 0]
    assert np.isnan(g.truth[1, 0])
    assert g.target[1, 0] == 1.0


def test_the_unit_is_never_zero_even_for_a_constant_or_perfectly_seasonal_series():
    unit = series_unit(panel([5.0] * 8, [0.0] * 8, [1.0, 3.0] * 4, [2.0]), 2)
    assert (unit > 0).all()
    assert unit[2, 0] == pytest.approx(1 / 20)


def test_moments_and_scaler_leave_missing_values_out():
    values = np.array([[1.0, 5.0], [NAN, 5.0], [3.0, 5.0], [np.inf, 5.0]])
    mean, deviation = moments(values)
    assert mean.tolist() == [2.0, 5.0]
    assert deviation.tolist() == [1.0, 0.0]
    scaler = Scaler.fit(values)
    np.testing.assert_array_equal(
        scaler.apply(np.array([[3.0, 6.0], [NAN, 5.0], [1e9, -1e9]])), [[1, 1], [0, 0], [10, -10]]
    )
