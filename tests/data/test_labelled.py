"""Labelled sets as published: how many, how long, and the labels on the rows where their stamps are."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from carrousel.data import public
from carrousel.data.labelled import LabelledSeries, msl, nab
from carrousel.data.public import SETS, File

needs_data = pytest.mark.skipif("CARROUSEL_DATA" not in os.environ, reason="CARROUSEL_DATA names no folder")


@pytest.fixture(scope="module")
def curiosity(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LabelledSeries]:
    """The channels by name, unpacked into a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return {channel.name: channel for channel in msl()}


@pytest.fixture(scope="module")
def numenta() -> dict[str, LabelledSeries]:
    return {series.name: series for series in nab()}


@needs_data
def test_nab_has_35_series_of_four_categories_with_55_windows(numenta: dict[str, LabelledSeries]) -> None:
    assert len(numenta) == 35
    assert sum(len(series.windows) for series in numenta.values()) == 55
    categories = [series.category for series in numenta.values()]
    assert {name: categories.count(name) for name in categories} == {
        "artificialNoAnomaly": 5,
        "artificialWithAnomaly": 6,
        "realAWSCloudwatch": 17,
        "realKnownCause": 7,
    }
    assert all(len(series.windows) == 0 for series in numenta.values() if series.category == "artificialNoAnomaly")


@needs_data
def test_nab_windows_are_the_rows_from_their_first_stamp_to_their_last(numenta: dict[str, LabelledSeries]) -> None:
    taxi = numenta["nyc_taxi"]
    assert taxi.values.shape == (10_320, 1)
    assert taxi.values[:3, 0].tolist() == [10_844, 8_127, 6_210]
    assert taxi.windows.tolist() == [[5839, 6046], [7080, 7287], [8423, 8630], [8731, 8938], [9977, 10_184]]
    first, last = taxi.windows[0, 0], taxi.windows[0, 1] - 1
    assert (str(taxi.stamps[first]), str(taxi.stamps[last])) == ("2014-10-30T15:30:00", "2014-11-03T22:30:00")
    assert taxi.train.shape == (0, 1)


@needs_data
def test_nab_stamps_that_go_back_or_repeat_stay_as_they_are(numenta: dict[str, LabelledSeries]) -> None:
    machine = numenta["machine_temperature_system_failure"]
    assert np.sum(np.diff(machine.stamps) <= np.timedelta64(0)) > 0
    assert machine.windows.tolist() == [[2126, 2693], [3703, 4270], [16_057, 16_624], [19_232, 19_799]]
    assert numenta["ec2_request_latency_system_failure"].windows[-1].tolist() == [3956, 4032]  # to the last row


@needs_data
def test_msl_has_27_channels_with_36_labels_in_order(curiosity: dict[str, LabelledSeries]) -> None:
    assert len(curiosity) == 27
    assert sum(len(channel.windows) for channel in curiosity.values()) == 36
    for channel in curiosity.values():
        assert channel.values.shape == (len(channel.stamps), 55)
        assert channel.train.shape[1] == 55
        assert set(np.unique(channel.values[:, 1:])) <= {0.0, 1.0}
        assert np.all(np.diff(channel.windows.ravel()) > 0)
        assert channel.windows[-1, 1] <= len(channel.values)
    assert curiosity["P-11"].windows.tolist() == [[1238, 1345], [1778, 1899]]  # published the other way round
    assert (len(curiosity["M-6"].train), len(curiosity["M-6"].values)) == (1565, 2049)
    assert (curiosity["T-13"].category, curiosity["T-13"].windows[0].tolist()) == ("T", [690, 791])


def test_stamp_that_a_clock_set_back_repeats_is_its_first_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = ["00", "01", "02", "01", "02", "03"]
    contents = {
        "nab/labels/combined_windows.json": '{"kind/a.csv": [["2020-01-01 01:00:00.0", "2020-01-01 02:00:00.0"]]}',
        "nab/data/kind/a.csv": "timestamp,value\n" + "".join(f"2020-01-01 {hour}:00:00,1.5\n" for hour in hours),
    }
    files = tuple(File(name=n, sha256=hashlib.sha256(text.encode()).hexdigest()) for n, text in contents.items())
    monkeypatch.setattr(public, "SETS", dict(SETS) | {"nab": dataclasses.replace(SETS["nab"], files=files)})
    monkeypatch.setenv("CARROUSEL_DATA", str(tmp_path))
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (series,) = nab()
    assert (series.name, series.category, series.windows.tolist()) == ("a", "kind", [[1, 3]])
    assert series.values.tolist() == [[1.5]] * 6
