"""Text from strings and files: whatever it holds comes out as it is, and what is no text is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.data import text as module
from carrousel.data.text import documents, public_text
from carrousel.errors import DataError


def whole(source: str | Path) -> str:
    return "".join(documents(source)[0].pieces())


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_text_comes_out_of_a_file_as_it_went_in_however_it_is_cut(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_bytes(content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", 3)
        assert whole(file) == content.removeprefix("\ufeff")
        assert whole(content) == content


def test_line_ends_stay_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\n")
    assert whole(tmp_path / "a.txt") == "a\r\nb\rc\n"


def test_a_file_of_one_line_is_read_in_bounded_pieces(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * (3 * module.PIECE + 1))
    sizes = [len(piece) for piece in documents(tmp_path / "a.txt")[0].pieces()]
    assert sum(sizes) == 3 * module.PIECE + 1
    assert max(sizes) <= module.PIECE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.txt: expected text, got none: it is empty"),
        (b"caf\xe9 noir", "a.txt: expected text in UTF-8, got the byte 0xe9 at position 3; it is in another encoding"),
        (b"ab" * 9 + b"\xe2\x82", "a.txt: expected text in UTF-8, got the byte 0xe2 at position 18; it is in another"),
        (b"ELF\0\0", "a.txt: expected text, got a NUL character: this is a binary file or UTF-16; give text in UTF-8"),
        ("häß".encode("utf-16"), "a.txt: expected text in UTF-8, got the byte 0xff at position 0"),
    ],
)
@pytest.mark.parametrize("piece", [1, 4, 1 << 20])
def test_what_is_no_text_is_refused_with_the_place(tmp_path, monkeypatch, content, message, piece):
    monkeypatch.setattr(module, "PIECE", piece)
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        whole(tmp_path / "a.txt")
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_strings_that_are_no_text_are_refused():
    with pytest.raises(DataError, match="got none: it is empty"):
        whole("")
    with pytest.raises(DataError, match="half of a surrogate pair at position 2"):
        whole("ab\ud800")
    with pytest.raises(DataError, match="expected at least one text or path, got none"):
        documents([])
    with pytest.raises(DataError, match="expected strings or paths, got bytes"):
        documents([b"x"])  # type: ignore[list-item]


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a text file, got nothing; check the path"):
        whole(tmp_path / "a.txt")
    with pytest.raises(DataError, match="expected a text file, got a folder; check the path"):
        whole(tmp_path)


def test_a_public_set_of_series_is_no_text():
    with pytest.raises(DataError, match="'nab': expected text, got labelled series"):
        public_text("nab")
