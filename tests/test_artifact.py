"""Models on disk: what is saved is read back to the bit, and whatever is damaged, foreign or hostile is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as serialise

from carrousel import artifact
from carrousel.architecture import LSTM, Architecture, Embedding, Linear
from carrousel.artifact import Artifact
from carrousel.engine import Engine
from carrousel.errors import ArtifactError, CarrouselError, ConfigError, VersionError, WeightsError

AGAIN = "save the model or copy the folder again"


def make(seed: int = 0, **changes: object) -> Artifact:
    architecture = Architecture(
        (
            LSTM(name="lstm", input_size=2, hidden_size=3, peephole=True, zoneout=(0.1, 0.0)),
            Linear(name="head", input_size=3, output_size=1),
            Embedding(name="series", num_embeddings=2, embedding_dim=4),
        ),
        {"main": ("lstm", "head")},
    )
    random = np.random.default_rng(seed)
    values: dict[str, object] = {
        "task": "forecast",
        "architecture": architecture,
        "weights": {
            name: random.normal(size=shape).astype(np.float32) for name, shape in architecture.tensors().items()
        },
        "settings": {"horizon": 24, "levels": [50.0, 90.0], "season": None},
        "statistics": {"ids": ["Köln", "b"], "scale": [0.1, 1e-300]},
        "context": {"target": np.array([1.5, np.nan]), "starts": np.array([0, 2])},
        "card": "# A model\n\nMAE 0.5 ± 0.1\n",
    }
    return Artifact(**(values | changes))  # type: ignore[arg-type]


def same(a: Artifact, b: Artifact) -> bool:
    def equal(x, y):
        return (x is None and y is None) or (
            sorted(x) == sorted(y) and all(x[k].dtype == y[k].dtype and x[k].tobytes() == y[k].tobytes() for k in x)
        )

    plain = ("task", "architecture", "settings", "statistics", "model_class")
    return (
        all(getattr(a, k) == getattr(b, k) for k in plain)
        and equal(a.weights, b.weights)
        and equal(a.context, b.context)
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return artifact.save(tmp_path / "model", make())


def refused(error: type[CarrouselError], message: str):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def edit_config(folder: Path, change) -> Path:
    """Change config.json and mend its checksum, so that nothing but the change is wrong."""
    file = folder / "config.json"
    data = json.loads(file.read_text())
    change(data)
    signed = {k: v for k, v in data.items() if k != "checksums"}
    if "checksums" in data:
        others = {k: v for k, v in data["checksums"].items() if k != "config.json"}
        text = json.dumps(signed | {"checksums": others}, sort_keys=True)
        data["checksums"]["config.json"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(data))
    return file


@pytest.mark.parametrize("context", [None, {}, {"rows": np.array([[True], [False]])}], ids=["none", "empty", "one"])
def test_a_model_is_read_back_to_the_bit(tmp_path, context):
    model = make(context=context)
    folder = artifact.save(tmp_path / "deep" / "model", model)
    back = artifact.read(folder)
    assert same(back, model)
    assert back.card == model.card
    expected = {"config.json", "model.safetensors", "README.md"} | (
        {"context.safetensors"} if context is not None else set()
    )
    assert {file.name for file in folder.iterdir()} == expected
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def test_config_says_what_others_look_for(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["format_version"] == 1
    assert config["model_type"] == "carrousel"
    assert config["architectures"] == ["CarrouselForecaster"]
    assert config["architecture"]["layers"][0]["kind"] == "lstm"


def test_weights_load_into_torch_under_its_names(saved):
    import torch
    from safetensors.torch import load_file

    weights = {
        k.partition(".")[2]: v for k, v in load_file(saved / "model.safetensors").items() if k.startswith("head")
    }
    torch.nn.Linear(3, 1).load_state_dict(weights, strict=True)


def test_engine_loads_a_saved_model_and_gives_the_same_bits(saved):
    model = make()
    x = np.ones((1, 4, 2), np.float32)
    expected = Engine(model.architecture, model.weights).session().run(x)
    np.testing.assert_array_equal(Engine.load(saved).session().run(x), expected)


def test_a_model_runs_without_its_card(saved):
    (saved / "README.md").unlink()
    assert artifact.read(saved).card == ""


# What stands at the path


def test_save_asks_before_it_replaces_a_model(saved):
    with refused(
        ArtifactError, f"{saved}: a model is saved there already; choose another path, or pass overwrite=True"
    ):
        artifact.save(saved, make(1))
    assert same(artifact.read(saved), make())
    artifact.save(saved, make(1), overwrite=True)
    assert same(artifact.read(saved), make(1))
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_save_takes_an_empty_folder(tmp_path):
    (tmp_path / "model").mkdir()
    assert same(artifact.read(artifact.save(tmp_path / "model", make())), make())


@pytest.mark.parametrize("overwrite", [False, True])
def test_save_never_touches_a_folder_with_anything_else_in_it(saved, tmp_path, overwrite):
    (saved / "notes.txt").write_text("mine")
    message = f"{saved}: expected an empty folder or a saved model, got one with 'notes.txt'; choose another path"
    with refused(ArtifactError, message):
        artifact.save(saved, make(1), overwrite=overwrite)
    assert (saved / "notes.txt").read_text() == "mine"
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("mine")
    message = f"{tmp_path / 'project'}: expected an empty folder or a saved model, got one with 'README.md'; "
    with refused(ArtifactError, message + "choose another path"):
        artifact.save(tmp_path / "project", make(), overwrite=overwrite)
    (tmp_path / "file").write_text("mine")
    with refused(ArtifactError, f"{tmp_path / 'file'}: expected a folder or nothing, got a file; choose another path"):
        artifact.save(tmp_path / "file", make(), overwrite=overwrite)


def test_save_through_a_link_keeps_the_link(saved, tmp_path):
    (tmp_path / "link").symlink_to(saved)
    artifact.save(tmp_path / "link", make(1), overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert same(artifact.read(saved), make(1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"statistics": {"mean": float("nan")}},
            ConfigError,
            "settings and statistics: expected JSON data with finite",
        ),
        ({"settings": {"mean": np.float32(1)}}, ConfigError, "settings and statistics: expected JSON data with finite"),
        ({"weights": {}}, WeightsError, "weights: missing tensor 'lstm.weight_ih_l0', expected (12, 2)"),
        (
            {"context": {"a": np.array(["x"])}},
            WeightsError,
            "a: expected one of float32, float64, int32, int64, uint8, bool",
        ),
    ],
    ids=["NaN in statistics", "a NumPy number", "no weights", "strings"],
)
def test_save_refuses_what_could_not_be_read_back(tmp_path, change, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        artifact.save(tmp_path / "model", make(**change))
    assert not list(tmp_path.iterdir())


# Interrupted


def test_a_full_disk_leaves_the_old_model_and_nothing_else(saved):
    """The limit on the size of a file stands in for the disk: the system refuses the write half-way."""
    script = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_artifact import make
        from carrousel import artifact
        from carrousel.errors import ArtifactError
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        try:
            artifact.save({str(saved)!r}, make(1), overwrite=True)
        except ArtifactError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{saved}: could not be written (File too large); what stood there before is unchanged\n"
    assert same(artifact.read(saved), make())
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


def test_a_full_file_system_leaves_the_old_model_and_nothing_else(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        folder = artifact.save(disk / "model", make())
        big = make(card="x" * 100_000)
        with refused(
            ArtifactError,
            f"{folder}: could not be written (No space left on device); what stood there before is unchanged",
        ):
            artifact.save(folder, big, overwrite=True)
        assert same(artifact.read(folder), make())
        assert [file.name for file in disk.iterdir()] == ["model"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_process_killed_at_any_moment_of_saving_leaves_a_whole_model(saved):
    """Children kill themselves at their nth call to the system that syncs, renames or removes, for every n there is."""
    script = f"""
        import os, pathlib, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_artifact import make, same
        from carrousel import artifact, folder

        def save_and_die(left):
            def watched(function):
                def call(*arguments, **keywords):
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*arguments, **keywords)
                return call
            os.fsync, folder.shutil.rmtree = watched(os.fsync), watched(folder.shutil.rmtree)
            pathlib.Path.rename, folder._exchange = watched(pathlib.Path.rename), watched(folder._exchange)
            artifact.save({str(saved)!r}, make(1), overwrite=True)
            os._exit(0)

        for call in range(1, 99):
            child = os.fork()
            if not child:
                save_and_die(call)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            back = artifact.read({str(saved)!r})
            print(call, status, "old" if same(back, make()) else "new" if same(back, make(1)) else "neither")
            if status == 0:
                break
            artifact.save({str(saved)!r}, make(), overwrite=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    seen = [tuple(line.split()[1:]) for line in done.stdout.splitlines()]
    killed = str(-signal.SIGKILL)
    assert seen[-1] == ("0", "new")
    assert set(seen[:-1]) == {(killed, "old"), (killed, "new")}
    assert len(seen) >= 9  # four files, their folder, a rename, the exchange, the parent, the old folder
    assert [file.name for file in saved.parent.iterdir() if not file.name.startswith(".")] == ["model"]


def test_folders_change_places_in_two_steps_where_the_system_knows_no_exchange(saved, monkeypatch):
    monkeypatch.setattr("carrousel.folder._exchange", lambda fresh, path: False)
    artifact.save(saved, make(1), overwrite=True)
    assert same(artifact.read(saved), make(1))
    assert [file.name for file in saved.parent.iterdir()] == ["model"]


# Hostile folders


def test_read_refuses_what_is_no_folder(tmp_path):
    with refused(ArtifactError, f"{tmp_path / 'x'}: expected the folder of a saved model, got nothing; check the path"):
        artifact.read(tmp_path / "x")
    (tmp_path / "x").write_text("")
    with refused(ArtifactError, f"{tmp_path / 'x'}: expected the folder of a saved model, got a file; check the path"):
        artifact.read(tmp_path / "x")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "context.safetensors"])
