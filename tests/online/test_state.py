"""The state of online components: live views, saved, forked and put back, and one exact error for each that misfits."""

from __future__ import annotations

import re

import numpy as np
import pytest

from carrousel.errors import SettingError, ShapeError
from carrousel.online.state import DTYPES, Field, Online, check_rows_of, number, whole


class Count(Online):
    """Sums of what came, in both memory orders, and how often."""

    def __init__(self, batch: int, variables: int) -> None:
        super().__init__(
            batch,
            {
                "sums": Field(shape=(2, variables), axis=1, start=1.5),
                "seen": Field(dtype="int64"),
                "any": Field(shape=(variables,), dtype="bool"),
            },
        )

    def bind(self) -> None:
        self.sum, self.square = self.arrays["sums"]
        self.scratch = np.empty_like(self.sum)

    def update(self, x):
        self.sum += x
        np.multiply(x, x, self.scratch)
        self.square += self.scratch
        self.arrays["seen"] += 1
        self.arrays["any"] |= x > 0


def rows(seed: int, steps: int, batch: int, variables: int):
    return np.random.default_rng(seed).normal(size=(steps, batch, variables))


def fed(component: Count, x) -> Count:
    for row in x:
        component.update(row)
    return component


def kept(component: Online) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in component.state.items()}


def test_state_has_a_row_a_stream_first_whatever_the_order_in_memory():
    component = Count(3, 2)
    assert {name: (a.shape, str(a.dtype)) for name, a in component.state.items()} == {
        "sums": ((3, 2, 2), "float64"),
        "seen": ((3,), "int64"),
        "any": ((3, 2), "bool"),
    }
    assert component.arrays["sums"].shape == (2, 3, 2)
    assert np.all(component.state["sums"] == 1.5)
    assert {str(a.dtype) for a in component.state.values()} <= set(DTYPES)


def test_state_views_stay_live_over_updates_loads_and_resets():
    component = Count(3, 2)
    views = component.state
    x = rows(0, 4, 3, 2)
    fed(component, x)
    np.testing.assert_allclose(views["sums"][:, 0], 1.5 + x.sum(axis=0), rtol=1e-14)
    component.load(fed(Count(3, 2), x[:1]).state)
    np.testing.assert_array_equal(views["sums"][:, 0], 1.5 + x[0])
    views["sums"][1, 0] = 7.0
    np.testing.assert_array_equal(component.sum[1], [7.0, 7.0])
    component.reset()
    assert np.all(views["sums"] == 1.5)
    assert not views["any"].any()


def test_a_loaded_state_continues_with_the_same_bits():
    x = rows(1, 9, 4, 2)
    whole_run = fed(Count(4, 2), x)
    first = fed(Count(4, 2), x[:5])
    stored = {name: array.copy() for name, array in first.state.items()}
    second = Count(4, 2)
    second.load(stored)
    assert kept(fed(second, x[5:])) == kept(whole_run)


def test_a_fork_has_the_rows_asked_for_and_a_life_of_its_own():
    x = rows(2, 6, 4, 3)
    component = fed(Count(4, 3), x)
    before = kept(component)
    fork = component.fork([2, 0, 2])
    assert type(fork) is Count
    assert fork.batch == 3
    for name, array in fork.state.items():
        np.testing.assert_array_equal(array, component.state[name][[2, 0, 2]])
    fed(fork, x[:1, [2, 0, 2]])
    assert kept(component) == before
    np.testing.assert_array_equal(fork.sum[0], component.sum[2] + x[0, 2])
    np.testing.assert_array_equal(fork.state["seen"], [7, 7, 7])


def test_reset_touches_the_named_rows_alone():
    component = fed(Count(3, 1), rows(3, 5, 3, 1))
    before = {name: array.copy() for name, array in component.state.items()}
    component.reset([1])
    for name, array in component.state.items():
        np.testing.assert_array_equal(array[[0, 2]], before[name][[0, 2]])
        np.testing.assert_array_equal(array[1], Count(1, 1).state[name][0])
    component.reset([])
    np.testing.assert_array_equal(component.state["seen"], [5, 0, 5])


