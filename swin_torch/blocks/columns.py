"""Passes over tokens in backward that also give the gradient of a linear layer's bias: a sum over tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu

from swin_torch.backends import triton


def narrow(x: Tensor, factor: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns factor x in a type, and its sums over all tokens.

    Shapes: (B, ..., C), factor (B) or None -> (B, ..., C), (C).

    >>> narrow(torch.ones(2, 3, 1), torch.tensor([0.0, 2.0]), torch.float32)[1]
    tensor([6.])
    """
    if triton.takes_pass(x, *(() if factor is None else (factor,))):
        return triton.launch_narrow(x, factor, dtype)
    scaled = x if factor is None else x * factor.view(-1, *[1] * (x.dim() - 1))
    narrowed = scaled.to(dtype)
    return narrowed, narrowed.flatten(0, -2).sum(0)


def gelu_backward(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gelu(x), the gradient of x from that of gelu(x), and its sums over all tokens.

    Shapes: (..., C) twice -> (..., C), (..., C), (C).

    >>> active, of_x, sums = gelu_backward(torch.zeros(2, 1), torch.ones(2, 1))
    >>> active.flatten(), of_x.flatten(), sums
    (tensor([0., 0.]), tensor([0.5000, 0.5000]), tensor([1.]))
    """
    if gradient.dtype == x.dtype and triton.takes_pass(x, gradient):
        return triton.launch_gelu_backward(x, gradient)
    of_x = torch.ops.aten.gelu_backward(gradient, x)
    return gelu(x), of_x, of_x.flatten(0, -2).sum(0)
