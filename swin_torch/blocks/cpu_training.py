"""A block in training on a CPU, a few tokens at a time; backward computes again what is cheap to compute.

It keeps x, qkv, the attended grid, the sum after the attention and the hidden layer of the MLP before GELU:
10 C numbers a token, where the layers of PyTorch keep 16 C.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, linear

from swin_torch.backends import c
from swin_torch.backends.c import pointwise
from swin_torch.backends.c.layout import lay_out_kept
from swin_torch.backends.c.products import multiply
from swin_torch.backends.c.scratch import take_scratch
from swin_torch.blocks import cpu_inference
from swin_torch.blocks.cpu_inference import collect_sizes, split_for_cache
from swin_torch.blocks.parts import Block, Parameters, list_shapes
from swin_torch.geometry.plan import Plan

LARGE = 2**18
"""The numbers of a weight from which its gradient has left the cache before it is read."""


def forward(
    block: Block, of: Parameters, x: Tensor, plan: Plan, kept: tuple[Tensor | None, Tensor | None]
) -> Tensor:
    """Returns the output of a block, (B, H, W, C) -> same; ``kept`` are the factors (B) of drop path."""
    eps = block.norm1.eps, block.norm2.eps
    return _Block.apply(x, *kept, collect_sizes(block, plan), eps, *of)


def norm_linear(
    x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Returns a linear layer of LayerNorm(x), and keeps x: (..., C) -> (..., len(weight))."""
    return _NormLinear.apply(x, gain, shift, eps, weight, bias)


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
        of, kept_attention, kept_mlp = (
            Parameters(*given),
            lay_out_factor(kept_attention, x),
            lay_out_factor(kept_mlp, x),
        )
        qkv = cpu_inference.norm_linear(x, of.norm1, of.norm1_bias, eps[0], of.qkv, of.qkv_bias)
        attended = c.forward(qkv, of.table, of.qkv_bias, *sizes)
        y, z, before = torch.empty_like(x), torch.empty_like(x), x.new_empty(*x.shape[:3], len(of.fc1))
        pieces = map(split_for_cache, (x, attended, y, before, z))
        factors = repeat_factor(kept_attention, x), repeat_factor(kept_mlp, x)
        for rows, tokens, after, between, out, one, other in zip(*pieces, *factors, strict=False):
            _add_linear(rows, tokens, of.proj, of.proj_bias, one, out=after)
            args = after, of.norm2, of.norm2_bias, eps[1]
            normed = pointwise.norm(*args, take_scratch("normed", *rows.shape))
            multiply(normed, of.fc1.T, between, bias=of.fc1_bias)
            activated = pointwise.gelu(between, take_scratch("hidden", *between.shape))
            _add_linear(after, activated, of.fc2, of.fc2_bias, other, out=out)
        ctx.save_for_backward(x, qkv, attended, y, before, kept_attention, kept_mlp, *given)
        ctx.sizes, ctx.eps, ctx.hidden = sizes, eps, len(of.fc1)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, qkv, attended, y, before, *kept, of, gradient = _check_saved(ctx, gradient)
        plan, scale, mask_value = ctx.sizes
        wanted = dict(zip(Parameters._fields, ctx.needs_input_grad[5:], strict=True))
        layers = {
            name: LinearGradients(getattr(of, name), wanted[name]) for name in ("qkv", "proj", "fc1", "fc2")
        }
        of_norm1, of_norm2 = make_norm_gradient(of.norm1), make_norm_gradient(of.norm2)
        factors = repeat_factor(kept[0], x), repeat_factor(kept[1], x)
        of_y, of_attended = _differentiate_mlp(
            attended, y, before, gradient, factors, of, layers, of_norm2, ctx.eps[1]
        )
        of_kept = _differentiate_factors(ctx.needs_input_grad[1:3], (attended, before), (of_y, gradient), of)
        of_qkv, of_table, of_pad = c.backward(
            of_attended,
            qkv,
            of.table,
            of.qkv_bias,
            plan,
            scale,
            mask_value,
            out=take_scratch("qkv", *qkv.shape),
        )
        _differentiate_norm_linear(
            x, of.norm1, of.norm1_bias, ctx.eps[0], layers["qkv"], of_qkv, of_y, of_norm1, of_y
        )
        layers["qkv"].of_bias += of_pad  # padding's qkv is the bias
        first, proj, fc1, fc2 = ((layer.of_weight, layer.of_bias) for layer in layers.values())
        of_bias = None if of.qkv_bias is None else first[1]
        found = *of_norm1.sum(0), first[0], of_bias, of_table, *proj, *of_norm2.sum(0), *fc1, *fc2
        return of_y, *of_kept, None, None, *found


def _differentiate_factors(
    wanted: Sequence[bool], rows: tuple[Tensor, Tensor], of_sums: tuple[Tensor, Tensor], of: Parameters
) -> list[Tensor | None]:
    """Returns the gradients of the factors of drop path, (B) each, where they are wanted, which is rare."""
    found: list[Tensor | None] = [None, None]
    if wanted[0]:
        found[0] = (of_sums[0] * linear(rows[0], of.proj, of.proj_bias)).sum((1, 2, 3))
    if wanted[1]:
        found[1] = (of_sums[1] * linear(gelu(rows[1]), of.fc2, of.fc2_bias)).sum((1, 2, 3))
    return found


