"""The layer against keras.layers.LSTM: gates i, f, g, o as ours, kernels transposed, one bias instead of two."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch

from carrousel.layers import LSTM
from layers.agreement import FLOAT32, FLOAT64, assert_agrees

# keras.Variable.numpy() has not followed NumPy 2's signature of __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

L, N, E, H = 6, 3, 2, 5


def load(layer: LSTM, suffix: str, weights: list[np.ndarray]) -> None:
    kernel, recurrent_kernel, *bias = weights
    arrays = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T}
    if bias:
        arrays |= {"bias_ih": bias[0], "bias_hh": np.zeros_like(bias[0])}
    with torch.no_grad():
        for name, array in arrays.items():
            getattr(layer, name + suffix).copy_(torch.tensor(array))


def randomise(layer: keras.layers.Layer, rng: np.random.Generator) -> None:
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])


@pytest.mark.parametrize("lengths", [None, [4, 6, 1]], ids=["full", "ragged"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_forward_layer_agrees_with_keras(use_bias: bool, lengths: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    theirs = keras.layers.LSTM(H, use_bias=use_bias, return_sequences=True, return_state=True, dtype="float64")
    theirs.build((N, L, E))
    randomise(theirs, rng)
    ours = LSTM(E, H, bias=use_bias, batch_first=True, dtype=torch.float64)
    load(ours, "_l0", theirs.get_weights())

    x, h, c = rng.normal(size=(N, L, E)), rng.normal(size=(N, H)), rng.normal(size=(N, H))
    given = [torch.tensor(h), torch.tensor(c)]
    mask = np.arange(L) < np.array(lengths or [L] * N)[:, None]
    y_keras = theirs(torch.tensor(x), initial_state=given)[0].detach().cpu()
    masked = theirs(torch.tensor(x), initial_state=given, mask=mask if lengths else None)
    h_keras, c_keras = (state.detach().cpu() for state in masked[1:])

    y, (h_n, c_n) = ours(torch.tensor(x), (given[0][None], given[1][None]), lengths)
    assert_agrees(y, np.where(mask[:, :, None], y_keras, 0.0), FLOAT64)
    states = FLOAT32 if lengths else FLOAT64  # keras carries masked states in float32
    assert_agrees(h_n[0], h_keras, states)
    assert_agrees(c_n[0], c_keras, states)


def test_bidirectional_stack_agrees_with_keras() -> None:
    rng = np.random.default_rng(1)
    wrapped = [
        keras.layers.Bidirectional(keras.layers.LSTM(H, return_sequences=True, dtype="float64"), dtype="float64")
        for _ in range(2)
    ]
    ours = LSTM(E, H, 2, batch_first=True, bidirectional=True, dtype=torch.float64)
    x = rng.normal(size=(N, L, E))
    y = torch.tensor(x)
    for k, layer in enumerate(wrapped):
        layer.build(y.shape)
        randomise(layer, rng)
        load(ours, f"_l{k}", layer.forward_layer.get_weights())
        load(ours, f"_l{k}_reverse", layer.backward_layer.get_weights())
        y = layer(y)
    assert_agrees(ours(torch.tensor(x))[0], y.detach().cpu(), FLOAT64)
