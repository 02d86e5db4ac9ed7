"""Events: counted by hand as Telemanom's paper counts them, by a twin over sets of rows, delays and rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.errors import SettingError, ShapeError
from carrousel.metrics import EventCounts, alarm_delay, event_counts, false_alarm_rate
from carrousel.metrics.window import windows

LABELLED = [[10, 20], [40, 50], [70, 71]]
flagged = st.lists(st.booleans(), min_size=1, max_size=40)


def counted(detected: list[list[int]], labelled: list[list[int]] = LABELLED) -> tuple[int, int, int]:
    counts = event_counts(detected, labelled)
    return counts.true_positives, counts.false_positives, counts.false_negatives


@pytest.mark.parametrize(
    ("detected", "expected"),
    [
        ([], (0, 0, 3)),
        ([[12, 13]], (1, 0, 2)),  # one row inside is enough
        ([[10, 12], [13, 14], [19, 25]], (1, 0, 2)),  # several in one label are one true positive and no false one
        ([[5, 10]], (0, 1, 3)),  # ends on the row before the label
        ([[5, 11]], (1, 0, 2)),
        ([[20, 25]], (0, 1, 3)),  # begins on the row after it
        ([[19, 25]], (1, 0, 2)),
        ([[15, 45]], (2, 0, 1)),  # a detection over two labels finds both
        ([[0, 100]], (3, 0, 0)),
        ([[0, 5], [25, 30], [70, 71]], (1, 2, 2)),
    ],
)
def test_events_by_hand(detected: list[list[int]], expected: tuple[int, int, int]):
    assert counted(detected) == expected


def test_detections_without_a_label_are_all_false():
    assert counted([[0, 5], [7, 9]], []) == (0, 2, 0)


@given(flagged, flagged)
def test_events_are_what_sets_of_rows_in_common_say(one: list[bool], other: list[bool]):
    detected, labelled = windows(one).tolist(), windows(other).tolist()

    def meet(a: list[int], b: list[int]) -> bool:
        return bool(set(range(*a)) & set(range(*b)))

    hits = sum(any(meet(label, found) for found in detected) for label in labelled)
    false = sum(not any(meet(found, label) for label in labelled) for found in detected)
    assert counted(detected, labelled) == (hits, false, len(labelled) - hits)


def test_shares_of_the_published_figures_of_telemanom_on_msl():
    # Hundman et al. 2018: precision 92.6 %, recall 69.4 %; MSL has 36 labels.
    counts = EventCounts(true_positives=25, false_positives=2, false_negatives=11)
    assert round(100 * counts.precision, 1) == 92.6
    assert round(100 * counts.recall, 1) == 69.4
    assert counts.f1 == pytest.approx(2 * counts.precision * counts.recall / (counts.precision + counts.recall))


def test_counts_of_channels_add_up():
    channels = [event_counts([[12, 13]], LABELLED), event_counts([[0, 5]], []), event_counts([], [[3, 4]])]
    assert sum(channels, EventCounts()) == EventCounts(true_positives=1, false_positives=1, false_negatives=3)


def test_shares_of_nothing_are_nan():
    assert math.isnan(EventCounts().f1)
    assert math.isnan(event_counts([], LABELLED).precision)
    assert event_counts([], LABELLED).f1 == 0
    assert math.isnan(event_counts([[1, 2]], []).recall)
    assert event_counts([[1, 2]], []).precision == 0


def test_one_lucky_row_in_a_long_label_does_not_hide_false_alarms():
    # Point adjustment would call this 500 of 510 rows right.
    counts = event_counts([[100 * i, 100 * i + 1] for i in range(11)], [[1000, 1500]])
    assert (counts.precision, counts.recall) == (1 / 11, 1)


def test_delay_is_from_the_start_of_a_label_to_the_first_detected_row_in_it():
    detected = [[5, 12], [43, 44], [46, 60], [72, 80]]
    np.testing.assert_array_equal(alarm_delay(detected, LABELLED), [0, 3, np.nan])
    np.testing.assert_array_equal(alarm_delay([], LABELLED), [np.nan] * 3)
    assert alarm_delay(detected, []).shape == (0,)
    np.testing.assert_array_equal(alarm_delay([[19, 20], [20, 41]], LABELLED), [9, 0, np.nan])


def test_delay_over_times_has_their_unit():
    times = np.arange(100) * 0.5
    times[43:] += 100  # the stream was silent before row 43
    np.testing.assert_array_equal(alarm_delay([[11, 12], [43, 44]], LABELLED, times), [0.5, 101.5, np.nan])


def test_false_alarms_are_counted_on_the_rows_without_a_label():
    # 3 false alarms on 1000 − 21 hourly rows, in alarms a week
    detected = [[0, 5], [12, 13], [300, 301], [998, 1000]]
    assert false_alarm_rate(detected, LABELLED, 1000, rows_per_unit=168) == pytest.approx(3 * 168 / 979)
    assert false_alarm_rate(detected, LABELLED, 1000) == pytest.approx(3 / 979)
    assert false_alarm_rate([], LABELLED, 1000) == 0
    assert math.isnan(false_alarm_rate([], [[0, 10]], 10))


@given(flagged, flagged)
def test_delay_is_a_number_exactly_where_a_label_is_found(one: list[bool], other: list[bool]):
    detected, labelled = windows(one), windows(other)
    delay = alarm_delay(detected, labelled)
    assert np.sum(~np.isnan(delay)) == event_counts(detected, labelled).true_positives
    for (start, stop), late in zip(labelled.tolist(), delay.tolist(), strict=True):
        rows = [i for i in range(start, stop) if i < len(one) and one[i]]
        assert late == rows[0] - start if rows else math.isnan(late)


@pytest.mark.parametrize(
    ("detected", "labelled", "words"),
    [
        ([[3, 3]], [], r"detected: expected rows start:stop.* got \[3, 3\]"),
        ([], [[5, 9], [8, 10]], r"labelled: expected rows start:stop.* got \[8, 10\]"),
        ([5, 9], [], r"detected: expected int \(W, 2\)"),
    ],
)
def test_ranges_of_another_form_are_refused_by_name(detected: list, labelled: list, words: str):
    for metric in (event_counts, alarm_delay):
        with pytest.raises(ShapeError, match=words):
            metric(detected, labelled)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"times: expected one number a row, at least 71, got \(70,\)"):
        alarm_delay([], LABELLED, np.arange(70))
    with pytest.raises(ShapeError, match=r"detected: .* within 60 rows"):
        false_alarm_rate([[10, 61]], [], 60)
    with pytest.raises(SettingError, match="rows_per_unit: expected a number above 0, got 0"):
        false_alarm_rate([], [], 60, rows_per_unit=0)
