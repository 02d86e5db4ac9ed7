"""State carried from batch to batch, and an embedding that forgets tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from carrousel.errors import SettingError
from carrousel.features.language import LanguageSizes
from carrousel.layers.carry import Carry
from carrousel.layers.embedding import DropEmbedding
from carrousel.layers.language import LanguageLSTM
from carrousel.training import seeded

SIZES = LanguageSizes(vocabulary=7, embedding_size=4, hidden_size=5, num_layers=2)


def network(**options: float) -> LanguageLSTM:
    with seeded(0):
        return LanguageLSTM(SIZES, **options)


def ids(length: int, rows: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 7, (length, rows)))


def test_chunks_with_the_state_carried_give_the_outputs_of_the_whole():
    body, x, rows = network(), ids(12), torch.arange(3)
    whole, state = body(x)
    carried = Carry(body, body.initial_state(3))
    parts = [carried(x[first : first + 4], rows, fresh=first == 0) for first in range(0, 12, 4)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(carried.c, state.c, rtol=0, atol=1e-6)


def test_a_fresh_stream_begins_from_zeros_whatever_was_left():
    body, x, rows = network(), ids(4), torch.arange(3)
    carried = Carry(body, body.initial_state(3))
    first = carried(x, rows, fresh=True)
    later = carried(x, rows, fresh=False)
    assert (first - later).abs().max() > 1e-3
    torch.testing.assert_close(carried(x, rows, fresh=True), first, rtol=0, atol=0)


def test_rows_of_streams_keep_their_own_state():
    body, x = network(), ids(8)
    whole, _ = body(x)
    carried = Carry(body, body.initial_state(3))
    for rows in ([2, 0], [1]):
        carried(x[:4, rows], torch.tensor(rows), fresh=True)
    swapped = carried(x[4:, [1, 2]], torch.tensor([1, 2]), fresh=False)
    torch.testing.assert_close(swapped, whole[4:, [1, 2]], rtol=0, atol=1e-6)


def test_the_gradient_of_a_chunk_is_that_of_the_full_unroll_cut_at_its_beginning():
    body, x, rows = network(), ids(8), torch.arange(3)

    def gradients(y: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(y[-1].square().sum(), list(body.parameters())))

    carried = Carry(body, body.initial_state(3))
    carried(x[:4], rows, fresh=True)
    truncated = gradients(carried(x[4:], rows, fresh=False))
    _, state = body(x[:4])
    expected = gradients(body(x[4:], state.detach())[0])
    full = gradients(body(x)[0])
    for a, b in zip(truncated, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert max(float((a - b).abs().max()) for a, b in zip(truncated, full, strict=True)) > 1e-4
    # One chunk that is the whole sequence: no cut, the full gradient.
    for a, b in zip(gradients(carried(x, rows, fresh=True)), full, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_carried_state_is_part_of_a_checkpoint():
    body, x, rows = network(), ids(8), torch.arange(3)
    carried = Carry(body, body.initial_state(3))
    carried(x[:4], rows, fresh=True)
    other = Carry(network(), body.initial_state(3))
    other.load_state_dict(carried.state_dict())
    torch.testing.assert_close(other(x[4:], rows, fresh=False), carried(x[4:], rows, fresh=False), rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 4, 5, 12, 64])
def test_the_scale_of_the_inputs_ends_in_the_weights_and_changes_no_bit(size):
    torch.manual_seed(0)
    sizes = LanguageSizes(vocabulary=7, embedding_size=size, hidden_size=6, num_layers=2)
    body, x = LanguageLSTM(sizes), ids(9)
    tensors = body.tensors()
    plain = torch.nn.LSTM(size, 6, 2)
    plain.load_state_dict({name[5:]: tensor for name, tensor in tensors.items() if name.startswith("lstm.")})
    y, _ = plain(tensors["embedding.weight"][x])
    y = y @ tensors["projection.weight"].T + tensors["projection.bias"]
    torch.testing.assert_close(body(x)[0], y, rtol=0, atol=1e-6)
    assert 0.7 <= body.scale / size**0.5 <= 1.5
    other = LanguageLSTM(sizes)
    other.load(tensors)
    torch.testing.assert_close(other(x)[0], body(x)[0], rtol=0, atol=0)


def test_a_dropped_token_is_dropped_everywhere_and_the_others_are_scaled():
    torch.manual_seed(0)
    embedding = DropEmbedding(50, 4, dropout=0.4)
    tokens = torch.arange(50).repeat(3, 1)
    vectors = embedding(tokens)
    factor = (vectors / embedding.weight[tokens]).round(decimals=4)
    assert sorted(factor.unique().tolist()) == pytest.approx([0.0, 1 / 0.6], abs=1e-3)
    assert (factor == factor[0, :, :1]).all()
    assert 5 < int((factor[0, :, 0] == 0).sum()) < 35
    torch.testing.assert_close(embedding.eval()(tokens), embedding.weight[tokens])


def test_an_embedding_refuses_to_drop_everything():
    with pytest.raises(SettingError, match=r"dropout: expected from 0 to below 1, got 1\.0"):
        DropEmbedding(3, 2, dropout=1.0)