def test_read_names_the_file_that_is_missing(saved, name):
    (saved / name).unlink()
    with refused(ArtifactError, f"{saved / name}: missing; {AGAIN}"):
        artifact.read(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "context.safetensors", "README.md"])
def test_read_refuses_links_out_of_the_folder(saved, name):
    outside = saved.parent / "outside"
    (saved / name).rename(outside)
    (saved / name).symlink_to(outside)
    message = f"{saved / name}: expected a file inside the folder, got a link to {outside}; copy the file itself"
    with refused(ArtifactError, message):
        artifact.read(saved)


def test_read_refuses_a_pipe_without_waiting_for_it(saved):
    (saved / "config.json").unlink()
    os.mkfifo(saved / "config.json")
    with refused(ArtifactError, f"{saved / 'config.json'}: expected a regular file; {AGAIN}"):
        artifact.read(saved)


def test_read_refuses_a_context_that_config_does_not_name(tmp_path):
    folder = artifact.save(tmp_path / "model", make(context=None))
    file = folder / "context.safetensors"
    file.write_bytes(b"")
    with refused(ArtifactError, f"{file}: expected no such file, config.json does not name it; {AGAIN}"):
        artifact.read(folder)


def set_key(*path: str | int):
    *parents, last, value = path

    def change(data):
        for key in parents:
            data = data[key]
        data[last] = value

    return change


