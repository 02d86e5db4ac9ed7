"""The step between stamps: inferred despite gaps, and the same arithmetic as pandas'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrousel.data.frequency import Frequency
from carrousel.errors import HistoryError, SettingError, TimeError

ALIASES = {
    "s": 3600,
    "10s": 360,
    "min": 1440,
    "15min": 96,
    "30min": 48,
    "h": 24,
    "3h": 8,
    "D": 7,
    "2D": 1,
    "B": 5,
    "W-SUN": 52,
    "W-WED": 52,
    "2W-MON": 26,
    "MS": 12,
    "ME": 12,
    "2MS": 6,
    "QS": 4,
    "QS-FEB": 4,
    "QE": 4,
    "QE-JAN": 4,
    "YS": 1,
    "YS-APR": 1,
    "YE": 1,
}


def stamps(alias: str, n: int = 60, start: str = "2019-12-27") -> np.ndarray:
    return pd.date_range(start, periods=n, freq=alias).to_numpy().astype("datetime64[s]")


@pytest.mark.parametrize("alias", ALIASES)
def test_frequency_inferred_from_pandas_stamps_is_the_alias_that_made_them(alias: str) -> None:
    ds = stamps(alias)
    found = Frequency.infer([ds])
    assert found.alias == alias
    assert found == Frequency.parse(alias).anchored(ds[:1])


@pytest.mark.parametrize("alias", ALIASES)
def test_frequency_continues_stamps_as_pandas_does(alias: str) -> None:
    ds = stamps(alias)
    frequency = Frequency.parse(alias)
    np.testing.assert_array_equal(frequency.range(ds[0], 60), ds)
    np.testing.assert_array_equal(frequency.after(ds[9], 50), ds[10:])
    np.testing.assert_array_equal(frequency.steps(ds[20], ds), np.arange(60) - 20)


@pytest.mark.parametrize(("alias", "season"), ALIASES.items())
def test_season_is_the_cycle_that_the_alias_suggests(alias: str, season: int) -> None:
    assert Frequency.parse(alias).season == season
    assert ("no cycle" in Frequency.parse(alias).season_reason) == (season == 1)


@pytest.mark.parametrize(
    ("alias", "canonical", "words"),
    [
        ("H", "h", "hourly"),
        ("60min", "h", "hourly"),
        ("30T", "30min", "every 30 minutes"),
        ("7D", "W", "weekly"),
        ("M", "ME", "monthly, at the end of the month"),
        ("12MS", "YS", "yearly"),
        ("1mo", "MS", "monthly"),
        ("1d", "D", "daily"),
        ("QS-OCT", "QS", "quarterly"),
        (5, "5", "integer steps of 5"),
        ("1", "1", "integer steps of 1"),
    ],
)
def test_alias_has_one_canonical_form(alias: str | int, canonical: str, words: str) -> None:
    assert Frequency.parse(alias).alias == canonical
    assert Frequency.parse(alias).describe() == words


@pytest.mark.parametrize("alias", ["", "hourly", "0h", "-1", 0, "h-SUN", "W-JAN", "QS-MON", "ms", "1.5h", True])
def test_unknown_alias_is_refused(alias: str | int) -> None:
    with pytest.raises(SettingError, match="frequency"):
        Frequency.parse(alias)


@settings(deadline=None)
@given(st.data(), st.sampled_from(["10s", "15min", "h", "D", "B", "W-SUN", "MS", "ME", "QS"]))
def test_inferred_frequency_survives_the_loss_of_rows(data: st.DataObject, alias: str) -> None:
    ds = stamps(alias, 200)
    lost = data.draw(st.sets(st.integers(0, 199), max_size=60))
    kept = np.delete(ds, sorted(lost))
    assert Frequency.infer([kept]).alias == alias


def test_integer_step_is_the_common_one() -> None:
    assert Frequency.infer([np.array([0, 5, 10, 20, 25]), np.array([3, 8])]) == Frequency("i", 5)


def test_divisor_is_the_step_if_it_occurs_often_enough() -> None:
    assert Frequency.infer([np.array([0, 3, 6, 8, 10, 11, 14])]).n == 1


def test_monthly_series_may_keep_any_day_that_every_month_has() -> None:
    ds = np.array(["2024-01-15T06:00", "2024-02-15T06:00", "2024-04-15T06:00"], "datetime64[s]")
    frequency = Frequency.infer([ds])
    assert frequency.alias == "MS"
    assert str(frequency.after(ds[-1], 1)[0]) == "2024-05-15T06:00:00"


def test_weekdays_without_a_weekend_between_them_are_daily() -> None:
    assert Frequency.infer([stamps("D", 5, "2024-01-01")]).alias == "D"


def test_series_on_different_weekdays_share_one_frequency() -> None:
    assert Frequency.infer([stamps("W-MON"), stamps("W-THU")]).alias == "W"


def test_irregular_stamps_are_named_with_series_step_and_place() -> None:
    ds = stamps("h", 48, "2024-01-01")
    ds[30] += np.timedelta64(17, "m")
    with pytest.raises(TimeError) as caught:
        Frequency.infer([stamps("h", 10), ds], ["a", "b"])
    assert "series 'b'" in str(caught.value)
    assert "most common step is 1 hour)" in str(caught.value)
    assert "got 2024-01-02T06:17:00 after 2024-01-02T05:00:00" in str(caught.value)


def test_one_row_a_series_is_too_few_to_infer() -> None:
    with pytest.raises(HistoryError, match="at least two time stamps"):
        Frequency.infer([stamps("h", 1), stamps("h", 1)])


def test_steps_refuse_a_stamp_beside_the_grid() -> None:
    with pytest.raises(TimeError, match="2024-01-01T00:30:00"):
        Frequency.parse("h").steps(np.datetime64("2024-01-01T00:00:00"), np.datetime64("2024-01-01T00:30:00"))


def test_working_day_after_a_saturday_is_refused() -> None:
    with pytest.raises(TimeError, match="2024-01-06"):
        Frequency.parse("B").after(np.datetime64("2024-01-06"), 1)


def test_anchor_that_contradicts_the_stamps_is_refused_with_the_fitting_one() -> None:
    with pytest.raises(TimeError, match="'W-MON'"):
        Frequency.parse("W-SUN").anchored(stamps("W-MON", 1))


def test_month_start_on_a_day_that_february_lacks_is_refused() -> None:
    with pytest.raises(TimeError, match="'ME'"):
        Frequency.parse("MS").anchored(np.array(["2024-01-30"], "datetime64[s]"))
