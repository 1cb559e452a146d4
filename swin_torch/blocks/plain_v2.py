"""A block and a merge of Swin V2 in plain operations: right on any device and in any graph."""

from __future__ import annotations

from torch import Tensor

from swin_torch.blocks.parts import Merge
from swin_torch.blocks.parts_v2 import BlockV2
from swin_torch.geometry import functional
from swin_torch.geometry.sizes import Size


def plain_block(
    block: BlockV2, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """Returns x + norm1((S)W-MSA(x)), then that + norm2(MLP(that)); either branch times drop path's factors.

    Shapes: (B, H, W, C), factors (B) -> (B, H, W, C).
    """
    attn = block.attn
    grid = x, attn, attn.window_size, shift_size, block.convention
    x = x + functional.drop_path(block.norm1(functional.shifted_window_attention(*grid)), kept_attention)
    return x + functional.drop_path(block.norm2(block.mlp(x)), kept_mlp)


def plain_merge(merging: Merge, merged: Tensor) -> Tensor:
    """Returns norm(reduction(merged)): (..., 4 C) -> (..., 2 C)."""
    return merging.norm(merging.reduction(merged))