HOSTILE_CONFIG = {
    "an unknown key": (set_key("tsk", 1), "unknown key 'tsk'; did you mean 'task'?"),
    "a missing key": (lambda data: data.pop("task"), "missing key 'task', a string"),
    "a wrong type": (set_key("task", 3), "task: expected a string, got 3"),
    "another model": (set_key("model_type", "bert"), "model_type: expected one of 'carrousel', got 'bert'"),
    "a version below the first": (
        set_key("format_version", 0), "format_version: expected an integer of at least 1 and of at most 1, got 0"
    ),
    "a version that is no number": (
        set_key("format_version", "1"), "format_version: expected an integer, got '1'"
    ),
    "an unknown kind of layer": (
        set_key("architecture", "layers", 0, "kind", "lsmt"),
        "architecture: layers[0]: kind: unknown kind 'lsmt'; did you mean 'lstm'?",
    ),
    "an unknown key of a layer": (
        set_key("architecture", "layers", 0, "hidden", 3),
        "architecture: layers[0]: unknown key 'hidden'; did you mean 'hidden_size'?",
    ),
    "a size of nothing": (
        set_key("architecture", "layers", 0, "hidden_size", 0),
        "architecture: layers[0]: hidden_size: expected an integer of at least 1, got 0",
    ),
    "a probability above one": (
        set_key("architecture", "layers", 0, "zoneout", [0.0, 1.5]),
        "architecture: layers[0]: zoneout[1]: expected a number of at least 0 and of at most 1, got 1.5",
    ),
    "widths that do not meet": (
        set_key("architecture", "layers", 1, "input_size", 4),
        "architecture: stack 'main': 'head' takes 4 values, but 'lstm' before it gives 3",
    ),
    "a stack of an unknown layer": (
        set_key("architecture", "stacks", "main", ["lstm", "haed"]),
        "architecture: stack 'main': unknown layer 'haed'; did you mean 'head'?",
    ),
    "a table in a stack": (
        set_key("architecture", "stacks", "main", ["lstm", "series"]),
        "architecture: stack 'main': 'series' takes ids and can only stand first, but 'lstm' stands before it",
    ),
    "two layers of one name": (
        set_key("architecture", "layers", 1, "name", "lstm"),
        "architecture: layers: expected a name of its own for each, got 'lstm' twice",
    ),
    "no object": (set_key("architecture", 3), "architecture: expected an object, got 3"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), HOSTILE_CONFIG.values(), ids=HOSTILE_CONFIG)
