"""Layers of a block that keep little for backward: what is cheap to compute is computed again.

A block keeps its input x (C), qkv (3 C), the attended grid (C) and the hidden layer of the MLP before GELU
(4 C): 9 C numbers a token, where the layers of PyTorch keep 16 C.  Backward computes again two LayerNorms,
the projection and GELU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, linear

from swin_torch.backends import triton
from swin_torch.backends.triton import choices
from swin_torch.blocks import norms


def norm_linear(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> Tensor:
    """Returns layer(norm(x)), and keeps x.

    Shapes: (..., C) -> (..., K).

    >>> norm_linear(torch.zeros(2, 3), nn.LayerNorm(3), nn.Linear(3, 5)).shape
    torch.Size([2, 5])
    """
    return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, layer.weight, layer.bias)


def project_norm_linear(
    x: Tensor,
    attended: Tensor,
    kept: Tensor | None,
    projection: nn.Linear,
    norm: nn.LayerNorm,
    layer: nn.Linear,
) -> tuple[Tensor, Tensor]:
    """Returns y = x + kept projection(attended), and layer(norm(y)); keeps x and the attended grid.

    Shapes: (B, H, W, C) twice, kept (B) -> (B, H, W, C), (B, H, W, K).

    >>> x, layers = torch.zeros(1, 2, 3, 4), (nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 5))
    >>> [y.shape[-1] for y in project_norm_linear(x, x, None, *layers)]
    [4, 5]
    """
    parameters = projection.weight, projection.bias, norm.weight, norm.bias, layer.weight, layer.bias
    return _ProjectNormLinear.apply(x, attended, kept, norm.eps, *parameters)


def gelu_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Returns layer(gelu(x)), and keeps x.

    Shapes: (..., C) -> (..., K).

    >>> gelu_linear(torch.zeros(2, 3), nn.Linear(3, 5)).shape
    torch.Size([2, 5])
    """
    return _GeluLinear.apply(x, layer.weight, layer.bias)


class _NormLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, gain, shift, weight)
        ctx.eps = eps
        launched = x, _autocast(weight, x), bias, (gain, shift, eps)
        if _in_one_launch(*launched):
            return triton.launch_linear(*launched)
        return linear(norms.norm(x, gain, shift, eps, launched[1].dtype), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, weight = ctx.saved_tensors
        normed, differentiate = norms.norm_again(x, gain, shift, ctx.eps, gradient.dtype)
        of_normed, of_weight, of_bias = _linear_gradients(gradient, normed, weight)
        of_x, *of_norm = differentiate(of_normed)
        return of_x, *of_norm, None, of_weight, of_bias if ctx.needs_input_grad[5] else None


class _ProjectNormLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, attended: Tensor, kept: Tensor | None, eps: float, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        projection, of_projection, gain, shift, weight, bias = parameters
        factor = None if kept is None else kept.to(x.dtype).view(-1, 1, 1, 1)
        ctx.save_for_backward(x, attended, factor, *parameters[:5])
        ctx.eps = eps
        first = attended, _autocast(projection, x), of_projection
        second = _autocast(weight, x), bias, (gain, shift, eps)
        if factor is None and _in_one_launch(*first, onto=x) and _in_one_launch(x, *second):
            y = triton.launch_linear(*first, onto=x)
            return y, triton.launch_linear(y, *second)
        branch = linear(attended, projection, of_projection)
        y, normed = norms.add_norm(x, branch if factor is None else branch * factor, gain, shift, eps)
        return y, linear(normed, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_y: Tensor, of_out: Tensor) -> tuple[Tensor | None, ...]:
        x, attended, factor, projection, projection_bias, gain, shift, weight = ctx.saved_tensors
        narrow = of_out.dtype  # the type that the linear layers compute in, which autocast may choose
        branch = linear(attended.to(narrow), projection.to(narrow), projection_bias.to(narrow))
        y = x + (branch if factor is None else branch * factor)
        normed, differentiate = norms.norm_again(y, gain, shift, ctx.eps, narrow)
        of_normed, *of_layer = _linear_gradients(of_out, normed, weight)
        of_sum, *of_norm = differentiate(of_normed)
        of_x = of_sum.add_(of_y)
        of_branch = of_x if factor is None else of_x * factor
        of_kept = (of_x * branch).sum((1, 2, 3)) if ctx.needs_input_grad[2] else None
        of_attended, *of_projection = _linear_gradients(of_branch.to(narrow), attended, projection)
        return of_x, of_attended, of_kept, None, *of_projection, *of_norm, *of_layer


class _GeluLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        of_hidden, *of_layer = _linear_gradients(gradient, gelu(x), weight)
        return torch.ops.aten.gelu_backward(of_hidden, x), *of_layer


def _autocast(weight: Tensor, x: Tensor) -> Tensor:
    """Returns the weight in the type that autocast gives it, if autocast is on."""
    kind = x.device.type
    return weight.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else weight


def _in_one_launch(x: Tensor, weight: Tensor, *around: Any, **onto: Any) -> bool:
    """Returns whether our own kernel computes a linear layer with what lies around it, and is the faster."""
    return triton.takes_linear(x, weight, *around, **onto) and choices.way(weight) == choices.WAYS[0]


def _linear_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of the input, weight and bias of a linear layer, in the type of ``gradient``."""
    rows = gradient.flatten(0, -2)
    of_weight = rows.T @ x.to(gradient.dtype).flatten(0, -2)
    return gradient @ weight.to(gradient.dtype), of_weight, rows.sum(0)
