"""The tokenizer that transformers opens has the ids of ours, for every text."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from carrousel.errors import ConfigError
from carrousel.interop.huggingface import CarrouselTokenizer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    "fish on<|endoftext>\r\n\t 'ïÏß\ufffd\0"
)
BOTH = pytest.mark.parametrize("which", [("characters", "folder"), ("pairs", "pairs_folder")], ids=["char", "bpe"])
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@BOTH
@FEW
@given(text=TEXTS)
def test_ids_and_text_are_those_of_carrousel(which, request, text):
    ours = request.getfixturevalue(which[0]).fitted.tokenizer
    theirs = cached(request, which[1])
    ids = ours.encode(text).tolist()
    assert theirs(text, add_special_tokens=False).input_ids == ids
    assert theirs(text).input_ids == [0, *ids]
    expected = b"".join(ours.bytes_of(token) for token in ids).decode("utf-8", "replace")
    assert theirs.decode(ids) == theirs.decode([0, *ids, 0], skip_special_tokens=True) == expected


def cached(request: pytest.FixtureRequest, folder: str) -> CarrouselTokenizer:
    if folder not in TOKENIZERS:
        TOKENIZERS[folder] = AutoTokenizer.from_pretrained(request.getfixturevalue(folder))
    return TOKENIZERS[folder]


TOKENIZERS: dict[str, CarrouselTokenizer] = {}


@BOTH
def test_a_text_that_spells_out_the_special_token_is_a_text(which, request):
    tokenizer = cached(request, which[1])
    assert 0 not in tokenizer("one <|endoftext|> two", add_special_tokens=False).input_ids


@BOTH
def test_it_is_fast_and_has_the_size_of_the_network(which, request):
    tokenizer = cached(request, which[1])
    assert tokenizer.is_fast
    assert len(tokenizer) == tokenizer.vocab_size == request.getfixturevalue(which[0]).fitted.sizes.vocabulary
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0


def test_prompts_of_several_lengths_are_padded_on_the_left(request):
    batch = cached(request, "folder")(["one", "two fish"], padding=True)
    assert batch.attention_mask == [[0] * 5 + [1] * 4, [1] * 9]
    assert batch.input_ids[0][:6] == [0] * 6
    assert set(batch) == {"input_ids", "attention_mask"}


def test_it_is_saved_as_it_was_and_with_added_tokens_as_it_is(request, folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path / "same")
    assert (tmp_path / "same" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    again = CarrouselTokenizer.from_pretrained(tmp_path / "same")
    assert again("two fish").input_ids == tokenizer("two fish").input_ids
    tokenizer.add_tokens(["@"])
    tokenizer.save_pretrained(tmp_path / "more")
    more = CarrouselTokenizer.from_pretrained(tmp_path / "more")
    assert more("a@", add_special_tokens=False).input_ids[-1] == len(tokenizer) - 1 == len(more) - 1


def test_a_damaged_tokenizer_is_one_sentence(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ConfigError, match=r"tokenizer\.json: expected a tokenizer, got another file"):
        CarrouselTokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(ConfigError, match=r"tokenizer\.json: missing"):
        CarrouselTokenizer()
