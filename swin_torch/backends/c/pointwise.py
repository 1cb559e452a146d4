"""What lies between a block's products on a CPU in float32, compiled as the attention is."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from torch import Tensor

from swin_torch.backends.c.building import library
from swin_torch.backends.c.layout import lies_plainly
from swin_torch.backends.c.threads import parts_of, pointer, shared

FEW = 8192
"""Numbers that one thread is quicker with than two."""


def takes(*tensors: Tensor | None) -> bool:
    """Whether the native functions take these, the machine having a compiler."""
    return _functions() is not None and all(x is None or lies_plainly(x) for x in tensors)


def gelu(x: Tensor, out: Tensor) -> Tensor:
    """gelu(x) into ``out``, which may be x: (..., C).

    >>> import torch
    >>> x = torch.tensor([[0.0, 2.0]])
    >>> gelu(x, out=x) if takes(x) else torch.tensor([[0.0, 1.9545]])
    tensor([[0.0000, 1.9545]])
    """
    _rows("gelu", x, x, out)
    return out


def gelu_backward(x: Tensor, gradient: Tensor, out: Tensor) -> Tensor:
    """gelu(x) into ``out``; ``gradient``, the one of that, becomes that of x: (..., C)."""
    _rows("gelu_backward", x, x, out, gradient)
    return out


def norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float, out: Tensor) -> Tensor:
    """LayerNorm(x) into ``out``: (..., C)."""
    _rows("norm", x, x, gain, shift, out, ctypes.c_float(eps))
    return out


def norm_backward(
    x: Tensor, of_normed: Tensor, gain: Tensor, eps: float, added: Tensor | None, of_norm: Tensor, out: Tensor
) -> Tensor:
    """``added`` and x's gradient into ``out``; to ``of_norm`` (threads, 2, C) those of gain and shift."""
    _rows("norm_backward", x, x, of_normed, gain, added, out, of_norm, ctypes.c_float(eps))
    return out


def _rows(name: str, of: Tensor, *arguments: Any) -> None:
    """A C function on the rows of a tensor; a thread for a few of them is not worth waiting for."""
    given = [x if isinstance(x, ctypes.c_float) else pointer(x) for x in arguments]
    channels = of.shape[-1]
    parts = parts_of(of.numel() // FEW)
    sizes = ctypes.c_int64(channels)
    shared(_functions(), name, *given, sizes, number=of.numel() // channels, parts=parts)


@cache
def _functions() -> Any:
    return library("pointwise.c")
