"""A block of Swin V2 in training on a CPU, a few tokens at a time.

It keeps x, qkv, the attended grid, the sum after the attention, the hidden layer of the MLP before GELU, and
what both norms are given: 12 C numbers a token.  Backward computes the cosines and GELU again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import layer_norm

from swin_torch.backends import c
from swin_torch.backends.c import cosines, pointwise
from swin_torch.backends.c.layout import lay_out_kept
from swin_torch.backends.c.products import multiply
from swin_torch.backends.c.scratch import take_scratch
from swin_torch.blocks.cpu_inference import split_for_cache
from swin_torch.blocks.cpu_training import (
    LinearGradients,
    lay_out_factor,
    make_norm_gradient,
    repeat_factor,
)
from swin_torch.blocks.parts import Parameters, list_shapes
from swin_torch.blocks.parts_v2 import BlockV2
from swin_torch.geometry.plan import Plan


def forward(
    block: BlockV2,
    of: Parameters,
    factors: Tensor,
    x: Tensor,
    plan: Plan,
    kept: tuple[Tensor | None, Tensor | None],
) -> Tensor:
    """Returns the output of a block, (B, H, W, C) -> same; ``kept`` are the factors (B) of drop path."""
    eps = block.norm1.eps, block.norm2.eps
    return _Block.apply(x, *kept, factors, (plan, 1.0, block.convention.mask_value), eps, *of)


class _Block(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kept_attention: Tensor | None,
        kept_mlp: Tensor | None,
        factors: Tensor,
        sizes: tuple[Plan, float, float],
        eps: tuple[float, float],
        *given: Tensor,
    ) -> Tensor:
        of = Parameters(*given)
        kept_attention, kept_mlp = lay_out_factor(kept_attention, x), lay_out_factor(kept_mlp, x)
        qkv = x.new_empty(*x.shape[:3], len(of.qkv))
        turned = take_scratch("cosines", *qkv.shape)
        for rows, to, cosine in zip(*map(split_for_cache, (x, qkv, turned)), strict=True):
            cosines.turn(multiply(rows, of.qkv.T, to, bias=of.qkv_bias), factors, cosine)
        attended = c.forward(turned, of.table, of.qkv_bias, *sizes)
        first, y, second, z = (torch.empty_like(x) for _ in range(4))
        before = x.new_empty(*x.shape[:3], len(of.fc1))
        pieces = map(split_for_cache, (x, attended, first, y, before, second, z))
        kepts = repeat_factor(kept_attention, x), repeat_factor(kept_mlp, x)
        for rows, tokens, one, after, between, two, out, factor, other in zip(*pieces, *kepts, strict=False):
            multiply(tokens, of.proj.T, one, bias=of.proj_bias)
            _add_norm(rows, one, of.norm1, of.norm1_bias, eps[0], factor, after)
            multiply(after, of.fc1.T, between, bias=of.fc1_bias)
            activated = pointwise.gelu(between, take_scratch("hidden", *between.shape))
            multiply(activated, of.fc2.T, two, bias=of.fc2_bias)
            _add_norm(after, two, of.norm2, of.norm2_bias, eps[1], other, out)
        ctx.save_for_backward(
            x, qkv, attended, first, y, before, second, kept_attention, kept_mlp, factors, *given
        )
        ctx.sizes, ctx.eps, ctx.hidden = sizes, eps, len(of.fc1)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, qkv, attended, first, y, before, second, *kept, factors, of, gradient = _check_saved(ctx, gradient)
        wanted = dict(zip(Parameters._fields, ctx.needs_input_grad[6:], strict=True))
        layers = {
            name: LinearGradients(getattr(of, name), wanted[name]) for name in ("qkv", "proj", "fc1", "fc2")
        }
        of_norm1, of_norm2 = make_norm_gradient(of.norm1), make_norm_gradient(of.norm2)
        of_x, of_attended = torch.empty_like(x), take_scratch("attended", *x.shape)
        pieces = map(split_for_cache, (attended, first, y, before, second, gradient, of_x, of_attended))
        kepts = repeat_factor(kept[0], x), repeat_factor(kept[1], x)
        for tokens, one, after, between, two, of_out, of_rows, of_tokens, factor, other in zip(
            *pieces, *kepts, strict=False
        ):
            of_branch = take_scratch("normed", *one.shape)
            activated, of_hidden = (take_scratch(name, *between.shape) for name in ("hidden", "of hidden"))
            _differentiate_norm(two, of_out, of.norm2, ctx.eps[1], other, of_norm2, of_branch)
            multiply(of_branch, of.fc2, of_hidden)
            pointwise.gelu_backward(between, of_hidden, activated)
            layers["fc2"].backward(of_branch, activated)
            layers["fc1"].backward(of_hidden, after)
            multiply(of_hidden, of.fc1, of_rows, given=of_out)
            _differentiate_norm(one, of_rows, of.norm1, ctx.eps[0], factor, of_norm1, of_branch)
            layers["proj"].backward(of_branch, tokens, out=of_tokens)
        of_kept = _differentiate_factors(ctx, (of_x, gradient), (first, second), of)
        turned = cosines.turn(qkv, factors, take_scratch("cosines", *qkv.shape))
        plan, scale, mask_value = ctx.sizes
        scratch = take_scratch("qkv", *qkv.shape)
        of_qkv, of_table, of_pad = c.backward(
            of_attended, turned, of.table, of.qkv_bias, plan, scale, mask_value, out=scratch
        )
        of_factors = cosines.turn_backward(of_qkv, qkv, factors)
        for rows, of_them, of_rows in zip(*map(split_for_cache, (x, of_qkv, of_x)), strict=True):
            layers["qkv"].backward(of_them, rows)
            multiply(of_them, of.qkv, of_rows, given=of_rows)
        layers["qkv"].of_bias += of_pad  # the values of padding are the bias; its keys have none
        qkv_layer, proj, fc1, fc2 = ((layer.of_weight, layer.of_bias) for layer in layers.values())
        of_bias = None if of.qkv_bias is None else qkv_layer[1]
        found = *of_norm1.sum(0), qkv_layer[0], of_bias, of_table, *proj, *of_norm2.sum(0), *fc1, *fc2
        return of_x, *of_kept, of_factors, None, None, *found


def _add_norm(
    x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, eps: float, factor: Tensor | None, out: Tensor
) -> None:
    """Writes x + factor LayerNorm(branch) to ``out``."""
    if factor is None:
        pointwise.norm(branch, gain, shift, eps, out, given=x)
    else:
        pointwise.norm(branch, gain, shift, eps, out).mul_(factor).add_(x)


def _differentiate_norm(
    branch: Tensor,
    of_sum: Tensor,
    gain: Tensor,
    eps: float,
    factor: Tensor | None,
    of_norm: Tensor,
    out: Tensor,
) -> None:
    """Writes the gradient of a branch to ``out``, from that of x + factor LayerNorm(branch)."""
    of_normed = of_sum if factor is None else of_sum * factor
    pointwise.norm_backward(branch, of_normed, gain, eps, None, of_norm, out)


def _differentiate_factors(
    ctx: Any, of_sums: tuple[Tensor, Tensor], branches: tuple[Tensor, Tensor], of: Parameters
) -> list[Tensor | None]:
    """Returns the gradients of the factors of drop path, (B) each, where they are wanted, which is rare."""
    norms = (of.norm1, of.norm1_bias), (of.norm2, of.norm2_bias)
    return [
        (of_sum * layer_norm(branch, [len(norm[0])], *norm, eps)).sum((1, 2, 3)) if wanted else None
        for wanted, of_sum, branch, norm, eps in zip(
            ctx.needs_input_grad[1:3], of_sums, branches, norms, ctx.eps, strict=True
        )
    ]


def _check_saved(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """Returns what backward needs as C reads it: tokens, factors, parameters, the gradient.

    They may have changed since forward: a hook returned another tensor, or a parameter has another memory.
    """
    shape, plan = tuple(gradient.shape), ctx.sizes[0]  # PyTorch checks that it is that of the output
    *grid, channels = shape
    of_tokens = shape, (*grid, 3 * channels), shape, shape, shape, (*grid, ctx.hidden), shape
    of_factors = shape[:1], shape[:1], (plan.heads,)
    of_parameters = list_shapes(channels, ctx.hidden, plan.heads, plan.window)
    kept = lay_out_kept((*ctx.saved_tensors, gradient), (*of_tokens, *of_factors, *of_parameters, shape))
    return *kept[:10], Parameters(*kept[10:-1]), kept[-1]
