"""ONNX models as PyTorch exports them, in the engine: they give what the network gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from carrousel.engine import Engine
from interop.onnx_model import L, N, Network, export
from interop.sequence import assert_gives, floats

EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {
    "every step": ("every step", {}),
    "both ways": ("every step", {"num_layers": 2, "bidirectional": True}),
    "states beside it": ("states", {"num_layers": 2, "bidirectional": True}),
    "the last output": ("last output", {"num_layers": 2}),
    "the last output, its axis kept": ("last output kept", {}),
    "the last state": ("last state", {}),
    "the last state of two": ("last state", {"num_layers": 2}),
}


@pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
@pytest.mark.parametrize("dynamic", [None, {0: "N"}], ids=["fixed", "dynamic"])
@pytest.mark.parametrize(("end", "options"), EXPORTS.values(), ids=EXPORTS)
def test_an_exported_network_gives_what_torch_gives(
    end: str, options: dict[str, Any], dynamic: dict[int, str] | None, dynamo: bool
) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module, x = Network(end, **options), floats(N, L, 3)
    engine = Engine.from_onnx(export(module, torch.from_numpy(x), dynamo=dynamo, dynamic=dynamic))
    with torch.no_grad():
        expected = module(torch.from_numpy(x))
    expected = expected[0] if end == "states" else expected[:, 0] if end == "last output kept" else expected
    assert_gives(engine, x, expected.numpy())


class Speller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.head = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.head(self.lstm(self.table(ids))[0]))


def test_an_exported_embedding_takes_ids() -> None:
    torch.manual_seed(0)
    module, ids = Speller(), np.random.default_rng(0).integers(0, 7, (N, L))
    engine = Engine.from_onnx(export(module, torch.from_numpy(ids), dynamic={0: "N", 1: "L"}))
    with torch.no_grad():
        assert_gives(engine, ids, module(torch.from_numpy(ids)).numpy())


class Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, 2, bidirectional=True), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


def test_an_exported_network_without_an_axis_of_batch_runs_on_batches() -> None:
    torch.manual_seed(0)
    module, x = Unbatched(), floats(N, L, 3)
    engine = Engine.from_onnx(export(module, torch.from_numpy(x[0])))
    with torch.no_grad():
        assert_gives(engine, x, np.stack([module(torch.from_numpy(row)).numpy() for row in x]))


class Streaming(nn.Module):
    """One step with the state from outside, as such models are exported."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, 2), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        y, (h, c) = self.lstm(x[None], (h, c))
        return self.head(y)[0].squeeze(-1), h, c


def test_an_exported_step_runs_on_sequences() -> None:
    torch.manual_seed(0)
    module, x, state = Streaming(), floats(N, L, 3), (torch.zeros(2, N, 4), torch.zeros(2, N, 4))
    engine = Engine.from_onnx(export(module, torch.from_numpy(x[:, 0]), *state))
    expected = []
    with torch.no_grad():
        for t in range(L):
            y, *state = module(torch.from_numpy(x[:, t]), *state)
            expected.append(y.numpy()[:, None])
    assert_gives(engine, x, np.stack(expected, axis=1))
