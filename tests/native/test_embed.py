"""The engine without Python: the example programs on models that Python saved, and on folders that both refuse."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from carrousel import artifact, native
from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear, Scale
from carrousel.artifact import Artifact
from carrousel.engine import Engine
from carrousel.errors import ArtifactError
from compiled import ROOT, build, programs, run, tool

PROGRAMS = ("stream", "stream_c")
# float32's rounding in another order, over the sums of a small network of values below 1
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples are built, against an installed engine."""
    prefix = tmp_path_factory.mktemp("installed")
    run(tool("cmake"), "--install", programs(), "--prefix", prefix, "--component", "native")
    return build("embed", f"-DCMAKE_PREFIX_PATH={prefix}", source="examples/embed")


def save(folder: Path, *layers: Layer, **stacks: tuple[str, ...]) -> Path:
    architecture = Architecture(layers, stacks)
    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in architecture.tensors().items()}
    return artifact.save(folder, Artifact(task="forecast", architecture=architecture, weights=weights, settings={}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(
        tmp_path / "model",
        Scale(name="in", size=2),
        LSTM(name="lstm", input_size=2, hidden_size=19, num_layers=2, peephole=True, zoneout=(0.1, 0.0)),
        Linear(name="head", input_size=19, output_size=3, activation="tanh"),
        Embedding(name="table", num_embeddings=5, embedding_dim=2),
        values=("in", "lstm", "head"),
        ids=("table", "lstm", "head"),
    )


def answer(program: Path, folder: Path, numbers: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, folder, *more], input=numbers, capture_output=True, text=True)


def outputs(program: Path, folder: Path, numbers: str, *more: str) -> np.ndarray:
    result = answer(program, folder, numbers, *more)
    assert result.returncode == 0, result.stderr
    return np.float32([line.split() for line in result.stdout.splitlines()])


def check(got: np.ndarray, wanted: np.ndarray) -> None:
    """The same bits where Python runs the same instructions, as it does unless CARROUSEL_ISA says otherwise."""
    if native.module() is not None and "CARROUSEL_ISA" not in os.environ:
        np.testing.assert_array_equal(got, wanted)
    else:
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_in_c_and_c_plus_plus_give_python_s_values(example: Path, program: str, saved: Path):
    x = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    got = outputs(example / program, saved, "\n".join(f"{a:.9g} {b:.9g}" for a, b in x), "values")
    check(got, Engine.load(saved).session().run(x[None], stack="values")[0])


def test_programs_take_ids_where_the_stack_starts_with_an_embedding(example: Path, saved: Path):
    ids = np.random.default_rng(1).integers(0, 5, 20).astype(np.int32)
    got = outputs(example / "stream", saved, " ".join(map(str, ids)), "ids")
    check(got, Engine.load(saved).session().run(ids[None], stack="ids")[0])


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_say_what_is_wrong_in_one_sentence(example: Path, program: str, saved: Path, tmp_path: Path):
    nothing = tmp_path / "nothing"
    result = answer(example / program, nothing, "1 2")
    assert result.returncode == 2
    assert result.stderr == f"{nothing}: expected the folder of a saved model, got nothing; check the path\n"
    with pytest.raises(ArtifactError) as error:
        artifact.read(nothing)
    assert str(error.value) + "\n" == result.stderr
    result = answer(example / program, saved, "1 2", "value")
    assert (result.returncode, result.stderr) == (2, "stack: unknown name 'value'; did you mean 'values'?\n")
    result = answer(example / program, saved, "1 2")
    assert result.stderr == "stack: expected the name of one, got NULL; known are ids, values\n"


def test_a_small_program_stays_small(example: Path):
    if sys.platform != "linux":
        pytest.skip("measured on Linux")
    for program in PROGRAMS:
        assert (example / program).stat().st_size < 500_000


def test_the_example_can_build_the_engine_itself(tmp_path: Path):
    tool(os.environ.get("CXX", "c++"))
    source = ROOT / "examples" / "embed"
    result = run(tool("cmake"), "-S", source, "-B", tmp_path, "-DCMAKE_DISABLE_FIND_PACKAGE_carrousel=ON")
    assert "Generating done" in result.stdout


def edit(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Changes config.json, and mends its own checksum so that nothing but the change is wrong."""

    def apply(folder: Path) -> None:
        file = folder / "config.json"
        data = json.loads(file.read_text())
        change(data)
        data["checksums"].pop("config.json", None)
        data["checksums"]["config.json"] = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
        file.write_text(json.dumps(data))

    return apply


def replace(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


def link(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")


def header(text: str, data: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda _: struct.pack("<Q", len(text)) + text.encode() + data


HOSTILE = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "weights behind a link": link,
    "weights that are a folder": lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()),
    "weights that are a pipe": lambda f: ((f / "model.safetensors").unlink(), os.mkfifo(f / "model.safetensors")),
    "an empty config": replace("config.json", lambda _: b""),
    "a list for a config": replace("config.json", lambda _: b"[]"),
    "a config that is not UTF-8": replace("config.json", lambda data: data.replace(b"forecast", b"\xff")),
    "a key twice": replace("config.json", lambda data: b'{"task": "x",' + data[1:]),
    "a number that is not finite": replace(
        "config.json", lambda data: data.replace(b'"settings": {}', b'"settings": {"a": NaN}')
    ),
    "a deep config": replace("config.json", lambda data: b'{"a":' * 100_000),
    "a newer version": edit(lambda data: data.update(format_version=2)),
    "an unknown key": edit(lambda data: data.update(more=1)),
    "a missing key": edit(lambda data: data.pop("task")),
    "another model type": edit(lambda data: data.update(model_type="bert")),
    "a negative size": edit(lambda data: data["architecture"]["layers"][1].update(hidden_size=-1)),
    "a huge size": edit(lambda data: data["architecture"]["layers"][1].update(hidden_size=1 << 40)),
    "a size beyond 64 bits": edit(lambda data: data["architecture"]["layers"][1].update(hidden_size=1 << 70)),
    "a size that is a float": edit(lambda data: data["architecture"]["layers"][1].update(hidden_size=19.0)),
    "an unknown layer": edit(lambda data: data["architecture"]["layers"][1].update(kind="gru")),
    "a stack that does not fit": edit(lambda data: data["architecture"]["stacks"].update(values=["lstm", "in"])),
    "an embedding that is not first": edit(lambda data: data["architecture"]["stacks"].update(values=["in", "table"])),
    "no checksum": edit(lambda data: data["checksums"].pop("model.safetensors")),
    "weights of another size": edit(lambda data: data["architecture"]["layers"][1].update(hidden_size=20)),
    "empty weights": replace("model.safetensors", lambda _: b""),
    "half of the weights": replace("model.safetensors", lambda data: data[: len(data) // 2]),
    "weights and more": replace("model.safetensors", lambda data: data + b"\0"),
    "a changed weight": replace("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "weights that are not finite": replace("model.safetensors", lambda data: data[:-4] + struct.pack("<f", np.inf)),
    "a header longer than the file": replace("model.safetensors", lambda _: struct.pack("<Q", 1 << 62) + b"{}"),
    "a header longer than allowed": replace(
        "model.safetensors", lambda _: struct.pack("<Q", 17_000_000) + b" " * 17_000_000
    ),
    "a header that is no JSON": replace("model.safetensors", header("{")),
    "a header without tensors": replace("model.safetensors", header("{}")),
    "offsets beyond the file": replace(
        "model.safetensors", header('{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', b"\0" * 4)
    ),
    "a shape that overflows": replace(
        "model.safetensors",
        header('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    ),
    "float16 weights": replace("model.safetensors", lambda data: data.replace(b'"F32"', b'"F16"', 1)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_python_refuses_is_refused_without_python(case: str, example: Path, saved: Path):
    HOSTILE[case](saved)
    with pytest.raises(ArtifactError):
        artifact.read(saved)
    result = answer(example / "stream", saved, "1 2", "values")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(str(saved))
    assert result.stderr.count("\n") == 1
