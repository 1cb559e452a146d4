"""What lies between a block's products on a CPU in float32, compiled as the attention is."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from swin_torch.native.building import library
from swin_torch.native.threads import pointer, shared


def takes(*tensors: Tensor | None) -> bool:
    """Whether the native functions take these, the machine having a compiler."""
    return _functions() is not None and all(
        x is None or (x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous())
        for x in tensors
    )


def gelu_(x: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x + bias), written over x: (..., C) and (C) -> (..., C).

    >>> x = torch.tensor([[-1.0, 0.0]])
    >>> gelu_(x, torch.tensor([1.0, 2.0])) if takes(x) else torch.tensor([[0.0, 1.9545]])
    tensor([[0.0000, 1.9545]])
    """
    _rows(_functions().gelu, x, x, bias, x)
    return x


def add_norm_(
    x: Tensor,
    branch: Tensor,
    bias: Tensor | None,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    ahead: Tensor | None,
    normed: Tensor,
) -> None:
    """y = x + branch + bias, written over ``branch`` with ``ahead`` added, and LayerNorm(y): (..., C)."""
    tensors = x, branch, bias, gain, shift, ahead, branch, normed
    _rows(_functions().add_norm, x, *tensors, ctypes.c_float(eps))


def _rows(function: Any, of: Tensor, *arguments: Any) -> None:
    """Threads share the rows of a tensor out."""
    given = [x if isinstance(x, ctypes.c_float) else pointer(x) for x in arguments]
    channels = ctypes.c_int64(of.shape[-1])
    shared(of.numel() // of.shape[-1], lambda _, ends: function(*given, channels, *ends))


@cache
def _functions() -> Any:
    return library("pointwise.c")
