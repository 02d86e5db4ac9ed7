"""The real detector behind streams and tables: causal, resumed to the bit, the same row by row, and light to load."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import carrousel
from carrousel import Detector
from carrousel.errors import ArtifactError, NotTrainedError, SettingError
from carrousel.stream import DetectStream
from carrousel.tasks.detect_card import detect_card

START = np.datetime64("2024-01-01T00", "s")
FITTED = 400


def rows(count: int, variables: tuple[str, ...] = ("y",), seed: int = 0) -> list[dict[str, object]]:
    """Hourly rows with a daily wave, a hot spell, missing values, gaps, late and repeated rows."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, object]] = []
    hour = 0
    for i in range(count):
        hour += 1 if rng.random() < 0.97 else int(rng.choice([0, 3, -2]))
        wave = 5 * np.sin(2 * np.pi * hour / 24) + rng.normal(size=len(variables)) + 30 * (count - 25 < i < count - 20)
        wave[rng.random(len(variables)) < 0.02] = np.nan
        found.append(
            {"ds": START + np.timedelta64(3600 * hour, "s")} | dict(zip(variables, wave.tolist(), strict=True))
        )
    return found


def table(count: int, variables: tuple[str, ...] = ("y",)) -> dict[str, np.ndarray]:
    """The same, one row a stamp, in order."""
    once = {row["ds"]: row for row in reversed(rows(count, variables))}
    taken = [once[ds] for ds in sorted(once)]
    return {name: np.array([row[name] for row in taken]) for name in taken[0]}


def part(frame: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in frame.items()}


@pytest.fixture(scope="module")
def pair() -> Detector:
    """A detector of two variables, fitted without training."""
    return Detector(minutes=0, false_alarms="1/100 rows").fit(part(table(700, ("load", "heat")), slice(FITTED)))


@pytest.mark.parametrize("cut", [1, 150, 249])
def test_no_event_depends_on_a_later_row(cut):
    given = rows(250)
    whole = Detector.online(false_alarms="1/100 rows").stream().push(given)
    changed = given[:cut] + [row | {"y": 99.0} for row in given[cut:]]
    assert Detector.online(false_alarms="1/100 rows").stream().push(changed)[:cut] == whole[:cut]
    assert any(event.alarm for event in whole)
    assert {event.kind for event in whole} == {"row", "late", "duplicate"}


@pytest.fixture(scope="module", params=["cold", "season", "fitted", "beyond", "series"])
def kind(request: pytest.FixtureRequest, pair: Detector) -> Detector:
    """Each kind of detector that needs no training."""
    known = part(table(700, ("load", "heat")), slice(FITTED))
    return {
        "cold": lambda: Detector.online(("load", "heat"), false_alarms="1/100 rows"),
        "season": lambda: Detector.online(("load", "heat"), false_alarms="1/100 rows", season=24),
        "fitted": lambda: pair,
        "beyond": lambda: Detector(minutes=0, beyond=0.1).fit(known),
        "series": lambda: Detector(minutes=0, joint=False, false_alarms="1/100 rows").fit(known),
    }[request.param]()


def after(detector: Detector) -> list[dict[str, object]]:
    """Messy rows behind those that it was fitted on."""
    begin = max(detector.ends.values(), default=START)
    return [row | {"ds": row["ds"] - START + begin} for row in rows(260, ("load", "heat"), seed=3)]


def test_whatever_comes_later_no_event_of_any_kind_of_detector_changes(kind):
    name = "heat" if "heat" in kind.ends else None
    given = after(kind)
    whole = kind.stream(name).push(given)
    hour = np.timedelta64(3600, "s")
    later = [row | {"ds": row["ds"] + 7 * hour, "load": -50.0, "heat": 1e9} for row in given[150:]]
    assert kind.stream(name).push(given[:150] + later)[:150] == whole[:150]
    assert kind.stream(name).push(given[:150]) == whole[:150]
    assert any(event.alarm for event in whole)
    assert {event.kind for event in whole} == {"row", "late", "duplicate"}
    trends = [trend for event in whole[200:] if event.kind == "row" for trend in event.trend.values()]
    assert any(trend.level_band or trend.season_band for trend in trends)


def test_any_kind_of_detector_is_resumed_with_the_same_events(kind, tmp_path):
    name = "heat" if "heat" in kind.ends else None
    given = after(kind)
    whole = kind.stream(name).push(given)
    stream = kind.stream(name)
    for done, cut in ((0, 1), (1, 90), (90, 238)):  # the last is within an incident
        assert stream.push(given[done:cut]) == whole[done:cut]
        stream = kind.stream(state=stream.save(tmp_path / f"{cut}"))
    assert stream.push(given[238:]) == whole[238:]
    assert whole[237].incident == whole[238].incident
    assert whole[237].incident


def test_streams_together_do_not_depend_on_later_rows_of_any_of_them():
    detector = Detector.online(false_alarms="1/100 rows")
    one, other = detector.streams(list("abc")), detector.streams(list("abc"))
    for i, row in enumerate(rows(200)):
        table = {
            "unique_id": np.array(list("abc")),
            "ds": np.full(3, row["ds"]),
            "y": np.array([row["y"], i % 7, -1.0]),
        }
        said = one.update(table)
        if i < 150:
            for name, column in other.update(table).items():
                np.testing.assert_array_equal(column, said[name], err_msg=name)
        elif i == 150:
            kept = {name: array.copy() for name, array in other.state.items()}
            table["y"][:] = [np.nan, 1e9, np.inf]
            other.update(table)
    assert any(not np.array_equal(other.state[name], array, equal_nan=True) for name, array in kept.items())


