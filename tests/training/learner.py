"""A small recurrent network and its windows; as a program, a run that can be killed, resumed or shared by processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from carrousel.training import History, TrainingSettings, seeded, silent, train

SERIES = torch.sin(torch.arange(400) / 5) + 0.3 * torch.cos(torch.arange(400) / 3)


class Windows:
    """Windows of ten values and the one after them, cut from one array."""

    def __init__(self, series: Tensor = SERIES, count: int = 300) -> None:
        self.series, self.count = series, count

    def __len__(self) -> int:
        return self.count

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.series[index[:, None] + torch.arange(10)][..., None], self.series[index + 10]


class Network(nn.Module):
    """An LSTM, dropout and a linear head: something recurrent, random and with vectors and matrices."""

    def __init__(self, hidden_size: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.lstm(x)[0][:, -1]))[:, 0]


def network(**options: float) -> Network:
    with seeded(3):
        return Network(**options)


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


def validate(model: nn.Module) -> float:
    return float(loss(model, Windows()(torch.arange(300, 385))).detach())


def settings(**changes: object) -> TrainingSettings:
    plain = {"max_epochs": 5, "batch_size": 32, "learning_rate": 5e-3, "weight_decay": 0.1, "num_threads": 1}
    return TrainingSettings(**{**plain, **changes})


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def killable(run_dir: Path | None, *, resume: bool) -> tuple[nn.Module, History]:
    """The run that the tests kill: a checkpoint at every step makes most kills fall into the writing of one."""
    model = network()
    history = train(
        model,
        Windows(),
        loss,
        validate,
        settings(max_epochs=40, patience=None, average=0.9),
        run_dir=run_dir,
        resume=resume,
        checkpoint_seconds=0.0,
        progress=silent,
    )
    return model, history


def shared(out: Path) -> None:
    """The run that several processes share: each writes down the weights it ends with."""
    from accelerate import PartialState

    model = network(dropout=0.0)
    train(model, Windows(), loss, validate, settings(batch_size=29), progress=silent)
    save_file(weights(model), out / f"process-{PartialState().process_index}-of-{PartialState().num_processes}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "shared":
        shared(Path(sys.argv[2]))
    else:
        killable(Path(sys.argv[2]), resume=sys.argv[1] == "resume")
