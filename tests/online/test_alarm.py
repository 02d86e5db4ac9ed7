"""Scores and onsets: which rows an onset must exceed."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel.online.alarm import CALM, HOLD, PART, WARM, Alarm
from carrousel.online.member import MEMBERS

YES = np.array([True])


def onsets(scores: np.ndarray) -> np.ndarray:
    """Of rows with these scores (T, N)."""
    alarm, found = Alarm(scores.shape[1], 1e-4), np.zeros(scores.shape)
    surprise = np.zeros((scores.shape[1], 1, len(MEMBERS)))
    for t, score in enumerate(scores):
        surprise[:, 0, -1] = score
        found[t] = alarm.update(surprise, np.ones(scores.shape[1], bool), np.ones(scores.shape[1])).onset
    return found


@pytest.mark.parametrize("first", [0, 1, PART - 1, 3 * HOLD + 4])
def test_an_onset_exceeds_the_last_rows_and_at_most_a_part_more(first: int):
    apart = np.arange(1, HOLD + 2 * PART)
    scores = np.zeros((first + len(apart) + 1, len(apart)))
    scores[first] = 3.0
    scores[first + apart, apart - 1] = 2.0
    found = onsets(scores)
    assert (found[first] == 3.0).all()
    later = found[first + apart, apart - 1]
    assert (later[apart <= HOLD] == 0).all()
    assert (later[apart >= HOLD + PART] == 2.0).all()


def test_a_score_that_is_larger_is_an_onset_at_once():
    scores = np.tile([[1.0], [2.0], [2.0], [2.5]], (1, 1))
    np.testing.assert_array_equal(onsets(scores), [[1.0], [2.0], [0.0], [2.5]])


def test_counters_stand_where_they_no_longer_matter():
    alarm = Alarm(1, 1e-4)
    for _ in range(400):
        said = alarm.update(np.zeros((1, 1, len(MEMBERS))), YES, np.ones(1))
    assert not said.warming[0]
    assert alarm.arrays["seen"].item() == WARM < 256
    assert alarm.arrays["calm"].item() <= CALM < 256
    assert HOLD + PART < 256
