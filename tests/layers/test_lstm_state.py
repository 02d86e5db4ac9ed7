"""The state can be selected by row, detached, copied and written down, and is still the tuple (h_n, c_n)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from carrousel.errors import ShapeError
from carrousel.layers import LSTM, LSTMState
from layers.agreement import assert_same_bits

L, N, E, H = 4, 5, 2, 3


def after_some_steps() -> tuple[LSTM, LSTMState]:
    layer = LSTM(E, H, 2, dtype=torch.float64)
    return layer, layer(torch.randn(L, N, E, dtype=torch.float64))[1]


def test_state_is_the_tuple_of_torch() -> None:
    _, state = after_some_steps()
    h_n, c_n = state
    assert isinstance(state, tuple)
    assert h_n is state.h
    assert c_n is state.c


def test_selected_rows_go_on_as_they_would_have_in_the_batch() -> None:
    layer, state = after_some_steps()
    x = torch.randn(L, N, E, dtype=torch.float64)
    y, _ = layer(x, state)
    rows = [3, 0, 3, 1]
    chosen, _ = layer(x[:, rows], state.select(rows))
    torch.testing.assert_close(chosen, y[:, rows], rtol=0, atol=1e-14)
    assert_same_bits(state.select(torch.tensor([1])).c, state.c[:, 1:2])


def test_selecting_from_an_unbatched_state_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected a batched state .* got \(2, 3\)"):
        LSTMState(torch.zeros(2, 3), torch.zeros(2, 3)).select([0])


def test_detached_state_has_the_values_but_no_gradient() -> None:
    _, state = after_some_steps()
    assert state.h.requires_grad
    assert not state.detach().h.requires_grad
    assert not state.detach().c.requires_grad
    assert_same_bits(state.detach().c, state.c)


def test_cloned_state_shares_no_memory() -> None:
    _, state = after_some_steps()
    state = state.detach()
    before = state.c.tolist()
    copy = state.clone()
    copy.h.zero_()
    copy.c.zero_()
    assert state.c.tolist() == before
    assert state.h.any()


def test_state_comes_back_from_a_file_with_the_same_bits() -> None:
    layer, state = after_some_steps()
    read = LSTMState.from_arrays(load(save(state.to_arrays())))
    assert_same_bits(read.h, state.h)
    assert_same_bits(read.c, state.c)
    x = torch.randn(1, N, E, dtype=torch.float64)
    assert_same_bits(layer(x, read)[0], layer(x, state)[0])


def test_arrays_of_a_state_share_no_memory_with_it() -> None:
    _, state = after_some_steps()
    arrays = state.to_arrays()
    arrays["h"][:] = 0
    assert state.h.all()
    taken = LSTMState.from_arrays(arrays)
    arrays["c"][:] = 0
    assert taken.c.all()


def test_arrays_of_other_names_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected the arrays h and c, got \['h'\]"):
        LSTMState.from_arrays({"h": np.zeros((1, 1, 1))})
