"""Writes the seeds of the fuzzer's corpus: small models as Python saves them, and a few that are wrong.

Each file is a config.json, a 0, and a model.safetensors. Run it after a change of the format.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

from carrousel import artifact
from carrousel.architecture import LSTM, Architecture, Embedding, Layer, Linear, Scale
from carrousel.artifact import Artifact

NETWORKS: dict[str, tuple[Layer, ...]] = {
    "linear": (Linear(name="a", input_size=1, output_size=2, activation="relu"),),
    "scale": (Scale(name="a", size=2), Linear(name="b", input_size=2, output_size=1, bias=False, activation="silu")),
    "ids": (Embedding(name="a", num_embeddings=3, embedding_dim=2), LSTM(name="b", input_size=2, hidden_size=1)),
    "plain": (LSTM(name="a", input_size=1, hidden_size=2, num_layers=2),),
    "both_ways": (LSTM(name="a", input_size=1, hidden_size=2, bidirectional=True, bias=False),),
    "reverse": (LSTM(name="a", input_size=1, hidden_size=2, reverse=True, trainable_state=True),),
    "projection": (LSTM(name="a", input_size=1, hidden_size=3, proj_size=2, peephole=True, zoneout=(0.5, 0.5)),),
    "normalised": (LSTM(name="a", input_size=1, hidden_size=2, coupled=True, layer_norm=True, peephole=True),),
}


def saved(layers: tuple[Layer, ...]) -> tuple[bytes, bytes]:
    architecture = Architecture(layers)
    weights = {name: np.full(shape, 0.5, np.float32) for name, shape in architecture.tensors().items()}
    model = Artifact(task="forecast", architecture=architecture, weights=weights, settings={})
    with tempfile.TemporaryDirectory() as folder:
        path = artifact.save(Path(folder) / "model", model)
        config = json.loads((path / "config.json").read_text())
        return json.dumps(config, separators=(",", ":")).encode(), (path / "model.safetensors").read_bytes()


def header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


def main(folder: Path) -> None:
    seeds = {name: saved(layers) for name, layers in NETWORKS.items()}
    config, weights = seeds["linear"]
    seeds |= {
        "wrong_header_length": (config, struct.pack("<Q", 1 << 62) + b"{}"),
        "wrong_header": (config, header('{"a.weight":[]}')),
        "wrong_offsets": (config, header('{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', bytes(4))),
        "wrong_shape": (config, header('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}')),
        "wrong_size": (config.replace(b'"output_size":2', b'"output_size":4611686018427387905'), weights),
        "wrong_number": (config.replace(b'"output_size":2', b'"output_size":-1e999'), weights),
        "wrong_depth": (config.replace(b'"settings":{}', b'"settings":{"a":' + b"[" * 200), weights),
        "wrong_text": (config.replace(b"forecast", b"\\ud800\\u0000\xff"), weights),
        "wrong_values": (config, weights[:-4] + struct.pack("<f", float("nan"))),
        "no_weights": (config, b""),
    }
    for name, (first, second) in seeds.items():
        (folder / name).write_bytes(first + b"\0" + second)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "corpus")
