"""A block without gradients on a CPU: products, and what lies between them in as few passes as can be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swin_torch.backends import c
from swin_torch.backends.c import pointwise
from swin_torch.backends.c.products import product
from swin_torch.backends.c.rooms import room
from swin_torch.blocks.fitting import Parameters, is_whole
from swin_torch.geometry.plan import Plan
from swin_torch.model.layers import SwinBlock

ROWS = 784
"""Tokens a thread has at a time: the MLP of 96 channels takes 7 to 10 % less than for all at once."""


def takes(of: Parameters, x: Tensor, plan: Plan) -> bool:
    """Whether this call is one for it, its shapes going together: float32, and a kernel for such windows."""
    return is_whole(of) and pointwise.takes(x, *of) and c.fits(plan, x.shape[3] // plan.heads)


def takes_norm_linear(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> bool:
    """Whether `norm_linear` takes these layers, whose shapes go together."""
    return pointwise.takes(x, norm.weight, norm.bias, layer.weight, layer.bias)


def forward(block: SwinBlock, of: Parameters, x: Tensor, plan: Plan) -> Tensor:
    """The block's output, (B, H, W, C) -> same: a few images after the other."""
    out = torch.empty_like(x)
    for given, found in zip(*map(_images, (x, out)), strict=True):
        qkv = room("qkv", *given.shape[:3], len(of.qkv))
        norm_linear(given, of.norm1, of.norm1_bias, block.norm1.eps, of.qkv, of.qkv_bias, out=qkv)
        attended = room("attended", *given.shape)
        c.forward(qkv, of.table, of.qkv_bias, *sizes(block, plan), out=attended)
        for before, tokens, rows in zip(*map(in_cache, (given, attended, found)), strict=True):
            product(tokens, of.proj.T, rows, given=before, bias=of.proj_bias)
            normed, hidden = room("normed", *rows.shape), room("hidden", len(rows), len(of.fc1))
            pointwise.norm(rows, of.norm2, of.norm2_bias, block.norm2.eps, normed)
            product(normed, of.fc1.T, hidden, bias=of.fc1_bias, activated=True)
            product(hidden, of.fc2.T, rows, given=rows, bias=of.fc2_bias)
    return out


def norm_linear(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor | None = None,
) -> Tensor:
    """A linear layer of LayerNorm(x): (..., C) -> (..., len(weight))."""
    out = x.new_empty(*x.shape[:-1], len(weight)) if out is None else out
    for given, rows in zip(in_cache(x), in_cache(out), strict=True):
        normed = pointwise.norm(given, gain, shift, eps, room("normed", *given.shape))
        product(normed, weight.T, rows, bias=bias)
    return out


def sizes(block: SwinBlock, plan: Plan) -> tuple[Plan, float, float]:
    """What the attention takes beside its tensors: the plan, the factor of q k^T, and what is masked with."""
    attn = block.attn
    scale = (attn.proj.in_features // plan.heads) ** -0.5 if attn.qk_scale is None else attn.qk_scale
    return plan, scale, block.convention.mask_value


def in_cache(grid: Tensor) -> tuple[Tensor, ...]:
    """The tokens, so many at a time that what is computed from them stays in the caches of all threads."""
    rows, most = grid.view(-1, grid.shape[-1]), ROWS * torch.get_num_threads()
    return (rows,) if rows.shape[0] <= most else rows.split(most)


def _images(grid: Tensor) -> tuple[Tensor, ...]:
    """The images, as many at a time as have about so many tokens, and at least one."""
    most = max(1, ROWS * torch.get_num_threads() // (grid.shape[1] * grid.shape[2]))
    return (grid,) if grid.shape[0] <= most else grid.split(most)
