"""The forecasting network: an LSTM over patches of the past, forked into one parallel step for each patch ahead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from carrousel.features.linear import LinearPath
from carrousel.features.patch import PatchSizes
from carrousel.features.window import spread
from carrousel.layers.lstm import LSTM
from carrousel.layers.mask import dropout
from carrousel.layers.state import LSTMState


class _Widened(torch.autograd.Function):
    """z̄ + r·(z - z̄) with the mean z̄ over the last axis. By z it is a symmetric map, and so its own derivative."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, r: Tensor) -> Tensor:
        ctx.save_for_backward(r)
        return _widened(z, r)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (r,) = ctx.saved_tensors
        return _widened(slopes[0], r), None


def _widened(z: Tensor, r: Tensor) -> Tensor:
    centre = z.mean(-1, keepdim=True)
    return torch.addcmul(centre, r, z - centre)


class PatchLSTM(nn.Module):
    """Quantiles of every step ahead, as a correction of a linear forecast, all in units of the series.

    s   = LSTM(relu(W_p·patch_1), ..., relu(W_p·patch_n))              the past, patch by patch
    y_m = LSTM(W_f·known_m + position_m + series; s)                   each patch ahead, one step from the same state s
    z   = W_o·dropout(y),  z̄ = mean of z over the quantiles
    ŷ   = Σ_e m_e·W_e x + B·known + z̄ + r·(z - z̄)                      r: the window's spread

    The horizon costs one step instead of a roll-out, and no error is fed back. The bands are in units of the window's
    own spread: a quiet week has narrow ones without having to be learned.

    Parameters
    ----------
    dropout : of y, and between the layers of a deeper LSTM
    unknown_series : share of the training windows that are seen as of a series that is not known
    mixed : in training the products of the LSTM, and they alone, have factors rounded to bfloat16

    References
    ----------
    Lin et al. 2023, SegRNN (§4, parallel multi-step forecasting); the linear path: Zeng et al. 2023.
    """

    def __init__(
        self, sizes: PatchSizes, *, dropout: float = 0.0, unknown_series: float = 0.05, mixed: bool = False
    ) -> None:
        super().__init__()
        d = sizes.hidden_size
        self.sizes = sizes
        self.unknown_series = unknown_series
        self.mixed = mixed
        self.past = nn.Linear(sizes.past_width, d)
        self.lstm = LSTM(d, d, sizes.num_layers, batch_first=True, dropout=dropout if sizes.num_layers > 1 else 0.0)
        self.future = nn.Linear(sizes.future_width, d, bias=False) if sizes.future_width else None
        self.effect = nn.Linear(sizes.future, sizes.targets, bias=False) if sizes.future else None
        self.position = nn.Embedding(sizes.ahead, d)
        self.series = nn.Embedding(sizes.series + 1, d)
        self.dropout = dropout
        self.head = nn.Linear(d, sizes.head_width)
        self.maps = nn.Linear(sizes.look_back, sizes.maps * sizes.horizon, bias=False).requires_grad_(False)
        self.mixture = nn.Embedding(sizes.series + 1, sizes.targets * sizes.maps).requires_grad_(False)
        with torch.no_grad():
            for embedding in (self.position, self.series):
                embedding.weight.mul_(0.1)
            self.head.weight.mul_(0.1)  # training starts from the linear forecast
            self.head.bias.zero_()
            if self.effect is not None:
                self.effect.weight.zero_()

    def start_from(self, path: LinearPath, quantiles: Tensor) -> None:
        """Start from the linear forecast, and from each quantile's distance from it (Q,)."""
        with torch.no_grad():
            self.maps.weight.copy_(torch.as_tensor(path.weight).flatten(0, 1))
            self.mixture.weight.copy_(torch.as_tensor(path.mixture).flatten(1))
            self.head.bias.view(self.sizes.patch, self.sizes.targets, -1).copy_(quantiles.expand(1, 1, -1))

    def forward(
        self, target: Tensor, past: Tensor, future: Tensor, calendar_past: Tensor, calendar_future: Tensor,
        static: Tensor, series: Tensor,
    ) -> Tensor:  # fmt: skip
        """Forecast normalised windows; arguments as in ``features.window.WindowBatch``, targets normalised.

        Returns
        -------
        float32 (N, H, K, Q)
        """
        sizes, (rows, _, _) = self.sizes, target.shape
        seen = torch.cat([target, past], 2) if sizes.past else target
        patches = seen.reshape(rows, sizes.behind, -1)  # (N, n, W·(K + P))
        encoded = torch.relu(self.past(torch.cat([patches, calendar_past], 2)))
        _, state = self._recur(encoded, None)

        if self.training and self.unknown_series:
            known = torch.rand(rows, device=series.device) >= self.unknown_series
            series = series * known  # teaches row 0 what is true of any series
        ahead = self.position.weight + self.series(series)[:, None]  # (N, M, d)
        if self.future is not None:
            known_ahead = future.reshape(rows, sizes.ahead, -1)  # (N, M, W·F)
            static = static[:, None].expand(-1, sizes.ahead, -1)
            ahead = ahead + self.future(torch.cat([known_ahead, calendar_future, static], 2))
        fork = LSTMState(*(part.repeat_interleave(sizes.ahead, 1, output_size=rows * sizes.ahead) for part in state))
        step, _ = self._recur(ahead.reshape(rows * sizes.ahead, 1, -1), fork)

        correction = self.head(dropout(step.float(), self.dropout, self.training))
        correction = correction.reshape(rows, -1, sizes.targets, sizes.quantiles)
        # One product of matrices: of (N, K, L) as it lies, torch would make N·K products of a vector.
        each = self.maps(target.transpose(1, 2).reshape(-1, sizes.look_back))
        each = each.reshape(rows, sizes.targets, sizes.maps, sizes.horizon)
        share = self.mixture(series).reshape(rows, sizes.targets, sizes.maps, 1)
        linear = (share * each).sum(2).transpose(1, 2)  # (N, H, K)
        correction = _Widened.apply(correction, spread(target)[..., None])
        if self.effect is not None:
            linear = linear + self.effect(future[:, : sizes.horizon])
        return linear.unsqueeze(3) + correction[:, : sizes.horizon]

    def _recur(self, x: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """The LSTM; in training with its products, and then its output, in bfloat16 where that was asked for."""
        if not (self.mixed and self.training):
            return self.lstm(x, state)
        with torch.autocast(x.device.type, torch.bfloat16):
            y, (h, c) = self.lstm(x, state)
        return y, LSTMState(h.float(), c.float())
