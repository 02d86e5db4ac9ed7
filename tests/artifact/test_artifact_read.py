"""Models on disk: whatever is damaged, foreign or hostile is refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as serialise

from carrousel import artifact
from carrousel.errors import ArtifactError, CarrouselError, ConfigError, VersionError, WeightsError
from stored import AGAIN, edit_config, make, refused, same


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
        lambda w: w.update({"head.bias": np.zeros(1, np.float16)}), "head.bias: expected float32, got float16"
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
    file.write_bytes(serialise({"a": np.zeros(1, np.uint32)}))
    with refused(
        WeightsError,
        f"{file}: a: expected one of {', '.join(artifact.DTYPES.values())}, got U32",
    ):
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


TOKENS = {"tokenizer.json": '{"a": "\u00e4"}'}


def test_a_file_that_a_task_adds_comes_back_as_it_was(tmp_path):
    folder = artifact.save(tmp_path / "model", make(extras=TOKENS))
    assert artifact.read(folder).extras == TOKENS
    assert artifact.read(artifact.save(tmp_path / "other", make())).extras == {}
    artifact.save(folder, make(), overwrite=True)  # its own folder, in which nothing is foreign
    assert not (folder / "tokenizer.json").exists()


def test_a_file_that_a_task_added_is_refused_where_it_is_missing_changed_or_elsewhere(tmp_path):
    folder = artifact.save(tmp_path / "model", make(extras=TOKENS))
    file, outside = folder / "tokenizer.json", tmp_path / "outside"
    file.rename(outside)
    with refused(ArtifactError, f"{file}: missing; {AGAIN}"):
        artifact.read(folder)
    file.symlink_to(outside)
    message = f"{file}: expected a file inside the folder, got a link to {outside}; copy the file itself"
    with refused(ArtifactError, message):
        artifact.read(folder)
    file.unlink()
    file.write_text("{}")
    message = f"{file}: expected the contents that were saved, got others (checksum differs); {AGAIN}"
    with refused(ArtifactError, message):
        artifact.read(folder)


def test_an_added_file_that_config_does_not_name_or_that_is_no_text_is_refused(tmp_path):
    folder = artifact.save(tmp_path / "model", make())
    file = folder / "tokenizer.json"
    file.write_text("{}")
    with refused(ArtifactError, f"{file}: expected no such file, config.json does not name it; {AGAIN}"):
        artifact.read(folder)
    file.write_bytes(b"\xff")
    digest = hashlib.sha256(b"\xff").hexdigest()
    edit_config(folder, lambda data: data["checksums"].update({"tokenizer.json": digest}))
    with refused(ArtifactError, f"{file}: expected UTF-8 text, got other bytes; {AGAIN}"):
        artifact.read(folder)


def test_an_added_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    folder = artifact.save(tmp_path / "model", make(extras=TOKENS))
    monkeypatch.setattr(artifact, "EXTRA_LIMIT", 3)
    with refused(ArtifactError, f"{folder / 'tokenizer.json'}: expected at most 3 bytes, got 11; {AGAIN}"):
        artifact.read(folder)


def test_files_of_other_names_are_not_added(tmp_path):
    with refused(ArtifactError, "extras: expected the names tokenizer.json, got '../x.py'"):
        artifact.save(tmp_path / "model", make(extras={"../x.py": ""}))
    assert not (tmp_path / "model").exists()
