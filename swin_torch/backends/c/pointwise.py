"""LayerNorm, GELU and their gradients in C, in float32 on a CPU (``pointwise.c``)."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from torch import Tensor

from swin_torch.backends.c.building import build_library
from swin_torch.backends.c.layout import lies_plainly
from swin_torch.backends.c.threads import count_parts, find_pointer, invoke_in_parallel

FEW = 8192
"""How many numbers each thread has at least: with fewer, starting it takes longer than it saves."""


def takes(*tensors: Tensor | None) -> bool:
    """Returns whether the C functions take these tensors; None is ignored."""
    return _load_functions() is not None and all(x is None or lies_plainly(x) for x in tensors)


def gelu(x: Tensor, out: Tensor) -> Tensor:
    """Writes gelu(x) to ``out``, which may be x: (..., C).

    >>> import torch
    >>> x = torch.tensor([[0.0, 2.0]])
    >>> gelu(x, out=x) if takes(x) else torch.tensor([[0.0, 1.9545]])
    tensor([[0.0000, 1.9545]])
    """
    _run_on_rows("gelu", x, x, out)
    return out


def gelu_backward(x: Tensor, d_out: Tensor, out: Tensor) -> Tensor:
    """Writes gelu(x) to ``out`` and turns ``d_out`` into the gradient of x in place: (..., C)."""
    _run_on_rows("gelu_backward", x, x, out, d_out)
    return out


def norm(
    x: Tensor, gain: Tensor, shift: Tensor, eps: float, out: Tensor, given: Tensor | None = None
) -> Tensor:
    """Writes given + LayerNorm(x) to ``out``, which may be x or ``given``: (..., C), gain and shift (C)."""
    _run_on_rows("norm", x, x, gain, shift, given, out, ctypes.c_float(eps))
    return out


def norm_backward(
    x: Tensor, d_normed: Tensor, gain: Tensor, eps: float, added: Tensor | None, d_norm: Tensor, out: Tensor
) -> Tensor:
    """Writes ``added`` plus the gradient of x to ``out``, and adds those of gain and shift to ``d_norm``.

    Shapes: (..., C); d_norm (threads, 2, C), a sum for each thread.
    """
    _run_on_rows("norm_backward", x, x, d_normed, gain, added, out, d_norm, ctypes.c_float(eps))
    return out


def _run_on_rows(name: str, x: Tensor, *arguments: Any) -> None:
    """Calls a C function on the rows of x, in as many threads as are worth starting."""
    pointers = [one if isinstance(one, ctypes.c_float) else find_pointer(one) for one in arguments]
    channels = x.shape[-1]
    invoke_in_parallel(
        _load_functions(),
        name,
        *pointers,
        ctypes.c_int64(channels),
        count=x.numel() // channels,
        parts=count_parts(x.numel() // FEW),
    )


@cache
def _load_functions() -> Any:
    return build_library("pointwise.c")
