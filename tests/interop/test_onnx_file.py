"""ONNX models in files: weights beside them, and what is damaged or hostile."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto

from carrousel.engine import Engine
from carrousel.errors import ArtifactError, CarrouselError, MissingExtraError, WeightsError
from interop.onnx_model import E, L, N, Network, W, build, export, node
from interop.sequence import assert_gives, exactly, floats


def linear() -> onnx.ModelProto:
    return build([node("MatMul", "x", "w")], {"w": W})


def stored(folder: Path, location: str, **entries: str) -> Path:
    """A model whose weights lie in another file; `location` is what the model says of it."""
    model = linear()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_a_file_gives_what_its_model_gives(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear().SerializeToString())
    x = floats(N, L, E)
    assert_gives(Engine.from_onnx(tmp_path / "model.onnx"), x, x @ W)
    assert_gives(Engine.from_onnx(str(tmp_path / "model.onnx")), x, x @ W)


@pytest.mark.parametrize("offset", [0, 64])
def test_weights_beside_the_file_are_read(tmp_path: Path, offset: int) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(bytes(offset) + W.tobytes() + bytes(8))
    x = floats(N, L, E)
    file = stored(tmp_path, "weights/w.bin", offset=str(offset), length=str(W.nbytes))
    assert_gives(Engine.from_onnx(file), x, x @ W)


@pytest.mark.parametrize("way", ["parent", "absolute", "link", "the folder"])
def test_weights_outside_the_folder_are_never_read(tmp_path: Path, way: str) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret.bin"
    folder.mkdir()
    secret.write_bytes(W.tobytes())
    (folder / "link.bin").symlink_to(secret)
    location = {"parent": "../secret.bin", "absolute": str(secret), "link": "link.bin", "the folder": "."}[way]
    file = stored(folder, location)
    message = f"{file}: tensor 'w': expected a file inside the model's folder, got {location!r}; copy it there"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_onnx(file)


AGAIN = "export or copy the model again"
EXTERNAL = {
    "missing": ("none.bin", {}, f"'none.bin' cannot be read (No such file or directory); {AGAIN}"),
    "beyond its end": (
        "w.bin", {"offset": "8", "length": "16"}, f"expected bytes 8 to 24 of 'w.bin', got 16 bytes; {AGAIN}"
    ),
    "before its start": (
        "w.bin", {"offset": "-8"}, f"expected bytes -8 to 16 of 'w.bin', got 16 bytes; {AGAIN}"
    ),
    "too short": (
        "w.bin", {"length": "12"},
        f"expected values of shape (2, 2), got other (cannot reshape array of size 3 into shape (2,2)); {AGAIN}",
    ),
    "no number": (
        "w.bin", {"length": "many"},
        "expected values of shape (2, 2), got other (invalid literal for int() with base 10: 'many'); " + AGAIN,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("location", "entries", "message"), EXTERNAL.values(), ids=EXTERNAL)
def test_weights_beside_the_file_that_are_damaged_are_refused(
    tmp_path: Path, location: str, entries: dict[str, str], message: str
) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    file = stored(tmp_path, location, **entries)
    with pytest.raises(WeightsError, match=exactly(f"{file}: tensor 'w': {message}")):
        Engine.from_onnx(file)


def test_a_model_in_memory_has_no_files_beside_it(tmp_path: Path) -> None:
    model = onnx.load(stored(tmp_path, "w.bin"), load_external_data=False)
    message = "from_onnx: tensor 'w': expected values, got the name of a file, 'w.bin'; pass the model's path"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_onnx(model)


def test_a_tensor_that_lies_about_its_size_is_refused() -> None:
    model = linear()
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]
    with pytest.raises(
        WeightsError, match=r"^from_onnx: tensor 'w': expected values of shape \(1099511627776, 1048576"
    ):
        Engine.from_onnx(model)


def test_a_tensor_of_a_negative_size_is_refused() -> None:
    model = linear()
    model.graph.initializer[0].dims[:] = [-1, 2]
    message = f"from_onnx: tensor 'w': expected values of shape (-1, 2), got other (4 values); {AGAIN}"
    with pytest.raises(WeightsError, match=exactly(message)):
        Engine.from_onnx(model)


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path / 'none.onnx'}: cannot be read (No such file or directory); check the path"
    with pytest.raises(ArtifactError, match=exactly(message)):
        Engine.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(
        ArtifactError, match=exactly(f"{tmp_path}: expected an ONNX file, got something else; check the path")
    ):
        Engine.from_onnx(tmp_path)


@pytest.mark.parametrize("content", ["truncated", "text", "empty"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "model.onnx"
    whole = linear().SerializeToString()
    file.write_bytes(
        {"truncated": whole[: len(whole) // 2], "text": b"PK\x03\x04 or other text", "empty": b""}[content]
    )
    damaged = f"expected an ONNX file, got a damaged one or another kind; {AGAIN}"
    message = f"expected an ONNX model with nodes, got none; {AGAIN}" if content == "empty" else damaged
    with pytest.raises(ArtifactError, match=exactly(f"{file}: {message}")):
        Engine.from_onnx(file)


def test_whatever_is_damaged_is_either_read_or_refused_with_one_sentence(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = export(Network("last state", num_layers=2), torch.randn(N, L, 3), dynamic={0: "N"}).SerializeToString()
    numbers, file, messages = random.Random(0), tmp_path / "model.onnx", list[str]()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(numbers.choice([1, 1, 4])):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        file.write_bytes(data[: numbers.choice([len(data), len(data), numbers.randrange(len(data))])])
        try:
            Engine.from_onnx(file)
        except CarrouselError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]


def test_a_missing_onnx_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = "reading ONNX models needs the package 'onnx', which is not installed; pip install 'carrousel[onnx]'"
    with pytest.raises(MissingExtraError, match=exactly(message)):
        Engine.from_onnx("model.onnx")
