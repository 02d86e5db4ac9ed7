"""Batches cut from sequences one behind the other: those of sequences padded to one length, without their cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from carrousel.features.classify import padded
from carrousel.tasks import classify_part
from carrousel.tasks.classify_fit import FOLDS, MANY, RARE, held_out_by, known_words, stratified
from carrousel.tasks.classify_part import NONE, Part, outputs

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def drawn(lengths: list[int], kind: str, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    if kind == "text":
        return [rng.integers(1, 7, size=n) for n in lengths], rng.integers(3, size=len(lengths))
    sequences = [rng.standard_normal((n, 2)).astype(np.float32) for n in lengths]
    return sequences, rng.integers(3, size=sum(lengths) if kind == "steps" else len(lengths))


@given(lengths=LENGTHS, kind=st.sampled_from(["text", "numeric", "steps"]), seed=st.integers(0, 99), data=st.data())
def test_a_batch_is_that_of_sequences_padded_to_one_length(lengths, kind, seed, data):
    sequences, target = drawn(lengths, kind, seed)
    members = np.array(data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, max_size=6)))
    index = np.array(data.draw(st.lists(st.sampled_from(range(len(members))), min_size=1, max_size=6)))
    part = Part.of(sequences, target, steps=kind == "steps", device=CPU).some(members)
    batch = part(torch.as_tensor(index))
    rows = members[index]
    x, length = padded([sequences[row] for row in rows])
    np.testing.assert_array_equal(batch.x, x)
    np.testing.assert_array_equal(batch.lengths, length)
    if kind == "steps":
        starts = np.cumsum(lengths) - lengths
        each, _ = padded([target[starts[row] : starts[row] + lengths[row]] for row in rows])
        expected = np.where(np.arange(each.shape[1]) < length[:, None], each, NONE)
    else:
        expected = target[rows]
    np.testing.assert_array_equal(batch.target, expected)


def test_steps_behind_an_end_have_no_class():
    part = Part.of([np.ones((1, 1)), np.ones((3, 1))], np.array([2, 0, 1, 2]), steps=True, device=CPU)
    assert part(torch.tensor([1, 0])).target.tolist() == [[0, 1, 2], [2, NONE, NONE]]


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60), long=st.integers(1, 20_000))
def test_one_long_sequence_among_short_ones_costs_its_own_steps_only(lengths, long):
    sequences = [np.zeros((n, 1), np.float32) for n in (*lengths, long)]
    part = Part.of(sequences, np.zeros(len(sequences), np.int64), steps=False, device=CPU)
    assert part.x.numel() == sum(lengths) + long
    groups = part.groups
    assert sorted(torch.cat(groups).tolist()) == list(range(len(sequences)))
    for index in groups:
        assert len(index) == 1 or len(index) * int(part.lengths[index].max()) <= classify_part.CELLS


class Sums(nn.Module):
    """Two logits: the sum of what stands before a length, and the length."""

    def __init__(self, steps: bool) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x, lengths):
        valid = torch.arange(x.shape[1]) < lengths[:, None]
        whole = torch.stack([(x[..., 0] * valid).sum(1), lengths.float()], 1)
        return whole if not self.steps else whole[:, None].expand(-1, x.shape[1], -1)


@pytest.mark.parametrize("steps", [False, True])
def test_what_is_said_of_a_part_comes_in_its_order(steps, monkeypatch):
    monkeypatch.setattr(classify_part, "CELLS", 12)
    lengths = [3, 1, 7, 2, 2, 5, 1]
    sequences, target = drawn(lengths, "steps" if steps else "numeric", 0)
    members = np.array([6, 2, 0, 5, 1])
    z, t = outputs(Sums(steps), Part.of(sequences, target, steps=steps, device=CPU).some(members))
    starts = np.cumsum(lengths) - lengths
    if steps:
        rows = np.concatenate([np.full(lengths[k], k) for k in members])
        np.testing.assert_array_equal(t, np.concatenate([target[starts[k] :][: lengths[k]] for k in members]))
    else:
        rows = members
        np.testing.assert_array_equal(t, target[members])
    np.testing.assert_allclose(z[:, 0], [sequences[k][:, 0].sum() for k in rows], atol=1e-6)
    np.testing.assert_array_equal(z[:, 1], np.array(lengths)[rows])


def test_a_network_reads_as_unknown_what_its_own_part_has_too_rarely():
    texts = [np.array([1, 2, 2]), np.array([3, 3]), np.array([1, 4])]
    part = Part.of(texts, np.zeros(3, np.int64), steps=False, device=CPU)
    assert RARE == 2
    assert part.words(6).tolist() == [0, 2, 2, 2, 1, 0]
    assert known_words(part, 6).tolist() == [0, 1, 2, 3, 0, 0]
    ids = known_words(part.some(np.array([2, 0])), 6)
    assert ids.tolist() == [0, 1, 2, 0, 0, 0]
    whole = Part(**{**vars(part), "ids": ids})
    assert whole(torch.tensor([1, 2])).x.tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("count", [60, MANY])
def test_every_network_holds_out_a_fifth_and_many_examples_are_so_by_two_or_none(count):
    target = np.arange(count) % 3
    fold = stratified(target, 2 * FOLDS, seed=1)
    times = np.zeros(count, int)
    for member in range(FOLDS):
        rows = held_out_by(member, target, fold)
        assert abs(len(rows) - count / FOLDS) <= 3
        shares = np.bincount(target[rows])
        assert shares.max() - shares.min() <= 2
        times[rows] += 1
    assert set(times.tolist()) == ({0, 2} if count >= MANY else {1})
