"""Models of Keras in the engine: the values of both, with the state carried over, files, and what is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch
from keras import layers

from carrousel.engine import Engine
from carrousel.errors import ArtifactError, ConfigError, MissingExtraError, WeightsError
from interop.sequence import assert_gives, exactly, floats

# keras.Variable.numpy() has not followed NumPy 2's signature of __array__.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

N, L, E, H = 3, 9, 3, 5


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    keras.utils.set_random_seed(0)


def sequential(*stack: Any, width: int | None = E) -> keras.Sequential:
    """A model of sequences, its weights drawn so that no bias is zero."""
    model = keras.Sequential([keras.Input((None,) if width is None else (None, width)), *stack])
    random = np.random.default_rng(0)
    for layer in model.layers:
        if not isinstance(layer, layers.Normalization):
            layer.set_weights([random.normal(0, 0.5, weight.shape) for weight in layer.get_weights()])
    return model


def answer(model: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return keras.ops.convert_to_numpy(model(x, training=False))


def lstm(units: int = H, **options: Any) -> Any:
    return layers.LSTM(units, return_sequences=True, **options)


MODELS: dict[str, Callable[[], Any]] = {
    "an LSTM": lambda: sequential(lstm()),
    "an LSTM without bias": lambda: sequential(lstm(use_bias=False)),
    "three LSTMs": lambda: sequential(lstm(), lstm(4), lstm(3)),
    "the last step": lambda: sequential(lstm(), layers.LSTM(4), layers.Dense(2)),
    "both directions": lambda: sequential(layers.Bidirectional(lstm(4)), layers.Bidirectional(lstm(use_bias=False))),
    "dropout": lambda: sequential(lstm(dropout=0.5, recurrent_dropout=0.5), layers.Dropout(0.5), layers.Dense(2)),
    "a standardisation": lambda: sequential(
        layers.Normalization(mean=[1.0, -2.0, 3.0], variance=[4.0, 0.0625, 9.0]), lstm(), layers.Dense(2)
    ),
    "a standardisation undone": lambda: sequential(
        lstm(), layers.Dense(2), layers.Normalization(mean=[1.0, -2.0], variance=[4.0, 0.25], invert=True)
    ),
    "rescaling": lambda: sequential(layers.Rescaling(0.5, offset=-1.0), lstm(), layers.Rescaling([0.5] * H)),
    "activations": lambda: sequential(
        layers.Dense(4, "relu"), layers.Dense(4, "tanh", use_bias=False), layers.Dense(4, "silu"),
        layers.Dense(2, "sigmoid"),
    ),
    "activations as layers": lambda: sequential(
        layers.Dense(4), layers.ReLU(), layers.TimeDistributed(layers.Dense(3)), layers.Activation("tanh"),
        layers.Activation("linear"),
    ),
    "a model within": lambda: sequential(keras.Sequential([lstm(), layers.Dense(4)]), lstm()),
}  # fmt: skip


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_gives_what_keras_gives(make: Callable[[], Any]) -> None:
    model, x = make(), floats(N, L, E)
    assert_gives(Engine.from_keras(model), x, answer(model, x))


def test_the_comparison_rejects_a_wrong_answer() -> None:
    model, x = sequential(lstm()), floats(N, L, E)
    with pytest.raises(AssertionError):
        assert_gives(Engine.from_keras(model), x, answer(model, x) + 1e-4)


def test_an_embedding_takes_ids() -> None:
    model = sequential(layers.Embedding(7, 4), lstm(), layers.Dense(2), width=None)
    ids = np.random.default_rng(0).integers(0, 7, (N, L))
    assert_gives(Engine.from_keras(model), ids, answer(model, ids))


def test_lengths_give_what_a_mask_gives() -> None:
    model = sequential(layers.Embedding(7, 4, mask_zero=True), layers.LSTM(H), layers.Dense(2), width=None)
    ids, lengths = np.random.default_rng(0).integers(1, 7, (N, L)), np.array([L, 4, 6])
    ids[np.arange(L) >= lengths[:, None]] = 0
    y = Engine.from_keras(model).session(N).run(ids, lengths)
    np.testing.assert_allclose(y[np.arange(N), lengths - 1], answer(model, ids), rtol=0, atol=5e-6)


def test_an_adapted_standardisation_is_the_one_of_the_data() -> None:
    normalization = layers.Normalization()
    data = floats(50, L, E, seed=3) * 3 + 2
    normalization.adapt(data)
    model, x = sequential(normalization, lstm()), floats(N, L, E) * 3 + 2
    assert_gives(Engine.from_keras(model), x, answer(model, x))


def test_a_stateful_model_carries_what_a_session_carries() -> None:
    model = keras.Sequential([keras.Input((None, E), batch_size=N), lstm(stateful=True), layers.Dense(2)])
    x, session = floats(N, L, E), Engine.from_keras(model).session(N)
    for part in (x[:, :4], x[:, 4:]):
        part = np.ascontiguousarray(part)
        np.testing.assert_allclose(session.run(part), answer(model, part), rtol=0, atol=5e-6)


def test_a_functional_chain_is_followed_from_its_output() -> None:
    x = keras.Input((None, E))
    y, *_ = layers.LSTM(H, return_sequences=True, return_state=True, name="encoder")(x)
    y = keras.Sequential([layers.Dense(4, "tanh", name="inner")])(y)
    unused = layers.Dense(7)(y)
    model = keras.Model(x, layers.Dense(2, name="head")(layers.Dropout(0.5)(y)))
    assert unused is not None
    engine, values = Engine.from_keras(model), floats(N, L, E)
    assert [layer.name for layer in engine.architecture.layers] == ["encoder", "inner", "head"]
    assert_gives(engine, values, answer(model, values))


def test_a_file_gives_what_its_model_gives(tmp_path: Path) -> None:
    model = sequential(layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 1, 1]), lstm(), layers.Dense(2, "silu"))
    model.save(tmp_path / "model.keras")
    x = floats(N, L, E)
    for path in (tmp_path / "model.keras", str(tmp_path / "model.keras")):
        assert_gives(Engine.from_keras(path), x, answer(model, x))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((E,)), layers.Lambda(lambda x: x * 2)]).save(tmp_path / "model.keras")
    with pytest.raises(ArtifactError) as refused:
        Engine.from_keras(tmp_path / "model.keras")
    start = f"{tmp_path / 'model.keras'}: expected a model that Keras loads, got another file ("
    assert str(refused.value).startswith(start)
    assert "\n" not in str(refused.value)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    sequential(lstm()).save(tmp_path / "model.keras")
    data = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(data[: len(data) // 2])
    with pytest.raises(
        ArtifactError, match=r"expected a model that Keras loads, got another file \(.*\); save or copy"
    ):
        Engine.from_keras(tmp_path / "model.keras")
    (tmp_path / "model.h5").write_bytes(b"")
    for name, found in (("none.keras", "nothing"), (".", "a folder")):
        message = f"{tmp_path / name}: expected a .keras file, got {found}; check the path"
        with pytest.raises(ArtifactError, match=exactly(message)):
            Engine.from_keras(tmp_path / name)
    message = f"{tmp_path / 'model.h5'}: expected a .keras file, got .h5; save or copy the model again as .keras"
    with pytest.raises(ArtifactError, match=exactly(message)):
        Engine.from_keras(tmp_path / "model.h5")


class Own(keras.Model):
    def call(self, x: Any) -> Any:
        return x


class Doubled(layers.Dense):
    def call(self, x: Any) -> Any:
        return 2 * super().call(x)


def functional(end: Callable[[Any], Any]) -> Any:
    x = keras.Input((None, E), name="x")
    return keras.Model(x, end(x), name="model")


def quantised() -> Any:
    model = sequential(layers.Dense(2, name="d"))
    model.layers[0].quantize("int8")
    return model


SUPPORTED = (
    "LSTM, Bidirectional(LSTM), Dense, TimeDistributed(Dense), Embedding, Normalization, Rescaling, Activation, ReLU, "
    "Dropout or a Sequential or functional chain of these"
)
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an unknown layer": (
        lambda: sequential(layers.GRU(H, name="g")), ConfigError,
        f"layer 'g' (GRU): expected {SUPPORTED}, got GRU; the engine has no such layer",
    ),
    "a subclass with a call of its own": (
        lambda: sequential(Doubled(2, name="d")), ConfigError,
        f"layer 'd' (Doubled): expected {SUPPORTED}, got Doubled; the engine has no such layer",
    ),
    "a model with a call of its own": (
        lambda: Own(name="own"), ConfigError,
        "layer 'own' (Own): expected a Sequential or functional model, got one with a call of its own, which cannot "
        "be read; build a keras.Sequential of its layers",
    ),
    "backwards": (
        lambda: sequential(lstm(go_backwards=True, name="l")), ConfigError,
        "layer 'l' (LSTM): go_backwards: expected False, got True; use Bidirectional, or reverse the input",
    ),
    "another activation": (
        lambda: sequential(lstm(activation="relu", name="l")), ConfigError,
        "layer 'l' (LSTM): activation: expected tanh, got relu; the engine has no others",
    ),
    "another recurrent activation": (
        lambda: sequential(lstm(recurrent_activation="hard_sigmoid", name="l")), ConfigError,
        "layer 'l' (LSTM): recurrent_activation: expected sigmoid, got hard_sigmoid; the engine has no others",
    ),
    "another activation of a Dense": (
        lambda: sequential(layers.Dense(2, "softmax", name="d")), ConfigError,
        "layer 'd' (Dense): activation: expected linear, relu, tanh, silu or sigmoid, got softmax; "
        "the engine has no others",
    ),
    "an activation of nothing": (
        lambda: sequential(lstm(), layers.Activation("tanh", name="a")), ConfigError,
        "layer 'a' (Activation): expected a Dense before it, of which it becomes part, got none",
    ),
    "directions that are added": (
        lambda: sequential(layers.Bidirectional(lstm(), merge_mode="sum", name="b")), ConfigError,
        "layer 'b' (Bidirectional): merge_mode: expected 'concat', got 'sum'",
    ),
    "the last step of both directions": (
        lambda: sequential(layers.Bidirectional(layers.LSTM(H), name="b")), ConfigError,
        "layer 'b' (Bidirectional): return_sequences: expected True, got False; "
        "of two directions each ends at another step",
    ),
    "both directions of something else": (
        lambda: sequential(layers.Bidirectional(layers.GRU(H, return_sequences=True), name="b")), ConfigError,
        "layer 'b' (Bidirectional): expected LSTM layers within, got GRU",
    ),
    "a residual connection": (
        lambda: functional(lambda x: layers.Add(name="add")([x, layers.Dense(E)(x)])), ConfigError,
        "layer 'add' (Add): expected one input, that of the layer before it, got others; use a chain",
    ),
    "a state as output": (
        lambda: functional(lambda x: layers.LSTM(H, return_state=True, name="l")(x)[1]), ConfigError,
        "layer 'l' (LSTM): expected its output to be used, got its state; a chain is expected",
    ),
    "an initial state": (
        lambda: functional(
            lambda x: lstm(name="l")(x, initial_state=[layers.Dense(H)(x[:, 0]), layers.Dense(H)(x[:, 0])])
        ), ConfigError,
        "layer 'l' (LSTM): expected one input, that of the layer before it, got others; use a chain",
    ),
    "two outputs": (
        lambda: functional(lambda x: [layers.Dense(1)(x), layers.Dense(2)(x)]), ConfigError,
        "model 'model': expected one input and one output, got 1 and 2",
    ),
    "statistics of another axis": (
        lambda: sequential(layers.Normalization(axis=None, mean=1.0, variance=2.0, name="n")), ConfigError,
        "layer 'n' (Normalization): expected statistics of the last axis, got axis=(); use axis=-1 and call adapt",
    ),
    "no weights yet": (
        lambda: keras.Sequential([layers.Dense(2, name="d")]), WeightsError,
        "layer 'd' (Dense): expected weights, got a layer that is not built; call the model once",
    ),
    "quantised weights": (
        quantised, WeightsError,
        "layer 'd' (Dense): expected floating-point weights, got int8; do not quantize",
    ),
    "no layers": (keras.Sequential, ConfigError, "expected at least one layer, got none"),
    "something else": (lambda: 3, ConfigError, "expected a Keras model, got int"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_translated_is_refused_with_one_sentence(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=exactly(f"from_keras: {message}")):
        Engine.from_keras(make())


def test_a_missing_keras_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    message = (
        "reading models of Keras needs the package 'keras', which is not installed; pip install 'carrousel[keras]'"
    )
    with pytest.raises(MissingExtraError, match=exactly(message)):
        Engine.from_keras("model.keras")
