"""A block in training on a CPU: a few tokens at a time, and in backward what is cheap is computed again.

Kept are x, qkv without its bias, the attended grid, the sum after the attention and the MLP's hidden layer
before its bias and GELU: 10 C numbers a token, where PyTorch's own layers keep 16 C.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from swin_torch import native
from swin_torch.modules import SwinBlock
from swin_torch.native import pointwise
from swin_torch.native.blocks import Parameters, in_cache, parameters, scratch, sizes
from swin_torch.plan import Plan


def forward(block: SwinBlock, x: Tensor, plan: Plan, kept: tuple[Tensor | None, Tensor | None]) -> Tensor:
    """The block's output, (B, H, W, C) -> same; ``kept`` are drop path's factors of its branches, (B)."""
    eps = block.norm1.eps, block.norm2.eps
    return _Block.apply(x, *kept, sizes(block, plan), eps, *parameters(block))


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
        of, channels = Parameters(*given), x.shape[3]
        qkv, before = (x.new_empty(*x.shape[:3], wide) for wide in (3 * channels, len(of.fc1)))
        normed, hidden = scratch(x, channels), scratch(x, len(of.fc1))
        for rows, out in zip(in_cache(x), in_cache(qkv), strict=True):
            args = rows, of.norm1, of.norm1_bias, eps[0]
            torch.mm(pointwise.norm(*args, out=normed[: len(rows)]), of.qkv.T, out=out)
        attended = native.forward(qkv, of.table, of.qkv_bias, *sizes, added=of.qkv_bias)
        y, z = torch.empty_like(x), torch.empty_like(x)
        pieces = map(in_cache, (x, attended, y, before, z))
        factors = _by_token(kept_attention, x), _by_token(kept_mlp, x)
        for rows, tokens, after, between, out, one, other in zip(*pieces, *factors, strict=False):
            _add_linear(rows, tokens, of.proj, of.proj_bias, one, out=after)
            args = after, of.norm2, of.norm2_bias, eps[1]
            torch.mm(pointwise.norm(*args, out=normed[: len(rows)]), of.fc1.T, out=between)
            activated = pointwise.gelu(between, of.fc1_bias, out=hidden[: len(rows)])
            _add_linear(after, activated, of.fc2, of.fc2_bias, other, out=out)
        ctx.save_for_backward(x, qkv, attended, y, before, kept_attention, kept_mlp, *given)
        ctx.sizes, ctx.eps = sizes, eps
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, qkv, attended, y, before, kept_attention, kept_mlp, *given = ctx.saved_tensors
        of, (plan, scale, mask_value) = Parameters(*given), ctx.sizes
        wanted = dict(zip(Parameters._fields, ctx.needs_input_grad[5:], strict=True))
        linear = {name: _Linear(getattr(of, name), wanted[name]) for name in ("qkv", "proj", "fc1", "fc2")}
        of_norm1, of_norm2 = _of_norm(of.norm1), _of_norm(of.norm2)
        factors = _by_token(kept_attention, x), _by_token(kept_mlp, x)
        of_y, of_attended = _to_attention(
            attended, y, before, gradient.contiguous(), factors, of, linear, of_norm2, ctx.eps[1]
        )
        of_qkv, of_table, of_pad = native.backward(
            of_attended, qkv, of.table, of.qkv_bias, plan, scale, mask_value, added=of.qkv_bias
        )
        room = scratch(x, x.shape[3])
        for rows, of_rows, of_out in zip(*map(in_cache, (x, of_y, of_qkv)), strict=True):
            normed = pointwise.norm(rows, of.norm1, of.norm1_bias, ctx.eps[0], out=room[: len(rows)])
            linear["qkv"].backward(of_out, normed, out=normed)
            pointwise.norm_backward(rows, normed, of.norm1, ctx.eps[0], of_rows, of_norm1, out=of_rows)
        linear["qkv"].of_bias += of_pad  # padding's qkv is the bias
        first, proj, fc1, fc2 = ((layer.of_weight, layer.of_bias) for layer in linear.values())
        of_bias = None if of.qkv_bias is None else first[1]
        found = *of_norm1.sum(0), first[0], of_bias, of_table, *proj, *of_norm2.sum(0), *fc1, *fc2
        return of_y, None, None, None, None, *found


def _to_attention(
    attended: Tensor,
    y: Tensor,
    before: Tensor,
    gradient: Tensor,
    factors: tuple[Iterable[Tensor | None], Iterable[Tensor | None]],
    of: Parameters,
    linear: dict[str, _Linear],
    of_norm: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The gradients of the sum after the attention and of the attended grid; those of layers are gathered."""
    of_y, of_attended = torch.empty_like(y), torch.empty_like(y)
    rooms = scratch(y, y.shape[3]), scratch(y, len(of.fc1)), scratch(y, len(of.fc1))
    pieces = map(in_cache, (attended, y, before, gradient, of_y, of_attended))
    for tokens, rows, between, of_out, of_rows, of_tokens, one, other in zip(*pieces, *factors, strict=False):
        normed, activated, of_activated = (room[: len(rows)] for room in rooms)
        of_branch = of_out if other is None else of_out * other
        torch.mm(of_branch, of.fc2, out=of_activated)
        pointwise.gelu_backward(between, of.fc1_bias, of_activated, out=activated)
        linear["fc2"].backward(of_branch, activated)
        pointwise.norm(rows, of.norm2, of.norm2_bias, eps, out=normed)
        linear["fc1"].backward(of_activated, normed, out=normed)
        pointwise.norm_backward(rows, normed, of.norm2, eps, of_out, of_norm, out=of_rows)
        linear["proj"].backward(of_rows if one is None else of_rows * one, tokens, out=of_tokens)
    return of_y, of_attended


class _Linear:
    """A linear layer's gradients, gathered a few tokens at a time; that of its weight only where wanted."""

    def __init__(self, weight: Tensor, wanted: bool) -> None:
        self.weight, self.of_bias = weight, weight.new_zeros(len(weight))
        self.of_weight = torch.empty_like(weight) if wanted else None
        self.begun = False

    def backward(self, of_out: Tensor, x: Tensor, out: Tensor | None = None) -> None:
        """The gradient of x into ``out``, which may be x."""
        self.of_bias += of_out.sum(0)
        if self.of_weight is not None:
            self.of_weight.addmm_(of_out.T, x, beta=int(self.begun))
            self.begun = True
        if out is not None:
            torch.mm(of_out, self.weight, out=out)


def _of_norm(gain: Tensor) -> Tensor:
    return gain.new_zeros(torch.get_num_threads(), 2, len(gain))


def _by_token(factor: Tensor | None, x: Tensor) -> Iterable[Tensor | None]:
    """A branch's factor of each token, in the pieces that tokens come in."""
    if factor is None:
        return repeat(None)
    return in_cache(factor.to(x.dtype).view(-1, 1, 1, 1).expand(*x.shape[:3], 1).contiguous())


def _add_linear(
    x: Tensor, rows: Tensor, weight: Tensor, bias: Tensor, factor: Tensor | None, out: Tensor
) -> None:
    """x + factor (rows weight^T + bias)."""
    if factor is None:
        torch.add(x, bias, out=out).addmm_(rows, weight.T)  # the sum in the same product
    else:
        torch.addmm(bias, rows, weight.T, out=out).mul_(factor).add_(x)
