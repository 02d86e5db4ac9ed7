"""One LSTM layer in one direction by the native kernels, forward and backward, on plain tensors."""

from __future__ import annotations

from torch import Tensor

from . import compiled
from .call import Call

KERNELS = {
    "weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh", "weight_hr": "w_hr",
    "weight_ch": "peephole", "gain_ih": "gain_ih", "gain_hh": "gain_hh", "gain_c": "gain_c", "bias_c": "bias_c",
}  # fmt: skip
"""What the kernels call the parameters."""


def _read(call: Call) -> dict[str, Tensor | None]:
    """What the kernels read in both passes, by their names."""
    return {
        "x": call.x.to(call.c_0.dtype), "h_0": call.h_0, "c_0": call.c_0, "w_ih": call.weight_ih,
        "w_hh": call.weight_hh, "b_ih": call.bias_ih, "b_hh": call.bias_hh, "w_hr": call.weight_hr,
        "peephole": call.weight_ch, "gain_ih": call.gain_ih, "gain_hh": call.gain_hh, "gain_c": call.gain_c,
        "bias_c": call.bias_c, "mask_h": call.mask_h, "mask_g": call.mask_g, "keep_h": call.keep_h,
        "keep_c": call.keep_c, "lengths": call.lengths, "place": call.place, "cell": call.cell,
    }  # fmt: skip


def _filled(like: Tensor) -> Tensor:
    """Memory that a kernel fills: in C order, however ``like`` lies."""
    return like.new_empty(like.shape)


def forward(call: Call, y: Tensor, reserve: Tensor) -> tuple[Tensor, Tensor]:
    """Fill y and the reserve; the state after the last step."""
    if call.cells == 0:
        y.zero_()
        return call.h_0.clone(), call.c_0.clone()
    h_n, c_n = _filled(call.h_0), _filled(call.c_0)
    compiled.run("forward", call, {**_read(call), "y": y, "h_n": h_n, "c_n": c_n}, reserve)
    return h_n, c_n


def backward(
    call: Call,
    y: Tensor,
    reserve: Tensor,
    d_y: Tensor,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    d_x: Tensor | None,
    d: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """∂h_0 and ∂c_0; fills the valid cells of d_x (L, N, E), adds to d, the gradients by the names in ``Weights``.

    Where the slope of h_n or c_n is None it is 0.
    """
    d_h_0, d_c_0 = _filled(call.h_0), _filled(call.c_0)
    if call.cells == 0:
        for d_0, d_n in ((d_h_0, d_h_n), (d_c_0, d_c_n)):
            d_0.zero_() if d_n is None else d_0.copy_(d_n)
        return d_h_0, d_c_0
    real = call.c_0.dtype
    into = d_x if d_x is None or d_x.dtype == real else d_x.to(real)
    tensors = _read(call)
    tensors |= {"y": y, "d_y": d_y, "d_h_n": d_h_n, "d_c_n": d_c_n, "d_h_0": d_h_0, "d_c_0": d_c_0, "d_x": into}
    for name, gradient in d.items():
        tensors["d_" + KERNELS[name]] = gradient
    compiled.run("backward", call, tensors, reserve)
    if d_x is not None and into is not None and into is not d_x:
        d_x.copy_(into)
    return d_h_0, d_c_0
