"""One LSTM layer over time in one direction, forward and backward, as operators of torch on native kernels.

The recurrence is native. The large matrix products have no order of time and are torch's, as is all that is a sum over
all steps. A batch with lengths is a list of its valid cells, time by time: padding is neither read nor computed.
"""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, get_type_hints

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

from ..errors import SettingError, ShapeError
from .cell import Weights
from .dropout import Masks
from .reference import EPSILON

SEGMENT = 1024
"""Steps that are recomputed at once: their gates are the memory that a recomputing backward needs."""

CACHED = 2**16
"""Elements that are multiplied and summed at once."""

ALIGNMENT = 16
"""Elements to which the parts of a reserve are aligned: a cache line of float32."""


class Ragged(NamedTuple):
    """The valid cells of a batch with lengths, numbered time by time.

    Parameters
    ----------
    lengths : int64 (N,)
    place : int64 (M,); t·N + n of each
    cell : int64 (L, N); the number of each, −1 where padded
    """

    lengths: Tensor
    place: Tensor
    cell: Tensor

    @classmethod
    def of(cls, L: int, lengths: Tensor) -> Ragged:
        valid = torch.arange(L, device=lengths.device)[:, None] < lengths
        place = valid.flatten().nonzero().flatten()
        cell = place.new_full((L * len(lengths),), -1)
        cell[place] = torch.arange(len(place), device=place.device)
        return cls(lengths, place, cell.view(L, len(lengths)))


class Call(NamedTuple):
    """Arguments of the operator, in its order. Masks are indexed by time in both directions.

    Parameters
    ----------
    x : (L, N, E); bfloat16 with ``half``, else of the dtype of all others
    h_0, c_0 : (N, P), (N, H)
    weight_ih ... bias_c : see ``Weights``
    lengths, place, cell : see ``Ragged``; all or none
    mask_h, mask_g, keep_h, keep_c : see ``Masks``
    zone_h, zone_c : zoneout's expectations, where keep_h, keep_c are None
    reverse : each row starts at its last valid step
    half : the large products are computed in bfloat16, the recurrence is not
    segment : keep the state before each so many steps and recompute the rest; 0: keep everything
    """

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None
    weight_ch: Tensor | None
    gain_ih: Tensor | None
    gain_hh: Tensor | None
    gain_c: Tensor | None
    bias_c: Tensor | None
    lengths: Tensor | None
    place: Tensor | None
    cell: Tensor | None
    mask_h: Tensor | None
    mask_g: Tensor | None
    keep_h: Tensor | None
    keep_c: Tensor | None
    zone_h: float
    zone_c: float
    reverse: bool
    half: bool
    segment: int

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """L, N, G, H, P."""
        (L, N, _), H, P = self.x.shape, self.c_0.shape[-1], self.h_0.shape[-1]
        return L, N, self.weight_ih.shape[0] // H, H, P

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters that there are."""
        return {name: weight for name in Weights._fields if (weight := getattr(self, name)) is not None}

    @property
    def cells(self) -> int:
        """M, how many cells are valid."""
        return self.x.shape[0] * self.x.shape[1] if self.place is None else self.place.shape[0]

    @property
    def normed(self) -> bool:
        return self.gain_hh is not None

    def kept(self) -> dict[str, tuple[int, int]]:
        """Shapes of what the forward leaves to the backward, by the kernels' names; and of a, before its norm."""
        _, _, G, H, _ = self.sizes
        widths = {"z": G * H, "c": H}
        if self.normed:
            widths |= {"r_hat": G * H, "r_scale": 1, "u_hat": H, "u_scale": 1, "a": G * H, "a_mean": 1, "a_scale": 1}
        if self.weight_hr is not None:
            widths["m"] = H
        return {name: (self.cells, width) for name, width in widths.items()}

    def segments(self) -> list[tuple[int, int]]:
        """Bounds of time of the parts that are run one after the other, in that order."""
        L, length = len(self.x), self.segment or len(self.x)
        bounds = [(t, min(t + length, L)) for t in range(0, L, length)]
        return bounds[::-1] if self.reverse else bounds

    def part(self, begin: int, end: int, h: Tensor, c: Tensor) -> Call:
        """The steps of one segment, from the state before them."""
        if (begin, end) == (0, len(self.x)):
            return self._replace(h_0=h, c_0=c)
        cut = {
            name: None if mask is None else mask[begin:end]
            for name, mask in (("mask_g", self.mask_g), ("keep_h", self.keep_h), ("keep_c", self.keep_c))
        }
        if self.lengths is not None and self.place is not None and self.cell is not None:
            N = len(self.lengths)
            first, last = torch.searchsorted(self.place, self.place.new_tensor([begin * N, end * N])).tolist()
            cut["lengths"] = (self.lengths - begin).clamp(0, end - begin)
            cut["place"] = self.place[first:last] - begin * N
            cut["cell"] = (self.cell[begin:end] - first).clamp(min=-1)
        return self._replace(x=self.x[begin:end], h_0=h, c_0=c, **cut)