def changed(change):
    state = dict(Count(3, 2).state)
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("seen"), "state: expected an array 'seen', got none; load what the same component kept"),
        (
            lambda s: s.update(sums=s["sums"][:2]),
            "state, sums: expected float64 (3, 2, 2), got float64 (2, 2, 2); "
            "load into a component of the same batch, variables and settings",
        ),
        (
            lambda s: s.update(sums=s["sums"].astype(np.float32)),
            "state, sums: expected float64 (3, 2, 2), got float32 (3, 2, 2); "
            "load into a component of the same batch, variables and settings",
        ),
    ],
)
def test_a_state_that_misfits_is_refused_and_nothing_changes(change, message):
    component = fed(Count(3, 2), rows(4, 2, 3, 2))
    before = kept(component)
    with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
        component.load(changed(change))
    assert kept(component) == before


def test_an_unknown_array_is_refused_with_the_nearest_name():
    with pytest.raises(ShapeError, match=r"^state: unknown array 'sum'; .*sums"):
        Count(3, 2).load({**Count(3, 2).state, "sum": np.zeros(3)})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3], "rows: expected integers from 0 to 2, got 3 to 3"),
        ([-1, 0], "rows: expected integers from 0 to 2, got -1 to 0"),
        ([0.5], "rows: expected a list of integers, got float64 (1,)"),
        ([[0]], "rows: expected a list of integers, got int64 (1, 1)"),
        ([True, False, True], "rows: expected a list of integers, got bool (3,)"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows, message):
    for act in (Count(3, 1).fork, Count(3, 1).reset):
        with pytest.raises(ShapeError, match=f"^{re.escape(message)}$"):
            act(rows)


def test_a_fork_of_no_row_is_refused():
    with pytest.raises(ShapeError, match=r"^rows: expected at least one row, got none$"):
        Count(3, 1).fork([])


@pytest.mark.parametrize("batch", [0, -1, 1.0, True, "2"])
def test_a_batch_that_is_no_count_is_refused(batch):
    with pytest.raises(SettingError, match=f"^batch: expected an integer of at least 1, got {re.escape(repr(batch))}$"):
        Count(batch, 1)


def test_settings_are_checked():
    assert whole("n", np.int32(3)) == 3
    assert number("x", np.float32(0.5), 0.0, 1.0) == 0.5
    for value, message in [
        (1.5, "x: expected a number from 0 to 1, got 1.5"),
        (np.nan, "x: expected a number from 0 to 1, got nan"),
        ("1", "x: expected a number from 0 to 1, got '1'"),
        (True, "x: expected a number from 0 to 1, got True"),
    ]:
        with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
            number("x", value, 0.0, 1.0)
    with pytest.raises(SettingError, match=r"^x: expected a number of at least 2, got inf$"):
        number("x", np.inf, 2.0)


def test_rows_of_values_are_checked():
    check_rows_of("x", np.zeros((2, 3)), (2, 3))
    with pytest.raises(ShapeError, match=re.escape("x: expected float64 (2, 3), got float32 (2, 3)")):
        check_rows_of("x", np.zeros((2, 3), np.float32), (2, 3))
    with pytest.raises(ShapeError, match=re.escape("x: expected float64 (2, 3), got float64 (3,)")):
        check_rows_of("x", np.zeros(3), (2, 3))
    with pytest.raises(
        ShapeError, match=re.escape("x: expected a float64 array (2, 3), got list; np.asarray makes one")
    ):
        check_rows_of("x", [[0.0]], (2, 3))


def test_what_was_bound_is_made_again_once_it_is_asked_for():
    x = rows(3, 6, 2, 1)
    whole, loose = Count(2, 1), Count(2, 1)
    for row in x:
        whole.update(row)
        loose.loosen()
        assert "scratch" not in vars(loose)
        loose.update(row)
    assert kept(loose) == kept(whole)
    loose.loosen()
    assert kept(loose.fork([1, 0])) == kept(whole.fork([1, 0]))
    with pytest.raises(AttributeError, match="'Count' object has no attribute 'nothing'"):
        _ = loose.nothing
