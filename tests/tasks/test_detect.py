"""The detector: what is promised, fitted, kept and read again."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import carrousel
from carrousel import artifact
from carrousel.errors import ConfigError, HistoryError, NotTrainedError, SettingError, WeightsError
from carrousel.tasks.detect import Detector
from carrousel.tasks.detect_replay import correction
from carrousel.tasks.detect_saved import shipped
from carrousel.tasks.detect_setting import DetectSettings, Promise
from online.stream import daily


def table(length: int = 700, **columns: np.ndarray) -> dict[str, np.ndarray]:
    ds = np.datetime64("2024-01-01T00:00:00", "s") + np.arange(length) * np.timedelta64(900, "s")
    return {"ds": ds, **(columns or {"y": daily(length, 0)})}


@pytest.mark.parametrize(
    ("text", "rate", "per_second"),
    [
        ("1/week", 1 / 604_800, True),
        ("2 / day", 2 / 86_400, True),
        ("0.5/hour", 0.5 / 3600, True),
        ("1/2 weeks", 1 / 1_209_600, True),
        ("3/1000 rows", 0.003, False),
        ("1/row", 1.0, False),
        ("3/minute", 0.05, True),
        ("1/10 seconds", 0.1, True),
    ],
)
def test_a_promise_is_read(text, rate, per_second):
    promise = Promise.parse(text)
    assert promise.rate == pytest.approx(rate)
    assert promise.per_second is per_second


@pytest.mark.parametrize("text", ["", "often", "1/fortnight", "0/week", "1/0 rows", "-1/day", "1 week", "nan/day"])
def test_what_is_no_promise_is_refused(text):
    with pytest.raises(SettingError, match="false_alarms"):
        DetectSettings(false_alarms=text)


def test_a_promise_by_the_clock_needs_a_clock():
    with pytest.raises(SettingError, match=r"'1/2000 rows'.*got '1/week'"):
        Detector(false_alarms="1/week", minutes=0).fit({"ds": np.arange(300), "y": daily(300, 0)})
    detector = Detector(minutes=0).fit({"ds": np.arange(300), "y": daily(300, 0)})
    assert detector.promised == 1 / 2000


def test_a_promise_that_rows_cannot_have_is_refused_or_said():
    with pytest.raises(SettingError, match=r"expected fewer than rows, got '8/hour', which is 2 for each row at one"):
        Detector(false_alarms="8/hour", minutes=0).fit(table())
    notes = Detector(false_alarms="1/hour", minutes=0).fit(table()).notes
    assert any("1/hour is one in 4 rows; fewer will come" in note for note in notes)
    notes = Detector(false_alarms="1/week", minutes=0).fit(table()).notes
    assert not any("fewer will come" in note for note in notes)


@pytest.mark.parametrize(("unit", "rows"), [("M", 264), ("D", 400)])
def test_one_a_week_is_no_default_for_days_and_months(unit, rows, tmp_path):
    ds = (np.datetime64("1990-01", unit) + np.arange(rows)).astype("datetime64[s]")
    frame = {"ds": ds, "y": np.random.default_rng(0).normal(size=rows)}
    detector = Detector(minutes=0).fit(frame)
    assert detector.promised == 1 / 200
    assert any("1/200 rows are accepted, since one a week, " in note for note in detector.notes)
    again = carrousel.load(detector.save(tmp_path / "run"))
    assert again.promised == 1 / 200
    assert again.fingerprint == detector.fingerprint
    told = Detector(minutes=0, false_alarms="1/2 years").fit(frame)
    assert told.settings.false_alarms == "1/2 years"
    assert Detector(minutes=0).fit(table()).settings.false_alarms is None


def test_the_correction_counts_no_more_alarms_than_there_can_be():
    # As rare as they say, but none comes more often than once in a hundred rows.
    rng = np.random.default_rng(0)
    rarity = np.ones((400, 100))
    rarity[:, 50] = 0.01 * rng.random(400)
    for promised in (1 / 150, 1 / 400, 1 / 1000):
        factor, _ = correction([rarity.reshape(-1)], promised, seed=0)
        assert factor == pytest.approx(1, rel=0.15)


def test_the_correction_does_not_take_rows_that_belong_together_for_many():
    rng = np.random.default_rng(0)

    def width(rarity: np.ndarray) -> tuple[float, float]:
        factor, note = correction([rarity], 0.01, seed=0)
        low, high = (float(end) for end in re.search(r"\((\S+) to (\S+) by a block", note).groups())
        return factor, high - low

    # The same rarities, once in any order, once with the small ones next to each other, as in one bad time.
    apart = rng.random(20_000)
    together = apart.reshape(100, 200)[np.argsort(apart.reshape(100, 200).min(1))].copy()
    together[:10] = np.sort(apart)[:2000].reshape(10, 200)
    together[10:] = np.sort(apart)[2000:].reshape(90, 200)
    free, clustered = width(apart), width(together.reshape(-1))
    assert free[0] == pytest.approx(1, rel=0.2)
    assert clustered[1] > 3 * free[1]


def test_the_correction_says_how_far_it_goes():
    calm = [np.ones(100_000)]
    factor, note = correction(calm, 0.01, seed=0)
    assert factor == 0.2
    assert note.endswith("the threshold corrects for that, as far as 0.2 times")


def test_a_fitted_detector_goes_on_after_its_table_and_reads_the_same_after_saving(tmp_path):
    detector = Detector(minutes=0, false_alarms="1/day").fit(table(a=daily(700, 1), b=daily(700, 2)))
    assert detector.variables == ("a", "b")
    assert detector.promised == pytest.approx(900 / 86_400)
    detector.save(tmp_path / "run")
    again = carrousel.load(tmp_path / "run")
    (name,) = detector._states
    one, other, cold = detector.watch(ids=[name]), again.watch(ids=[name]), detector.watch()
    rng = np.random.default_rng(0)
    second = float(table()["ds"][-1].astype("int64"))
    for step in range(1, 30):
        row, now = rng.normal(10, 3, (1, 2)), np.array([second + 900 * step])
        a, b, c = one.step(row, now), other.step(row, now), cold.step(row, now)
        for field in ("score", "p_value", "rarity", "alarm", "expected", "contributions"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        assert not a.warming[0]
        assert c.warming[0]
    assert again.notes == detector.notes
    assert again.factor == detector.factor


def test_an_adapted_network_is_kept_only_where_it_forecasts_better():
    pytest.importorskip("torch")
    # A cycle of 40 rows that the habits of the day do not know.
    y = np.tile([0.0] * 35 + [5.0] * 5, 40) + 0.01 * np.random.default_rng(0).normal(size=1600)
    detector = Detector(minutes=0.05, seed=1).fit(table(1600, y=y), progress=lambda report: None)
    assert detector.history is not None
    if detector.history.best_step:
        assert not np.array_equal(detector._artifact.weights["head.bias"], shipped().weights["head.bias"])
    else:
        np.testing.assert_array_equal(detector._artifact.weights["head.bias"], shipped().weights["head.bias"])


def test_the_correction_is_what_alarms_came_too_often():
    rng = np.random.default_rng(0)
    # Rarities that are three times too small: alarms at a promise of 1 / 100 come three times as often.
    rarity = [np.minimum(rng.random(20_000) / 3, 1)]
    factor, note = correction(rarity, 0.01, seed=0)
    assert factor == pytest.approx(3, rel=0.15)
    assert "times as often as promised" in note
    calm, _ = correction([rng.random(20_000)], 0.01, seed=0)
    assert calm == pytest.approx(1, rel=0.1)
    short, _ = correction([np.ones(200)], 0.001, seed=0)
    assert 0.5 < short <= 1


def test_an_online_detector_needs_no_table(tmp_path):
    detector = Detector.online(["a", "b"], false_alarms="1/500 rows")
    assert detector.watch(3).step(np.zeros((3, 2)), np.zeros(3)).warming.all()
    detector.save(tmp_path / "cold")
    again = carrousel.load(tmp_path / "cold")
    assert again.variables == ("a", "b")
    assert again.schema is None
    with pytest.raises(SettingError, match="different names"):
        Detector.online(["a", "a"])


def test_what_cannot_be_done_is_said():
    with pytest.raises(NotTrainedError, match=r"fit, carrousel\.load, or use Detector\.online"):
        Detector().watch()
    with pytest.raises(HistoryError, match="at least 200 rows of one series, got 50"):
        Detector(minutes=0).fit(table(50, y=daily(50, 0)))
    with pytest.raises(SettingError, match="minuets"):
        Detector(minuets=1)


def test_a_damaged_detector_is_refused(tmp_path):
    detector = Detector(minutes=0).fit(table())
    detector.save(tmp_path / "run")
    saved = artifact.read(tmp_path / "run")
    context = dict(saved.context or {})
    context["state.tail.counts"] = context["state.tail.counts"][:, :, :, :5]
    with pytest.raises(WeightsError, match=r"tail\.counts': expected uint16 \(1, 1, 6, 48\), got .*; a detector"):
        Detector.from_artifact(replace(saved, context=context))
    del context["state.tail.counts"]
    with pytest.raises(WeightsError, match=r"tail\.counts' is missing"):
        Detector.from_artifact(replace(saved, context=context))
    with pytest.raises(ConfigError, match="factor above 0"):
        Detector.from_artifact(replace(saved, statistics={**saved.statistics, "factor": 0.0}))
