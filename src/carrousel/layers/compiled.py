"""The compiled training kernels: whether they can run something, and how they are called.

Addresses reach a kernel only after every shape, dtype and device was checked.
"""

from __future__ import annotations

import importlib
import os
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..errors import ShapeError
from .call import Call


def _find() -> Any:
    try:
        module = importlib.import_module("carrousel._native")
    except ImportError:  # installed without a compiler
        return None
    return module if hasattr(module, "train_mask") else None  # built from older sources


kernels: Any = _find()
"""The compiled module, or None."""


def _isa() -> str:
    return _chosen(os.environ.get("CARROUSEL_ISA", ""))


@lru_cache
def _chosen(wanted: str) -> str:
    return kernels.choose_isa(wanted)


def unavailable() -> str:
    """Why there are no native kernels at all; empty where there are."""
    if os.environ.get("CARROUSEL_ISA") == "numpy":
        return "expected the native engine, got CARROUSEL_ISA=numpy"
    if kernels is None:
        return "expected the native engine, which was not built; install a C++20 compiler and then the package again"
    return ""


def vectorised() -> bool:
    """Whether the kernels that run here were measured to train the plain layer faster than torch does."""
    return not unavailable() and _isa().startswith("avx")


def multiplies_bfloat16() -> bool:
    """Whether the kernels that run here multiply bfloat16 by instructions made for it."""
    return not unavailable() and _isa().endswith("bf16")


def transformed() -> bool:
    """Whether a function transform of torch.func is under way, which no kernel may be called in."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None  # pyright: ignore


def missing(x: Tensor, weight: Tensor) -> str:
    """Why native kernels cannot run this: what was expected and what was got; empty where they can."""
    if x.device.type != "cpu" or weight.device.type != "cpu":
        return f"expected a layer and x on the CPU, got {weight.device} and {x.device}"
    if weight.dtype not in (torch.float32, torch.float64):
        return f"expected float32 or float64, got {str(weight.dtype).removeprefix('torch.')}"
    if transformed():
        return "expected no function transform around it, got one of torch.func"
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return f"expected autocast to bfloat16, got {torch.get_autocast_dtype('cpu')}"
    return unavailable()


@lru_cache(256)
def _shapes(L: int, N: int, E: int, G: int, H: int, P: int, M: int) -> dict[str, tuple[int, ...]]:
    """Of all that a kernel may read and fill, but for the reserve."""
    parameters = {
        "w_ih": (G * H, E), "w_hh": (G * H, P), "b_ih": (G * H,), "b_hh": (G * H,), "w_hr": (P, H),
        "peephole": ((G - 1) * H,), "gain_ih": (G * H,), "gain_hh": (G * H,), "gain_c": (H,), "bias_c": (H,),
    }  # fmt: skip
    return parameters | {"d_" + name: shape for name, shape in parameters.items()} | {
        "place": (M,), "cell": (L, N), "lengths": (N,), "mask_h": (N, P), "mask_g": (L, N, H), "keep_h": (L, N, P),
        "keep_c": (L, N, H), "x": (L, N, E), "h_0": (N, P), "c_0": (N, H), "y": (L, N, P), "h_n": (N, P),
        "c_n": (N, H), "d_x": (L, N, E), "d_h_0": (N, P), "d_c_0": (N, H), "d_y": (L, N, P), "d_h_n": (N, P),
        "d_c_n": (N, H),
    }  # fmt: skip


def run(name: str, call: Call, tensors: dict[str, Tensor | None], reserve: Tensor) -> None:
    """Call the kernel ``train_{name}``, see native/train.h, with the tensors that it reads and fills.

    Raises
    ------
    ShapeError : one of them is not what the kernel would take it for
    """
    L, N, G, H, P = call.sizes
    sizes = L, N, call.x.shape[2], G, H, P, call.cells
    shapes, real = _shapes(*sizes), call.c_0.dtype
    check(call, "reserve", reserve, (call.reserve,), real)
    pointers = call.addresses(reserve)
    alive: list[Tensor] = []
    for what, tensor in tensors.items():
        if tensor is not None:
            whole = tensor.contiguous()
            check(call, what, whole, shapes[what], torch.int64 if what in ("cell", "lengths", "place") else real)
            alive.append(whole)
            pointers[what] = whole.data_ptr()
    getattr(kernels, "train_" + name)(
        _isa(),
        "bfloat16" if call.half else str(real).removeprefix("torch."),
        sizes,
        pointers,
        (call.zone_h, call.zone_c),
        call.reverse,
        torch.get_num_threads(),
    )


def fill_mask(mask: Tensor, key: int, bound: int, value: int) -> None:
    """Fill a mask on the CPU, in C order, of 2, 4 or 8 bytes an element; see native/mask.h for the others."""
    kernels.train_mask(
        _isa(), mask.data_ptr(), mask.numel(), mask.element_size(), key, bound, value, torch.get_num_threads()
    )


def check(call: Call, what: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """
    Raises
    ------
    ShapeError : the tensor is not what a kernel would take it for
    """
    if tensor.shape != shape or tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ShapeError(
            f"LSTM: {what}: expected {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}; "
            f"x has shape {tuple(call.x.shape)} and c_0 {tuple(call.c_0.shape)}"
        )
