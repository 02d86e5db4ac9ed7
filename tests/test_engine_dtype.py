"""The native engine with weights of 16 and 8 bits."""

from __future__ import annotations

import numpy as np
import pytest

from carrousel import native
from carrousel.architecture import LSTM, Architecture, Layer, Linear
from carrousel.engine import Engine
from carrousel.errors import SettingError
from network import build, random_array, random_weights

ISA = native.chosen()
pytestmark = pytest.mark.skipif(ISA == "numpy", reason="the native engine is not built, or CARROUSEL_ISA=numpy")

EPS = float(np.finfo(np.float32).eps)


ROUNDS_INPUTS = ISA == "avx512bf16"  # in bfloat16, as well as the weights


def as_bfloat16(array: np.ndarray) -> np.ndarray:
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.skipif(ROUNDS_INPUTS, reason="products of AVX-512 BF16 are of rounded inputs, too")
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("proj_size", [0, 5])
def test_bfloat16_is_float32_on_rounded_weights_to_the_bit(coupled, proj_size):
    layers = (
        LSTM(name="l", input_size=9, hidden_size=37, num_layers=2, coupled=coupled, proj_size=proj_size),
        Linear(name="h", input_size=proj_size or 37, output_size=19, activation="tanh"),
    )
    architecture = Architecture(layers)
    weights = random_weights(architecture)
    rounded = {name: as_bfloat16(v) if v.ndim == 2 else v for name, v in weights.items()}
    x = random_array(4, 12, 9)
    found = Engine(architecture, weights, dtype="bfloat16").session(4).run(x)
    np.testing.assert_array_equal(found, Engine(architecture, rounded).session(4).run(x))


def rounded_to_bfloat16(layer: Layer, dtype: native.Dtype) -> Engine:
    architecture = Architecture((layer,))
    weights = {name: as_bfloat16(v) if v.ndim == 2 else v for name, v in random_weights(architecture).items()}
    return Engine(architecture, weights, dtype=dtype)


@pytest.mark.skipif(not ROUNDS_INPUTS, reason="products are of the inputs as they are")
@pytest.mark.parametrize("variant", [{}, {"coupled": True}, {"peephole": True, "zoneout": (0.0, 0.2)}])
@pytest.mark.parametrize(("inputs", "size"), [(9, 37), (16, 64), (33, 1)])
def test_a_step_in_bfloat16_is_one_of_rounded_inputs_and_hidden_values(variant, inputs, size):
    """Teacher-forced: each step starts from the same rounded state, so that no rounding is amplified."""
    layer = LSTM(name="l", input_size=inputs, hidden_size=size, **variant)
    found, exact = (rounded_to_bfloat16(layer, dtype).session(4) for dtype in ("bfloat16", "float32"))
    for k in range(5):
        x = random_array(4, inputs, seed=k)
        exact.state = {name: as_bfloat16(v) if name == "l.h" else v.copy() for name, v in found.state.items()}
        # Sums of float32 in another order, and the activations' own error.
        np.testing.assert_allclose(found.step(x), exact.step(as_bfloat16(x)), rtol=0, atol=20 * EPS)
        np.testing.assert_allclose(found.state["l.c"], exact.state["l.c"], rtol=0, atol=20 * EPS)


@pytest.mark.skipif(not ROUNDS_INPUTS, reason="products are of the inputs as they are")
@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 100])
def test_a_linear_layer_in_bfloat16_is_one_of_rounded_inputs(size):
    layer = Linear(name="l", input_size=size, output_size=19)
    x = random_array(7, size)
    found, exact = (rounded_to_bfloat16(layer, dtype).session(7) for dtype in ("bfloat16", "float32"))
    np.testing.assert_allclose(found.step(x), exact.step(as_bfloat16(x)), rtol=0, atol=size * EPS)


def quantised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row as integers with its largest magnitude at 127, in float32 as the engine does, and its scale."""
    most = np.abs(rows).max(axis=1, keepdims=True)
    return np.rint(rows * (np.float32(127) / most)), most / np.float32(127)


def test_int8_sums_are_those_of_the_quantised_values():
    """Teacher-forced: each step starts from the engine's own state, so that no rounding is amplified."""
    size, inputs = 37, 9
    architecture = Architecture((LSTM(name="l", input_size=inputs, hidden_size=size),))
    weights = random_weights(architecture)
    session = Engine(architecture, weights, dtype="int8").session(3)
    parts = {way: quantised(weights[f"l.weight_{way}_l0"]) for way in ("ih", "hh")}
    bias = (weights["l.bias_ih_l0"] + weights["l.bias_hh_l0"]).astype(np.float64)
    session.step(random_array(3, inputs))
    for k in range(5):
        x = random_array(3, inputs, seed=10 + k)
        state = {name: array.astype(np.float64)[0] for name, array in session.state.items()}
        z = np.tile(bias, (3, 1))
        for way, rows in (("ih", x), ("hh", state["l.h"].astype(np.float32))):
            (w, w_scale), (q, q_scale) = parts[way], quantised(rows)
            z += (q @ w.T) * (q_scale * w_scale.T)
        i, f, g, o = np.split(z, 4, axis=1)
        sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
        c = sigmoid(f) * state["l.c"] + sigmoid(i) * np.tanh(g)
        with session.trace() as trace:
            h = session.step(x)
        # Integers are exact; what is left is a float32 product, two sums and the activations' own error.
        np.testing.assert_allclose(trace["l.c"][0, 0], c, rtol=0, atol=20 * EPS)
        np.testing.assert_allclose(h, sigmoid(o) * np.tanh(c), rtol=0, atol=20 * EPS)


def test_an_int8_layer_of_too_many_inputs_is_refused():
    architecture = Architecture((Linear(name="wide", input_size=65_537, output_size=1),))
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors().items()}
    message = r"^layer 'wide': int8: expected at most 65536 inputs, got 65537; use float32 or bfloat16$"
    with pytest.raises(SettingError, match=message):
        Engine(architecture, weights, dtype="int8")


def test_an_unknown_dtype_is_refused():
    with pytest.raises(SettingError, match=r"^dtype: unknown name 'float16'; did you mean 'bfloat16'\?$"):
        build(Linear(name="l", input_size=1, output_size=1), dtype="float16")  # pyright: ignore[reportArgumentType]
