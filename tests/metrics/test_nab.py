"""NAB's score: by hand on a hundred rows, by a readable twin row by row, and on published results of three rivals."""

from __future__ import annotations

import csv
import io
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.data.labelled import LabelledSeries, nab
from carrousel.errors import SettingError, ShapeError
from carrousel.metrics.nab import PROFILES, NabScore, Profile, best, curve, probation, score, worth

needs_data = pytest.mark.skipif("CARROUSEL_DATA" not in os.environ, reason="CARROUSEL_DATA names no folder")
ROUNDING = 1e-9  # sums of ten thousand float64 values of order one

# A hundred rows, 15 of them probation, one window of ten.
WINDOW = [[50, 60]]


def at(*rows: int) -> np.ndarray:
    """Scores of a hundred rows: 1 on these, 0 elsewhere."""
    scores = np.zeros(100)
    scores[list(rows)] = 1
    return scores


def twin_worth(rows: int, windows: list[list[int]], profile: Profile) -> list[float]:
    """What each row is worth, one row after the other, from the definition alone."""

    def s(position: float) -> float:
        return 2 / (1 + math.exp(5 * position)) - 1 if position < 3 else -1.0

    values: list[float] = []
    for i in range(rows):
        value = -profile.fp
        for start, stop in windows:
            width, last = stop - start, stop - 1
            if start <= i <= last:
                value = profile.tp * s((i - last - 1) / width) / s(-1)
                break
            if i > last:
                value = profile.fp * (s((i - last) / (width - 1)) if width > 1 else -1)
        values.append(0.0 if i < min(math.floor(0.15 * rows), 750) else value)
    return values


def twin_raw(files: list[tuple[np.ndarray, list[list[int]]]], threshold: float, profile: Profile) -> float:
    """The raw score at one threshold, one window after the other."""
    total = 0.0
    for scores, windows in files:
        rows, value = len(scores), twin_worth(len(scores), windows, profile)
        hit = [i for i in range(probation(rows), rows) if scores[i] >= threshold]
        for start, stop in windows:
            if stop > probation(rows):
                inside = [value[i] for i in hit if start <= i < stop]
                total += max(inside) if inside else -profile.fn
        total += sum(value[i] for i in hit if not any(start <= i < stop for start, stop in windows))
    return total


@st.composite
def corpora(draw: st.DrawFn) -> list[tuple[np.ndarray, list[list[int]]]]:
    """Some short files with few distinct scores, so that ties are common, and windows anywhere."""
    files: list[tuple[np.ndarray, list[list[int]]]] = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(1, 40))
        scores = draw(st.lists(st.integers(0, 4).map(float), min_size=rows, max_size=rows))
        edges = sorted(draw(st.sets(st.integers(0, rows), max_size=6)))
        files.append((np.array(scores), [list(pair) for pair in zip(edges[::2], edges[1::2], strict=False)]))
    return files


def test_probation_is_15_percent_at_most_750_rows():
    assert [probation(rows) for rows in (0, 6, 7, 100, 5000, 5007, 22_695)] == [0, 0, 1, 15, 750, 750, 750]


def test_worth_by_hand():
    value = worth(100, WINDOW)
    assert value[:15].tolist() == [0.0] * 15
    assert value[15:50].tolist() == [-0.11] * 35
    assert value[50] == pytest.approx(1)  # S(−1) / S(−1)
    assert value[55] == pytest.approx(0.848283639957513 / 0.986614298151430)  # S(−0.5), S(−1)
    assert value[59] == pytest.approx(0.244918662403709 / 0.986614298151430)  # S(−0.1), S(−1)
    assert value[60] == pytest.approx(-0.11 * 0.270847118)  # S(1/9): the next row costs about a quarter
    assert value[68] == pytest.approx(-0.11 * 0.986614298151430)  # S(1)
    assert value[85] == pytest.approx(-0.11 * 0.9999989, rel=1e-6)
    assert value[86:].tolist() == [-0.11] * 14  # from three widths on exactly


