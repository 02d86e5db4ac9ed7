"""The recurrent cache, the mask and ``generate``: the same tokens however a text is cut, padded or resumed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, TextIteratorStreamer, pipeline

from carrousel.errors import SettingError, ShapeError
from carrousel.interop.huggingface import CarrouselCache, CarrouselConfig, CarrouselForCausalLM
from carrousel.interop.huggingface.model import CACHE
from carrousel.tasks.generate import Sampling

V = 13
CLOSE = {"atol": 1e-6, "rtol": 1e-5}  # float32 sums of some twenty products, in another order


def network(**sizes: int) -> CarrouselForCausalLM:
    """A small model whose logits are far apart, so that what comes next depends on what was read."""
    torch.manual_seed(0)
    given = {"vocab_size": V, "embedding_size": 6, "hidden_size": 10, "num_layers": 2} | sizes
    model = CarrouselForCausalLM(CarrouselConfig(**given)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64))
    model.generation_config.eos_token_id = None
    return model


MODEL = network()


def ids(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(1, V, shape, generator=torch.Generator().manual_seed(seed))


def left_padded(rows: list[torch.Tensor], filler: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) of rows of several lengths."""
    longest = max(map(len, rows))
    padded = torch.stack([torch.cat([torch.full((longest - len(row),), filler), row]) for row in rows])
    mask = torch.stack([torch.cat([torch.zeros(longest - len(row)), torch.ones(len(row))]) for row in rows]).long()
    return padded, mask


def greedy(model: CarrouselForCausalLM, row: torch.Tensor, count: int) -> list[int]:
    """The most probable tokens, by reading the whole text again for each: what every other way must give."""
    text = row.tolist()
    for _ in range(count):
        with torch.no_grad():
            text.append(int(model(torch.tensor([text]), use_cache=False).logits[0, -1].argmax()))
    return text[len(row) :]


# --- the state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[9], [1] * 9, [4, 5], [1, 7, 1]])
def test_a_text_in_pieces_has_the_logits_of_the_whole(cuts):
    text = ids(3, 9)
    whole = MODEL(text).logits
    cache, parts = None, []
    for piece in text.split(cuts, dim=1):
        answer = MODEL(piece, **{CACHE: cache})
        cache = answer[CACHE]
        parts.append(answer.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)
    assert cache.get_seq_length() == 9


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_padding_wherever_it_stands_changes_neither_logits_nor_state(data):
    text = ids(2, 8, seed=data.draw(st.integers(0, 100)))
    mask = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(0, 1), min_size=8, max_size=8), min_size=2, max_size=2))
    )
    with torch.no_grad():
        answer = MODEL(text, attention_mask=mask)
        other = MODEL(torch.where(mask == 1, text, 5), attention_mask=mask)
    for row in range(2):
        kept = mask[row] == 1
        if kept.any():
            alone = MODEL(text[row : row + 1, kept])
            torch.testing.assert_close(answer.logits[row, kept], alone.logits[0], **CLOSE)
            torch.testing.assert_close(other.logits[row, kept], alone.logits[0], **CLOSE)
            expected = alone[CACHE].state
        else:
            expected = MODEL.lstm.initial_state(1)
        for mine, wanted in zip(answer[CACHE].state, expected, strict=True):
            torch.testing.assert_close(mine[:, row], wanted[:, 0], **CLOSE)


def test_a_mask_of_all_that_was_read_counts_for_the_new_tokens_only():
    text, mask = left_padded([ids(5), ids(8)])
    cache = MODEL(text, attention_mask=mask)[CACHE]
    more = ids(2, 3, seed=4)
    longer = torch.cat([mask, torch.ones(2, 3, dtype=torch.long)], 1)
    first = MODEL(more, attention_mask=longer, **{CACHE: cache.clone()}).logits
    assert torch.equal(first, MODEL(more, **{CACHE: cache}).logits)


def test_gradients_pass_through_padding_as_without_it():
    row = ids(5)
    text, mask = left_padded([row, ids(8)])
    MODEL.zero_grad()
    MODEL(text, attention_mask=mask).logits[0, 3:].square().sum().backward()
    padded = [parameter.grad.clone() for parameter in MODEL.parameters()]
    MODEL.zero_grad()
    MODEL(row[None]).logits.square().sum().backward()
    for mine, alone in zip(padded, (parameter.grad for parameter in MODEL.parameters()), strict=True):
        torch.testing.assert_close(mine, alone, **CLOSE)
    MODEL.zero_grad()


