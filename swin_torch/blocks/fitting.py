"""Whether a block's tensors fit each other: asked before C or a kernel is given where one of them lies.

What does not fit is computed the plain way, whose error then says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from swin_torch.geometry.sizes import Size, checked_window
from swin_torch.model.layers import SwinBlock

Shape = tuple[int, ...]


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


def layers_of(block: SwinBlock) -> tuple[Any, ...]:
    """Returns a block's norms and linear layers, in their order."""
    attn, mlp = block.attn, block.mlp
    return block.norm1, attn.qkv, attn.proj, block.norm2, mlp.fc1, mlp.fc2


def parameters(block: SwinBlock, layers: tuple[Any, ...] | None = None) -> Parameters:
    """Returns those of its layers and its bias table; with the layers at hand it takes less time."""
    norm1, qkv, proj, norm2, fc1, fc2 = layers_of(block) if layers is None else layers
    return Parameters(
        norm1.weight,
        norm1.bias,
        qkv.weight,
        qkv.bias,
        block.attn.relative_position_bias_table,
        proj.weight,
        proj.bias,
        norm2.weight,
        norm2.bias,
        fc1.weight,
        fc1.bias,
        fc2.weight,
        fc2.bias,
    )


def is_whole(of: Parameters) -> bool:
    """Returns whether only the bias of qkv is missing, if any."""
    return all(one is not None or place == 3 for place, one in enumerate(of))


def block_fits(
    layers: tuple[Any, ...], of: Parameters, x: Tensor, window_size: Size, kept: Sequence[Tensor | None]
) -> bool:
    """Returns whether x, drop path's factors and a block's parameters have the shapes that go together.

    What is missing fits; x has at least one token, each layer at least one channel.
    """
    device, table, fc1 = x.device, of.table, of.fc1
    if x.dim() != 4 or x.is_meta or not x.numel() or table is None or fc1 is None:
        return False
    if not table.is_floating_point() or table.device != device or table.layout != torch.strided:
        return False  # layers refuse what is not as they are, an addition of the bias does not
    if table.dim() != 2 or fc1.dim() != 2:
        return False
    batch, _, _, channels = x.shape
    if layers[0].normalized_shape != (channels,) or layers[3].normalized_shape != (channels,):
        return False
    wanted = block_shapes(channels, fc1.shape[0], table.shape[1], window_size)
    if not wanted:
        return False
    for one, shape in zip(of, wanted, strict=True):
        if one is not None and one.shape != shape:
            return False
    return all(one is None or (one.shape == (batch,) and one.device == device) for one in kept)


@lru_cache(maxsize=64)
def block_shapes(channels: int, hidden: int, heads: int, window_size: Size) -> tuple[Shape, ...]:
    """Returns the shapes of a block's `Parameters`; none where there can be no such block.

    >>> block_shapes(4, 8, 2, (1, 2))[3:7]
    ((12,), (3, 2), (4, 4), (4,))
    """
    if min(channels, hidden, heads) < 1 or channels % heads:
        return ()
    height, width = checked_window(window_size)
    vector, table = (channels,), ((2 * height - 1) * (2 * width - 1), heads)
    qkv = (3 * channels, channels), (3 * channels,)
    proj, fc1, fc2 = (channels, channels), (hidden, channels), (channels, hidden)
    return vector, vector, *qkv, table, proj, vector, vector, vector, fc1, (hidden,), fc2, vector


def norm_linear_fits(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> bool:
    """Returns whether tokens and the parameters of a norm and a linear layer go together; none is empty.

    Only the layer's bias may be missing.
    """
    gain, shift, weight, bias, channels = norm.weight, norm.bias, layer.weight, layer.bias, x.shape[-1:]
    if weight is None or weight.dim() != 2 or not (x.numel() and weight.numel()) or x.is_meta:
        return False
    fit = weight.shape[1:] == channels == norm.normalized_shape
    whole = all(one is not None and one.shape == channels for one in (gain, shift))
    return fit and whole and (bias is None or bias.shape == weight.shape[:1])
