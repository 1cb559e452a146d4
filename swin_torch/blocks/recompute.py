"""A block, and a merge's layers, that keep little for backward: what is cheap to compute is computed again.

A block keeps its input x (C), qkv (3 C), the attended grid (C) and the hidden layer of the MLP before GELU
(4 C): 9 C numbers a token, where the layers of PyTorch keep 16 C.  Backward computes again two LayerNorms,
the projection and GELU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, linear

from swin_torch.attention import operator
from swin_torch.backends import triton
from swin_torch.backends.triton import choices
from swin_torch.blocks import columns, norms
from swin_torch.blocks.parts import Block, Parameters
from swin_torch.geometry.plan import Plan

Gradients = dict[str, Tensor | None]
"""The gradients of a block's parameters by their names in `Parameters`."""


def forward(
    block: Block, of: Parameters, x: Tensor, plan: Plan, kept: tuple[Tensor | None, Tensor | None]
) -> Tensor:
    """Returns the output of a block, (B, H, W, C) -> same; ``kept`` are the factors (B) of drop path."""
    scale = operator.find_scale(3 * x.shape[3], plan.heads, block.attn.qk_scale)
    sizes = plan, scale, block.convention.mask_value
    return _Block.apply(x, *kept, sizes, (block.norm1.eps, block.norm2.eps), *of)