NAMES = "carrousel::lstm", "carrousel::lstm_backward"
_KINDS = {Tensor: "Tensor", Tensor | None: "Tensor?", float: "float", bool: "bool", int: "int"}
_ARGUMENTS = ", ".join(f"{_KINDS[kind]} {name}" for name, kind in get_type_hints(Call).items())


def scan(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w: Weights,
    masks: Masks,
    ragged: Ragged | None,
    reverse: bool,
    half: bool,
    recompute: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer in one direction; differentiable once.

    Parameters
    ----------
    x : (L, N, E); what it holds beyond a length is not read
    h, c : (N, P), (N, H)
    w : of any variant; weight_hh with its mask
    masks : of which those of x and weight_hh have been applied
    reverse, half : see ``Call``
    recompute : keep the state at every 1,024th step only

    Returns
    -------
    output (L, N, P), zeros where padded; h, c after each row's last valid step
    """
    keeps = [(k, 0.0) if isinstance(k, Tensor) else (None, k or 0.0) for k in (masks.keep_h, masks.keep_c)]
    real = w.weight_hh.dtype
    call = Call(
        x.to(torch.bfloat16 if half else real), h.to(real), c.to(real), *w, *(ragged or (None, None, None)),
        masks.h, masks.g, keeps[0][0], keeps[1][0], keeps[0][1], keeps[1][1], reverse, half,
        SEGMENT if recompute else 0,
    )  # fmt: skip
    # The operator's way through the dispatcher takes longer than a short sequence; what is being compiled and what only
    # looks like a tensor need it.
    if torch.compiler.is_compiling() or type(call.x) not in (Tensor, torch.nn.Parameter):
        y, h_n, c_n, _ = torch.ops.carrousel.lstm(*call)
    else:
        y, h_n, c_n, _ = (_Scan.apply if torch.is_grad_enabled() else _forward)(*call)  # pyright: ignore
    return y, h_n, c_n


def _find() -> Any:
    try:
        module = importlib.import_module("carrousel._native")
    except ImportError:  # installed without a compiler
        return None
    return module if hasattr(module, "train_forward") else None


kernels: Any = _find()
"""The compiled module, or None."""


def _isa() -> str:
    return kernels.choose_isa(os.environ.get("CARROUSEL_ISA", ""))


def unavailable() -> str:
    """Why there are no native kernels at all; empty where there are."""
    if os.environ.get("CARROUSEL_ISA") == "numpy":
        return "expected the native engine, got CARROUSEL_ISA=numpy"
    if kernels is None:
        return "expected the native engine, which was not built; install a C++20 compiler and then the package again"
    return ""


def missing(x: Tensor, weight: Tensor) -> str:
    """Why native kernels cannot run this: what was expected and what was got; empty where they can."""
    if x.device.type != "cpu" or weight.device.type != "cpu":
        return f"expected a layer and x on the CPU, got {weight.device} and {x.device}"
    if weight.dtype not in (torch.float32, torch.float64):
        return f"expected float32 or float64, got {str(weight.dtype).removeprefix('torch.')}"
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore
        return "expected no function transform around it, got one of torch.func"
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return f"expected autocast to bfloat16, got {torch.get_autocast_dtype('cpu')}"
    return unavailable()


def _native(name: str, call: Call, tensors: dict[str, Tensor | None]) -> None:
    """Call a kernel with the addresses of tensors, after their shapes have been checked."""
    L, N, G, H, P = call.sizes
    M = call.cells
    by_cell = {
        "z": G * H, "c": H, "r_hat": G * H, "r_scale": 1, "u_hat": H, "u_scale": 1, "m": H,
        "d_z": G * H, "d_r": G * H, "d_u": H, "d_p": P,
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {name: (M, width) for name, width in by_cell.items()} | {
        "h_0": (N, P), "c_0": (N, H), "h_n": (N, P), "c_n": (N, H), "y": (L, N, P),
        "d_h_0": (N, P), "d_c_0": (N, H), "d_h_n": (N, P), "d_c_n": (N, H), "d_y": (L, N, P),
        "w_hh": (G * H, P), "w_hr": (P, H), "peephole": ((G - 1) * H,), "gain_hh": (G * H,), "b_hh": (G * H,),
        "gain_c": (H,), "bias_c": (H,), "mask_h": (N, P), "mask_g": (L, N, H), "keep_h": (L, N, P),
        "keep_c": (L, N, H), "cell": (L, N), "lengths": (N,),
    }  # fmt: skip
    present = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    for what, tensor in present.items():
        _check_one(call, what, tensor, shapes[what], torch.int64 if what in ("cell", "lengths") else call.c_0.dtype)
    getattr(kernels, name)(
        _isa(),
        str(call.c_0.dtype).removeprefix("torch."),
        call.sizes,
        {name: tensor.data_ptr() for name, tensor in present.items()},
        (call.zone_h, call.zone_c),
        call.reverse,
        torch.get_num_threads(),
    )


def _check(call: Call) -> None:
    """What the kernels of the recurrence do not see."""
    _, _, G, H, _ = call.sizes
    E = call.x.shape[2]
    for what, given in (("bias_ih", call.bias_ih), ("bias_hh", call.bias_hh), ("gain_ih", call.gain_ih)):
        if given is not None:
            _check_one(call, what, given, (G * H,), call.c_0.dtype)
    _check_one(call, "weight_ih", call.weight_ih, (G * H, E), call.c_0.dtype)
    _check_one(call, "x", call.x, tuple(call.x.shape), torch.bfloat16 if call.half else call.c_0.dtype)


def _check_one(call: Call, what: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.shape != shape or tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ShapeError(
            f"LSTM: {what}: expected {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}; "
            f"x has shape {tuple(call.x.shape)} and c_0 {tuple(call.c_0.shape)}"
        )


def _arguments(call: Call) -> dict[str, Tensor | None]:
    """What both kernels read, by their names."""
    return {
        "h_0": call.h_0, "c_0": call.c_0, "w_hh": call.weight_hh, "w_hr": call.weight_hr, "peephole": call.weight_ch,
        "gain_hh": call.gain_hh, "b_hh": call.bias_hh if call.normed else None, "gain_c": call.gain_c,
        "bias_c": call.bias_c, "mask_h": call.mask_h, "mask_g": call.mask_g, "keep_h": call.keep_h,
        "keep_c": call.keep_c, "cell": call.cell, "lengths": call.lengths,
    }  # fmt: skip


def _reserve(call: Call) -> int:
    """Elements that hold everything in ``call.kept()``."""
    return sum(_aligned(rows * width) for rows, width in call.kept().values())


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _parts(reserve: Tensor, shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """A reserve as views under the kernels' names."""
    parts: dict[str, Tensor] = {}
    at = 0
    for name, (rows, width) in shapes.items():
        parts[name] = reserve[at : at + rows * width].view(rows, width)
        at += _aligned(rows * width)
    return parts


def _packed(values: Tensor, call: Call) -> Tensor:
    """Values (L, N, ·) of the valid cells, (M, ·)."""
    flat = values.reshape(-1, values.shape[-1])
    return flat if call.place is None else flat.index_select(0, call.place)


def _seen(call: Call) -> Tensor:
    """The valid cells of x in the dtype in which it is multiplied."""
    return _packed(call.x, call)


def _no_autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def _low(value: Tensor, call: Call) -> Tensor:
    return value.to(torch.bfloat16) if call.half else value


def _matmul(form: str, a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Fill out with a bᵀ + bias ("nt") or a b ("nn"), or add aᵀ b to it ("tn"), to the same bits on any threads."""
    rows, columns = out.shape
    a, b = a.contiguous(), b.contiguous()
    kernels.matmul(
        _isa(),
        str(out.dtype).removeprefix("torch."),
        form,
        a.data_ptr(),
        b.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        out.data_ptr(),
        (rows, columns, a.shape[0 if form == "tn" else 1]),
        torch.get_num_threads(),
    )


def _project(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, call: Call) -> None:
    """out = x Wᵀ + bias"""
    if not call.half:
        return _matmul("nt", x, weight, bias, out)
    out.copy_(torch.mm(x, _low(weight, call).t()))
    if bias is not None:
        out.add_(bias)


def _add_gradient(out: Tensor, d: Tensor, x: Tensor, call: Call) -> None:
    """out += dᵀ x, the gradient of W where d is that of W x."""
    if not call.half:
        return _matmul("tn", d, x, None, out)
    out.add_(torch.mm(_low(d, call).t(), _low(x, call)))


def _propagate(d: Tensor, weight: Tensor, call: Call, out: Tensor) -> None:
    """out = d W"""
    if not call.half:
        return _matmul("nn", d, weight, None, out)
    torch.mm(_low(d, call), _low(weight, call), out=out)


def _run(call: Call, y: Tensor, kept: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Fill y and what is kept; the state after the last step."""
    if call.cells == 0:
        y.zero_()
        return call.h_0.clone(), call.c_0.clone()
    _check(call)
    z, seen = kept["z"], _seen(call)
    first = kept["a"] if call.normed else z
    biases = [b for b in (call.bias_ih, call.bias_hh) if b is not None and not call.normed]
    _project(seen, call.weight_ih, torch.stack(biases).sum(0) if biases else None, first, call)
    if call.normed:
        torch.ops.aten.native_layer_norm.out(
            first, first.shape[1:], call.gain_ih, call.bias_ih, EPSILON, out0=z, out1=kept["a_mean"],
            out2=kept["a_scale"],
        )  # fmt: skip
    h_n, c_n = torch.empty_like(call.h_0), torch.empty_like(call.c_0)
    _native("train_forward", call, _arguments(call) | _for_kernels(kept) | {"y": y, "h_n": h_n, "c_n": c_n})
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


def _run_back(
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
    M, new = call.cells, call.c_0.new_empty
    if M == 0:
        return d_h_n, d_c_n
    d_h_0, d_c_0, d_z = torch.empty_like(d_h_n), torch.empty_like(d_c_n), new(M, G * H)
    outputs = {"d_z": d_z, "d_h_0": d_h_0, "d_c_0": d_c_0}
    if call.normed:
        outputs |= {"d_r": new(M, G * H), "d_u": new(M, H)}
    if call.weight_hr is not None:
        outputs["d_p"] = new(M, P)
    given = {"y": y, "d_y": d_y, "d_h_n": d_h_n, "d_c_n": d_c_n}
    _native("train_backward", call, _arguments(call) | _for_kernels(kept) | given | outputs)

    d_a, d_r = d_z, outputs.get("d_r", d_z)
    if call.bias_ih is not None:
        d["bias_ih"] += d_z.sum(0)
    if call.normed:
        _add_sums(d["gain_ih"], d_z, kept["a"], kept["a_mean"], kept["a_scale"])
        _add_sums(d["gain_hh"], d_z, kept["r_hat"])
        _add_sums(d["gain_c"], outputs["d_u"], kept["u_hat"])
        if call.bias_c is not None:
            d["bias_c"] += outputs["d_u"].sum(0)
        d_a = torch.ops.aten.native_layer_norm_backward(
            d_z, kept["a"], [G * H], kept["a_mean"], kept["a_scale"], call.gain_ih, call.bias_ih, [True, False, False]
        )[0]
    if call.weight_hr is not None:
        _add_gradient(d["weight_hr"], outputs["d_p"], kept["m"], call)
    if call.weight_ch is not None:
        d["weight_ch"] += _peephole_gradient(call, kept, d_z)
    d_a, d_r = _low(d_a, call), _low(d_r, call)
    _add_gradient(d["weight_ih"], d_a, _seen(call), call)
    for cells, h in _before(_packed(y, call), call.h_0, call):
        if call.mask_h is not None:
            h = h * _rows_of(call.mask_h, cells, call)
        if len(h):
            _add_gradient(d["weight_hh"], d_r[cells], h, call)
    if d_x is not None:
        flat = d_x.view(-1, d_x.shape[-1])
        d_seen = flat if call.place is None else flat.new_empty(M, flat.shape[1])
        _propagate(d_a, call.weight_ih, call, d_seen)
        if call.place is not None:
            flat.index_copy_(0, call.place, d_seen)
    return d_h_0, d_c_0


def _rows_of(values: Tensor, cells: slice, call: Call) -> Tensor:
    """Values (N, ·) of the rows of some cells."""
    N = len(values)
    if call.place is not None:
        return values[call.place[cells] % N]
    return values.repeat(len(range(*cells.indices(call.cells))) // N, 1)


def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, h_n, c_n and the reserve: what is kept, or with ``segment`` the state before each segment."""
    call = Call(*arguments)
    L, N, _, _, P = call.sizes
    y, new = call.c_0.new_empty(L, N, P), call.c_0.new_empty
    with _no_autocast():
        if not call.segment:
            reserve = new(_reserve(call))
            return y, *_run(call, y, _parts(reserve, call.kept())), reserve
        h, c = call.h_0, call.c_0
        states: list[Tensor] = []
        for begin, end in call.segments():
            states += [h.flatten(), c.flatten()]
            part = call.part(begin, end, h, c)
            h, c = _run(part, y[begin:end], _parts(new(_reserve(part)), part.kept()))
        return y, h, c, torch.cat(states)


def _forward_shapes(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    call = Call(*arguments)
    L, N, _, H, P = call.sizes
    new = call.c_0.new_empty
    reserve = len(call.segments()) * N * (P + H) if call.segment else _reserve(call)
    return new(L, N, P), new(N, P), new(N, H), new(reserve)


def _backward(
    d_y: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None, y: Tensor, reserve: Tensor, wants_x: bool,
    *arguments: Any,
) -> list[Tensor]:  # fmt: skip
    """Gradients by what ``_differentiated`` names: x, h_0, c_0, and every parameter that there is."""
    call = Call(*arguments)
    _, N, _, H, P = call.sizes
    with _no_autocast():
        d_y = torch.zeros_like(y) if d_y is None else d_y.contiguous()
        d_h = torch.zeros_like(call.h_0) if d_h_n is None else d_h_n
        d_c = torch.zeros_like(call.c_0) if d_c_n is None else d_c_n
        d_x = None
        if wants_x:  # padding has none
            d_x = (call.x.new_empty if call.place is None else call.x.new_zeros)(call.x.shape)
        d = {
            name: torch.zeros_like(weight, memory_format=torch.contiguous_format)
            for name, weight in call.weights.items()
        }
        if not call.segment:
            d_h, d_c = _run_back(call, y, _parts(reserve, call.kept()), d_y, d_h, d_c, d_x, d)
        else:
            states = reserve.view(-1, N * (P + H))
            for (begin, end), state in zip(reversed(call.segments()), states.flip(0), strict=True):
                part = call.part(begin, end, state[: N * P].view(N, P), state[N * P :].view(N, H))
                kept = _parts(y.new_empty(_reserve(part)), part.kept())
                again = torch.empty_like(y[begin:end])
                _run(part, again, kept)
                into = None if d_x is None else d_x[begin:end]
                d_h, d_c = _run_back(part, again, kept, d_y[begin:end], d_h, d_c, into, d)
    if "bias_hh" in d:
        d["bias_hh"].copy_(d["bias_ih"])
    if call.cells == 0:  # an operator's outputs share no memory with its inputs
        d_h, d_c = d_h.clone(), d_c.clone()
    return [*([] if d_x is None else [d_x]), d_h, d_c, *d.values()]


def _backward_shapes(
    d_y: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None, y: Tensor, reserve: Tensor, wants_x: bool,
    *arguments: Any,
) -> list[Tensor]:  # fmt: skip
    call = Call(*arguments)
    return [
        torch.empty_like(getattr(call, name), memory_format=torch.contiguous_format)
        for name in _differentiated(call, wants_x)
    ]


DIFFERENTIABLE = ("x", "h_0", "c_0", *Weights._fields)


def _differentiated(call: Call, wants_x: bool) -> list[str]:
    """What the backward returns gradients by, in its order."""
    return [name for name in DIFFERENTIABLE if getattr(call, name) is not None and (wants_x or name != "x")]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    y, _, _, reserve = output
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    ctx.others = [None if isinstance(value, Tensor) else (value,) for value in inputs]
    ctx.mark_non_differentiable(reserve)
    ctx.set_materialize_grads(False)  # else zeros for the reserve would be made
    ctx.save_for_backward(y, reserve, *tensors)


def _differentiate(ctx: Any, *slopes: Tensor | None) -> Any:
    d_y, d_h_n, d_c_n, _ = slopes
    y, reserve, *tensors = ctx.saved_tensors
    remaining = iter(tensors)
    call = Call(*(next(remaining) if other is None else other[0] for other in ctx.others))
    wants_x = ctx.needs_input_grad[0]
    plain = type(y) is Tensor and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    run = _backward if plain else torch.ops.carrousel.lstm_backward
    values = run(d_y, d_h_n, d_c_n, y, reserve, wants_x, *call)
    found = dict(zip(_differentiated(call, wants_x), values, strict=True))
    return tuple(found.get(name) for name in Call._fields)


def _not_twice(*_: object) -> None:
    raise SettingError(
        "LSTM: expected one differentiation, got a second one (create_graph=True), which native kernels do not have; "
        'run the forward under carrousel.layers.backend("torch")'
    )


class _Scan(torch.autograd.Function):
    """The operator and its derivative as ``register_autograd`` has them, without what that does at every call."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return _forward(*arguments)

    setup_context = staticmethod(_keep)
    backward = staticmethod(_differentiate)


custom_op(NAMES[0], _forward, mutates_args=(), schema=f"({_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)")
custom_op(
    NAMES[1], _backward, mutates_args=(),
    schema=f"(Tensor? d_y, Tensor? d_h_n, Tensor? d_c_n, Tensor y, Tensor reserve, bool wants_x, {_ARGUMENTS})"
    " -> Tensor[]",
)  # fmt: skip
register_fake(NAMES[0], _forward_shapes)
register_fake(NAMES[1], _backward_shapes)
register_autograd(NAMES[0], _differentiate, setup_context=_keep)
register_autograd(NAMES[1], _not_twice)
