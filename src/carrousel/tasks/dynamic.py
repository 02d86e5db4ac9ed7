"""A language model that is trained on while it reads: dynamic evaluation, the only scoring that needs PyTorch.

The scores are those of a model that adapts to the text it is scored on, strictly from what came before each token; they
do not compare with scores of models that do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from carrousel.features.token import Ids
from carrousel.tasks.adaptive import DynamicEvaluation
from carrousel.tasks.language_fit import Network, load

if TYPE_CHECKING:
    from carrousel.layers.state import LSTMState
    from carrousel.tasks.language_fitted import FittedLanguage

MEASURED = 200  # segments at the end of the training text, from which the squares of the gradients are known
SMALL = 1e-8  # beside roots that may all be zero


class DynamicScorer:
    """−log p of the tokens of one text by weights that follow it, whose state goes on from call to call.

    A segment is scored before the weights take a step along its gradient; the trained model stays as it is.
    """

    def __init__(self, fitted: FittedLanguage, dynamic: DynamicEvaluation) -> None:
        self._dynamic = dynamic
        self._network = Network(fitted.sizes)  # has no dropout: training or not, it computes the same
        load(self._network, fitted.weights)
        self._parameters = list(self._network.parameters())
        self._trained = [p.detach().clone() for p in self._parameters]
        self._slopes = [torch.ones_like(p) for p in self._parameters]
        self._pulls = [torch.full_like(p, dynamic.decay) for p in self._parameters]
        if dynamic.rule == "rms":
            self._measure(fitted.tokens[-MEASURED * dynamic.length :])
        self._state: LSTMState | None = None
        self._seen = np.zeros(1, np.int64)  # the token before the segment, and those of it that are known

    def push(self, ids: Ids) -> npt.NDArray[np.float64]:
        """float64 (L,) of the next tokens (L,)."""
        costs = [np.empty(0)]
        while len(ids):
            room = self._dynamic.length - (len(self._seen) - 1)
            known = len(self._seen) - 1
            self._seen, ids = np.concatenate([self._seen, ids[:room]]), ids[room:]
            whole = len(self._seen) - 1 == self._dynamic.length
            with torch.set_grad_enabled(whole):
                loss, after = self._loss(self._seen, self._state)
            costs.append(loss.detach().numpy()[known:].astype(np.float64))
            if whole:
                self._follow(loss.mean())
                self._state = after.detach()
                self._seen = self._seen[-1:]
        return np.concatenate(costs)

    def _loss(self, tokens: npt.NDArray[np.integer], state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """−log p (L,) of all tokens but the first, and the state behind them."""
        ids = torch.as_tensor(tokens.astype(np.int64))
        logits, after = self._network(ids[:-1, None], state)
        return torch.nn.functional.cross_entropy(logits[:, 0], ids[1:], reduction="none"), after

    def _gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, self._parameters)

    @torch.no_grad()
    def _follow(self, loss: Tensor) -> None:
        """See ``DynamicEvaluation``."""
        with torch.enable_grad():
            gradients = self._gradients(loss)
        for parameter, gradient, slope, pull, trained in zip(
            self._parameters, gradients, self._slopes, self._pulls, self._trained, strict=True
        ):
            parameter -= self._dynamic.rate * gradient / slope
            parameter += pull * (trained - parameter)

    def _measure(self, tokens: npt.NDArray[np.integer]) -> None:
        """√MS of the gradients on text that was trained on, segment by segment."""
        squares = [torch.zeros_like(p) for p in self._parameters]
        state: LSTMState | None = None
        length, count = self._dynamic.length, 0
        for first in range(0, len(tokens) - 1, length):
            loss, after = self._loss(tokens[first : first + length + 1], state)
            for square, gradient in zip(squares, self._gradients(loss.mean()), strict=True):
                square += gradient.square()
            state, count = after.detach(), count + 1
        roots = [(square / max(count, 1)).sqrt() for square in squares]
        mean = float(torch.cat([root.flatten() for root in roots]).mean())
        self._slopes = [root + mean + SMALL for root in roots]
        self._pulls = [(self._dynamic.decay * root / (mean + SMALL)).clamp(max=1) for root in roots]