@pytest.mark.parametrize("cut", [0, 3, 140])
def test_a_stream_resumed_from_a_file_gives_the_same_events(cut, tmp_path):
    detector, given = Detector.online(false_alarms="1/100 rows"), rows(250)
    whole = detector.stream()
    events = whole.push(given)
    first = detector.stream()
    first.push(given[:cut])
    second = detector.stream(state=first.save(tmp_path / "state"))
    assert second.push(given[cut:]) == events[cut:]
    assert second.save(tmp_path / "second").read_bytes() == whole.save(tmp_path / "whole").read_bytes()


def test_a_saved_detector_goes_on_with_the_same_events_and_states(pair, tmp_path):
    later = part(table(700, ("load", "heat")), slice(FITTED, None))
    given = [dict(zip(later, row, strict=True)) for row in zip(*later.values(), strict=True)]
    stream = pair.stream()
    assert stream.newest == pair.ends["series"] < later["ds"][0]
    events = stream.push(given)
    assert not any(event.warming for event in events)
    loaded = carrousel.load(pair.save(tmp_path / "pair"))
    assert loaded.fingerprint == pair.fingerprint
    assert loaded.stream().push(given) == events
    state = stream.save(tmp_path / "state")
    assert loaded.stream(state=state).newest == later["ds"][-1]
    other = Detector(minutes=0, false_alarms="1/99 rows").fit(part(table(700, ("load", "heat")), slice(FITTED)))
    with pytest.raises(ArtifactError, match="of another detector"):
        other.stream(state=state)


def test_a_table_has_the_events_of_its_rows_one_by_one(pair):
    later = part(table(700, ("load", "heat")), slice(FITTED, None))
    said = pair.predict(later)
    events = pair.stream().push([dict(zip(later, row, strict=True)) for row in zip(*later.values(), strict=True)])
    assert [event.score for event in events] == said["score"].tolist()
    assert [event.alarm for event in events] == said["alarm"].tolist()
    assert [event.incident or 0 for event in events] == said["incident"].tolist()
    for name in ("load", "heat"):
        assert [event.expected[name] for event in events] == said[f"expected-{name}"].tolist()
        assert [event.band[name][0] for event in events] == said[f"lower-{name}"].tolist()
    found = pair.events(later)
    hot = later["ds"][-25]
    assert any(
        incident.start <= later["ds"][-20] and (incident.end is None or incident.end >= hot) for incident in found
    )
    assert {cause.variable for incident in found for cause in incident.causes} == {"load", "heat"}
    assert {cause.member for incident in found for cause in incident.causes} <= set(pair.watch().members)


def test_many_streams_of_the_real_detector_say_what_each_says_alone():
    detector = Detector.online(false_alarms="1/100 rows")
    ids = [f"s{n}" for n in range(5)]
    together = detector.streams(ids)
    alone = [detector.stream(name) for name in ids]
    feeds = [rows(160, seed=n) for n in range(5)]
    for i in range(160):
        said = together.update(
            {
                "unique_id": np.array(ids),
                "ds": np.array([feed[i]["ds"] for feed in feeds]),
                "y": np.array([feed[i]["y"] for feed in feeds]),
            }
        )
        events = [stream.update(feed[i]) for stream, feed in zip(alone, feeds, strict=True)]
        assert said["kind"].tolist() == [event.kind for event in events]
        assert said["alarm"].tolist() == [event.alarm for event in events]
        np.testing.assert_array_equal(said["score"], [np.nan if e.score is None else e.score for e in events])


def test_evaluate_knows_what_was_promised(pair):
    later = part(table(700, ("load", "heat")), slice(FITTED, None))
    spans = {"start": later["ds"][[-25]], "end": later["ds"][[-20]]}
    evaluation = pair.evaluate(later, spans, train=part(table(700, ("load", "heat")), slice(FITTED)))
    assert evaluation.promised == 10.0
    assert evaluation.unit == "1,000 rows"
    assert evaluation.scores["Carrousel"].found == 1
    assert evaluation.scores["Carrousel"].vus_pr > 0.5


def test_what_cannot_be_streamed_is_said():
    with pytest.raises(NotTrainedError):
        Detector().stream()
    with pytest.raises(SettingError, match="names of streams that differ, got none"):
        Detector.online().streams([])
    assert isinstance(Detector.online("z").stream("here"), DetectStream)


def test_loading_and_streaming_a_detector_imports_no_heavy_package(pair, tmp_path):
    folder = pair.save(tmp_path / "pair")
    script = f"""
        import sys
        import carrousel
        stream = carrousel.load({str(folder)!r}).stream()
        stream.update({{"ds": "2024-03-01", "load": 1.0, "heat": 2.0}})
        stream.save({str(tmp_path / "state")!r})
        heavy = ["torch", "keras", "onnx", "pandas", "polars", "pyarrow", "narwhals", "typer", "rich", "statsforecast"]
        print(*[name for name in heavy if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
    assert Path(tmp_path / "state").exists()


def test_the_card_says_what_was_measured(pair, tmp_path):
    later = part(table(700, ("load", "heat")), slice(FITTED, None))
    spans = {"start": later["ds"][[-25]], "end": later["ds"][[-20]]}
    evaluation = pair.evaluate(later, spans, train=part(table(700, ("load", "heat")), slice(FITTED)))
    card = detect_card(pair, evaluation)
    assert "Watches load, heat row by row" in card
    assert "1/100 rows false alarms are accepted" in card
    assert f"| {pair.num_parameters:,} |" in card
    assert f"| Carrousel | 1 of 1 | {evaluation.scores['Carrousel'].rate:.3g} |" in card
    assert all(f"- {note}" in card for note in pair.notes)
    saved = pair.save(tmp_path / "pair", card=card)
    assert (saved / "README.md").read_text("utf-8") == card
    assert carrousel.load(saved).notes == pair.notes
