"""Masks of dropout: drawn from a counter on the CPU, the same on any number of threads, with or without the kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.library import custom_op, register_fake

from . import compiled
from .philox import words

NAME = "carrousel::mask"
KEYS = 2**63 - 1
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def mask(like: Tensor, shape: Sequence[int], p: float, value: float) -> Tensor:
    """``value`` with probability p, else 0, independently.

    On the CPU every element is a word of Philox (``philox``), whose key is one draw from torch's generator: which
    elements are marked follows from the seed alone, for every dtype. Elsewhere torch draws, on that device.

    Parameters
    ----------
    like : has the dtype and the device
    shape : of the mask
    p : to 2⁻³² on the CPU
    """
    if not _counts(like):
        return like.new_empty(shape).uniform_().lt_(p).mul_(value)
    key = torch.randint(KEYS, (), dtype=torch.int64, device="cpu")
    # The operator's way through the dispatcher takes longer than a small mask; what is being compiled and what only
    # looks like a tensor need it.
    if torch.compiler.is_compiling() or type(key) is not Tensor:
        return torch.ops.carrousel.mask(key, list(shape), p, value, like.dtype)
    return _draw(key, shape, p, value, like.dtype)


def kept(like: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Factors of a dropout with probability p: 0, or 1/(1 − p)."""
    return mask(like, shape, 1.0 - p, 1.0 / (1.0 - p) if p < 1.0 else 0.0)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``torch.nn.functional.dropout``, several times as fast on the CPU, where that draws number by number."""
    if not training or not p:
        return x
    return x * kept(x, x.shape, p) if _counts(x) else torch.nn.functional.dropout(x, p)


def _counts(like: Tensor) -> bool:
    return like.device.type == "cpu" and not compiled.transformed()


def _draw(key: Tensor, shape: Sequence[int], p: float, value: float, dtype: torch.dtype) -> Tensor:
    drawn = torch.empty(shape, dtype=dtype)
    bound, count = min(round(p * 2**32), 2**32 - 1), math.prod(shape)
    if compiled.unavailable():
        marked = torch.from_numpy(words(int(key), count) < bound)
        return drawn.copy_(marked.view(shape)).mul_(value)
    compiled.fill_mask(drawn, int(key), bound, _bits(value, dtype))
    return drawn


@lru_cache
def _bits(value: float, dtype: torch.dtype) -> int:
    """Of an element, without a sign."""
    integer = _INTEGERS[dtype.itemsize]
    return int(torch.tensor(value, dtype=dtype).view(integer)) % 2 ** (8 * dtype.itemsize)


def _shape_of(key: Tensor, shape: Sequence[int], p: float, value: float, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=key.device)


custom_op(
    NAME,
    _draw,
    mutates_args=(),
    schema="(Tensor key, SymInt[] shape, float p, float value, ScalarType dtype) -> Tensor",
)
register_fake(NAME, _shape_of)
