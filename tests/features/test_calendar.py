"""Calendar features: the phase of a stamp in the cycles that its frequency resolves."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.data.frequency import Frequency
from carrousel.errors import SettingError
from carrousel.features.calendar import calendar, cycles, names


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("10s", ("hour", "day", "week", "year")),
        ("30min", ("day", "week", "year")),
        ("h", ("day", "week", "year")),
        ("6h", ("day", "week", "year")),
        ("12h", ("week", "year")),
        ("D", ("week", "month", "year")),
        ("B", ("week", "month", "year")),
        ("W-SUN", ("month", "year")),
        ("MS", ("year",)),
        ("QE", ("year",)),
        ("YS", ()),
        ("1", ()),
    ],
)
def test_cycles_are_those_that_the_frequency_resolves(alias: str, expected: tuple[str, ...]) -> None:
    assert cycles(Frequency.parse(alias)) == expected


def test_cycles_that_the_rows_cover_less_than_twice_are_left_out() -> None:
    hourly = Frequency.parse("h")
    assert cycles(hourly, 47) == ()
    assert cycles(hourly, 48) == ("day",)
    assert cycles(hourly, 8640) == ("day", "week")
    assert cycles(hourly, 3 * 8766) == ("day", "week", "year")


def test_calendar_of_a_known_stamp_has_the_values_of_its_phases() -> None:
    # 2024-02-03 18:00 is a Saturday, the third of 29 days, day 34 of 366.
    ds = np.array(["2024-02-03T18:00:00"], "datetime64[s]")
    chosen = ("day", "week", "month", "year")
    found = dict(zip(names(chosen), calendar(ds, chosen, np.float64)[0], strict=True))
    phases = {"day": 0.75, "week": 5 / 7, "month": 2.75 / 29, "year": 33.75 / 366}
    harmonics = {"day": 2, "week": 3, "month": 1, "year": 2}
    expected = {
        f"{cycle}_{wave}{k}": function(2 * np.pi * k * phases[cycle])
        for cycle in chosen
        for k in range(1, harmonics[cycle] + 1)
        for wave, function in (("sin", np.sin), ("cos", np.cos))
    }
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-12)


def test_calendar_before_1970_has_phases_too() -> None:
    early = np.array(["1969-12-31T06:00:00"], "datetime64[s]")
    later = np.array(["2014-12-31T06:00:00"], "datetime64[s]")  # also a Wednesday
    np.testing.assert_allclose(calendar(early, ("hour", "day", "week")), calendar(later, ("hour", "day", "week")))


def test_week_changes_at_midnight_only() -> None:
    ds = np.arange("2024-01-01", "2024-01-08", dtype="datetime64[h]").astype("datetime64[s]")
    week = calendar(ds, ("week",))
    assert len(np.unique(week.round(6), axis=0)) == 7
    np.testing.assert_array_equal(week[:24], np.repeat(week[:1], 24, axis=0))
    # A constant and three harmonics span every profile over seven days.
    assert np.linalg.matrix_rank(np.column_stack([np.ones(7), week[::24]])) == 7


def test_calendar_keeps_the_dtype_asked_for() -> None:
    ds = np.array(["2024-01-01"], "datetime64[s]")
    assert calendar(ds, ("day",)).dtype == np.float32
    assert calendar(ds, ("day",), np.float64).dtype == np.float64


def test_integer_time_has_no_calendar() -> None:
    assert calendar(np.arange(5), cycles(Frequency.parse(1))).shape == (5, 0)


def test_unknown_cycle_is_refused() -> None:
    with pytest.raises(SettingError, match="'fortnight'"):
        names(("fortnight",))
