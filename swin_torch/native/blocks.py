"""A block without gradients on a CPU: products, and what lies between them in as few passes as can be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from swin_torch import native
from swin_torch.modules import SwinBlock
from swin_torch.native import pointwise
from swin_torch.plan import Plan

ROWS = 784
"""Tokens at a time: 7 to 10 % less time for the MLP of 96 channels than all at once, no loss elsewhere."""


class Parameters(NamedTuple):
    """A block's, in the order of its layers; only qkv may be without a bias."""

    norm1: Tensor
    norm1_bias: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    table: Tensor
    proj: Tensor
    proj_bias: Tensor
    norm2: Tensor
    norm2_bias: Tensor
    fc1: Tensor
    fc1_bias: Tensor
    fc2: Tensor
    fc2_bias: Tensor


def parameters(block: SwinBlock) -> Parameters:
    """Those of its layers and its bias table."""
    attn, mlp = block.attn, block.mlp
    layers = block.norm1, attn.qkv, attn.proj, block.norm2, mlp.fc1, mlp.fc2
    (norm1, qkv, proj, norm2, fc1, fc2) = ((layer.weight, layer.bias) for layer in layers)
    return Parameters(*norm1, *qkv, attn.relative_position_bias_table, *proj, *norm2, *fc1, *fc2)


def takes(block: SwinBlock, x: Tensor, plan: Plan) -> bool:
    """Whether this call is one for it: float32 all through, and a kernel for its windows and heads."""
    given = parameters(block)
    whole = all(one is not None for one in given[:3] + given[4:])
    plain = whole and x.numel() > 0 and pointwise.takes(x, *given)
    return plain and native.fits(plan, x.shape[3] // plan.heads)


def forward(block: SwinBlock, x: Tensor, plan: Plan) -> Tensor:
    """The block's output, (B, H, W, C) -> same.

    Products leave their biases out, and what reads them next adds these in its own pass.
    """
    of, eps, channels = parameters(block), block.norm2.eps, x.shape[3]
    qkv, out = x.new_empty(*x.shape[:3], 3 * channels), torch.empty_like(x)
    normed, hidden = scratch(x, channels), scratch(x, len(of.fc1))
    for given, rows in zip(in_cache(x), in_cache(qkv), strict=True):
        args = of.norm1, of.norm1_bias, block.norm1.eps
        torch.mm(pointwise.norm(given, *args, out=normed[: len(rows)]), of.qkv.T, out=rows)
    attended = native.forward(qkv, of.table, of.qkv_bias, *sizes(block, plan), added=of.qkv_bias)
    for given, tokens, rows in zip(*map(in_cache, (x, attended, out)), strict=True):
        torch.mm(tokens, of.proj.T, out=rows)
        after, between = normed[: len(rows)], hidden[: len(rows)]
        others = of.norm2, of.norm2_bias, eps, of.fc2_bias
        pointwise.add_norm_(given, rows, of.proj_bias, *others, after)
        torch.mm(after, of.fc1.T, out=between)
        rows.addmm_(pointwise.gelu(between, of.fc1_bias, out=between), of.fc2.T)
    return out


def sizes(block: SwinBlock, plan: Plan) -> tuple[Plan, float, float]:
    """What the attention takes beside its tensors: the plan, the factor of q k^T, and what is masked with."""
    attn = block.attn
    scale = (attn.proj.in_features // plan.heads) ** -0.5 if attn.qk_scale is None else attn.qk_scale
    return plan, scale, block.convention.mask_value


def in_cache(grid: Tensor) -> tuple[Tensor, ...]:
    """The tokens, so many at a time that what is computed from them stays in the cache."""
    return grid.view(-1, grid.shape[-1]).split(ROWS)


def scratch(x: Tensor, channels: int) -> Tensor:
    """Room for so many tokens."""
    return x.new_empty(min(ROWS, x.numel() // x.shape[-1]), channels)
