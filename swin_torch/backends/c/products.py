"""Matrix products in float32 on a CPU, with bias, residual and GELU in the same pass (``products.c``).

The C code is used on x86, where `make standing` times it against PyTorch's products; it was not timed on
Intel's processors.  On other processors PyTorch may use matrix units that C does not reach.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor

from swin_torch.backends.c import pointwise
from swin_torch.backends.c.building import build_library
from swin_torch.backends.c.threads import count_parts, find_pointer, invoke_in_parallel

FEW = 2**20
"""How many multiplications each thread has at least: with fewer, starting it takes longer than it saves."""

PACKING = 8
"""Packing the right matrix takes as long as multiplying it by so many rows."""


def multiply(
    left: Tensor,
    right: Tensor,
    out: Tensor,
    given: Tensor | None = None,
    bias: Tensor | None = None,
    activated: bool = False,
    streamed: bool = False,
) -> Tensor:
    """Writes given + bias + left right to ``out``, which may be ``given``; if ``activated``, gelu of the sum.

    ``streamed`` stores past the cache: for an output that is not read again soon.

    Shapes: (M, K) and (K, N), either of them transposed or not, (M, N) and (N) -> (M, N).

    >>> left, right = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])
    >>> multiply(left, right, torch.empty(1, 1), bias=torch.ones(1))
    tensor([[12.]])
    """
    functions, (rows, depth), columns = _load_functions(), left.shape, right.shape[1]
    if functions is None:
        return _compute_by_pytorch(left, right, out, given, bias, activated)
    tensors = (
        *map(find_pointer, (left, right)),
        *left.stride(),
        *right.stride(),
        *map(find_pointer, (given, bias, out)),
    )
    reference = ctypes.byref(_Product(rows, columns, depth, *tensors, activated, streamed))
    parts = count_parts(rows * columns * depth // FEW)
    if _should_divide_rows(rows, panels := -(-columns // functions.panel_width()), parts):
        invoke_in_parallel(functions, "multiply_by_rows", reference, count=rows, parts=parts)
    else:
        invoke_in_parallel(functions, "multiply_by_columns", reference, count=panels, parts=parts)
    return out


def _should_divide_rows(rows: int, panels: int, parts: int) -> bool:
    """Returns whether threads should divide the rows, or else the panels of columns.

    Dividing rows, each thread packs the right matrix again.  Dividing panels, some threads may have one more.
    """
    return parts == 1 or PACKING * parts / rows <= -(-panels // parts) * parts / panels - 1


def _compute_by_pytorch(
    left: Tensor, right: Tensor, out: Tensor, given: Tensor | None, bias: Tensor | None, activated: bool
) -> Tensor:
    target = out if given is None else None
    found = torch.mm(left, right, out=target) if bias is None else torch.addmm(bias, left, right, out=target)
    if given is not None:  # added last: next to a large number every term would be rounded to its precision
        found = torch.add(given, found, out=out)
    return pointwise.gelu(found, out) if activated else found


class _Product(ctypes.Structure):
    """The fields of ``struct product`` in ``products.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "columns", "depth")),
        *((name, ctypes.c_void_p) for name in ("left", "right")),
        *((name, ctypes.c_int64) for name in ("row_step", "column_step")),
        *((name, ctypes.c_int64) for name in ("right_row_step", "right_column_step")),
        *((name, ctypes.c_void_p) for name in ("given", "bias", "out")),
        *((name, ctypes.c_int64) for name in ("gelu", "streamed")),
    )


@cache
def _load_functions() -> Any:
    return build_library("products.c") if platform.machine() in ("x86_64", "AMD64") else None
