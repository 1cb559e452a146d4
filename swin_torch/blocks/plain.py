"""A block and a merge in plain operations, as their equations say: right on any device and in any graph."""

from __future__ import annotations

from torch import Tensor

from swin_torch.blocks.parts import Block, Merge
from swin_torch.geometry import functional
from swin_torch.geometry.sizes import Size


def plain_block(
    block: Block, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """Returns x + (S)W-MSA(norm1(x)), then that + MLP(norm2(that)); either branch times drop path's factors.

    Shapes: (B, H, W, C), factors (B) -> (B, H, W, C).
    """
    attn = block.attn
    grid = block.norm1(x), attn, attn.window_size, shift_size, block.convention
    x = x + functional.drop_path(functional.shifted_window_attention(*grid), kept_attention)
    return x + functional.drop_path(block.mlp(block.norm2(x)), kept_mlp)


def plain_merge(merging: Merge, merged: Tensor) -> Tensor:
    """Returns reduction(norm(merged)): (..., 4 C) -> (..., 2 C)."""
    return merging.reduction(merging.norm(merged))
