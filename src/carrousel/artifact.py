"""What a trained model is on disk: a folder of files that others read too, nothing executable, never half-written.

``config.json`` says what the model is, ``model.safetensors`` holds its weights, ``context.safetensors`` what it must
remember of its data, ``README.md`` is its model card; a task may add files of its own format, such as a tokenizer.
Whatever is read is validated first; checksums catch the rest.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from carrousel.architecture import Architecture, check_shapes, check_weights
from carrousel.config import Range, from_dict, to_dict
from carrousel.digest import sha256, sha256_of
from carrousel.errors import ArtifactError, ConfigError, VersionError, WeightsError
from carrousel.folder import write_folder

CONFIG, WEIGHTS, CONTEXT, CARD = "config.json", "model.safetensors", "context.safetensors", "README.md"
EXTRAS = ("tokenizer.json",)  # text files that a task may add: others know these names too
FORMAT_VERSION = 1
CONFIG_LIMIT = HEADER_LIMIT = 16_000_000  # bytes; far above any real one, far below what could exhaust the memory
EXTRA_LIMIT = 256_000_000
DTYPES = {
    "F32": "float32", "F64": "float64", "I32": "int32", "I64": "int64", "U8": "uint8", "BOOL": "bool",
    "F16": "float16", "I16": "int16", "U16": "uint16", "I8": "int8",
}  # fmt: skip
AGAIN = "save the model or copy the folder again"

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """A trained model as plain data.

    Parameters
    ----------
    task : name of the task that made it and can run it
    architecture : of the network
    weights : float32, by the names of ``architecture.tensors()``
    settings : JSON data that the task reads with ``config.from_dict``
    statistics : JSON data that the task computed from its training data
    context : arrays that the task needs at run time (bool, uint8, int32, int64, float32, float64), NaN allowed
    card : the model card, Markdown
    extras : texts of the task's own files, by the names in EXTRAS
    model_class : what Hugging Face looks for under ``architectures``
    """

    task: str
    architecture: Architecture
    weights: Arrays
    settings: Mapping[str, Any]
    statistics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    context: Arrays | None = None
    card: str = ""
    extras: Mapping[str, str] = field(default_factory=dict[str, str])
    model_class: str = "CarrouselForecaster"


@dataclass(frozen=True, kw_only=True)
class Config:
    """The keys of config.json; ``model_type`` and ``architectures`` are what Hugging Face looks for."""

    format_version: Annotated[int, Range(1, FORMAT_VERSION)]
    carrousel_version: str
    model_type: Literal["carrousel"]
    architectures: tuple[str]
    task: str
    architecture: object
    settings: dict[str, object]
    statistics: dict[str, object]
    checksums: dict[str, str]


def save(path: str | os.PathLike[str], artifact: Artifact, *, overwrite: bool = False) -> Path:
    """Write a model to a folder, whole or not at all, whatever happens meanwhile.

    Parameters
    ----------
    path : the folder; it may exist when it is empty
    artifact : the model
    overwrite : replace the model that stands there. A folder that holds anything else is never touched

    Returns
    -------
    the folder

    Raises
    ------
    WeightsError : weights that do not fit the architecture, or are not finite
    ConfigError : settings or statistics that are no JSON data
    ArtifactError : the folder holds something, or could not be written; what stood there before still does
    """
    folder = Path(path)
    files = contents(artifact)
    _check_target(folder, overwrite)
    try:
        write_folder(folder, files)
    except OSError as error:
        raise ArtifactError(
            f"{folder}: could not be written ({error.strerror}); what stood there before is unchanged"
        ) from error
    return folder


def contents(artifact: Artifact) -> dict[str, bytes]:
    """The files of a model by name, config.json behind those whose checksums it holds.

    Raises
    ------
    WeightsError, ConfigError, ArtifactError : as ``save``
    """
    check_weights(artifact.architecture, artifact.weights)
    files = {WEIGHTS: _tensor_bytes(artifact.weights)}
    if artifact.context is not None:
        files[CONTEXT] = _tensor_bytes(artifact.context)
    for name, text in artifact.extras.items():
        if name not in EXTRAS:
            raise ArtifactError(f"extras: expected the names {', '.join(EXTRAS)}, got {name!r}")
        files[name] = text.encode()
    files[CONFIG] = _config_bytes(artifact, {name: sha256(data) for name, data in files.items()})
    files[CARD] = artifact.card.encode()
    return files


def read(path: str | os.PathLike[str]) -> Artifact:
    """Read a model from its folder and validate every part of it.

    Raises
    ------
    ArtifactError : no such folder, a file that is missing or links out of the folder
    ConfigError : config.json is not JSON, has missing, unknown or invalid keys, or was changed
    WeightsError : a .safetensors file is truncated or damaged, or does not fit the architecture
    VersionError : written by a newer version
    """
    folder = Path(path)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ArtifactError(f"{folder}: expected the folder of a saved model, got {found}; check the path")
    try:
        return _read(folder)
    except OSError as error:
        raise ArtifactError(f"{error.filename or folder}: cannot be read ({error.strerror})") from error


def task_of(path: str | os.PathLike[str]) -> str:
    """The task of a saved model, read from its config.json alone.

    Raises
    ------
    ArtifactError : as ``read``, as far as config.json goes
    """
    folder = Path(path)
    try:
        return _read_config(_member(folder, CONFIG)).task
    except OSError as error:
        raise ArtifactError(f"{error.filename or folder}: cannot be read ({error.strerror})") from error


def _read(folder: Path) -> Artifact:
    file = _member(folder, CONFIG)
    config = _read_config(file)
    architecture = Architecture.from_data(config.architecture, where=f"{file}: architecture")
    weights = _read_tensors(_member(folder, WEIGHTS), config.checksums.get(WEIGHTS), architecture)
    context = None
    if CONTEXT in config.checksums:
        context = _read_tensors(_member(folder, CONTEXT), config.checksums[CONTEXT], None)
    elif os.path.lexists(folder / CONTEXT):
        raise ArtifactError(f"{folder / CONTEXT}: expected no such file, {CONFIG} does not name it; {AGAIN}")
    return Artifact(
        task=config.task,
        architecture=architecture,
        weights=weights,
        settings=config.settings,
        statistics=config.statistics,
        context=context,
        card=_read_card(folder),
        extras=_read_extras(folder, config.checksums),
        model_class=config.architectures[0],
    )


def _member(folder: Path, name: str) -> Path:
    """A file of the folder, which must be a regular one inside it: what a link points to is not part of the model."""
    file, root = folder / name, os.path.realpath(folder)
    target = os.path.realpath(file)
    if os.path.dirname(target) != root:
        raise ArtifactError(f"{file}: expected a file inside the folder, got a link to {target}; copy the file itself")
    if not os.path.lexists(file):
        raise ArtifactError(f"{file}: missing; {AGAIN}")
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise ArtifactError(f"{file}: expected a regular file; {AGAIN}")
    return file


def _read_extras(folder: Path, checksums: Mapping[str, str]) -> dict[str, str]:
    """The files that a task added: those that config.json names, and no others."""
    found: dict[str, str] = {}
    for name in EXTRAS:
        if name not in checksums:
            if os.path.lexists(folder / name):
                raise ArtifactError(f"{folder / name}: expected no such file, {CONFIG} does not name it; {AGAIN}")
            continue
        file = _member(folder, name)
        if (size := file.stat().st_size) > EXTRA_LIMIT:
            raise ArtifactError(f"{file}: expected at most {EXTRA_LIMIT} bytes, got {size}; {AGAIN}")
        data = file.read_bytes()
        if sha256(data) != checksums[name]:
            raise ArtifactError(
                f"{file}: expected the contents that were saved, got others (checksum differs); {AGAIN}"
            )
        try:
            found[name] = data.decode()
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{file}: expected UTF-8 text, got other bytes; {AGAIN}") from error
    return found


def _read_card(folder: Path) -> str:
    if not os.path.lexists(folder / CARD):
        return ""  # a model runs without its card
    try:
        return _member(folder, CARD).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{folder / CARD}: expected UTF-8 text, got other bytes; {AGAIN}") from error


def _read_config(file: Path) -> Config:
    size = file.stat().st_size
    if size > CONFIG_LIMIT:
        raise ConfigError(f"{file}: expected at most {CONFIG_LIMIT} bytes, got {size}; {AGAIN}")
    return read_config(parse_json(file.read_bytes(), where=str(file)), where=str(file))


def read_config(data: Any, *, where: str) -> Config:
    """What config.json says, from its JSON data.

    Raises
    ------
    ConfigError : missing, unknown or invalid keys, or others than were saved
    VersionError : written by a newer version
    """
    version = data.get("format_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise VersionError(
            f"{where}: expected format_version {FORMAT_VERSION}, got {version} "
            f"(written by carrousel {data.get('carrousel_version')}); pip install --upgrade carrousel"
        )
    config = from_dict(Config, data, where=where)
    if config.checksums.get(CONFIG) != _config_checksum(config):
        raise ConfigError(f"{where}: expected the contents that were saved, got others (checksum differs); {AGAIN}")
    return config


def parse_json(data: bytes, *, where: str) -> Any:
    """JSON as the standard has it: UTF-8, finite numbers, no key twice.

    Raises
    ------
    ConfigError : anything else
    """

    def refuse(problem: str) -> NoReturn:
        raise ConfigError(f"{where}: {problem}")

    def finite(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse(f"expected finite numbers, got {text}; {AGAIN}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                refuse(f"expected each key once, got {key!r} twice; {AGAIN}")
            result[key] = value
        return result

    try:
        text = data.decode("utf-8")
        return json.loads(text, parse_float=finite, parse_constant=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: expected JSON, got something else ({error}); {AGAIN}") from error


def _config_bytes(artifact: Artifact, checksums: dict[str, str]) -> bytes:
    from importlib.metadata import version  # slow to import, and only saving needs it

    config = Config(
        format_version=FORMAT_VERSION,
        carrousel_version=version("carrousel"),
        model_type="carrousel",
        architectures=(artifact.model_class,),
        task=artifact.task,
        architecture=artifact.architecture.to_data(),
        settings=dict(artifact.settings),
        statistics=dict(artifact.statistics),
        checksums=checksums,
    )
    try:
        checksums[CONFIG] = _config_checksum(config)
        return json.dumps(to_dict(config), indent=2, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"settings and statistics: expected JSON data with finite numbers, got other ({error})"
        ) from error


def _config_checksum(config: Config) -> str:
    """SHA-256 of what config.json says, without this checksum itself; its white space does not count."""
    data = to_dict(config)
    data["checksums"] = {name: value for name, value in config.checksums.items() if name != CONFIG}
    return sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode())


def _tensor_bytes(arrays: Arrays) -> bytes:
    from safetensors.numpy import save as serialise

    for name, array in arrays.items():
        if str(array.dtype) not in DTYPES.values():
            raise WeightsError(f"{name}: expected one of {', '.join(DTYPES.values())}, got {array.dtype}")
    # "pt" is what Hugging Face expects to read; the bytes do not depend on it.
    return serialise({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata={"format": "pt"})


def _read_tensors(file: Path, checksum: str | None, architecture: Architecture | None) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a .safetensors file, which are those of the architecture if there is one."""
    _check_header(file)
    try:
        with safe_open(file, "numpy") as tensors:
            names: list[str] = list(tensors.keys())
            slices = {name: tensors.get_slice(name) for name in names}
            dtypes = {name: str(part.get_dtype()) for name, part in slices.items()}
            found = {k: (tuple(v.get_shape()), DTYPES.get(dtypes[k], dtypes[k])) for k, v in slices.items()}
            if architecture is not None:
                check_shapes(architecture, found, where=str(file))
            for name, (_, dtype) in found.items():
                if dtype not in DTYPES.values():
                    raise WeightsError(f"{file}: {name}: expected one of {', '.join(DTYPES.values())}, got {dtype}")
            arrays = {name: np.array(tensors.get_tensor(name)) for name in names}
    except SafetensorError as error:
        raise WeightsError(f"{file}: expected a safetensors file, got a damaged one ({error}); {AGAIN}") from error
    if architecture is not None:
        check_weights(architecture, arrays, where=str(file))
    if sha256_of(file) != checksum:
        raise WeightsError(f"{file}: expected the contents that were saved, got others (checksum differs); {AGAIN}")
    return arrays


def _check_header(file: Path) -> None:
    """The first eight bytes say how long the header is: more than the file or reason allows is refused unread."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if size < 8 or 8 + min(header, HEADER_LIMIT) > size:
        raise WeightsError(f"{file}: expected at least {8 + header} bytes, got {size}: the file is truncated; {AGAIN}")
    if header > HEADER_LIMIT:
        raise WeightsError(f"{file}: expected a header of at most {HEADER_LIMIT} bytes, got {header}; {AGAIN}")


def _check_target(folder: Path, overwrite: bool) -> None:
    """A folder may be written to when nothing that is not a model's would be lost."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: expected a folder or nothing, got a file; choose another path")
    names = sorted(os.listdir(folder))
    foreign = [name for name in names if name not in (CONFIG, WEIGHTS, CONTEXT, CARD, *EXTRAS)]
    if foreign or (names and CONFIG not in names):
        raise ArtifactError(
            f"{folder}: expected an empty folder or a saved model, got one with {(foreign or names)[0]!r}; "
            "choose another path"
        )
    if names and not overwrite:
        raise ArtifactError(f"{folder}: a model is saved there already; choose another path, or pass overwrite=True")
