"""Linear layers by the library's products, without gradients: GELU in the same pass where that is offered."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """Returns x W^T + b, or GELU of it, without a gradient.

    On a CPU in bfloat16 oneDNN adds the bias and takes GELU of its float32 sums, which are rounded once.
    Elsewhere PyTorch reads and writes the result once more for each.

    Shapes: x (..., C), weight (K, C), bias (K) -> (..., K).

    >>> linear(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1))
    tensor([[3.]])
    """
    if x.is_cpu and x.dtype is weight.dtype is torch.bfloat16 and x.numel() and _has_onednn():
        after = ("gelu", "none") if gelu else ("none", "")
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after[0], [], after[1])
        return product
    result = functional.linear(x, weight, bias)
    return functional.gelu(result) if gelu else result


@cache
def _has_onednn() -> bool:
    """Tells whether oneDNN multiplies bfloat16 on this processor, and PyTorch offers that with GELU."""
    mkldnn = torch.ops.mkldnn
    names = ("_linear_pointwise", "_is_mkldnn_bf16_supported")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(mkldnn, name) for name in names):
        return False
    return bool(mkldnn._is_mkldnn_bf16_supported())
