"""Tokens: the same ids as the library that owns the format, piecewise as of the whole, and back to the same text."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import carrousel.features.token as module
from carrousel.errors import ConfigError
from carrousel.features.token import START, BytePairs, Characters, Decoder, Encoder, check_size, from_json, learn

tokenizers = pytest.importorskip("tokenizers")
TEXT = "To be, or nöt to be:\r\n\n  that 😀 is the\tquestion. <|endoftext|> 1234 \u2028 'tis\n" * 5
PAIRS = BytePairs.learn([TEXT], 300)
ANY = st.text(st.characters(codec="utf-8"), max_size=60)


def decode(tokenizer: Characters | BytePairs, ids: np.ndarray) -> str:
    decoder = Decoder(tokenizer)
    return "".join([*(decoder.push(token) for token in ids.tolist()), decoder.finish()])


def test_characters_are_numbered_by_code_point_behind_start_and_unknown():
    tokenizer = Characters.learn(["ba", "c😀a"], 100)
    assert tokenizer.known == ("a", "b", "c", "😀")
    assert tokenizer.size == 6
    assert tokenizer.encode("abc😀z\U0010ffff\0").tolist() == [2, 3, 4, 5, 1, 1, 1]


def test_the_most_frequent_characters_are_known_where_not_all_fit():
    assert Characters.learn(["aaabbbcd", "dd"], 5).known == ("a", "b", "d")


@given(ANY)
def test_characters_have_the_ids_that_the_library_reads_from_their_file(text):
    tokenizer = Characters.learn([TEXT], 1000)
    library = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    assert library.encode(text).ids == tokenizer.encode(text).tolist()
    assert from_json(tokenizer.to_json(), "char").encode(text).tolist() == tokenizer.encode(text).tolist()


@given(ANY)
def test_byte_pairs_give_back_any_text(text):
    assert decode(PAIRS, PAIRS.encode(text)) == text


def test_byte_pairs_join_what_is_frequent():
    assert 257 < PAIRS.size <= 300
    assert len(PAIRS.encode("question")) < len("question")


def test_a_text_that_spells_the_start_is_a_text_like_any_other():
    assert 0 not in PAIRS.encode(START)
    assert decode(PAIRS, PAIRS.encode(f"a{START}b")) == f"a{START}b"


@given(ANY, st.integers(0, 2**32))
@pytest.mark.parametrize("tokenizer", [PAIRS, Characters.learn([TEXT], 100)], ids=["bpe", "char"])
def test_ids_of_a_text_in_pieces_are_those_of_the_whole(tokenizer, text, seed):
    text, draw = TEXT[:90] + text + TEXT[:30], random.Random(seed)
    encoder, ids, first = Encoder(tokenizer), [], 0
    while first < len(text):
        last = first + draw.randint(1, 7)
        ids += encoder.push(text[first:last]).tolist()
        first = last
    assert ids + encoder.finish().tolist() == tokenizer.encode(text).tolist()


def test_a_word_without_an_end_does_not_wait_for_it(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    encoder = Encoder(PAIRS)
    ids = np.concatenate([encoder.push("question" * 5), encoder.finish()])
    assert decode(PAIRS, ids) == "question" * 5
    assert len(Encoder(PAIRS).push("question" * 5)) > 0


def test_learning_pairs_from_one_endless_word_ends():
    tokenizer = BytePairs.learn(["ab" * 50_000], 260)
    assert decode(tokenizer, tokenizer.encode("abab")) == "abab"


def test_pairs_are_learned_from_the_first_part_of_a_long_text(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 600)
    pieces = iter(["spam " * 80, "spam " * 80, "eggs " * 80])
    tokenizer = learn("bpe", pieces, 300)
    assert len(tokenizer.encode(" spam")) == 1
    assert len(tokenizer.encode(" eggs")) > 1


@pytest.mark.parametrize("level", ["char", "bpe"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": {"vocab": []}}', "\ud800"])
def test_a_file_that_is_no_tokenizer_is_one_error(level, text):
    with pytest.raises(ConfigError, match=r"^tokenizer\.json: expected .*; save (the model|it) again$"):
        from_json(text, level)


@pytest.mark.parametrize("change", [{"a": 7}, {"ab": 2}, {"\ud800": 2}, {"a": "2"}, {"a": 1}])
def test_a_vocabulary_with_holes_or_words_is_refused(change):
    data = json.loads(Characters(["a"]).to_json())
    data["model"]["vocab"] = {START: 0, "\ufffd": 1} | change
    with pytest.raises(ConfigError, match=r"^tokenizer\.json: "):
        from_json(json.dumps(data), "char")


def test_pairs_of_letters_that_are_no_bytes_are_refused():
    data = json.loads(PAIRS.to_json())
    data["model"]["vocab"]["☃"] = PAIRS.size
    with pytest.raises(ConfigError, match="bytes behind it"):
        from_json(json.dumps(data), "bpe")


def test_a_tokenizer_of_another_size_is_refused():
    with pytest.raises(ConfigError, match=r"tokenizer\.json: expected 9 tokens as the network has, got 3"):
        check_size(Characters(["a"]), 9)