def test_a_detached_cache_carries_the_state_and_no_gradient():
    model = network().train()
    first, then = ids(2, 5), ids(2, 4, seed=3)
    vectors = model.embedding(first).detach().requires_grad_()
    cache = model(inputs_embeds=vectors, use_cache=True)[CACHE]
    answer = model(then, labels=then, **{CACHE: cache.detach()})
    torch.testing.assert_close(answer.logits, model(torch.cat([first, then], 1)).logits[:, 5:], **CLOSE)
    assert answer[CACHE].get_seq_length() == 9
    answer.loss.backward()
    assert vectors.grad is None
    model(then, **{CACHE: cache}).logits.sum().backward()
    assert vectors.grad.abs().sum() > 0
    assert CACHE not in model(first)  # training keeps no state that nobody asked for


def test_hidden_states_are_the_vectors_of_the_tokens_and_what_each_layer_gives():
    text, mask = left_padded([ids(5), ids(8)])
    plain = MODEL(text, attention_mask=mask)
    answer = MODEL(text, attention_mask=mask, output_hidden_states=True)
    assert [layer.shape[-1] for layer in answer.hidden_states] == [6, 10, 10]
    torch.testing.assert_close(answer.hidden_states[0][mask == 1], MODEL.embedding(text)[mask == 1], **CLOSE)
    torch.testing.assert_close(answer.logits, plain.logits, **CLOSE)
    torch.testing.assert_close(MODEL.head(MODEL.projection(answer.hidden_states[-1])), plain.logits, **CLOSE)
    for mine, wanted in zip(answer[CACHE].state, plain[CACHE].state, strict=True):
        torch.testing.assert_close(mine, wanted, **CLOSE)
    one = network(num_layers=1)
    shallow = one(text, attention_mask=mask, output_hidden_states=True)
    torch.testing.assert_close(one.head(one.projection(shallow.hidden_states[-1])), shallow.logits, **CLOSE)


def test_rows_of_a_cache_are_reordered_repeated_selected_and_copied():
    text = ids(3, 6)
    cache = MODEL(text)[CACHE]
    kept = cache.clone()
    more = ids(3, 2, seed=3)
    expected = MODEL(torch.cat([text, more], 1)).logits[:, 6:]
    cache.reorder_cache(torch.tensor([2, 0, 0]))
    torch.testing.assert_close(MODEL(more[[2, 0, 0]], **{CACHE: cache}).logits, expected[[2, 0, 0]], **CLOSE)
    repeated = copy.deepcopy(kept)
    repeated.batch_repeat_interleave(2)
    assert (repeated.batch_size, len(repeated), repeated.get_seq_length()) == (6, 2, 6)
    torch.testing.assert_close(
        MODEL(more.repeat_interleave(2, 0), **{CACHE: repeated}).logits, expected.repeat_interleave(2, 0), **CLOSE
    )
    repeated.batch_select_indices(torch.tensor([1]))
    assert repeated.batch_size == 1
    torch.testing.assert_close(MODEL(more, **{CACHE: kept}).logits, expected, **CLOSE)
    kept.reset()
    assert (kept.get_seq_length(), kept.batch_size, kept.is_initialized) == (0, -1, False)
    torch.testing.assert_close(MODEL(text, **{CACHE: kept}).logits, MODEL(text).logits, **CLOSE)


def test_a_cache_says_of_every_layer_whether_something_was_read_and_that_no_past_is_kept():
    assert [CarrouselCache().has_previous_state(layer) for layer in (None, 0, 1)] == [False] * 3
    cache = MODEL(ids(2, 3))[CACHE]
    assert [cache.has_previous_state(layer) for layer in (None, 0, 1)] == [True] * 3
    assert [cache.is_recording_past(layer) for layer in range(len(cache))] == [False] * 2


def test_what_a_recurrent_cache_cannot_do_is_refused_in_one_sentence():
    cache = MODEL(ids(2, 4))[CACHE]
    with pytest.raises(SettingError, match="crop: expected not to be called, since a recurrent state cannot forget"):
        cache.crop(-1)
    with pytest.raises(SettingError, match="an LSTM has no keys and values"):
        cache.update(torch.zeros(1), torch.zeros(1), 0)
    with pytest.raises(SettingError, match="expected a CarrouselCache, which holds h and c, got DynamicCache"):
        MODEL(ids(2, 4), **{CACHE: DynamicCache()})
    with pytest.raises(ShapeError, match=r"expected the state of 4 rows as the input has, got 2; beams and several"):
        MODEL(ids(4, 1), **{CACHE: cache})
    with pytest.raises(ShapeError, match=r"attention_mask: expected \(2, 4\) as the input has"):
        MODEL(ids(2, 4), attention_mask=torch.ones(2, 3))
    with pytest.raises(SettingError, match="expected either input_ids or inputs_embeds, got neither"):
        MODEL()
    with pytest.raises(SettingError, match="got both"):
        MODEL(ids(2, 4), inputs_embeds=torch.zeros(2, 4, 6).double())


