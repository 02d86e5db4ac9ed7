"""Ranges of rows: from flags and back, and the forms that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.errors import ShapeError
from carrousel.metrics.window import check, flags, windows


def test_windows_are_the_runs_of_flagged_rows_to_both_ends():
    assert windows([1, 1, 0, 0, 1, 0, 1]).tolist() == [[0, 2], [4, 5], [6, 7]]
    assert windows(np.zeros(3, bool)).tolist() == []
    assert windows([]).shape == (0, 2)


@given(st.lists(st.booleans(), max_size=30))
def test_flags_of_the_windows_of_flags_are_the_flags(given_):
    assert flags(windows(np.array(given_, bool)), len(given_)).tolist() == given_


def test_flags_of_windows_that_touch_join():
    assert flags([[1, 3], [3, 4]], 5).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("wrong", [[0.0, 0.5], [2, 0], [[0, 1]], [np.nan, 1.0]])
def test_flags_that_are_no_yes_or_no_a_row_are_refused(wrong):
    with pytest.raises(ShapeError, match="flags: expected one 0 or 1 a row"):
        windows(wrong)


@pytest.mark.parametrize(
    ("spans", "got"),
    [
        ([[3, 3]], r"\[3, 3\]"),
        ([[3, 2]], r"\[3, 2\]"),
        ([[-1, 2]], r"\[-1, 2\]"),
        ([[0, 4], [3, 6]], r"\[3, 6\]"),
        ([[5, 6], [0, 2]], r"\[0, 2\]"),
        ([[0, 2], [9, 11]], r"\[9, 11\]"),
    ],
)
def test_windows_out_of_order_or_range_are_refused_by_name(spans, got):
    with pytest.raises(ShapeError, match=f"labels: expected rows start:stop.* within 10 rows, got {got}"):
        check(spans, 10, name="labels")


@pytest.mark.parametrize("spans", [[1, 2], [[1, 2, 3]], [[1.0, 2.0]], [[True, False]]])
def test_windows_of_another_shape_or_type_are_refused(spans):
    with pytest.raises(ShapeError, match=r"windows: expected int \(W, 2\)"):
        check(spans)


def test_windows_may_touch_and_end_at_the_last_row():
    assert check([[0, 4], [4, 10]], 10).dtype == np.int64
    assert check([], 0).shape == (0, 2)