def test_read_refuses_a_config_key_with_one_sentence(saved, change, message):
    file = edit_config(saved, change)
    with refused(ConfigError, f"{file}: {message}"):
        artifact.read(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"{",
            "expected JSON, got something else (Expecting property name",
        ),
        (
            b"\xff{}",
            "expected JSON, got something else ('utf-8' codec can't decode byte 0xff",
        ),
        (b"[" * 100_000, "expected JSON, got something else (maximum recursion depth exceeded"),
        (
            b"1" * 5_000,
            "expected JSON, got something else (Exceeds the limit (4300 digits)",
        ),
        (b'{"a": NaN}', "expected finite numbers, got NaN"),
        (b'{"a": -Infinity}', "expected finite numbers, got -Infinity"),
        (b'{"a": 1e999}', "expected finite numbers, got 1e999"),
        (b'{"a": 1, "a": 2}', "expected each key once, got 'a' twice"),
        (b"[]", "expected an object, got []"),
        (b" " * 16_000_001, "expected at most 16000000 bytes, got 16000001"),
    ],
    ids=["half", "no text", "deep", "long", "NaN", "infinity", "overflow", "twice", "a list", "huge"],
)
def test_read_refuses_what_is_no_config(saved, text, message):
    file = saved / "config.json"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{file}: {message}')}"):
        artifact.read(saved)


def test_read_refuses_a_newer_version_before_it_looks_at_the_rest(saved):
    file = edit_config(saved, lambda data: data.update(format_version=2, carrousel_version="9.0", novelty=1))
    message = f"{file}: expected format_version 1, got 2 (written by carrousel 9.0); pip install --upgrade carrousel"
    with refused(VersionError, message):
        artifact.read(saved)


def test_read_refuses_a_value_that_was_changed_but_is_legal(saved):
    file = saved / "config.json"
    file.write_text(file.read_text().replace('"horizon": 24', '"horizon": 25'))
    with refused(ConfigError, f"{file}: expected the contents that were saved, got others (checksum differs); {AGAIN}"):
        artifact.read(saved)


