"""The optimisers on parameter groups, and their state under parameter names, as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from carrousel.training.settings import Kind

Groups = Callable[[nn.Module], list[dict[str, Any]]]

# Devices for which torch has one kernel that updates all parameters at once.
FUSED = ("cpu", "cuda", "mps", "xpu")
KERNELS: Any = torch  # which has them under no public names


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


class Optimizer(Protocol):
    """What the loop and the checkpoints need of an optimiser; torch.optim's are such."""

    param_groups: list[dict[str, Any]]

    @property
    def state(self) -> MutableMapping[Any, Any]:
        """By parameter: its tensors by name, from its first step on."""
        ...

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        ...


class Fused:
    """AdamW, or gradient descent without momentum, by torch's kernels that update all parameters of a group at once.

    The first step of an optimiser of torch.optim imports torch's compiler, which takes longer than many a network's
    whole training on a CPU; what is computed, and the names of the state, are the same.

    Parameters
    ----------
    groups : each with ``params``, all of one floating dtype on one device out of ``FUSED``; what they do not say of
        ``lr`` and ``weight_decay`` is as in torch.optim

    References
    ----------
    Loshchilov & Hutter 2019 (algorithm 2), with the decays of Kingma & Ba 2015.
    """

    DECAYS = 0.9, 0.999
    EPSILON = 1e-8

    def __init__(self, groups: list[dict[str, Any]], learning_rate: float, kind: Kind) -> None:
        usual: dict[str, Any] = {"lr": learning_rate, "weight_decay": 1e-2 if kind == "adamw" else 0.0}
        self.param_groups = [{**usual, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._kind = kind

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if moved and self._kind == "adamw":
                self._adamw(moved, group["lr"], group["weight_decay"])
            elif moved:
                self._descend(moved, group["lr"], group["weight_decay"])

    def _adamw(self, moved: list[Tensor], rate: float, decay: float) -> None:
        for p in moved:
            if p not in self.state:
                self.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        steps, means, squares = ([self.state[p][name] for p in moved] for name in ("step", "exp_avg", "exp_avg_sq"))
        KERNELS._foreach_add_(steps, 1)
        KERNELS._fused_adamw_(
            moved, [p.grad for p in moved], means, squares, [], steps, lr=rate, beta1=self.DECAYS[0],
            beta2=self.DECAYS[1], weight_decay=decay, eps=self.EPSILON, amsgrad=False, maximize=False,
        )  # fmt: skip

    def _descend(self, moved: list[Tensor], rate: float, decay: float) -> None:
        KERNELS._fused_sgd_(
            moved, [p.grad for p in moved], [], weight_decay=decay, momentum=0.0, lr=rate, dampening=0.0,
            nesterov=False, maximize=False, is_first_step=False,
        )  # fmt: skip


def make_optimizer(groups: list[dict[str, Any]], learning_rate: float, kind: Kind = "adamw") -> Optimizer:
    """The optimiser, on torch's fused kernels where there are some."""
    whole = [{"lr_scale": 1.0, "begin": 0.0, **group} for group in groups]
    kinds = {(p.device, p.dtype) for group in groups for p in group["params"]}
    if len(kinds) == 1 and all(place.type in FUSED and dtype.is_floating_point for place, dtype in kinds):
        return Fused(whole, learning_rate, kind)
    # Their averaging is ``Average``; torch.optim.ASGD knows no trigger and keeps its average from the loop.
    return (torch.optim.AdamW if kind == "adamw" else torch.optim.SGD)(whole, lr=learning_rate)


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


def optimizer_tensors(optimizer: Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """State of the optimiser as ``{parameter name}/{state name}``."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer_tensors(optimizer: Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """The inverse of ``optimizer_tensors``, onto the device of the parameters."""
    named = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, part = key.rpartition("/")
        # torch.optim keeps the count of steps on the CPU where it has no fused kernel.
        place = named[name].device if part != "step" or isinstance(optimizer, Fused) else value.device
        optimizer.state.setdefault(named[name], {})[part] = value.to(place)


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
        # What is not trained is its own average.
        trained = [(mine, theirs) for mine, theirs in zip(copy.parameters(), source.parameters(), strict=True)
                   if theirs.requires_grad]  # fmt: skip
        self._averaged: list[Tensor] = [mine for mine, _ in trained]
        self._current: list[Tensor] = [theirs for _, theirs in trained]
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
