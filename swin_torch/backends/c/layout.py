"""Whether tensors lie in memory as the C functions read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

OWN = Tensor, nn.Parameter
"""Types whose ``data_ptr`` points to their numbers; subclasses may hold theirs elsewhere."""

FLOAT, DENSE = torch.float32, torch.strided

Shape = tuple[int, ...]


def lies_plainly(x: Tensor) -> bool:
    """Returns whether C can read the tensor: float32 in a CPU's memory, row after row."""
    if type(x) not in OWN or not x.is_cpu or x.dtype is not FLOAT or x.layout is not DENSE:
        return False
    try:
        return x.is_contiguous() and not x.is_neg() and x.data_ptr() != 0
    except RuntimeError:  # a wrapper of PyTorch's function transforms
        return False


def lay_out_kept(xs: Sequence[Any], shapes: Sequence[Shape]) -> list[Any]:
    """Returns the tensors of a backward pass in the layout that C reads; None stays None.

    Errors: ``RuntimeError`` unless they have the shapes and types that forward saw.
    """
    found = []
    # Written out here: calling a function for each tensor would take as long as the checks.
    for x, shape in zip(xs, shapes, strict=True):
        plain = x is None or (
            x.shape == shape
            and x.dtype is FLOAT
            and type(x) in OWN
            and x.is_cpu
            and x.layout is DENSE
            and x.is_contiguous()
            and not x.is_neg()
        )
        found.append(x if plain else _copy_to_c_layout(x, shape))
    return found


def _copy_to_c_layout(x: Tensor, shape: Shape) -> Tensor:
    """Returns a copy in the layout that C reads; see `lay_out_kept` for its errors."""
    if x.shape != shape or x.dtype != torch.float32 or not x.is_cpu or x.layout != torch.strided:
        raise RuntimeError(
            f"backward needs what forward saw, float32 of shape {tuple(shape)} on a CPU, got {x.dtype} of "
            f"shape {tuple(x.shape)} on {x.device}, {x.layout}: leave a parameter's data alone "
            "between the two, and have hooks return what they were given"
        )
    return x.resolve_neg().clone(memory_format=torch.contiguous_format)
