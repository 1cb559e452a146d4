"""Queries and keys of length 1, and their gradients, in C, on a CPU (``cosines.c``).

Tensors are float32 or bfloat16; lengths and factors are float32.
"""

from __future__ import annotations

import ctypes
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from swin_torch.backends.c.building import build_library
from swin_torch.backends.c.layout import OWN, lies_plainly
from swin_torch.backends.c.pointwise import FEW
from swin_torch.backends.c.threads import count_parts, find_pointer, invoke_in_parallel

DTYPES = torch.float32, torch.bfloat16


def takes(qkv: Tensor, factors: Tensor, *others: Tensor) -> bool:
    """Returns whether the C functions take these tensors: qkv and others of its shape, and factors."""
    if qkv.dtype not in DTYPES or not lies_plainly(factors):
        return False
    return all(map(partial(_lies_in_rows, dtype=qkv.dtype), (qkv, *others))) and _find(qkv.dtype) is not None


def _lies_in_rows(x: Tensor, dtype: torch.dtype) -> bool:
    if type(x) not in OWN or not x.is_cpu or x.dtype is not dtype or x.layout is not torch.strided:
        return False
    try:
        return x.is_contiguous() and not x.is_neg() and x.data_ptr() != 0
    except RuntimeError:  # a wrapper of PyTorch's function transforms
        return False


def turn(qkv: Tensor, factors: Tensor, out: Tensor) -> Tensor:
    """Writes qkv with queries and keys of length 1, queries times their factor, to ``out``, which may be qkv.

    Shapes: (..., 3 C), factors (heads).
    """
    _run("turn", qkv, factors, out)
    return out


def turn_backward(d_out: Tensor, qkv: Tensor, factors: Tensor) -> Tensor:
    """Turns the gradient of what `turn` writes into that of qkv in place; returns that of the factors."""
    parts = _count_parts(qkv)
    d_factors = torch.zeros(parts, len(factors), dtype=torch.float64)
    _run("turn_backward", qkv, factors, d_out, d_factors)
    return d_factors.sum(0).to(factors.dtype)


def _count_parts(qkv: Tensor) -> int:
    return count_parts(qkv.numel() // FEW)


def _run(name: str, qkv: Tensor, factors: Tensor, *others: Tensor) -> None:
    heads, channels = len(factors), qkv.shape[-1]
    sizes = ctypes.c_int64(heads), ctypes.c_int64(channels // 3 // heads)
    given = map(find_pointer, (qkv, factors, *others))
    rows = {"count": qkv.numel() // channels, "parts": _count_parts(qkv)}
    invoke_in_parallel(_find(qkv.dtype), name, *given, *sizes, **rows)


@cache
def _find(dtype: torch.dtype) -> Any:
    return build_library("cosines.c", BFLOAT16=int(dtype == torch.bfloat16))