# --- generate ---------------------------------------------------------------------------------------------------------

WAYS = {
    "greedy": {"do_sample": False},
    "sampled": {"do_sample": True, "top_k": 5, "temperature": 1.5},
    "beams": {"num_beams": 4, "num_return_sequences": 2},
    "sampled beams": {"num_beams": 3, "do_sample": True},
    "several of one prompt": {"do_sample": True, "num_return_sequences": 3},
    "n-grams kept from repeating": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_generate_gives_the_same_tokens_with_and_without_the_cache(way):
    text, mask = left_padded([ids(3), ids(7)])
    answers = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        answers.append(MODEL.generate(text, attention_mask=mask, max_new_tokens=12, use_cache=use_cache, **way))
    assert torch.equal(*answers)
    assert answers[0].shape == (2 * way.get("num_return_sequences", 1), 7 + 12)


@pytest.mark.parametrize("use_cache", [True, False])
def test_prompts_of_several_lengths_go_on_as_each_alone(use_cache):
    rows = [ids(2), ids(9, seed=2), ids(5, seed=3)]
    text, mask = left_padded(rows)
    found = MODEL.generate(text, attention_mask=mask, max_new_tokens=10, do_sample=False, use_cache=use_cache)
    for row, tokens in zip(rows, found, strict=True):
        assert tokens[-10:].tolist() == greedy(MODEL, row, 10)


def test_beams_of_a_padded_batch_are_those_of_each_prompt_alone():
    rows = [ids(2), ids(9, seed=2)]
    text, mask = left_padded(rows)
    how = {"num_beams": 4, "max_new_tokens": 8, "do_sample": False}
    found = MODEL.generate(text, attention_mask=mask, **how)
    for row, tokens in zip(rows, found, strict=True):
        assert tokens[-8:].tolist() == MODEL.generate(row[None], **how)[0, -8:].tolist()


def test_beams_find_the_most_probable_text():
    model = network(vocab_size=4)
    prompt = torch.tensor([[1, 2]])
    every = torch.cartesian_prod(*[torch.arange(4)] * 4)
    text = torch.cat([prompt.expand(len(every), -1), every], 1)
    scores = model(text).logits.log_softmax(-1)[:, 1:-1].gather(2, every[..., None]).sum((1, 2))
    found = model.generate(prompt, num_beams=64, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert found[0, 2:].tolist() == every[scores.argmax()].tolist()


@pytest.mark.parametrize("way", ["all again", "new ones only"])
def test_a_text_goes_on_from_a_returned_cache_as_in_one_go(way):
    text, mask = left_padded([ids(3), ids(7)])
    whole = MODEL.generate(text, attention_mask=mask, max_new_tokens=12, do_sample=False)
    first = MODEL.generate(text, attention_mask=mask, max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    cache = first[CACHE]
    assert cache.get_seq_length() == 7 + 4  # the last token was written, and not yet read
    longer = torch.cat([mask, torch.ones(2, 5, dtype=torch.long)], 1)
    given = first.sequences if way == "all again" else first.sequences[:, -1:]
    rest = MODEL.generate(given, attention_mask=longer, max_new_tokens=7, do_sample=False, **{CACHE: cache})
    assert rest[:, -7:].tolist() == whole[:, -7:].tolist()


def test_a_prompt_is_read_in_chunks_into_a_cache_that_is_given():
    text = ids(2, 9)
    expected = MODEL.generate(text, max_new_tokens=6, do_sample=False)
    cache = CarrouselCache()
    found = MODEL.generate(text, max_new_tokens=6, do_sample=False, prefill_chunk_size=4, **{CACHE: cache})
    assert torch.equal(found, expected)


def test_a_prompt_of_vectors_goes_on_as_that_of_tokens():
    text = ids(2, 6)
    expected = MODEL.generate(text, max_new_tokens=6, do_sample=False)[:, 6:]
    assert torch.equal(
        MODEL.generate(inputs_embeds=MODEL.embedding(text), max_new_tokens=6, do_sample=False)[:, -6:], expected
    )


@pytest.mark.parametrize("kind", ["dynamic", "static", "offloaded"])
def test_other_kinds_of_cache_are_passed_over(kind):
    text = ids(2, 6)
    expected = MODEL.generate(text, max_new_tokens=6, do_sample=False)
    assert torch.equal(MODEL.generate(text, max_new_tokens=6, do_sample=False, cache_implementation=kind), expected)


def test_scores_and_logits_of_generate_are_those_of_one_forward():
    text = ids(2, 6)
    answer = MODEL.generate(
        text, max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_logits=True,
        output_hidden_states=True,
    )  # fmt: skip
    logits = MODEL(answer.sequences).logits[:, 5:-1]
    torch.testing.assert_close(torch.stack(answer.logits, 1).double(), logits, atol=1e-5, rtol=1e-5)
    assert len(answer.hidden_states) == 5
    assert answer.hidden_states[0][-1].shape == (2, 6, 10)


def test_assisted_decoding_is_refused_by_transformers_in_one_sentence():
    with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
        MODEL.generate(ids(1, 4), max_new_tokens=4, assistant_model=network(), do_sample=False)


def test_gradient_checkpointing_is_refused_by_transformers_in_one_sentence():
    with pytest.raises(ValueError, match=r"CarrouselForCausalLM does not support (activation|gradient) checkpointing"):
        getattr(MODEL, "activation_checkpointing_enable", MODEL.gradient_checkpointing_enable)()


# --- beside Carrousel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [("characters", "folder"), ("pairs", "pairs_folder")], ids=["char", "bpe"])
@pytest.mark.parametrize("prompt", ["", "two ", "red fish blue fish. one"])
def test_greedy_text_is_that_of_carrousel(which, request, prompt):
    ours, folder = request.getfixturevalue(which[0]), request.getfixturevalue(which[1])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = ours.generate(prompt, tokens=25, temperature=0)
    seen = tokenizer(prompt, return_tensors="pt")
    found = model.generate(**seen, max_new_tokens=25, do_sample=False)[0, seen.input_ids.shape[1] :]
    assert tokenizer.decode(found, skip_special_tokens=True) == expected
    if prompt:
        write = pipeline("text-generation", model=str(folder))
        (answer,) = write(prompt, max_new_tokens=25, do_sample=False)
        assert answer["generated_text"] == prompt + expected


def test_a_batch_of_prompts_through_the_pipeline_is_each_alone(characters, folder):
    write = pipeline("text-generation", model=str(folder), batch_size=3)
    prompts = ["two ", "red fish blue fish. one", "o"]
    found = write(prompts, max_new_tokens=20, do_sample=False, return_full_text=False)
    assert [answer[0]["generated_text"] for answer in found] == [
        characters.generate(prompt, tokens=20, temperature=0) for prompt in prompts
    ]


@pytest.mark.parametrize("how", [{}, {"temperature": 0.6}, {"top_k": 4}, {"top_p": 0.8}])
def test_sampled_text_of_the_engine_is_that_of_this_network_seed_for_seed(characters, folder, how):
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = characters.fitted.tokenizer
    draws, cache = np.random.default_rng(5), None
    seen, text = torch.tensor([[0, *tokenizer.encode("two ").tolist()]]), b""
    for _ in range(60):
        with torch.no_grad():
            answer = model(seen, **{CACHE: cache})
        cache, logits = answer[CACHE], answer.logits[0, -1].numpy().copy()
        logits[characters.fitted.never] = -np.inf
        token = Sampling(**how).choose(logits, draws.random())
        text += tokenizer.bytes_of(token)
        seen = torch.tensor([[token]])
    assert characters.generate("two ", tokens=60, seed=5, **how) == text.decode()


def test_pieces_come_while_they_are_written(folder, characters):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    model.generate(**tokenizer("two ", return_tensors="pt"), streamer=streamer, max_new_tokens=20, do_sample=False)
    assert "".join(streamer) == characters.generate("two ", tokens=20, temperature=0)


def test_a_text_ends_where_the_model_says_so(tmp_path):
    from carrousel import LanguageModel
    from carrousel.training import silent

    small = {"hidden_size": 16, "embedding_size": 8, "batch_size": 4, "sequence_length": 8}
    ours = LanguageModel(**small, max_steps=60, learning_rate=0.02)
    ours.fit(["ab"] * 100, validation=["ab"] * 9, progress=silent).save(tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    found = model.generate(torch.tensor([[0]]), max_new_tokens=20, do_sample=False)
    assert found.tolist() == [[0, *ours.fitted.tokenizer.encode("ab").tolist(), 0]]
