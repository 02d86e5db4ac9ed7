"""A detector that reads columns which it does not watch."""

from __future__ import annotations

import numpy as np
import pytest

import carrousel
from carrousel import Detector
from carrousel.errors import ColumnError, ConfigError, SettingError

pytest.importorskip("torch")

ROWS, LATER = 600, 300
COLUMNS = ("valve", "mode")


def table(first: int, rows: int) -> dict[str, np.ndarray]:
    """A pressure that is high while the valve is open, which nothing but the valve tells; and a mode of two names."""
    random = np.random.default_rng(5)
    valve = (random.random(ROWS + LATER) < 0.5).astype(float)
    mode = np.where(random.random((ROWS + LATER) // 20 + 1) < 0.5, "low", "high").repeat(20)[: ROWS + LATER]
    y = 4 * valve + (mode == "high") + 0.05 * random.normal(size=ROWS + LATER)
    part = slice(first, first + rows)
    return {"ds": np.arange(ROWS + LATER)[part], "y": y[part], "valve": valve[part], "mode": mode[part]}


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(past=COLUMNS, minutes=10, beyond=0.3).fit(table(0, ROWS))


@pytest.fixture(scope="module")
def blind() -> Detector:
    return Detector(minutes=0, beyond=0.3, target="y").fit(
        {k: v for k, v in table(0, ROWS).items() if k in ("ds", "y")}
    )


def rows_of(frame: dict[str, np.ndarray]) -> list[dict[str, object]]:
    return [{name: values[i] for name, values in frame.items()} for i in range(len(frame["ds"]))]


def test_it_says_what_it_reads(detector):
    assert detector.variables == ("y",)
    assert detector.covariates == ("valve", "mode=high", "mode=low")
    assert detector.watch().members[-2:] == ("residual", "sustained")
    assert detector.num_parameters > Detector.online().num_parameters


def test_what_a_covariate_explains_is_expected_and_what_it_forbids_is_found(detector, blind):
    later = table(ROWS, LATER)
    calm = detector.judge(later)
    plain = blind.judge({k: later[k] for k in ("ds", "y")})
    assert np.nanmean(np.abs(calm.residual)) < 0.5 * np.nanmean(np.abs(plain.residual))
    assert not calm.alarm.any()
    wrong = {name: values.copy() for name, values in later.items()}
    closed = np.flatnonzero(later["valve"][100:] == 0)[:8] + 100
    wrong["y"][closed] += 4.0  # as high as with an open valve: within the range of the table
    judged = detector.judge(wrong)
    assert closed[0] <= np.flatnonzero(judged.alarm)[0] <= closed[-1]
    assert not blind.judge({k: wrong[k] for k in ("ds", "y")}).alarm.any()


def test_a_table_gives_the_events_of_its_rows_one_by_one(detector):
    later = table(ROWS, LATER)
    judged = detector.judge(later)
    assert judged.values.shape == (LATER, 1)
    events = detector.stream().push(rows_of(later))
    np.testing.assert_array_equal(judged.score, [event.score for event in events])
    np.testing.assert_array_equal(judged.expected[:, 0], [event.expected["y"] for event in events])
    np.testing.assert_array_equal(judged.alarm, [event.alarm for event in events])


def test_a_row_is_judged_by_its_own_covariates_and_no_later_ones(detector):
    later = table(ROWS, LATER)
    changed = {name: values.copy() for name, values in later.items()}
    changed["valve"][200] = 1 - changed["valve"][200]
    before, after = detector.judge(later), detector.judge(changed)
    np.testing.assert_array_equal(before.expected[:200], after.expected[:200])
    assert abs(before.expected[200, 0] - after.expected[200, 0]) > 1.0


def test_no_event_depends_on_later_values_or_covariates(detector):
    rows = rows_of(table(ROWS, LATER))
    rows[120]["y"] = 40.0
    whole = detector.stream().push(rows)
    changed = rows[:150] + [row | {"y": 99.0, "valve": 7.0, "mode": "low"} for row in rows[150:]]
    assert detector.stream().push(changed)[:150] == whole[:150]
    assert whole[120].alarm


def test_a_missing_covariate_is_as_it_was_last(detector):
    later = table(ROWS, LATER)
    gaps = {name: values.copy() for name, values in later.items()}
    same = np.flatnonzero(later["valve"][1:] == later["valve"][:-1])[::3] + 1
    gaps["valve"][same] = np.nan
    np.testing.assert_array_equal(detector.judge(gaps).score, detector.judge(later).score)
    rows = rows_of(later)
    for i in same:
        del rows[i]["valve"]
    events = detector.stream().push(rows)
    np.testing.assert_array_equal(detector.judge(later).score, [event.score for event in events])


def test_streams_together_are_streams_alone(detector):
    later = table(ROWS, 40)
    together, alone = detector.streams(["a", "b"]), detector.stream("a")
    for row in rows_of(later):
        two = {"unique_id": np.array(["a", "b"])} if detector.schema.id else {}
        assert not two
        batch = together.push(
            slice(None),
            np.full(2, row["ds"]),
            np.tile([row["y"], row["valve"], row["mode"] == "high", row["mode"] == "low"], (2, 1)).astype(float),
        )
        event = alone.update(row)
        assert batch.readings.score.tolist() == [event.score, event.score]


def test_it_is_saved_whole_and_its_streams_go_on(detector, tmp_path):
    detector.save(tmp_path / "run")
    again = carrousel.load(tmp_path / "run")
    later = table(ROWS, LATER)
    assert again.covariates == detector.covariates
    assert again.fingerprint == detector.fingerprint
    np.testing.assert_array_equal(again.judge(later).score, detector.judge(later).score)
    rows = rows_of(later)
    stream = detector.stream()
    events = stream.push(rows[:200])
    stream.save(tmp_path / "state")
    assert len(events) == 200
    assert again.stream(state=tmp_path / "state").update(rows[200]) == stream.update(rows[200])


def test_a_stream_stays_within_16_kilobytes(detector):
    wide = {name: values for name, values in table(0, ROWS).items() if name != "mode"}
    random = np.random.default_rng(0)
    names = [f"c{i}" for i in range(54)]
    wide |= {name: random.random(ROWS).round() for name in names}
    many = Detector(past=names, minutes=0.001).fit(wide)
    assert sum(array.nbytes for array in many.watch().state.values()) <= 16 * 1024


def test_covariates_that_stand_still_are_named_and_not_read(tmp_path):
    still = table(0, ROWS) | {"never": np.zeros(ROWS)}
    detector = Detector(past=("never", "valve"), minutes=0.01).fit(still)
    assert "covariates that never vary in the table are not read: never" in detector.notes
    later = table(ROWS, 60) | {"never": np.zeros(60)}
    other = later | {"never": np.full(60, 7.0)}
    np.testing.assert_array_equal(detector.judge(later).score, detector.judge(other).score)


def test_a_column_that_is_not_there_is_named(detector):
    later = table(ROWS, 10)
    del later["valve"]
    with pytest.raises(ColumnError, match="past column 'valve': not in the table"):
        detector.predict(later)
    with pytest.raises(ColumnError, match="'valv'"):
        Detector(past="valv", minutes=0.01).fit(table(0, ROWS))
    with pytest.raises(ColumnError, match="mode"):
        detector.stream().update({"ds": ROWS, "y": 1.0, "valve": 1.0, "mode": "middle"})


def test_what_reads_nothing_is_refused_covariates():
    with pytest.raises(SettingError, match="past: expected minutes above 0"):
        Detector(past="valve", minutes=0).fit(table(0, ROWS))
    with pytest.raises(SettingError, match="past: expected none without a table"):
        Detector.online(past="valve")


def test_a_saved_form_with_other_covariates_is_refused(detector, tmp_path):
    from dataclasses import replace

    from carrousel.artifact import read

    artifact = read(detector.save(tmp_path / "run"))
    for change in ({"covariates": []}, {"mean": [0.0]}):
        with pytest.raises(ConfigError, match="statistics: expected"):
            Detector.from_artifact(replace(artifact, statistics=artifact.statistics | change))
