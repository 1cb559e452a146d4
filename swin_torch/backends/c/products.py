"""Products of matrices on a CPU in float32, with what a block adds to them and its GELU in the same pass.

On x86 ours are used: they lay out only one matrix anew.  `make standing` times both; not measured on Intel's
processors.  Elsewhere PyTorch's may run on units that C does not reach.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor

from swin_torch.backends.c import pointwise
from swin_torch.backends.c.building import library
from swin_torch.backends.c.threads import parts_of, pointer, shared

FEW = 2**20
"""Multiplications that one thread is quicker with than two."""

PACKING = 8
"""As many rows of a product take as long as laying out what they are multiplied by."""


def product(
    left: Tensor,
    right: Tensor,
    out: Tensor,
    given: Tensor | None = None,
    bias: Tensor | None = None,
    activated: bool = False,
    streamed: bool = False,
) -> Tensor:
    """given + bias + left right into ``out``, which may be ``given``, or gelu of it.

    ``streamed`` is past the cache, for what is not read again soon.

    Shapes: (M, K) and (K, N), either of them transposed or not, (M, N) and (N) -> (M, N).

    >>> left, right = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])
    >>> product(left, right, torch.empty(1, 1), bias=torch.ones(1))
    tensor([[12.]])
    """
    functions, (rows, depth), columns = _functions(), left.shape, right.shape[1]
    if functions is None:
        return _by_pytorch(left, right, out, given, bias, activated)
    tensors = *map(pointer, (left, right)), *left.stride(), *right.stride(), *map(pointer, (given, bias, out))
    reference = ctypes.byref(_Structure(rows, columns, depth, *tensors, activated, streamed))
    parts, panels = parts_of(rows * columns * depth // FEW), -(-columns // functions.width())
    if PACKING * parts / rows <= -(-panels // parts) * parts / panels - 1 or parts == 1:
        shared(functions, "product_by_rows", reference, number=rows, parts=parts)
    else:
        shared(functions, "product_by_columns", reference, number=panels, parts=parts)
    return out


def _by_pytorch(
    left: Tensor, right: Tensor, out: Tensor, given: Tensor | None, bias: Tensor | None, activated: bool
) -> Tensor:
    target = out if given is None else None
    found = torch.mm(left, right, out=target) if bias is None else torch.addmm(bias, left, right, out=target)
    if given is not None:  # last: beside a large number each term would be rounded as it is
        found = torch.add(given, found, out=out)
    return pointwise.gelu(found, out) if activated else found


class _Structure(ctypes.Structure):
    """What the C file calls struct product."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "columns", "depth")),
        *((name, ctypes.c_void_p) for name in ("left", "right")),
        *((name, ctypes.c_int64) for name in ("apart", "along", "down", "across")),
        *((name, ctypes.c_void_p) for name in ("given", "bias", "out")),
        *((name, ctypes.c_int64) for name in ("activated", "streamed")),
    )


@cache
def _functions() -> Any:
    return library("products.c") if platform.machine() in ("x86_64", "AMD64") else None