@pytest.mark.parametrize(
    ("profile", "silent", "early", "late_and_two_alarms"),
    [
        ("standard", -1.0, 1.0, 0.248241567 - 0.11 - 0.110),
        ("reward_low_FP_rate", -1.0, 1.0, 0.248241567 - 0.22 - 0.22),
        ("reward_low_FN_rate", -2.0, 1.0, 0.248241567 - 0.11 - 0.11),
    ],
)
def test_raw_scores_by_hand(profile: str, silent: float, early: float, late_and_two_alarms: float):
    assert score([(at(), WINDOW)], 0.5, profile).raw == silent
    assert score([(at(50), WINDOW)], 0.5, profile).raw == pytest.approx(early)
    assert score([(at(50, 51, 59), WINDOW)], 0.5, profile).raw == pytest.approx(early)  # once a window
    assert score([(at(3, 14), WINDOW)], 0.5, profile) == score([(at(), WINDOW)], 0.5, profile)  # in probation
    found = score([(at(20, 59, 90), WINDOW)], 0.5, profile)
    assert found.raw == pytest.approx(late_and_two_alarms)
    assert (found.windows, found.detected, found.false_alarms, found.threshold) == (1, 1, 2, 0.5)


def test_score_is_0_for_silence_and_100_for_the_first_row_of_every_window_by_every_profile():
    files = [(at(50), WINDOW), (at(30, 80), [[30, 40], [80, 81]]), (at(), [])]
    for profile in PROFILES:
        assert best(files, profile).score == pytest.approx(100)
        assert score(files, 2.0, profile).score == 0
        assert score(files, math.inf, profile).score == 0
    assert score(files, -math.inf).score < 0


def test_best_threshold_is_the_highest_of_those_that_score_the_same():
    scores = at(50) * 3 + at(51) * 2 + at(52)  # the later rows of the window add nothing
    assert best([(scores, WINDOW)]) == NabScore(
        score=pytest.approx(100), raw=pytest.approx(1), threshold=3.0, windows=1, detected=1, false_alarms=0
    )


def test_best_of_a_detector_whose_alarms_are_all_false_is_silence():
    found = best([(at(*range(15, 50)) * 0.5 + 0.1, [])])
    assert (found.threshold, found.raw, found.false_alarms) == (math.inf, 0, 0)
    assert math.isnan(found.score)
    assert best([(at(20), WINDOW)]).threshold == math.inf
    assert best([(at(20), WINDOW)]).score == 0


def test_one_threshold_serves_all_files():
    # Each alone would take its own and reach 100; together the second costs a missed window or the first two alarms.
    first, second = at(50) * 0.9 + at(20, 21) * 0.5, at(50) * 0.4
    together = best([(first, WINDOW), (second, WINDOW)])
    assert best([(first, WINDOW)]).score == pytest.approx(100)
    assert best([(second, WINDOW)]).score == pytest.approx(100)
    assert (together.threshold, together.raw) == (0.4, pytest.approx(2 - 0.22))


def test_window_in_probation_is_not_counted_and_one_at_its_end_in_part():
    assert curve([(at(50), [[0, 15], [50, 60]])]).windows == 1
    found = score([(at(12), [[10, 20]])], 0.5)
    assert (found.windows, found.detected, found.raw) == (1, 0, -1)
    assert score([(at(12, 15), [[10, 20]])], 0.5).raw == pytest.approx(0.848283639957513 / 0.986614298151430)


@given(corpora(), st.sampled_from([*PROFILES.values(), Profile(tp=0.5, fp=1.0, fn=0.3)]))
def test_every_threshold_gives_what_the_twin_gives(files: list[tuple[np.ndarray, list[list[int]]]], profile: Profile):
    found = curve(files, profile)
    assert found.threshold[0] == math.inf
    assert np.all(np.diff(found.threshold) < 0)
    expected = [twin_raw(files, threshold, profile) for threshold in found.threshold]
    np.testing.assert_allclose(found.raw, expected, atol=ROUNDING)
    assert best(files, profile).raw == pytest.approx(max(expected), abs=ROUNDING)
    for threshold in (-1.0, 0.5, 2.0, 2.5, 9.0):
        assert score(files, threshold, profile).raw == pytest.approx(twin_raw(files, threshold, profile), abs=ROUNDING)


