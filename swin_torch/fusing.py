"""The layers around the fused attention: what stands in for the attention written out step by step."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

from swin_torch.core import shifted_window_attention_core
from swin_torch.decisions import CANONICAL, Convention, margins
from swin_torch.judged import Adapter
from swin_torch.modules import SwinBlock, WindowAttention
from swin_torch.sizes import Size, checked_window

Module = TypeVar("Module", bound=nn.Module)


def shifted_window_attention(
    x: Tensor,
    attention: WindowAttention,
    window_size: Size,
    shift_size: Size,
    convention: Convention = CANONICAL,
) -> Tensor:
    """The whole (S)W-MSA as three operators: qkv, the fused attention, the projection.

    Shapes: (B, H, W, C) -> same.

    Errors: ``ValueError`` for a shift outside 0 <= shift < window, or a grid that the convention rejects.

    >>> import torch
    >>> attention = WindowAttention(8, num_heads=2, window_size=4)
    >>> shifted_window_attention(torch.zeros(1, 5, 7, 8), attention, 4, 2).shape
    torch.Size([1, 5, 7, 8])
    """
    before, after = margins(x.shape[1:3], checked_window(window_size), convention)
    padded = [side + one + other for side, one, other in zip(x.shape[1:3], before, after, strict=True)]
    attended = shifted_window_attention_core(
        attention.qkv(x),
        attention.relative_position_bias_table,
        attention.relative_position_bias_table.shape[1],
        window_size,
        shift_size,
        qk_scale=attention.qk_scale,
        pad_qkv=attention.qkv.bias,  # a padded token is zero after its norm
        padded_size=padded,
        roll_first=any(after),
        mask_value=convention.mask_value,
    )
    return attention.proj(attended)


def fuse(model: Module) -> Module:
    """The same model, its parameters too, whose blocks from now on use the fused attention.

    >>> from swin_torch.network import swin_t
    >>> model = fuse(swin_t(embed_dim=12))
    >>> model.layers[0].blocks[0].attend_grid is shifted_window_attention
    True
    """
    for module in model.modules():
        if isinstance(module, SwinBlock):
            module.attend_grid = shifted_window_attention
    return model


class FusedAdapter(Adapter):
    """What `Adapter` offers, with the fused attention in every shifted window attention, block and network.

    >>> FusedAdapter("float64").with_convention("timm").name
    'swin_torch:fused in float64 on cpu, timm'
    """

    label = "swin_torch:fused"
    attend_grid = staticmethod(shifted_window_attention)


fused = FusedAdapter()

cuda = FusedAdapter(device="cuda")
"""The same on the first GPU, by the kernels: ``swin-oracle check swin_torch:cuda --dtype bfloat16``."""
