"""One LSTM layer over time in one direction: torch's fused kernel, or the equations step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from .reference import EPSILON

if TYPE_CHECKING:
    from .dropout import Masks

SHUT = 1e4
"""A pre-activation that closes a gate exactly: σ(−1e4) = 0 and σ(1e4) = 1 in every float type, and float16 holds it."""


class Weights(NamedTuple):
    """Parameters of one layer and direction under their names; None where the variant has none.

    The gates' rows are i, f, g, o; i, g, o where the input and forget gates are coupled.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    weight_hr: Tensor | None = None
    weight_ch: Tensor | None = None
    gain_ih: Tensor | None = None
    gain_hh: Tensor | None = None
    gain_c: Tensor | None = None
    bias_c: Tensor | None = None


def _kernel(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch._VF.lstm(*arguments)  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


_kernel_uncompiled = torch._disable_dynamo(_kernel)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def torch_lstm(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """torch's kernel: (x, (h_0, c_0), flat weights, bias, layers, dropout, training, bidirectional, batch_first).

    torch.compile fails on it, and so breaks its graph here.
    """
    return _kernel_uncompiled(*arguments) if torch.compiler.is_compiling() else _kernel(*arguments)


def _uncoupled(rows: Tensor) -> Tensor:
    """Rows i, g, o to rows i, f, g, o with f = 1 − i, because 1 − σ(z) = σ(−z)."""
    i, g, o = rows.chunk(3)
    return torch.cat([i, -i, g, o])


def fused(
    x: Tensor, h: Tensor, c: Tensor, w: Weights, lengths: Tensor | None, _: Masks | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer through torch's kernel.

    With ``lengths`` every row runs to the end, but padding carries a flag as one more input feature whose weights shut
    the input gate and open the forget gate: i = 0, f = 1, so c stays what it was, exactly, and the last c is the one at
    the row's last valid step. No sorting, no packing.

    Parameters
    ----------
    x : (L, N, E); zeros where padded
    h, c : (N, P), (N, H)
    w : of a variant without peepholes and layer normalisation
    lengths : int64 (N,) or None

    Returns
    -------
    output (L, N, P), not meaningful where padded, and h, c after each row's last valid step
    """
    coupled = len(w.weight_ih) == 3 * c.shape[-1]
    present = [weight for weight in w[:4] if weight is not None]
    flat = [_uncoupled(weight) for weight in present] if coupled else present
    if lengths is not None:
        padded = torch.arange(len(x), device=x.device)[:, None] >= lengths
        x = torch.cat([x, padded[:, :, None].to(x.dtype)], dim=-1)
        flag = flat[0].new_tensor([-SHUT, SHUT, 0.0, 0.0]).repeat_interleave(c.shape[-1])
        flat[0] = torch.cat([flat[0], flag[:, None]], dim=1)
    if w.weight_hr is not None:
        flat.append(w.weight_hr)
    state = (h[None].contiguous(), c[None].contiguous())
    y, h_n, c_n = torch_lstm(x, state, flat, w.bias_ih is not None, 1, 0.0, torch.is_grad_enabled(), False, False)
    if lengths is None:
        return y, h_n[0], c_n[0]
    last = y[(lengths - 1).clamp(min=0), torch.arange(x.shape[1], device=x.device)]
    return y, torch.where((lengths > 0)[:, None], last, h), c_n[0]


def stepwise(
    x: Tensor, h: Tensor, c: Tensor, w: Weights, lengths: Tensor | None, masks: Masks
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer step by step; only the input's projection is done for all steps at once.

    The equations are those of ``carrousel.layers.reference``; arguments and results are those of :func:`fused`, the
    variant is any. Masks are by the order of steps.
    """
    normed = w.gain_ih is not None
    coupled = len(w.weight_ih) == 3 * c.shape[-1]
    p_i = p_f = p_o = None
    if w.weight_ch is not None:
        p = w.weight_ch.chunk(2 if coupled else 3)
        p_i, p_f, p_o = p[0], p[1], p[-1]
    valid = None if lengths is None else (torch.arange(len(x), device=x.device)[:, None] < lengths)[:, :, None]

    if normed:
        a = layer_norm(linear(x, w.weight_ih), (len(w.weight_ih),), w.gain_ih, w.bias_ih, EPSILON)
    else:
        a = linear(x, w.weight_ih, w.bias_ih)

    y: list[Tensor] = []
    for t, a_t in enumerate(a.unbind(0)):
        h_seen = h if masks.h is None else h * masks.h
        if normed:
            r = layer_norm(linear(h_seen, w.weight_hh), (len(w.weight_hh),), w.gain_hh, w.bias_hh, EPSILON)
        else:
            r = linear(h_seen, w.weight_hh, w.bias_hh)
        z = a_t + r
        z_i, *z_f, z_g, z_o = z.chunk(3 if coupled else 4, dim=-1)
        i = torch.sigmoid(_plus(z_i, p_i, c))
        f = 1.0 - i if coupled else torch.sigmoid(_plus(z_f[0], p_f, c))
        g = torch.tanh(z_g)
        if masks.g is not None:
            g = g * masks.g[t]
        c_new = f * c + i * g
        o = torch.sigmoid(_plus(z_o, p_o, c_new))
        u = layer_norm(c_new, (c_new.shape[-1],), w.gain_c, w.bias_c, EPSILON) if normed else c_new
        h_new = o * torch.tanh(u)
        if w.weight_hr is not None:
            h_new = linear(h_new, w.weight_hr)
        c_new, h_new = _zoned(c, c_new, masks.keep_c, t), _zoned(h, h_new, masks.keep_h, t)
        if valid is not None:
            c_new, h_new = torch.where(valid[t], c_new, c), torch.where(valid[t], h_new, h)
        c, h = c_new, h_new
        y.append(h)
    return torch.stack(y), h, c


def _plus(z: Tensor, p: Tensor | None, c: Tensor) -> Tensor:
    return z if p is None else z + p * c


def _zoned(old: Tensor, new: Tensor, keep: Tensor | float | None, t: int) -> Tensor:
    if keep is None:
        return new
    k = keep[t] if isinstance(keep, Tensor) else keep
    return k * old + (1.0 - k) * new


def directed(
    run: Callable[[Tensor, Tensor, Tensor, Weights, Tensor | None, Masks], tuple[Tensor, Tensor, Tensor]],
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w: Weights,
    lengths: Tensor | None,
    masks: Masks,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`fused` or :func:`stepwise` forward in time or, from each row's last valid step, backward."""
    if not reverse:
        return run(x, h, c, w, lengths, masks)
    back = None if lengths is None else _backwards(len(x), lengths)
    turned = {
        name: _reversed(mask, back)
        for name, mask in (("g", masks.g), ("keep_h", masks.keep_h), ("keep_c", masks.keep_c))
        if isinstance(mask, Tensor)
    }
    y, h_n, c_n = run(_reversed(x, back), h, c, w, lengths, masks._replace(**turned))
    return _reversed(y, back), h_n, c_n


def _backwards(L: int, lengths: Tensor) -> Tensor:
    """For every row the order of time in which its valid steps run backwards and its padding stays, (L, N)."""
    t = torch.arange(L, device=lengths.device)[:, None]
    return torch.where(t < lengths, lengths - 1 - t, t)


def _reversed(x: Tensor, back: Tensor | None) -> Tensor:
    """x (L, N, E) with each row's valid steps in reverse order; applied twice it is x again."""
    return x.flip(0) if back is None else x.gather(0, back[:, :, None].expand_as(x))
