"""One LSTM layer over time in one direction, forward and backward, as operators of torch on native kernels."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_type_hints

import torch
from torch import Tensor
from torch.library import custom_op, register_autograd, register_fake

from ..errors import SettingError
from . import recurrence
from .call import Call, Ragged
from .cell import Weights, directed, stepwise
from .compiled import missing, unavailable, vectorised
from .dropout import Masks

__all__ = ["Ragged", "missing", "scan", "unavailable", "vectorised"]

SEGMENT = 1024
"""Steps that are recomputed at once: their gates are the memory that a recomputing backward needs."""

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
    """Run one layer in one direction; differentiable as often as wanted, but in bfloat16 and compiled once.

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
    seen = x if half and x.dtype == torch.bfloat16 else x.to(real)
    call = Call(
        seen, h.to(real), c.to(real), *w, *(ragged or (None, None, None)),
        masks.h, masks.g, keeps[0][0], keeps[1][0], keeps[0][1], keeps[1][1], reverse, half,
        SEGMENT if recompute else 0,
    )  # fmt: skip
    # The operator's way through the dispatcher takes longer than a short sequence; what is being compiled and what only
    # looks like a tensor need it.
    if torch.compiler.is_compiling() or type(call.x) not in (Tensor, torch.nn.Parameter):
        y, h_n, c_n, _ = torch.ops.carrousel.lstm(*call)
    else:
        y, h_n, c_n, _ = _Scan.apply(*_parts(call)) if torch.is_grad_enabled() else _forward(*call)  # pyright: ignore
    return y, h_n, c_n


def _no_autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext()


def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, h_n, c_n and the reserve: what is kept, or with ``segment`` the state before each segment."""
    call = Call(*arguments)
    L, N, _, _, P = call.sizes
    y, new = call.c_0.new_empty(L, N, P), call.c_0.new_empty
    with _no_autocast():
        if not call.segment:
            reserve = new(call.reserve)
            return y, *recurrence.forward(call, y, reserve), reserve
        h, c = call.h_0, call.c_0
        states: list[Tensor] = []
        for begin, end in call.segments():
            states += [h.flatten(), c.flatten()]
            part = call.part(begin, end, h, c)
            h, c = recurrence.forward(part, y[begin:end], new(part.reserve))
        return y, h, c, torch.cat(states)


def _forward_shapes(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    call = Call(*arguments)
    L, N, _, H, P = call.sizes
    new = call.c_0.new_empty
    reserve = len(call.segments()) * N * (P + H) if call.segment else call.reserve
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
        d_h: Any = d_h_n
        d_c: Any = d_c_n
        d_x = None
        if wants_x:  # padding has none
            d_x = (call.x.new_empty if call.place is None else call.x.new_zeros)(call.x.shape)
        d = {
            name: torch.zeros_like(weight, memory_format=torch.contiguous_format)
            for name, weight in call.weights.items()
        }
        if not call.segment:
            d_h, d_c = recurrence.backward(call, y, reserve, d_y, d_h, d_c, d_x, d)
        else:
            states = reserve.view(-1, N * (P + H))
            for (begin, end), state in zip(reversed(call.segments()), states.flip(0), strict=True):
                part = call.part(begin, end, state[: N * P].view(N, P), state[N * P :].view(N, H))
                kept = y.new_empty(part.reserve)
                again = torch.empty_like(y[begin:end])
                recurrence.forward(part, again, kept)
                into = None if d_x is None else d_x[begin:end]
                d_h, d_c = recurrence.backward(part, again, kept, d_y[begin:end], d_h, d_c, into, d)
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


Others = list[tuple[Any] | None]
"""A call without its tensors, where it has None."""


def _parts(call: tuple[Any, ...]) -> tuple[Any, ...]:
    """The others and every tensor of a call."""
    others: Others = [None if isinstance(value, Tensor) else (value,) for value in call]
    return others, *(value for value in call if isinstance(value, Tensor))


def _keep(ctx: Any, output: tuple[Tensor, ...], others: Others, *tensors: Tensor) -> None:
    y, _, _, reserve = output
    ctx.others = others
    ctx.mark_non_differentiable(reserve)
    ctx.set_materialize_grads(False)  # else zeros for the reserve would be made
    ctx.save_for_backward(y, reserve, *tensors)


def _differentiate(ctx: Any, wants_x: bool, slopes: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    """Gradients by what they are of."""
    d_y, d_h_n, d_c_n, _ = slopes
    y, reserve, *tensors = ctx.saved_tensors
    remaining = iter(tensors)
    call = Call(*(next(remaining) if other is None else other[0] for other in ctx.others))
    if torch.is_grad_enabled() and not torch.compiler.is_compiling() and not call.half:
        return _differentiate_again(call, (d_y, d_h_n, d_c_n))
    plain = type(y) is Tensor and not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    run = _backward if plain else torch.ops.carrousel.lstm_backward
    values = run(d_y, d_h_n, d_c_n, y, reserve, wants_x, *call)
    return dict(zip(_differentiated(call, wants_x), values, strict=True))


def _differentiate_again(call: Call, slopes: tuple[Tensor | None, ...]) -> dict[str, Any]:
    """The same gradients by torch's operations, step by step, which can be differentiated in turn."""
    keeps = [share or None if keep is None else keep
             for keep, share in ((call.keep_h, call.zone_h), (call.keep_c, call.zone_c))]  # fmt: skip
    w = Weights(*(getattr(call, name) for name in Weights._fields))
    masks = Masks(h=call.mask_h, g=call.mask_g, keep_h=keeps[0], keep_c=keeps[1])
    x, lengths, padded = call.x.to(call.c_0.dtype), call.lengths, None
    if lengths is not None:
        padded = (torch.arange(len(x))[:, None] >= lengths)[:, :, None]
        x = x.masked_fill(padded, 0.0)
    y, h_n, c_n = directed(stepwise, x, call.h_0, call.c_0, w, lengths, masks, call.reverse)
    outputs = (y if padded is None else y.masked_fill(padded, 0.0), h_n, c_n)
    used = [(output, slope) for output, slope in zip(outputs, slopes, strict=True) if slope is not None]
    names = [name for name in DIFFERENTIABLE if (given := getattr(call, name)) is not None and given.requires_grad]
    values = torch.autograd.grad(
        [output for output, _ in used], [getattr(call, name) for name in names], [slope for _, slope in used],
        create_graph=True, allow_unused=True,
    )  # fmt: skip
    return dict(zip(names, values, strict=True))


