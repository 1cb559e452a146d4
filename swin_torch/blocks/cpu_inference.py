"""A block without gradients on a CPU: products in C, and few passes over the tokens between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swin_torch.attention.operator import find_scale
from swin_torch.backends import c
from swin_torch.backends.c import pointwise
from swin_torch.backends.c.layout import lies_plainly
from swin_torch.backends.c.products import multiply
from swin_torch.backends.c.scratch import take_scratch
from swin_torch.blocks.parts import Block, Parameters
from swin_torch.geometry.plan import Plan

ROWS = 784
"""The tokens that a thread computes at a time: the MLP of 96 channels takes 7 to 10 % less time so."""


def find_refusal(of: Parameters, x: Tensor, plan: Plan) -> str | None:
    """Returns why C cannot compute a block of these tensors, whose shapes fit; None if it can."""
    if not pointwise.takes(x, *of):
        return _find_unreadable({"x": x, **of._asdict()})
    head_dim = x.shape[3] // plan.heads
    if not c.fits(plan, head_dim):
        return f"C has no kernel for windows of {plan.tokens} tokens and heads of {head_dim} channels"
    return None


def find_refusal_of_norm_linear(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> str | None:
    """Returns why C cannot compute these layers, whose shapes fit; None if it can."""
    if pointwise.takes(x, norm.weight, norm.bias, layer.weight, layer.bias):
        return None
    named = {"norm": norm.weight, "norm_bias": norm.bias, "weight": layer.weight, "bias": layer.bias}
    return _find_unreadable({"x": x, **named})


def _find_unreadable(named: dict[str, Tensor | None]) -> str:
    """Returns which tensor C does not read; if it reads all, there is no compiled C."""
    for name, one in named.items():
        if one is not None and not lies_plainly(one):
            kind = f"{one.dtype} on {one.device}".removeprefix("torch.")
            return f"{name} is {kind}, C reads float32 on a CPU, row after row"
    return "no C is compiled: there is no compiler, or SWIN_TORCH_NATIVE is 0"


def forward(block: Block, of: Parameters, x: Tensor, plan: Plan) -> Tensor:
    """Returns the output of a block, (B, H, W, C) -> same, computed a few images at a time."""
    out = torch.empty_like(x)
    for given, found in zip(*map(split_images, (x, out)), strict=True):
        qkv = take_scratch("qkv", *given.shape[:3], len(of.qkv))
        norm_linear(given, of.norm1, of.norm1_bias, block.norm1.eps, of.qkv, of.qkv_bias, out=qkv)
        attended = take_scratch("attended", *given.shape)
        c.forward(qkv, of.table, of.qkv_bias, *collect_sizes(block, plan), out=attended)
        for before, tokens, rows in zip(*map(split_for_cache, (given, attended, found)), strict=True):
            multiply(tokens, of.proj.T, rows, given=before, bias=of.proj_bias)
            normed, hidden = (
                take_scratch("normed", *rows.shape),
                take_scratch("hidden", len(rows), len(of.fc1)),
            )
            pointwise.norm(rows, of.norm2, of.norm2_bias, block.norm2.eps, normed)
            multiply(normed, of.fc1.T, hidden, bias=of.fc1_bias, activated=True)
            multiply(hidden, of.fc2.T, rows, given=rows, bias=of.fc2_bias)
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
    """Returns a linear layer of LayerNorm(x): (..., C) -> (..., len(weight))."""
    out = x.new_empty(*x.shape[:-1], len(weight)) if out is None else out
    for given, rows in zip(split_for_cache(x), split_for_cache(out), strict=True):
        normed = pointwise.norm(given, gain, shift, eps, take_scratch("normed", *given.shape))
        multiply(normed, weight.T, rows, bias=bias)
    return out


def collect_sizes(block: Block, plan: Plan) -> tuple[Plan, float, float]:
    """Returns the arguments of the attention beside tensors: plan, factor of q k^T, mask's value."""
    attn = block.attn
    scale = find_scale(3 * attn.proj.in_features, plan.heads, attn.qk_scale)
    return plan, scale, block.convention.mask_value


def split_for_cache(grid: Tensor) -> tuple[Tensor, ...]:
    """Returns the tokens in pieces so small that what is computed from one stays in the caches."""
    rows, most = grid.view(-1, grid.shape[-1]), ROWS * torch.get_num_threads()
    return (rows,) if rows.shape[0] <= most else rows.split(most)


def split_images(grid: Tensor) -> tuple[Tensor, ...]:
    """Returns the images in pieces: about as many tokens as in `split_for_cache`, at least one image."""
    most = max(1, ROWS * torch.get_num_threads() // (grid.shape[1] * grid.shape[2]))
    return (grid,) if grid.shape[0] <= most else grid.split(most)
