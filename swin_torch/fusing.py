"""The layers around the fused attention: what stands in for the attention written out step by step."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.utils.checkpoint import checkpoint

from swin_torch.add_norm import add_norm
from swin_torch.core import shifted_window_attention_core
from swin_torch.decisions import CANONICAL, Convention, margins
from swin_torch.functional import drop_path
from swin_torch.judged import Adapter
from swin_torch.modules import SwinBlock, WindowAttention
from swin_torch.patches import PatchMerging
from swin_torch.sizes import Size, checked_window
from swin_torch.thrifty import gelu_linear, norm_linear, project_norm_linear

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
    return attention.proj(_attended(attention.qkv(x), attention, window_size, shift_size, convention))


def _attended(
    qkv: Tensor, attention: WindowAttention, window_size: Size, shift_size: Size, convention: Convention
) -> Tensor:
    before, after = margins(qkv.shape[1:3], checked_window(window_size), convention)
    padded = [side + one + other for side, one, other in zip(qkv.shape[1:3], before, after, strict=True)]
    return shifted_window_attention_core(
        qkv,
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


def fused_block(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """A block in few passes over its tokens, keeping little for backward (`swin_torch.thrifty`).

    Compiled it is the plain layers around the fused attention, since the compiler fuses and recomputes by
    itself; so it is where a layer was replaced or is hooked (adapters of low rank, quantised layers).
    """
    if torch.compiler.is_compiling() or not all(map(_is_plain, _layers(block))):
        return _plain(block, x, shift_size, kept_attention, kept_mlp)
    if torch.is_grad_enabled():
        return _keeping_little(block, x, shift_size, kept_attention, kept_mlp)
    if torch.is_autocast_enabled(x.device.type) or kept_attention is not None or kept_mlp is not None:
        return _plain(block, x, shift_size, kept_attention, kept_mlp)
    return _without_gradients(block, x, shift_size)


def _layers(block: SwinBlock) -> tuple[nn.Module, ...]:
    return block.norm1, block.attn.qkv, block.attn.proj, block.norm2, block.mlp.fc1, block.mlp.fc2


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer's parameters are all there is to it."""
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
    return type(layer) in (nn.Linear, nn.LayerNorm) and not hooks


def _plain(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    x = x + drop_path(_attention_half(block, x, shift_size), kept_attention)
    return x + drop_path(block.mlp(block.norm2(x)), kept_mlp)


def _attention_half(block: SwinBlock, x: Tensor, shift_size: Size) -> Tensor:
    attn = block.attn
    return shifted_window_attention(block.norm1(x), attn, attn.window_size, shift_size, block.convention)


def _keeping_little(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    attn, mlp = block.attn, block.mlp
    qkv = norm_linear(x, block.norm1, attn.qkv)
    attended = _attended(qkv, attn, attn.window_size, shift_size, block.convention)
    x, hidden = project_norm_linear(x, attended, kept_attention, attn.proj, block.norm2, mlp.fc1)
    return x + drop_path(gelu_linear(hidden, mlp.fc2), kept_mlp)


def _without_gradients(block: SwinBlock, x: Tensor, shift_size: Size) -> Tensor:
    norm, mlp = block.norm2, block.mlp
    branch = _attention_half(block, x, shift_size)
    x, normed = add_norm(x, branch, norm.weight, norm.bias, norm.eps, ahead=mlp.fc2.bias)
    hidden = gelu(mlp.fc1(normed))
    x.view(-1, x.shape[-1]).addmm_(hidden.flatten(0, 2), mlp.fc2.weight.T)  # the sum in the same product
    return x


def checkpointed_block(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """A fused block of which backward finds two tensors, the halves' inputs, and computes the rest again."""
    if not torch.is_grad_enabled():
        return fused_block(block, x, shift_size, kept_attention, kept_mlp)
    attended = checkpoint(_attention_half, block, x, shift_size, use_reentrant=False)
    x = x + drop_path(attended, kept_attention)
    return x + drop_path(checkpoint(_mlp_half, block, x, use_reentrant=False), kept_mlp)


def fused_norm_reduce(merged: Tensor, merging: PatchMerging) -> Tensor:
    """The norm and the linear layer of a merge, keeping their input alone for backward."""
    plain = _is_plain(merging.norm) and _is_plain(merging.reduction)
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or not plain:
        return merging.reduction(merging.norm(merged))
    return norm_linear(merged, merging.norm, merging.reduction)


def _mlp_half(block: SwinBlock, x: Tensor) -> Tensor:
    return block.mlp(block.norm2(x))


def fuse(model: Module, checkpointing: bool = False) -> Module:
    """The same model, its parameters too, whose blocks from now on use the fused attention.

    With ``checkpointing``, training keeps two tensors of a block and computes the rest of it twice.

    >>> from swin_torch.network import swin_t
    >>> model = fuse(swin_t(embed_dim=12))
    >>> model.layers[0].blocks[0].compute is fused_block
    True
    """
    for module in model.modules():
        if isinstance(module, SwinBlock):
            module.compute = checkpointed_block if checkpointing else fused_block
        elif isinstance(module, PatchMerging):
            module.norm_reduce = fused_norm_reduce
    return model


class FusedAdapter(Adapter):
    """What `Adapter` offers, with the fused attention in every shifted window attention, block and network.

    >>> FusedAdapter("float64").with_convention("timm").name
    'swin_torch:fused in float64 on cpu, timm'
    """

    label = "swin_torch:fused"
    attend_grid = staticmethod(shifted_window_attention)
    compute_block = staticmethod(fused_block)
    norm_reduce = staticmethod(fused_norm_reduce)


fused = FusedAdapter()

cuda = FusedAdapter(device="cuda")
"""The same on the first GPU, by the kernels: ``swin-oracle check swin_torch:cuda --dtype bfloat16``."""
