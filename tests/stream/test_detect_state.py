"""The state of a stream on disk: it goes on with the same bits, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as serialise

from carrousel.errors import ArtifactError, VersionError
from carrousel.stream import DetectStream, Streams, store
from carrousel.stream.store import load_streams, save_streams
from stream.test_detect_streams import START, feed
from watcher import Detector, hourly


def rows(seed: int, count: int = 160) -> list[dict[str, object]]:
    return [{"ds": str(START + np.timedelta64(3600 * hour, "s")), "y": y} for hour, y in feed(seed, count)]


@pytest.mark.parametrize("detector", [hourly(), Detector()], ids=["schema", "cold"])
@pytest.mark.parametrize("cut", [0, 1, 7, 110])  # within a run of one value
def test_a_stream_that_was_stopped_goes_on_with_the_same_bits(detector, cut, tmp_path):
    given = rows(3)
    whole = DetectStream(detector)
    events = whole.push(given)
    first = DetectStream(detector)
    assert first.push(given[:cut]) == events[:cut]
    file = first.save(tmp_path / "state.safetensors")
    second = DetectStream.of(load_streams(file, detector))
    assert second.push(given[cut:]) == events[cut:]
    assert second.save(tmp_path / "end").read_bytes() == whole.save(tmp_path / "whole").read_bytes()


def test_a_run_that_is_killed_goes_on_from_its_last_state(tmp_path):
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from pathlib import Path
        from carrousel.stream import DetectStream
        from carrousel.stream.store import load_streams
        from stream.test_detect_state import rows
        from watcher import hourly
        file = Path("state")
        stream = DetectStream.of(load_streams(file, hourly())) if file.exists() else DetectStream(hourly())
        for row in rows(5)[stream.count("rows") + sum(map(stream.count, ("late", "duplicates", "conflicts"))):]:
            print(stream.update(row).to_dict(), flush=True)
            stream.save(file)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(Path(__file__).parents[1])]
    lines: list[str] = []
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while len(lines) < 60:
            lines.append(process.stdout.readline().rstrip("\n"))
        os.kill(process.pid, signal.SIGKILL)
    lines = lines[: DetectStream.of(load_streams(tmp_path / "state", hourly())).count("rows")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    again = done.stdout.splitlines()
    expected = [str(event.to_dict()) for event in DetectStream(hourly()).push(rows(5))]
    assert again == expected[-len(again) :]
    assert lines == expected[: len(lines)]
    assert len(again) <= 160 - 59


def test_the_states_of_several_streams_stand_in_one_file(tmp_path):
    detector = hourly(id="unique_id")
    parts = [DetectStream(detector, name) for name in "abc"]
    for n, part in enumerate(parts):
        part.push(rows(n))
    file = save_streams(tmp_path / "all", [part.streams for part in parts])
    streams = load_streams(file, detector)
    assert streams.ids == ("a", "b", "c")
    later = {"ds": "2024-03-01", "y": 9.5}
    assert streams.one("b").update(later) == parts[1].update(later)


def saved(folder: Path) -> Path:
    stream = DetectStream(hourly())
    stream.push(rows(1, 30))
    return stream.save(folder / "state")


def changed(file: Path, **header: object) -> Path:
    """The file with another header, or other arrays, whose checksum is right."""
    from safetensors import safe_open

    from carrousel.stream.store import _checksum

    arrays = load_file(file)
    with safe_open(file, "numpy") as tensors:
        said = json.loads(tensors.metadata()["carrousel"])
    arrays |= header.pop("arrays", {})
    arrays = {name: array for name, array in arrays.items() if array is not None}
    said |= {"checksum": _checksum(arrays)} | header
    save_file(arrays, file, metadata={"carrousel": json.dumps(said)})
    return file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "damaged"),
        (lambda f: f.write_bytes(f.read_bytes()[:100]), "truncated"),
        (lambda f: f.write_bytes(b""), "truncated"),
        (lambda f: f.write_bytes(b"\xff" * 64), "truncated"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1] + b"\x01"), "checksum differs"),
        (lambda f: save_file({"x": np.zeros(1)}, f), "another safetensors file"),
        (lambda f: save_file({"x": np.zeros(1)}, f, metadata={"carrousel": "[1]"}), "expected an object"),
        (lambda f: changed(f, checksum="0"), "checksum differs"),
        (lambda f: changed(f, kind="a cake"), "kind: expected one of"),
        (lambda f: changed(f, more=1), "unknown key 'more'"),
        (lambda f: changed(f, ids=[]), "expected names of streams"),
        (lambda f: changed(f, ids=["a", "b"]), "of another detector|got another"),
        (lambda f: changed(f, detector="0"), "another detector"),
        (lambda f: changed(f, clock="integer"), "stamps in 'ds'"),
        (lambda f: changed(f, time="when"), "expected stamps in 'ds', got 'when'"),
        (lambda f: changed(f, arrays={"watch.ring": None}), "expected an array 'ring'"),
        (lambda f: changed(f, arrays={"watch.ring": np.zeros((1, 3))}), "got float64"),
        (lambda f: changed(f, arrays={"watch.more": np.zeros(1)}), "unknown array"),
        (lambda f: changed(f, arrays={"other.rows": np.zeros(1)}), "unknown array"),
        (lambda f: changed(f, arrays={"arrival.rows": np.array([-1])}), "numbers that are none"),
        (lambda f: changed(f, arrays={"arrival.newest": np.array([-(2**63)])}), "numbers that are none"),
        (lambda f: f.unlink(), "got nothing"),
        (lambda f: (f.unlink(), f.mkdir()), "got a folder"),
    ],
)
def test_what_is_no_state_of_this_detector_is_refused_in_one_sentence(change, says, tmp_path):
    file = saved(tmp_path)
    change(file)
    with pytest.raises(ArtifactError, match=says) as error:
        load_streams(file, hourly())
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_a_state_of_a_newer_version_or_another_detector_is_refused(tmp_path):
    with pytest.raises(VersionError, match="pip install --upgrade"):
        load_streams(changed(saved(tmp_path), format_version=9), hourly())
    for other in (hourly(false_alarms="1/week"), hourly("z"), hourly("a", "b")):
        with pytest.raises(ArtifactError):
            load_streams(saved(tmp_path), other)


def test_a_state_of_the_first_version_goes_on(tmp_path):
    stream = DetectStream(hourly())
    stream.push(rows(3, 20))
    file = stream.save(tmp_path / "state")
    with safe_open(file, "numpy") as tensors:
        header = json.loads(tensors.metadata()["carrousel"])
    newer = ("arrival.gap", "arrival.behind", "arrival.behind_tick")
    arrays = {name: array for name, array in load_file(file).items() if name not in newer}
    header |= {"format_version": 1, "checksum": store._checksum(arrays)}
    file.write_bytes(serialise(arrays, metadata={"carrousel": json.dumps(header)}))
    again = load_streams(file, hourly()).one("y")
    for name, array in stream.streams.state.items():
        np.testing.assert_array_equal(again.streams.state[name], array, err_msg=name)


def test_a_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = saved(tmp_path)
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArtifactError, match=r"No space left on device.*unchanged"):
        Streams(hourly(), ["y"]).save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