def replace_weights(saved: Path, change) -> Path:
    weights = dict(make().weights)
    change(weights)
    file = saved / "model.safetensors"
    file.write_bytes(serialise(weights))
    return file


HOSTILE_WEIGHTS = {
    "missing": (lambda w: w.pop("head.bias"), "missing tensor 'head.bias', expected (1,)"),
    "unknown": (
        lambda w: w.update({"head.bais": np.zeros(1, "f4")}), "unknown tensor 'head.bais'; did you mean 'head.bias'?"
    ),
    "misshapen": (
        lambda w: w.update({"lstm.weight_hh_l0": np.zeros((16, 4), "f4")}),
        "lstm.weight_hh_l0: expected (12, 3), got (16, 4); "
        "layer 'lstm' has input_size=2, hidden_size=3, num_layers=1, proj_size=0",
    ),
    "half precision": (
        lambda w: w.update({"head.bias": np.zeros(1, np.float16)}), "head.bias: expected float32, got F16"
    ),
    "NaN": (
        lambda w: w.update({"head.weight": np.array([[0, np.nan, np.inf]], "f4")}),
        "head.weight: expected finite values, got 2 of 3 NaN or infinite",
    ),
    "other values": (
        lambda w: w.update({"head.bias": np.ones(1, "f4")}),
        f"expected the contents that were saved, got others (checksum differs); {AGAIN}",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_read_refuses_a_tensor_with_one_sentence(saved, change, message):
    file = replace_weights(saved, change)
    with refused(WeightsError, f"{file}: {message}"):
        artifact.read(saved)


def tensors(header: bytes | dict[str, object], data: bytes = bytes(16)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(first: int, last: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [2], "data_offsets": [first, last]}


DAMAGED = {
    "empty": (b"", "expected at least 8 bytes, got 0: the file is truncated"),
    "a header cut off": (tensors({"a": entry(0, 8)})[:20], "expected at least 69 bytes, got 20: the file is truncated"),
    "a header of 100 MB": (
        tensors(b" " * 100_000_000), "expected a header of at most 16000000 bytes, got 100000000"
    ),
    "a header of 2⁶³ bytes": (
        struct.pack("<Q", 2**63), f"expected at least {2**63 + 8} bytes, got 8: the file is truncated"
    ),
    "data cut off": (
        tensors({"a": entry(0, 8), "b": entry(8, 16)})[:-1], "expected a safetensors file, got a damaged one"
    ),
    "a header that is no JSON": (tensors(b"{'a'"), "expected a safetensors file, got a damaged one"),
    "overlapping tensors": (
        tensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "expected a safetensors file, got a damaged one"
    ),
    "an unknown dtype": (tensors({"a": entry(0, 16, "F99")}), "expected a safetensors file, got a damaged one"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_read_refuses_a_damaged_weights_file(saved, data, message):
    file = saved / "model.safetensors"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=f"^{re.escape(f'{file}: {message}')}.*; {AGAIN}$"):
        artifact.read(saved)


def test_read_refuses_a_context_of_another_dtype(saved):
    file = saved / "context.safetensors"
    file.write_bytes(serialise({"a": np.zeros(1, np.float16)}))
    with refused(WeightsError, f"{file}: a: expected one of float32, float64, int32, int64, uint8, bool, got F16"):
        artifact.read(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "context.safetensors", "README.md"])
def test_a_flipped_bit_is_refused_or_changes_nothing_of_the_model(saved, name):
    file = saved / name
    data, model = file.read_bytes(), make()
    refusals = 0
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            assert same(artifact.read(saved), model)
        except CarrouselError:
            refusals += 1
    assert refusals > 0


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "context.safetensors"])
def test_a_file_cut_off_anywhere_is_refused(saved, name):
    file = saved / name
    data = file.read_bytes()
    for length in range(0, len(data), 5):
        file.write_bytes(data[:length])
        with pytest.raises(CarrouselError):
            artifact.read(saved)
