"""The optimisers on parameter groups, and their state under parameter names, as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from carrousel.training.settings import Kind

Groups = Callable[[nn.Module], list[dict[str, Any]]]

# Devices for which torch has one kernel that updates all parameters at once.
FUSED = ("cpu", "cuda", "mps", "xpu")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, normalisations and other vectors do not.

    A group may also carry ``lr_scale``, a factor on the learning rate of the schedule, and ``begin``, the share of the
    run before which its parameters stay as they are; its schedule then fills the rest of the run.
    """
    return _decayed(model.parameters(), weight_decay)


def layer_groups(
    layers: Sequence[Iterable[nn.Parameter]], weight_decay: float, *, factor: float = 1.0, stage: float = 0.0
) -> list[dict[str, Any]]:
    """Groups for the fine-tuning of a network that was trained before, from its top layer down.

    Parameters
    ----------
    layers : parameters of each layer, the one that is nearest to the output first
    factor : by which each layer's learning rate is below that of the layer above
    stage : share of the run after which the next layer joins; 0: all train from the beginning

    References
    ----------
    Howard & Ruder 2018 (§3.2: discriminative learning rates, §3.3: gradual unfreezing).
    """
    return [
        {**group, "lr_scale": factor**-depth, "begin": stage * depth}
        for depth, layer in enumerate(layers)
        for group in _decayed(layer, weight_decay)
    ]


def _decayed(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    groups: list[dict[str, Any]], learning_rate: float, kind: Kind = "adamw"
) -> torch.optim.AdamW | torch.optim.SGD:
    """The optimiser, with torch's fused kernel where there is one."""
    fused = all(p.device.type in FUSED and p.is_floating_point() for group in groups for p in group["params"])
    whole = [{"lr_scale": 1.0, "begin": 0.0, **group} for group in groups]
    # Their averaging is ``Average``; torch.optim.ASGD knows no trigger and keeps its average from the loop.
    return (torch.optim.AdamW if kind == "adamw" else torch.optim.SGD)(whole, lr=learning_rate, fused=fused)


def clip_gradients(parameters: list[nn.Parameter], largest: float | None) -> Tensor:
    """Scale all gradients so that their joint norm is at most ``largest``; returns the norm before that, a scalar."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients[0].device.type == "cpu":
        # torch.nn.utils groups and stacks tensors for accelerators; on a small LSTM it takes three times as long.
        norm = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients]))
        if largest is not None:
            scale = (largest / (norm + 1e-6)).clamp(max=1)
            for gradient in gradients:
                gradient.mul_(scale)
        return norm
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """State of the optimiser as ``{parameter name}/{state name}``."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """The inverse of ``optimizer_tensors``, onto the device of the parameters."""
    names = {p: name for name, p in model.named_parameters()}
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, part = key.rpartition("/")
        states.setdefault(name, {})[part] = value
    ordered = [names[p] for group in optimizer.param_groups for p in group["params"]]
    whole = optimizer.state_dict()
    whole["state"] = {i: states[name] for i, name in enumerate(ordered) if name in states}
    optimizer.load_state_dict(whole)


class Average:
    """An average of a model's weights; buffers are copied. ``model`` is a copy that holds it.

    With a decay, an exponential moving one: ā ← d ā + (1 - d) θ, d = min(decay, (1 + t) / (10 + t)); the smaller decay
    of the first steps t lets it leave the random initial weights behind. Without, the mean of all weights since
    ``begin``.

    References
    ----------
    The mean: Polyak & Juditsky 1992.
    """

    def __init__(self, source: nn.Module, copy: nn.Module, decay: float | None) -> None:
        self.model = copy.requires_grad_(False)
        self.since: int | None = None if decay is None else 0  # the step that it begins with
        self._decay = decay
        self._averaged: list[Tensor] = list(copy.parameters())
        self._current: list[Tensor] = list(source.parameters())
        self._buffers = list(zip(copy.buffers(), source.buffers(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step ``step`` (the first is 0)."""
        if self.since is None:
            return
        count = step - self.since
        share = count / (count + 1) if self._decay is None else min(self._decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(share)(self._averaged, self._current, None)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
