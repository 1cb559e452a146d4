"""Whether a block's tensors fit each other: asked before C or a kernel is given where one of them lies.

What does not fit is computed the plain way, whose error then says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from swin_torch.modules import SwinBlock
from swin_torch.sizes import Size, checked_window

OWN = Tensor, nn.Parameter
"""Types whose numbers lie where they say; others may have theirs elsewhere, or none."""

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


def parameters(block: SwinBlock) -> Parameters:
    """Returns those of its layers and its bias table."""
    attn, mlp = block.attn, block.mlp
    layers = block.norm1, attn.qkv, attn.proj, block.norm2, mlp.fc1, mlp.fc2
    (norm1, qkv, proj, norm2, fc1, fc2) = ((layer.weight, layer.bias) for layer in layers)
    return Parameters(*norm1, *qkv, attn.relative_position_bias_table, *proj, *norm2, *fc1, *fc2)


def is_whole(of: Parameters) -> bool:
    """Returns whether only the bias of qkv is missing, if any."""
    return all(one is not None for one in of[:3] + of[4:])


def block_fits(block: SwinBlock, of: Parameters, x: Tensor, kept: Sequence[Tensor | None]) -> bool:
    """Returns whether x, drop path's factors and a block's parameters have the shapes that go together.

    What is missing fits; x has at least one token, each layer at least one channel.
    """
    if x.dim() != 4 or x.is_meta or not x.numel() or of.table is None or of.fc1 is None:
        return False
    if not of.table.is_floating_point() or of.table.device != x.device or of.table.layout != torch.strided:
        return False  # layers refuse what is not as they are, an addition of the bias does not
    (batch, _, _, channels), table, fc1 = x.shape, of.table.shape, of.fc1.shape
    norms = block.norm1.normalized_shape, block.norm2.normalized_shape
    if len(table) != 2 or len(fc1) != 2 or norms != ((channels,), (channels,)):
        return False
    wanted = block_shapes(channels, fc1[0], table[1], block.attn.window_size)
    if not wanted or any(
        one is not None and one.shape != shape for one, shape in zip(of, wanted, strict=True)
    ):
        return False
    return all(one is None or (one.shape == (batch,) and one.device == x.device) for one in kept)


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


def lies_plainly(x: Tensor) -> bool:
    """Returns whether the numbers lie in a CPU's memory as C reads them: float32, row after row."""
    if type(x) not in OWN or not x.is_cpu or x.dtype != torch.float32 or x.layout != torch.strided:
        return False
    try:
        return x.is_contiguous() and not x.is_neg() and x.data_ptr() != 0
    except RuntimeError:  # a wrapper of PyTorch's function transforms
        return False


def as_forward_kept(x: Tensor, shape: Shape) -> Tensor:
    """Returns a tensor for backward, laid out as C reads it.

    Errors: ``RuntimeError`` unless it has the shape and type that forward saw.
    """
    if lies_plainly(x) and x.shape == shape:
        return x
    if x.shape != shape or x.dtype != torch.float32 or not x.is_cpu or x.layout != torch.strided:
        raise RuntimeError(
            f"backward needs what forward saw, float32 of shape {shape} on a CPU, got {x.dtype} of shape "
            f"{tuple(x.shape)} on {x.device}, {x.layout}: between the two leave a parameter's data alone, "
            "and have hooks return what they were given"
        )
    return x.resolve_neg().clone(memory_format=torch.contiguous_format)
