"""The random masks of the recurrent regularisers, drawn once per forward for one layer and direction."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from . import mask
from .variant import Variant


class Masks(NamedTuple):
    """Factors of the equations in ``reference.Masks``; None where a regulariser is off.

    Parameters
    ----------
    x, h : locked masks of the input and of the previous hidden value, (N, E), (N, P)
    g : mask of the gate update, (L, N, H), by time in both directions
    keep_h, keep_c : zoneout's share of the old value, (L, N, P), (L, N, H), by time; a number in ``eval()``: its
        expectation
    w : mask of weight_hh, in its shape
    """

    x: Tensor | None = None
    h: Tensor | None = None
    g: Tensor | None = None
    keep_h: Tensor | float | None = None
    keep_c: Tensor | float | None = None
    w: Tensor | None = None


def draw(variant: Variant, training: bool, x: Tensor, weight_hh: Tensor, hidden_size: int) -> Masks:
    """Draw every mask that the variant asks for.

    Parameters
    ----------
    variant : which regularisers, how strong
    training : False: only zoneout's expectation remains
    x : the layer's input, (L, N, E)
    weight_hh : (G·H, P)
    hidden_size : H

    References
    ----------
    g: Semeniuta, Severyn & Barth 2016; x, h: Gal & Ghahramani 2016; zoneout: Krueger et al. 2017; w: Merity, Keskar &
    Socher 2018. Dropout masks are scaled by 1/(1 − p), so that their expectation is 1.
    """
    L, N, E = x.shape
    P = weight_hh.shape[1]
    (p_x, p_h), (z_h, z_c) = variant.variational_dropout, variant.zoneout
    if not training:
        return Masks(keep_h=z_h or None, keep_c=z_c or None)

    def marked(p: float, *shape: int) -> Tensor | None:
        return mask.mask(weight_hh, shape, p, 1.0) if p else None

    def kept(p: float, *shape: int) -> Tensor | None:
        return mask.kept(weight_hh, shape, p) if p else None

    return Masks(
        x=kept(p_x, N, E),
        h=kept(p_h, N, P),
        g=kept(variant.recurrent_dropout, L, N, hidden_size),
        keep_h=marked(z_h, L, N, P),
        keep_c=marked(z_c, L, N, hidden_size),
        w=kept(variant.weight_drop, *weight_hh.shape),
    )
