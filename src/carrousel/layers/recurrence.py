"""One LSTM layer in one direction by the native kernels, forward and backward, on plain tensors.

The recurrence and the products over all steps are native, what else is a sum over all steps is torch's. A batch with
lengths is a list of its valid cells, time by time: padding is neither read nor computed.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from . import compiled
from .call import Call, parts, reserve
from .reference import EPSILON

CACHED = 2**16
"""Elements that are multiplied and summed at once."""

KEPT = 2**26
"""Bytes that a thread keeps for its next backward: what is freed goes back to the system, and to get it again, page by
page, takes longer than to fill it."""


class _Spare(threading.local):
    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)


_spare = _Spare()


def _own(call: Call, shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Memory for what a backward needs for itself; it holds anything at first."""
    size = reserve(shapes) * call.c_0.element_size()
    memory = _spare.memory
    if len(memory) < size:
        memory = torch.empty(size, dtype=torch.uint8)
        if size <= KEPT:
            _spare.memory = memory
    return parts(memory[:size].view(call.c_0.dtype), shapes)


def _arguments(call: Call) -> dict[str, Tensor | None]:
    """What the kernels of the recurrence read, by their names."""
    return {
        "h_0": call.h_0, "c_0": call.c_0, "w_hh": call.weight_hh, "w_hr": call.weight_hr, "peephole": call.weight_ch,
        "gain_hh": call.gain_hh, "b_hh": call.bias_hh if call.normed else None, "gain_c": call.gain_c,
        "bias_c": call.bias_c, "mask_h": call.mask_h, "mask_g": call.mask_g, "keep_h": call.keep_h,
        "keep_c": call.keep_c, "cell": call.cell, "lengths": call.lengths,
    }  # fmt: skip


def _packed(values: Tensor, call: Call) -> Tensor:
    """Values (L, N, ·) of the valid cells, (M, ·)."""
    flat = values.reshape(-1, values.shape[-1])
    return flat if call.place is None else flat.index_select(0, call.place)


