"""Words: the same ids from a whole text, from its pieces, and from the library that others read tokenizer.json with."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrousel.errors import ConfigError
from carrousel.features.word import EARLIER, UNKNOWN, WordEncoder, Words, words_of

HARD = (
    "What films featured Popeye Doyle? 3.5% [a] \\ ^ - ] _x façade's É ΣΑΣ ΟΔΟΣ. 日本 語x ª e\u0301t हिन्दी",
    "€5 «x» 😀😀 “q”…\n\tz İx",
    "don't  stop",
    "",
    " \t",
    "a\x1cb \x1d c\x1e\x1fd\x85e\u180ef",
)
KNOWN = Words.learn(HARD[:2] * 2, size=99)


def test_words_and_signs_are_apart_in_small_letters():
    assert words_of("Who's No.1 – naïve_x? 日本") == ["who", "'", "s", "no", ".", "1", "–", "naïve_x", "?", "日", "本"]


def test_rare_words_are_unknown_and_of_too_many_the_most_frequent_are_known():
    words = Words.learn(["b b a a a c", "c d"], size=10)
    assert words.known == ("a", "b", "c")
    assert words.encode("A d c").tolist() == [1, 0, 3]
    assert Words.learn(["b b a a a c c"], size=3).known == ("a", "b")


@given(st.lists(st.text("aBΣσ é'_.5 日\n", max_size=6), max_size=5))
def test_a_text_in_pieces_has_the_ids_of_the_whole(pieces):
    encoder = WordEncoder(KNOWN)
    found = [token for piece in pieces for token in encoder.push(piece).tolist()]
    assert found + encoder.finish().tolist() == KNOWN.encode("".join(pieces)).tolist()


@pytest.mark.parametrize("text", HARD)
def test_the_file_means_the_same_to_the_tokenizers_library(text):
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer.from_str(KNOWN.to_json())
    assert library.encode(text).ids == KNOWN.encode(text).tolist()


def test_the_file_reads_back():
    again = Words.from_json(KNOWN.to_json())
    assert again.known == KNOWN.known
    assert again.to_json() == KNOWN.to_json()


def test_white_space_is_that_of_unicode_without_the_controls_that_python_adds():
    odd = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    ours = [sign for sign in odd if words_of(f"a{sign}b") == ["a", "b"]]
    assert [sign for sign in odd if sign not in ours] == list("\x1c\x1d\x1e\x1f")
    assert len(ours) == 25
    encoder = WordEncoder(KNOWN)
    assert [*encoder.push("who\x1cis"), *encoder.finish()] == KNOWN.encode("who\x1cis").tolist()


def test_a_file_of_an_earlier_version_reads_back_and_is_written_as_today():
    data = json.loads(KNOWN.to_json())
    data["pre_tokenizer"]["pattern"]["Regex"] = EARLIER
    again = Words.from_json(json.dumps(data))
    assert again.known == KNOWN.known
    assert again.to_json() == KNOWN.to_json()
    data["pre_tokenizer"]["pattern"]["Regex"] = "."
    with pytest.raises(ConfigError, match="expected the words of a model"):
        Words.from_json(json.dumps(data))


def _changed(**change: object) -> str:
    data = json.loads(KNOWN.to_json())
    return json.dumps(data | change)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", _changed(normalizer=None), _changed(model={"vocab": {UNKNOWN: 1}}), _changed(model=3)],
)
def test_another_file_is_refused(text):
    with pytest.raises(ConfigError, match=r"^tokenizer\.json: expected the words of a model"):
        Words.from_json(text)