def _check_saved(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """Returns what backward needs as C reads it: tokens, factors of drop path, parameters, the gradient.

    They may have changed since forward: a hook returned another tensor, or a parameter has another memory.
    """
    shape, plan = tuple(gradient.shape), ctx.sizes[0]  # PyTorch checks that it is that of the output
    *grid, channels = shape
    of_tokens = shape, (*grid, 3 * channels), shape, shape, (*grid, ctx.hidden), shape[:1], shape[:1]
    of_parameters = list_shapes(channels, ctx.hidden, plan.heads, plan.window)
    kept = lay_out_kept((*ctx.saved_tensors, gradient), (*of_tokens, *of_parameters, shape))
    return *kept[:7], Parameters(*kept[7:-1]), kept[-1]


class _NormLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, gain, shift, weight)
        ctx.eps, ctx.channels = eps, x.shape[-1]
        return cpu_inference.norm_linear(x, gain, shift, eps, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        *before, columns = gradient.shape  # PyTorch checks that it is that of the output
        vector = (ctx.channels,)
        shapes = (*before, *vector), vector, vector, (columns, *vector), gradient.shape
        x, gain, shift, weight, gradient = lay_out_kept((*ctx.saved_tensors, gradient), shapes)
        linear, of_norm, of_x = (
            LinearGradients(weight, ctx.needs_input_grad[4]),
            make_norm_gradient(gain),
            torch.empty_like(x),
        )
        _differentiate_norm_linear(x, gain, shift, ctx.eps, linear, gradient, None, of_norm, of_x)
        of_bias = linear.of_bias if ctx.needs_input_grad[5] else None
        return of_x, *of_norm.sum(0), None, linear.of_weight, of_bias


def _differentiate_norm_linear(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    linear: LinearGradients,
    of_out: Tensor,
    added: Tensor | None,
    of_norm: Tensor,
    of_x: Tensor,
) -> None:
    """Writes ``added`` plus the gradient of x to ``of_x``, which may be ``added``."""
    more = repeat(None) if added is None else split_for_cache(added)
    for rows, of_rows, of_them, one in zip(*map(split_for_cache, (x, of_x, of_out)), more, strict=False):
        normed = pointwise.norm(rows, gain, shift, eps, take_scratch("normed", *rows.shape))
        linear.backward(of_them, normed, out=normed)
        pointwise.norm_backward(rows, normed, gain, eps, one, of_norm, of_rows)


def _differentiate_mlp(
    attended: Tensor,
    y: Tensor,
    before: Tensor,
    gradient: Tensor,
    factors: tuple[Iterable[Tensor | None], Iterable[Tensor | None]],
    of: Parameters,
    layers: dict[str, LinearGradients],
    of_norm: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Returns the gradients of the sum after the attention and of the attended grid."""
    of_y, of_attended = torch.empty_like(y), take_scratch("attended", *attended.shape)
    pieces = map(split_for_cache, (attended, y, before, gradient, of_y, of_attended))
    for tokens, rows, between, of_out, of_rows, of_tokens, one, other in zip(*pieces, *factors, strict=False):
        normed, activated = take_scratch("normed", *rows.shape), take_scratch("hidden", *between.shape)
        of_activated = take_scratch("of hidden", *between.shape)
        of_branch = of_out if other is None else of_out * other
        multiply(of_branch, of.fc2, of_activated)
        pointwise.gelu_backward(between, of_activated, activated)
        layers["fc2"].backward(of_branch, activated)
        pointwise.norm(rows, of.norm2, of.norm2_bias, eps, normed)
        layers["fc1"].backward(of_activated, normed, out=normed)
        pointwise.norm_backward(rows, normed, of.norm2, eps, of_out, of_norm, of_rows)
        layers["proj"].backward(of_rows if one is None else of_rows * one, tokens, out=of_tokens)
    return of_y, of_attended


class LinearGradients:
    """Adds up the gradients of a linear layer, a few tokens at a time."""

    def __init__(self, weight: Tensor, wanted: bool) -> None:
        self.weight, self.of_bias = weight, weight.new_zeros(len(weight))
        self.of_weight = torch.empty_like(weight) if wanted else None
        self.begun = False

    def backward(self, of_out: Tensor, x: Tensor, out: Tensor | None = None) -> None:
        """Writes the gradient of x to ``out``, which may be x."""
        self.of_bias += of_out.sum(0)
        if self.of_weight is not None:
            given, streamed = self.of_weight if self.begun else None, self.of_weight.numel() >= LARGE
            multiply(of_out.T, x, self.of_weight, given=given, streamed=streamed)
            self.begun = True
        if out is not None:
            multiply(of_out, self.weight, out)


def make_norm_gradient(gain: Tensor) -> Tensor:
    """Returns zeros to which threads add the gradients of a norm's gain and shift: (threads, 2, C)."""
    return gain.new_zeros(torch.get_num_threads(), 2, len(gain))


def repeat_factor(factor: Tensor | None, x: Tensor) -> Iterable[Tensor | None]:
    """Returns the factor of each token, in the pieces of `split_for_cache`."""
    if factor is None:
        return repeat(None)
    return split_for_cache(factor.view(-1, 1, 1, 1).expand(*x.shape[:3], 1).contiguous())


def lay_out_factor(factor: Tensor | None, x: Tensor) -> Tensor | None:
    """Returns the factors of a branch in the type of x, contiguous."""
    return None if factor is None else factor.to(x.dtype).resolve_neg().contiguous()


def _add_linear(
    x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor, factor: Tensor | None, out: Tensor
) -> None:
    """Writes x + factor (rows weight^T + bias) to ``out``."""
    if factor is None:
        multiply(rows, weight.T, out, given=x, bias=bias)
    else:
        multiply(rows, weight.T, out, bias=bias).mul_(factor).add_(x)
