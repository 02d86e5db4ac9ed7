"""Alarms beyond all that was calm."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.errors import SettingError, ShapeError
from carrousel.online.beyond import HOLD, LEARN, LONGEST, Beyond


def feed(beyond: Beyond, x: np.ndarray, residual: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Begin, inside and learning of rows (T, N, K), (T, N) each."""
    rest = np.zeros_like(x) if residual is None else residual
    said = [beyond.update(row.copy(), r.copy()) for row, r in zip(x, rest, strict=True)]
    return tuple(np.stack([one[i] for one in said]) for i in range(3))


def taught(share: float = 0.2, *, size: float = 1.0) -> Beyond:
    """One stream that has seen values from −1 to 1 and distances from the forecast of up to `size`."""
    beyond = Beyond(1, 1, share)
    random = np.random.default_rng(0)
    feed(beyond, random.uniform(-1, 1, (400, 1, 1)), size * random.uniform(-1, 1, (400, 1, 1)))
    beyond.close()
    return beyond


@pytest.mark.parametrize(("value", "alarms"), [(1.3, False), (1.5, True), (-1.3, False), (-1.5, True)])
def test_a_value_must_leave_the_range_by_its_share(value, alarms):
    begins, _, learns = feed(taught(), np.array([[[value]]]))
    assert begins.tolist() == [[alarms]]
    assert not learns.any()


def test_many_small_distances_alarm_where_one_does_not():
    residual = np.full((60, 1, 1), 0.9)  # within what came singly, but half of it was usual on average
    begins, _, _ = feed(taught(), np.zeros((60, 1, 1)), residual)
    assert begins.sum() == 1
    assert 1 <= np.flatnonzero(begins)[0] < 40
    assert not feed(taught(), np.zeros((1, 1, 1)), residual[:1])[0].any()


def test_rows_close_by_are_one_incident_and_rows_far_apart_two():
    x = np.zeros((3 * HOLD + 20, 1, 1))
    x[[5, 5 + HOLD // 2, 2 * HOLD]] = 9.0
    begins, inside, _ = feed(taught(), x)
    assert np.flatnonzero(begins).tolist() == [5, 2 * HOLD]
    assert inside[5 : 5 + HOLD // 2 + HOLD].all()
    assert not inside[5 + HOLD // 2 + HOLD : 2 * HOLD].any()


def test_what_goes_on_and_on_becomes_calm():
    x = np.full((3 * LONGEST, 1, 1), 9.0)
    begins, inside, _ = feed(taught(), x)
    assert begins.sum() == 1
    assert inside.sum() == LONGEST + HOLD


def test_a_monstrous_row_does_not_last():
    residual = np.zeros((400, 1, 1))
    residual[0] = 1e12
    _, inside, _ = feed(taught(), np.zeros((400, 1, 1)), residual)
    assert inside[0, 0]
    assert inside.sum() < 300


def test_a_constant_alarms_at_the_first_other_value():
    beyond = Beyond(1, 1, 0.2)
    feed(beyond, np.full((300, 1, 1), -1.0))
    beyond.close()
    assert not feed(beyond, np.full((50, 1, 1), -1.0))[1].any()
    assert feed(beyond, np.full((1, 1, 1), -0.99))[0].all()


def test_a_stream_that_no_table_taught_learns_first_and_alarms_afterwards():
    x = np.zeros((LEARN + 50, 1, 1))
    x[[10, LEARN + 10]] = 5.0
    x[LEARN + 20] = 20.0
    begins, _, learns = feed(Beyond(1, 1, 0.2), x)
    assert learns[:LEARN].all()
    assert not learns[LEARN:].any()
    assert np.flatnonzero(begins).tolist() == [LEARN + 20]


def test_a_table_is_learnt_from_to_its_end_however_long():
    beyond = Beyond(1, 1, 0.2)
    beyond.open()
    x = np.zeros((3 * LEARN, 1, 1))
    x[[10, -1]] = [[[1.0]], [[5.0]]]
    begins, _, learns = feed(beyond, x)
    assert learns.all()
    assert not begins.any()
    beyond.close()
    later = np.array([[[5.5]], [[6.5]]])
    assert feed(beyond, later)[0].ravel().tolist() == [False, True]


def test_what_is_missing_is_nothing_and_streams_are_apart():
    random = np.random.default_rng(1)
    x = random.normal(size=(500, 3, 2))
    x[random.random(x.shape) < 0.1] = np.nan
    residual = np.where(np.isnan(x), np.nan, random.normal(size=x.shape))
    residual[300:330, 1] += 4
    together = Beyond(3, 2, 0.2)
    feed(together, x[:250], residual[:250])
    together.close()
    many = feed(together, x[250:], residual[250:])
    assert many[0].any()
    for n in range(3):
        alone = Beyond(1, 2, 0.2)
        feed(alone, x[:250, n : n + 1], residual[:250, n : n + 1])
        alone.close()
        for whole, one in zip(many, feed(alone, x[250:, n : n + 1], residual[250:, n : n + 1]), strict=True):
            np.testing.assert_array_equal(whole[:, n], one[:, 0])


def test_settings_and_shapes_that_make_no_sense_are_refused():
    with pytest.raises(SettingError, match=r"share: expected a number of at least 0, got -0\.1"):
        Beyond(1, 1, -0.1)
    with pytest.raises(ShapeError, match=r"x: expected float64 \(1, 1\)"):
        Beyond(1, 1, 0.1).update(np.zeros((2, 1)), np.zeros((2, 1)))
