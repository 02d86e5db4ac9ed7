"""A small model on disk, and how the tests of artifacts look at it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from carrousel.architecture import LSTM, Architecture, Embedding, Linear
from carrousel.artifact import Artifact
from carrousel.errors import CarrouselError

AGAIN = "save the model or copy the folder again"


def make(seed: int = 0, **changes: object) -> Artifact:
    architecture = Architecture(
        (
            LSTM(name="lstm", input_size=2, hidden_size=3, peephole=True, zoneout=(0.1, 0.0)),
            Linear(name="head", input_size=3, output_size=1),
            Embedding(name="series", num_embeddings=2, embedding_dim=4),
        ),
        {"main": ("lstm", "head")},
    )
    random = np.random.default_rng(seed)
    values: dict[str, object] = {
        "task": "forecast",
        "architecture": architecture,
        "weights": {
            name: random.normal(size=shape).astype(np.float32) for name, shape in architecture.tensors().items()
        },
        "settings": {"horizon": 24, "levels": [50.0, 90.0], "season": None},
        "statistics": {"ids": ["Köln", "b"], "scale": [0.1, 1e-300]},
        "context": {"target": np.array([1.5, np.nan]), "starts": np.array([0, 2])},
        "card": "# A model\n\nMAE 0.5 ± 0.1\n",
    }
    return Artifact(**(values | changes))  # type: ignore[arg-type]


def same(a: Artifact, b: Artifact) -> bool:
    def equal(x, y):
        return (x is None and y is None) or (
            sorted(x) == sorted(y) and all(x[k].dtype == y[k].dtype and x[k].tobytes() == y[k].tobytes() for k in x)
        )

    plain = ("task", "architecture", "settings", "statistics", "model_class")
    return (
        all(getattr(a, k) == getattr(b, k) for k in plain)
        and equal(a.weights, b.weights)
        and equal(a.context, b.context)
    )


def refused(error: type[CarrouselError], message: str):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def edit_config(folder: Path, change) -> Path:
    """Change config.json and mend its checksum, so that nothing but the change is wrong."""
    file = folder / "config.json"
    data = json.loads(file.read_text())
    change(data)
    signed = {k: v for k, v in data.items() if k != "checksums"}
    if "checksums" in data:
        others = {k: v for k, v in data["checksums"].items() if k != "config.json"}
        text = json.dumps(signed | {"checksums": others}, sort_keys=True)
        data["checksums"]["config.json"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(data))
    return file
