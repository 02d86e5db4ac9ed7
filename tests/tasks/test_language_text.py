"""Texts as they come: any character, any line end, one line of many megabytes; and what is no text."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from carrousel.data.text import Document, documents
from carrousel.errors import DataError
from carrousel.features.token import Characters
from carrousel.tasks.language import LanguageModel
from carrousel.tasks.language_fitted import read_tokens
from carrousel.training import silent

SMALL = {"hidden_size": 16, "embedding_size": 8, "batch_size": 8, "sequence_length": 16, "learning_rate": 1e-2}
# Line ends of every kind, marks in the middle of a text, scripts from right to left, the last code point, joined emoji.
ANY = (
    "naïve e\u0301 漢字 👩\u200d👧 \u202eab\u202c שלום\r\n\r\r\n\n\x85\u2028\u2029\x0b\x0c \ufeff\U0010ffff\t\x01 end\n"
)


def test_any_character_and_line_end_is_kept_through_training_scoring_and_streaming(tmp_path):
    path = tmp_path / "any.txt"
    path.write_bytes((ANY * 20).encode())
    model = LanguageModel(**SMALL, max_steps=30).fit(path, progress=silent)
    assert set(model.fitted.tokenizer.known) == set(ANY)
    score = model.score(path)
    assert (score.characters, score.unknown) == (20 * len(ANY), 0)
    assert "".join(token.text for token in model.stream().push(ANY)) == ANY
    drawn = model.generate(ANY, tokens=200, seed=0)
    assert len(drawn) == 200
    assert set(drawn) <= set(ANY)


def test_a_mark_at_the_beginning_of_a_file_is_none_of_its_text(tmp_path):
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfab")
    tokens, characters = read_tokens(Characters("ab"), documents(tmp_path / "marked.txt"))
    assert (tokens.tolist(), characters) == ([2, 3], 2)


def test_one_line_of_many_megabytes_takes_little_more_than_its_tokens(tmp_path):
    path, size = tmp_path / "line.txt", 64 << 20
    path.write_bytes(b"no line ends here, " * (size // 19))
    tracemalloc.start()
    try:
        tokens, characters = read_tokens(Characters("abcdefghijklmnopqrstuvwxyz, "), documents(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(tokens) == characters == size // 19 * 19
    assert peak < 1.7 * size


def test_documents_are_read_whole_whatever_their_size_was_thought_to_be(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("abc" * 1000)
    found = documents([tmp_path / "a.txt", "cab" * 200_000, Path(tmp_path / "a.txt")])
    expected, characters = read_tokens(Characters("abc"), found)
    assert characters == 606_000
    assert np.flatnonzero(expected == 0).tolist() == [3000, 603_001, 606_002]
    monkeypatch.setattr(Document, "bytes_at_most", 1)
    tokens, _ = read_tokens(Characters("abc"), found)
    assert np.array_equal(tokens, expected)


def test_a_trained_model_does_not_keep_the_whole_text_in_memory(monkeypatch):
    monkeypatch.setattr("carrousel.tasks.language.REMEMBERED", 100)
    model = LanguageModel(**SMALL, max_steps=1).fit("some text, " * 500, progress=silent)
    assert len(model.fitted.tokens) == 100
    assert model.fitted.tokens.base is None
    tuned = model.fine_tune("other text, " * 50, max_steps=1, progress=silent)
    assert len(tuned.fitted.tokens) == 100


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "expected text, got none: it is empty"),
        (b"\xef\xbb\xbf", "expected text, got none: it is empty"),
        (b"a\0b", "got a NUL character: this is a binary file or UTF-16"),
        ("text".encode("utf-16"), "got the byte 0xff at position 0; it is in another encoding, or no text"),
        (b"\x1f\x8b\x08\x00", "got the byte 0x8b at position 1; it is in another encoding, or no text"),
        (b"caf\xe9 noir", "got the byte 0xe9 at position 3"),
        (b"ab\xed\xa0\x80", "got the byte 0xed at position 2"),
        (b"ab" * 700_000 + b"\xc3", "got the byte 0xc3 at position 1400000"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path, content, sentence):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        LanguageModel(**SMALL, max_steps=1).fit(tmp_path / "file", progress=silent)