def norm_linear(
    x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Returns a linear layer of LayerNorm(x), and keeps x.

    Shapes: (..., C), gain and shift (C), weight (K, C), bias (K) -> (..., K).

    >>> one = torch.ones(2)
    >>> norm_linear(torch.tensor([[1.0, 3.0]]), one, one, 0.0, torch.ones(1, 2), None)
    tensor([[2.]])
    """
    return _NormLinear.apply(x, gain, shift, eps, weight, bias)


def norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Returns LayerNorm(x), and keeps x: (..., C), gain and shift (C) -> (..., C).

    >>> one = torch.ones(2)
    >>> norm(torch.tensor([[1.0, 3.0]]), one, one, 0.0)
    tensor([[0., 2.]])
    """
    return _Norm.apply(x, gain, shift, eps)


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, gain, shift)
        ctx.eps = eps
        return norms.norm(x, gain, shift, eps, x.dtype if _find_type(x) is None else gain.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift = ctx.saved_tensors
        return *norms.norm_backward(gradient, x, gain, shift, ctx.eps), None


class _NormLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        narrow = _find_type(x)
        weight, bias = _cast(weight, narrow), None if bias is None else _cast(bias, narrow)
        ctx.save_for_backward(x, gain, shift, weight)
        ctx.eps = eps
        return compute_norm_linear(x, gain, shift, eps, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        normed = norms.norm(x, gain, shift, ctx.eps, gradient.dtype)
        of_normed, of_weight = _differentiate_linear(gradient, normed, weight, wanted[4])
        of_x, of_gain, of_shift = norms.norm_backward(of_normed, x, gain, shift, ctx.eps)
        of_bias = columns.narrow(gradient, None, gradient.dtype)[1] if wanted[5] else None
        return of_x, of_gain, of_shift, None, of_weight, of_bias


class _Block(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kept_attention: Tensor | None,
        kept_mlp: Tensor | None,
        sizes: tuple[Plan, float, float],
        eps: tuple[float, float],
        *given: Tensor,
    ) -> Tensor:
        of = _cast_layers(Parameters(*given), _find_type(x))
        factors = [None if one is None else one.to(x.dtype) for one in (kept_attention, kept_mlp)]
        qkv = compute_norm_linear(x, of.norm1, of.norm1_bias, eps[0], of.qkv, of.qkv_bias)
        attended = operator.attend(qkv, of.table, of.qkv_bias, *sizes)
        y, hidden = compute_hidden(x, attended, factors[0], of, eps[1])
        ctx.save_for_backward(x, qkv, attended, hidden, *factors, *of)
        ctx.sizes, ctx.eps = sizes, eps
        return y + _scale(linear(gelu(hidden), of.fc2, of.fc2_bias), factors[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, qkv, attended, hidden, *factors = ctx.saved_tensors[:6]
        of, of_out = Parameters(*ctx.saved_tensors[6:]), gradient.resolve_neg().contiguous()
        wanted = dict(zip(Parameters._fields, ctx.needs_input_grad[5:], strict=True))
        found: Gradients = dict.fromkeys(Parameters._fields)
        of_hidden, of_kept_mlp = _differentiate_mlp(
            of_out, hidden, factors[1], of, wanted, found, ctx.needs_input_grad[2]
        )
        branch = linear(attended, of.proj, of.proj_bias)
        scaled = _scale(branch, factors[0])
        y, normed = norms.add_norm(x, scaled, of.norm2, of.norm2_bias, ctx.eps[1], dtype=hidden.dtype)
        of_normed, found["fc1"] = _differentiate_linear(of_hidden, normed, of.fc1, wanted["fc1"])
        del scaled, normed, of_hidden
        norm = of.norm2, of.norm2_bias, ctx.eps[1]
        of_y, found["norm2"], found["norm2_bias"] = norms.norm_backward(of_normed, y, *norm, onto=of_out)
        del y, of_normed
        of_kept_attention = (of_y * branch).sum((1, 2, 3)) if ctx.needs_input_grad[1] else None
        del branch
        of_branch, found["proj_bias"] = columns.narrow(of_y, factors[0], attended.dtype)
        of_attended, found["proj"] = _differentiate_linear(of_branch, attended, of.proj, wanted["proj"])
        del of_branch
        of_qkv, found["table"], of_pad = operator.differentiate(
            of_attended, qkv, of.table, of.qkv_bias, *ctx.sizes
        )
        if of.qkv_bias is not None:
            _, of_bias = columns.narrow(of_qkv, None, of_qkv.dtype)
            found["qkv_bias"] = of_bias + of_pad  # a padded token's qkv is the bias
        normed = norms.norm(x, of.norm1, of.norm1_bias, ctx.eps[0], qkv.dtype)
        of_normed, found["qkv"] = _differentiate_linear(of_qkv, normed, of.qkv, wanted["qkv"])
        norm = of.norm1, of.norm1_bias, ctx.eps[0]
        of_x, found["norm1"], found["norm1_bias"] = norms.norm_backward(of_normed, x, *norm, onto=of_y)
        return of_x, of_kept_attention, of_kept_mlp, None, None, *found.values()


def _find_type(x: Tensor) -> torch.dtype | None:
    """Returns the type in which autocast computes linear layers, None without autocast."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _cast(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype)


def _cast_layers(of: Parameters, dtype: torch.dtype | None) -> Parameters:
    """Returns the parameters of a block with those of its linear layers in a type, if one is given."""
    if dtype is None:
        return of
    qkv_bias = None if of.qkv_bias is None else of.qkv_bias.to(dtype)
    layers = ("qkv", "proj", "proj_bias", "fc1", "fc1_bias", "fc2", "fc2_bias")
    return of._replace(qkv_bias=qkv_bias, **{name: getattr(of, name).to(dtype) for name in layers})


def _scale(branch: Tensor, factor: Tensor | None) -> Tensor:
    return branch if factor is None else branch * factor.view(-1, 1, 1, 1)


def compute_norm_linear(
    x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Returns a linear layer of LayerNorm(x), by one kernel where that is faster."""
    layers = x, weight, bias, (gain, shift, eps)
    if _in_one_launch(*layers):
        return triton.launch_linear(*layers)
    return linear(norms.norm(x, gain, shift, eps, _find_type(x)), weight, bias)


def compute_hidden(
    x: Tensor, attended: Tensor, factor: Tensor | None, of: Parameters, eps: float
) -> tuple[Tensor, Tensor]:
    """Returns the sum after the attention branch, and the hidden layer of the MLP before GELU."""
    first, norm = (attended, of.proj, of.proj_bias), (of.norm2, of.norm2_bias, eps)
    second = of.fc1, of.fc1_bias, norm
    if factor is None and _in_one_launch(*first, onto=x) and _in_one_launch(x, *second):
        y = triton.launch_linear(*first, onto=x)
        return y, triton.launch_linear(y, *second)
    y, normed = norms.add_norm(x, _scale(linear(*first), factor), *norm, dtype=attended.dtype)
    return y, linear(normed, of.fc1, of.fc1_bias)


def _in_one_launch(x: Tensor, weight: Tensor, *around: Any, **onto: Any) -> bool:
    """Returns whether our own kernel computes a linear layer with what lies around it, and is the faster."""
    return triton.takes_linear(x, weight, *around, **onto) and choices.choose_way(weight) == choices.WAYS[0]


def _differentiate_mlp(
    of_out: Tensor,
    hidden: Tensor,
    factor: Tensor | None,
    of: Parameters,
    wanted: dict[str, bool],
    found: Gradients,
    of_factor: bool,
) -> tuple[Tensor, Tensor | None]:
    """Returns the gradients of the hidden layer before GELU and of the factor of drop path, if wanted.

    It also finds those of the second layer, and of the first layer's bias.
    """
    of_branch, found["fc2_bias"] = columns.narrow(of_out, factor, hidden.dtype)
    of_active = of_branch @ of.fc2
    active, of_hidden, found["fc1_bias"] = columns.gelu_backward(hidden, of_active)
    if wanted["fc2"]:
        found["fc2"] = of_branch.flatten(0, -2).T @ active.flatten(0, -2)
    if not of_factor:
        return of_hidden, None
    return of_hidden, (of_out * linear(active, of.fc2, of.fc2_bias)).sum((1, 2, 3))


def _differentiate_linear(
    gradient: Tensor, x: Tensor, weight: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Returns the gradients of the input and, if wanted, of the weight of a linear layer."""
    of_weight = gradient.flatten(0, -2).T @ x.flatten(0, -2) if wanted else None
    return gradient @ weight, of_weight
