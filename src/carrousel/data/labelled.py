"""Public sets of series in which anomalies are labelled, as plain arrays."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carrousel.data.public import Progress, paths

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledSeries:
    """One series and where it is anomalous.

    Parameters
    ----------
    name, category : of the series, and of the group of series to which it belongs
    stamps : datetime64[s] (T,), as published: neither sorted nor unique everywhere; int64, the rows' numbers, where no
        times are published
    values : float64 (T, K)
    windows : int64 (W, 2), labelled rows start:stop, ascending
    train : float64 (R, K), what came before; empty where the set has no such part. It is not labelled
    """

    name: str
    category: str
    stamps: npt.NDArray[np.datetime64] | npt.NDArray[np.int64]
    values: Floats
    windows: npt.NDArray[np.int64]
    train: Floats


def nab(*, progress: Progress | None = None) -> tuple[LabelledSeries, ...]:
    """The 35 series of the set ``nab``, each with K = 1; categories as the benchmark names its folders.

    Raises
    ------
    DownloadError : as ``carrousel.data.public.paths``
    """
    labels, *series = paths("nab", progress=progress)
    limits: dict[str, list[tuple[str, str]]] = json.loads(labels.read_bytes())
    return tuple(_nab(file, limits["/".join(file.parts[-2:])]) for file in series)


def _nab(file: Path, limits: list[tuple[str, str]]) -> LabelledSeries:
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    stamps = np.array([stamp for stamp, _ in rows], "datetime64[s]")

    def row(limit: str) -> int:
        """The first row of that time: a clock set back repeats some."""
        return int(np.flatnonzero(stamps == np.datetime64(limit))[0])

    return LabelledSeries(
        name=file.stem,
        category=file.parent.name,
        stamps=stamps,
        values=np.array([[value] for _, value in rows], np.float64),
        windows=_ascending([(row(first), row(last) + 1) for first, last in limits]),
        train=np.empty((0, 1)),
    )


def msl(*, progress: Progress | None = None) -> tuple[LabelledSeries, ...]:
    """The 27 channels of the set ``msl``, in the order in which the labels are published; the times are not.

    Column 0 is the telemetry, the other 54 say which commands were sent or received. Categories are the kinds of
    channels, a letter each.

    Raises
    ------
    DownloadError : as ``carrousel.data.public.paths``
    """
    *arrays, labels = paths("msl", progress=progress)
    part = {file.parts[-2:]: file for file in arrays}
    with labels.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["spacecraft"] == "MSL"]
    channels: list[LabelledSeries] = []
    for row in rows:
        name = row["chan_id"]
        values = np.load(part["test", f"{name}.npy"])
        channels.append(
            LabelledSeries(
                name=name,
                category=name.partition("-")[0],
                stamps=np.arange(len(values)),
                values=values,
                windows=_ascending([(first, last + 1) for first, last in json.loads(row["anomaly_sequences"])]),
                train=np.load(part["train", f"{name}.npy"]),
            )
        )
    return tuple(channels)


def _ascending(windows: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    return np.array(sorted(windows), np.int64).reshape(-1, 2)
