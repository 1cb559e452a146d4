"""A block of Swin V2 without gradients on a CPU: products in C, few passes over the tokens between them."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_torch.backends import c
from swin_torch.backends.c import cosines, pointwise
from swin_torch.backends.c.products import multiply
from swin_torch.backends.c.scratch import take_scratch
from swin_torch.blocks.cpu_inference import (
    find_refusal_of_norm_linear,
    split_for_cache,
    split_images,
)
from swin_torch.blocks.parts import Merge, Parameters
from swin_torch.blocks.parts_v2 import BlockV2
from swin_torch.geometry.plan import Plan


def forward(block: BlockV2, of: Parameters, factors: Tensor, x: Tensor, plan: Plan) -> Tensor:
    """Returns the output of a block, (B, H, W, C) -> same, computed a few images at a time.

    The qkv of padding is the bias as it is: its key is 0, and nobody asks for the outputs of its query.
    """
    out, sizes = torch.empty_like(x), (plan, 1.0, block.convention.mask_value)
    for given, found in zip(*map(split_images, (x, out)), strict=True):
        qkv = take_scratch("qkv", *given.shape[:3], len(of.qkv))
        for rows, to in zip(*map(split_for_cache, (given, qkv)), strict=True):
            cosines.turn(multiply(rows, of.qkv.T, to, bias=of.qkv_bias), factors, to)
        attended = c.forward(qkv, of.table, of.qkv_bias, *sizes, out=take_scratch("attended", *given.shape))
        for before, tokens, rows in zip(*map(split_for_cache, (given, attended, found)), strict=True):
            branch = take_scratch("normed", *rows.shape)
            hidden = take_scratch("hidden", len(rows), len(of.fc1))
            multiply(tokens, of.proj.T, branch, bias=of.proj_bias)
            pointwise.norm(branch, of.norm1, of.norm1_bias, block.norm1.eps, rows, given=before)
            multiply(rows, of.fc1.T, hidden, bias=of.fc1_bias, activated=True)
            multiply(hidden, of.fc2.T, branch, bias=of.fc2_bias)
            pointwise.norm(branch, of.norm2, of.norm2_bias, block.norm2.eps, rows, given=rows)
    return out


def merge(merging: Merge, merged: Tensor) -> Tensor:
    """Returns norm(reduction(merged)): (B, H, W, 4 C) -> (B, H, W, 2 C)."""
    weight, norm = merging.reduction.weight, merging.norm
    out = merged.new_empty(*merged.shape[:-1], len(weight))
    for given, rows in zip(*map(split_for_cache, (merged, out)), strict=True):
        multiply(given, weight.T, rows)
        pointwise.norm(rows, norm.weight, norm.bias, norm.eps, rows)
    return out


def find_refusal_of_merge(merging: Merge, merged: Tensor) -> str | None:
    """Returns why C cannot compute a merge; None if it can."""
    norm, layer = merging.norm, merging.reduction
    if layer.weight is None or layer.weight.dim() != 2 or not (merged.numel() and layer.weight.numel()):
        return "the tokens or the weight have no numbers"
    if layer.weight.shape[1:] != merged.shape[-1:] or norm.normalized_shape != layer.weight.shape[:1]:
        return f"the norm or the weight is not of the {merged.shape[-1]} channels of the tokens"
    if not all(one is not None and one.shape == layer.weight.shape[:1] for one in (norm.weight, norm.bias)):
        return "the norm has no weight or no bias of its channels"
    if layer.bias is not None:
        return "the linear layer has a bias"
    return find_refusal_of_norm_linear(merged, norm, layer)
