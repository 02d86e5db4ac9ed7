"""A saved model whose weights the engine stores in fewer bytes: nearly the same answers, and the same file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carrousel
from carrousel import Classifier, Detector, Forecaster, LanguageModel
from carrousel.errors import SettingError
from carrousel.native import chosen
from carrousel.training import silent
from small import SMALL, table

TEXT = "the sea, the shore, the salt and the sand.\n" * 40
WAVES = [np.sin(np.arange(20.0) * (0.3 + k % 2))[:, None] for k in range(20)]


def forecaster() -> tuple[Any, Callable[[Any], Any]]:
    return Forecaster(**SMALL).fit(table(), progress=silent), lambda model: model.predict()["Carrousel"]


def language() -> tuple[Any, Callable[[Any], Any]]:
    model = LanguageModel(hidden_size=24, max_steps=60).fit(TEXT, progress=silent)
    return model, lambda model: model.score(TEXT).nats / len(TEXT)


def classifier() -> tuple[Any, Callable[[Any], Any]]:
    model = Classifier(hidden_size=12, ensemble=2, max_steps=40)
    model.fit(WAVES, [k % 2 for k in range(20)], progress=silent)
    return model, lambda model: model.predict(WAVES).probabilities


@pytest.mark.parametrize("make", [forecaster, language, classifier])
def test_weights_may_be_stored_in_fewer_bytes(make: Callable[[], Any], tmp_path: Path) -> None:
    model, answer = make()
    path = model.save(tmp_path / "run")
    expected = np.asarray(answer(model), float)
    np.testing.assert_array_equal(answer(carrousel.load(path)), expected)
    for dtype in ("bfloat16",) if chosen() == "numpy" else ("bfloat16", "int8"):
        small = carrousel.load(path, dtype=dtype)
        assert small.fitted.engine.dtype == dtype
        got = np.asarray(answer(small), float)
        assert (got != expected).any()
        np.testing.assert_allclose(got, expected, rtol=0, atol=0.02 * np.abs(expected).max())
        again = small.save(tmp_path / dtype)  # the weights as they were trained
        assert (again / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    path = Detector.online().save(tmp_path / "run")
    assert carrousel.load(path, dtype="float32").engine.dtype == "float32"
    with pytest.raises(SettingError, match="expected 'float32' for a detector"):
        carrousel.load(path, dtype="int8")
    path = language()[0].save(tmp_path / "language")
    with pytest.raises(SettingError, match="dtype: unknown name 'int4'"):
        carrousel.load(path, dtype="int4")  # pyright: ignore[reportArgumentType]