def _not_twice(*_: object) -> None:
    raise SettingError(
        "LSTM: expected one differentiation, got a second one (create_graph=True), which native kernels do not have "
        "in bfloat16 and where they are compiled; "
        'run the forward under carrousel.layers.backend("torch")'
    )


class _Scan(torch.autograd.Function):
    """The operator and its derivative as ``register_autograd`` has them, without what that does at every call.

    torch looks at every argument several times: those that are no tensors are one. Nor has it a ``setup_context``,
    which transforms of functions need: torch then looks its signature up every time.
    """

    @staticmethod
    def forward(ctx: Any, others: Others, *tensors: Tensor) -> Any:
        remaining = iter(tensors)
        output = _forward(*(next(remaining) if other is None else other[0] for other in others))
        _keep(ctx, output, others, *tensors)
        return output

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> Any:
        found = _differentiate(ctx, ctx.needs_input_grad[1], slopes)
        names = (name for name, other in zip(Call._fields, ctx.others, strict=True) if other is None)
        return None, *(found.get(name) for name in names)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _keep(ctx, output, *_parts(inputs))


def _differentiate_operator(ctx: Any, *slopes: Tensor | None) -> Any:
    found = _differentiate(ctx, ctx.needs_input_grad[0], slopes)
    return tuple(found.get(name) for name in Call._fields)


custom_op(NAMES[0], _forward, mutates_args=(), schema=f"({_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)")
custom_op(
    NAMES[1], _backward, mutates_args=(),
    schema=f"(Tensor? d_y, Tensor? d_h_n, Tensor? d_c_n, Tensor y, Tensor reserve, bool wants_x, {_ARGUMENTS})"
    " -> Tensor[]",
)  # fmt: skip
register_fake(NAMES[0], _forward_shapes)
register_fake(NAMES[1], _backward_shapes)
register_autograd(NAMES[0], _differentiate_operator, setup_context=_keep_inputs)
register_autograd(NAMES[1], _not_twice)