@given(corpora())
def test_score_depends_on_the_order_of_scores_alone(files: list[tuple[np.ndarray, list[list[int]]]]):
    moved = [(np.exp(scores) - 7, windows) for scores, windows in files]
    np.testing.assert_array_equal(curve(files).raw, curve(moved).raw)


@given(corpora())
def test_order_of_files_does_not_matter(files: list[tuple[np.ndarray, list[list[int]]]]):
    assert best(files).raw == pytest.approx(best(files[::-1]).raw, abs=ROUNDING)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([(np.zeros((5, 1)), [])], r"scores of file 0: expected one number a row, got shape \(5, 1\) with 0 missing"),
        ([(at(), []), ([0.0, np.nan], [])], r"scores of file 1: .* with 1 missing"),
        ([(at(), [[90, 101]])], r"windows of file 0: .* within 100 rows, got \[90, 101\]"),
        ([(at(), [[20, 30], [29, 40]])], r"got \[29, 40\]; sort them"),
    ],
)
def test_files_of_another_form_are_refused_by_number(files: list, words: str):
    with pytest.raises(ShapeError, match=words):
        best(files)


def test_unknown_profile_and_threshold_are_refused():
    with pytest.raises(SettingError, match=r"profile 'Standard': not known; did you mean 'standard'\?"):
        best([], "Standard")
    with pytest.raises(SettingError, match="threshold: expected a number, got NaN"):
        score([], math.nan)


def test_no_file_at_all_has_no_score():
    assert math.isnan(best([]).score)


@pytest.fixture(scope="module")
def corpus() -> list[LabelledSeries]:
    return list(nab())


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, np.ndarray]]:
    """rival → series → its published scores."""
    scores: dict[str, dict[str, np.ndarray]] = {}
    with tarfile.open(Path(os.environ["CARROUSEL_DATA"]) / "nab" / "results_35.tar.xz") as tar:
        for member in tar:
            if (stream := tar.extractfile(member)) is not None:
                rival, series = Path(member.name).stem.split("_", 1)
                rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8"))
                scores.setdefault(rival, {})[series] = np.array([float(row["anomaly_score"]) for row in rows])
    return scores


@needs_data
@pytest.mark.parametrize(
    ("rival", "standard", "low_fp", "low_fn"),
    [("numenta", 66.6, 60.8, 71.1), ("knncad", 53.0, 40.1, 59.6), ("windowedGaussian", 22.0, 4.9, 29.8)],
)
def test_published_results_of_rivals_score_what_the_official_scorer_gives(
    corpus: list[LabelledSeries],
    published: dict[str, dict[str, np.ndarray]],
    rival: str,
    standard: float,
    low_fp: float,
    low_fn: float,
):
    files = [(published[rival][series.name], series.windows) for series in corpus]
    assert [round(best(files, profile).score, 1) for profile in PROFILES] == [standard, low_fp, low_fn]
    found = best(files)
    assert score(files, found.threshold) == found
    expected = sum(score([file], found.threshold).raw for file in files)
    assert found.raw == pytest.approx(expected, abs=ROUNDING)


@needs_data
@pytest.mark.parametrize("profile", PROFILES)
def test_every_row_of_the_corpus_is_worth_what_the_twin_says(corpus: list[LabelledSeries], profile: str):
    for series in corpus:
        expected = twin_worth(len(series.values), series.windows.tolist(), PROFILES[profile])
        np.testing.assert_allclose(worth(len(series.values), series.windows, profile), expected, atol=1e-12)


@needs_data
def test_results_of_a_rival_at_twenty_thresholds_score_what_the_twin_gives(
    corpus: list[LabelledSeries], published: dict[str, dict[str, np.ndarray]]
):
    files = [(published["numenta"][series.name], series.windows.tolist()) for series in corpus[:12]]
    found = curve(files)
    for index in np.linspace(0, len(found.raw) - 1, 20).astype(int).tolist():
        expected = twin_raw(files, found.threshold[index], PROFILES["standard"])
        assert found.raw[index] == pytest.approx(expected, rel=1e-12, abs=ROUNDING)