def forward(call: Call, y: Tensor, kept: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Fill y and what is kept; the state after the last step."""
    if call.cells == 0:
        y.zero_()
        return call.h_0.clone(), call.c_0.clone()
    G, H, real = call.sizes[2], call.sizes[3], call.c_0.dtype
    for what in ("bias_ih", "bias_hh", "gain_ih"):
        if (given := getattr(call, what)) is not None:
            compiled.check(call, what, given, (G * H,), real)
    z = kept["z"]
    first, bias = z, call.bias_ih
    if call.normed:
        first, bias = kept["a"], None
    elif bias is not None and call.bias_hh is not None:
        bias = bias + call.bias_hh
    driven = {"x": call.x.to(real), "w_ih": call.weight_ih, "b_ih": bias, "place": call.place, "a": first}
    compiled.run("drive", call, driven)
    if call.normed:
        torch.ops.aten.native_layer_norm.out(
            first, first.shape[1:], call.gain_ih, call.bias_ih, EPSILON, out0=z, out1=kept["a_mean"],
            out2=kept["a_scale"],
        )  # fmt: skip
    h_n, c_n = torch.empty_like(call.h_0), torch.empty_like(call.c_0)
    compiled.run("forward", call, _arguments(call) | _for_kernels(kept) | {"y": y, "h_n": h_n, "c_n": c_n})
    return h_n, c_n


def _for_kernels(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in kept.items() if not name.startswith("a")}


def _before(values: Tensor, initial: Tensor, call: Call) -> list[tuple[slice, Tensor]]:
    """What values (M, ·) were one step earlier, ``initial`` (N, ·) at a row's first; (cells, values) of each part.

    Without lengths these are views: no copy of the sequence is made.
    """
    N = call.x.shape[1]
    if call.place is None or call.cell is None or call.lengths is None:
        if call.reverse:
            return [(slice(None, -N), values[N:]), (slice(-N, None), initial)]
        return [(slice(N, None), values[:-N]), (slice(None, N), initial)]
    row, t = call.place % N, call.place.div(N, rounding_mode="floor")
    if call.reverse:
        at_first, earlier = t + 1 == call.lengths[row], call.place + N
    else:
        at_first, earlier = t == 0, call.place - N
    # A row's first step has none before it: any cell will do there, and is written over.
    source = call.cell.flatten()[torch.where(at_first, call.place, earlier)]
    gathered = values.index_select(0, source)
    gathered[at_first] = initial[row[at_first]]
    return [(slice(None), gathered)]


def _peephole_gradient(call: Call, kept: dict[str, Tensor], d_z: Tensor) -> Tensor:
    """Σ d_z_i·c, Σ d_z_f·c, Σ d_z_o·c̃ after one another; without f where it is coupled."""
    G = call.sizes[2]
    *d_seen, _, d_o = d_z.chunk(G, dim=1)
    earlier = _before(kept["c"], call.c_0, call)
    sums = [sum((d[cells] * c).sum(0) for cells, c in earlier) for d in d_seen]
    candidate = kept["c"]
    if call.keep_c is not None or call.zone_c:
        i, *f, g, _ = kept["z"].chunk(G, dim=1)
        forget = f[0] if f else 1.0 - i
        candidate = i * g if call.mask_g is None else i * g * _packed(call.mask_g, call)
        for cells, c in earlier:
            candidate[cells] += forget[cells] * c
    return torch.cat([*sums, (d_o * candidate).sum(0)])  # pyright: ignore[reportArgumentType]


def _add_sums(out: Tensor, d: Tensor, x: Tensor, mean: Tensor | None = None, scale: Tensor | None = None) -> None:
    """out += Σ d·x over the cells, or Σ d·(x − mean)·scale; some cells at a time, which stay in the cache."""
    for cells in range(0, len(d), step := max(1, CACHED // d.shape[1])):
        part = slice(cells, cells + step)
        seen = x[part] if mean is None or scale is None else (x[part] - mean[part]).mul_(scale[part])
        out += (d[part] * seen).sum(0)


def backward(
    call: Call,
    y: Tensor,
    kept: dict[str, Tensor],
    d_y: Tensor,
    d_h_n: Tensor,
    d_c_n: Tensor,
    d_x: Tensor | None,
    d: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """∂h_0 and ∂c_0; fills the valid cells of d_x (L, N, E), adds to d, the gradients by the names in ``Weights``."""
    _, _, G, H, P = call.sizes
    M = call.cells
    if M == 0:
        return d_h_n, d_c_n
    d_h_0, d_c_0 = torch.empty_like(d_h_n), torch.empty_like(d_c_n)
    shapes = {"d_z": (M, G * H)}
    if call.normed:
        shapes |= {"d_r": (M, G * H), "d_u": (M, H)}
    if call.weight_hr is not None:
        shapes["d_p"] = (M, P)
    found: dict[str, Tensor | None] = {**_own(call, shapes)}
    given = {"y": y, "d_y": d_y, "d_h_n": d_h_n, "d_c_n": d_c_n, "d_h_0": d_h_0, "d_c_0": d_c_0}
    compiled.run("backward", call, _arguments(call) | _for_kernels(kept) | given | found)
    d_z = found["d_z"]
    assert d_z is not None

    if call.normed and (d_u := found.pop("d_u")) is not None:
        _add_sums(d["gain_ih"], d_z, kept["a"], kept["a_mean"], kept["a_scale"])
        _add_sums(d["gain_hh"], d_z, kept["r_hat"])
        _add_sums(d["gain_c"], d_u, kept["u_hat"])
        if call.bias_c is not None:
            d["bias_c"] += d_u.sum(0)
        found["d_a"] = torch.ops.aten.native_layer_norm_backward(
            d_z, kept["a"], [G * H], kept["a_mean"], kept["a_scale"], call.gain_ih, call.bias_ih, [True, False, False]
        )[0]
    if call.weight_ch is not None:
        d["weight_ch"] += _peephole_gradient(call, kept, d_z)
    real = call.c_0.dtype
    into = d_x if d_x is None or d_x.dtype == real else d_x.to(real)
    found |= {
        "x": call.x.to(real), "w_ih": call.weight_ih, "h_0": call.h_0, "y": y, "mask_h": call.mask_h,
        "lengths": call.lengths, "place": call.place, "m": kept.get("m"), "d_x": into, "d_b": d.get("bias_ih"),
        "d_w_ih": d["weight_ih"], "d_w_hh": d["weight_hh"], "d_w_hr": d.get("weight_hr"),
    }  # fmt: skip
    compiled.run("gradients", call, found)
    if d_x is not None and into is not None and into is not d_x:
        d_x.copy_(into)
    return d_h_0, d_c_0
