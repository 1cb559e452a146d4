"""The layers around the fused attention: what stands in for the attention written out step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.utils.checkpoint import checkpoint

from swin_torch.attention.operator import shifted_window_attention_core
from swin_torch.backends import triton
from swin_torch.backends.triton import choices
from swin_torch.blocks import cpu_inference, cpu_training
from swin_torch.blocks.add_norm import add_norm
from swin_torch.blocks.fitting import block_fits, is_whole, layers_of, norm_linear_fits, parameters
from swin_torch.blocks.recompute import gelu_linear, norm_linear, project_norm_linear
from swin_torch.blocks.untouched import Kinds, untouched
from swin_torch.geometry.conventions import CANONICAL, Convention, margins
from swin_torch.geometry.exported import exporting
from swin_torch.geometry.functional import drop_path
from swin_torch.geometry.plan import Pair, Plan
from swin_torch.geometry.sizes import Size, checked_shift, checked_window
from swin_torch.model.layers import Mlp, SwinBlock, WindowAttention, written_out
from swin_torch.model.patches import PatchMerging, norm_reduce

Module = TypeVar("Module", bound=nn.Module)

OF_A_BLOCK: Kinds = {
    "norm1": nn.LayerNorm,
    "attn": WindowAttention,
    "norm2": nn.LayerNorm,
    "mlp": Mlp,
} | dict.fromkeys(("qkv", "proj", "fc1", "fc2"), nn.Linear)
OF_A_MERGE: Kinds = {"norm": nn.LayerNorm, "reduction": nn.Linear}


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
    padded, roll_first = _padded((qkv.shape[1], qkv.shape[2]), checked_window(window_size), convention)
    return shifted_window_attention_core(
        qkv,
        attention.relative_position_bias_table,
        attention.relative_position_bias_table.shape[1],
        window_size,
        shift_size,
        qk_scale=attention.qk_scale,
        pad_qkv=attention.qkv.bias,  # a padded token is zero after its norm
        padded_size=padded,
        roll_first=roll_first,
        mask_value=convention.mask_value,
    )


def fused_block(
    block: SwinBlock,
    x: Tensor,
    shift_size: Size,
    kept_attention: Tensor | None,
    kept_mlp: Tensor | None,
    keeping: str | None = None,
) -> Tensor:
    """A block around the fused attention, in few passes over its tokens.

    ``keeping`` is one of `KEEPING`, what training keeps for backward: on a GPU little, elsewhere all, unless
    given.  Compiled it keeps what the compiler likes, which fuses and recomputes by itself.  A block that has
    a hook, a parametrization or a replaced part (adapters of low rank, quantised layers), on itself or below,
    is computed as one that was never fused; so is every block while it is exported or traced.
    """
    whole = block, x, shift_size, kept_attention, kept_mlp
    if exporting() or not untouched(block, SwinBlock, OF_A_BLOCK):
        return written_out(*whole)
    kept, training_it, by_kernels = whole[3:], torch.is_grad_enabled(), triton.asked_for(x)
    by_parameters = not torch.compiler.is_compiling()
    if by_parameters:
        layers = layers_of(block)
        of = parameters(block, layers)
        if not block_fits(layers, of, x, block.attn.window_size, kept):
            return written_out(*whole)
        by_parameters = is_whole(of)
    keeping = keeping or _suiting(by_kernels)
    if training_it and keeping != "all":
        return KEEPING[keeping](*whole) if by_parameters or keeping != "little" else keep_all(*whole)
    drops = kept_attention is not None or kept_mlp is not None
    if not by_parameters or torch.is_autocast_enabled(x.device.type) or (drops and not training_it):
        return keep_all(*whole)
    if not by_kernels and cpu_inference.takes(of, x, plan := _plan(x, block, shift_size)):
        if training_it:
            return cpu_training.forward(block, of, x, plan, kept)
        return cpu_inference.forward(block, of, x, plan)
    if training_it:
        return keep_all(*whole)
    return (in_five_launches if _launches(x, of) else around_products)(block, x, shift_size)


def keep_all(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """The block's own layers, each keeping what it needs."""
    x = x + drop_path(_attention_half(block, x, shift_size), kept_attention)
    return x + drop_path(_mlp_half(block, x), kept_mlp)


def keep_little(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """Keeps what is dear to compute again (`swin_torch.blocks.recompute`)."""
    attn, mlp = block.attn, block.mlp
    qkv = norm_linear(x, block.norm1, attn.qkv)
    attended = _attended(qkv, attn, attn.window_size, shift_size, block.convention)
    x, hidden = project_norm_linear(x, attended, kept_attention, attn.proj, block.norm2, mlp.fc1)
    return x + drop_path(gelu_linear(hidden, mlp.fc2), kept_mlp)


def keep_halves(
    block: SwinBlock, x: Tensor, shift_size: Size, kept_attention: Tensor | None, kept_mlp: Tensor | None
) -> Tensor:
    """Keeps the inputs of the block's two halves, and computes the rest twice."""
    attended = checkpoint(_attention_half, block, x, shift_size, use_reentrant=False)
    x = x + drop_path(attended, kept_attention)
    return x + drop_path(checkpoint(_mlp_half, block, x, use_reentrant=False), kept_mlp)


KEEPING: dict[str, Callable[..., Tensor]] = {"all": keep_all, "little": keep_little, "halves": keep_halves}
"""What training may keep for backward, from the fastest to the smallest."""


def around_products(block: SwinBlock, x: Tensor, shift_size: Size) -> Tensor:
    """Without gradients: the library's products, and what lies between them in few passes."""
    norm, mlp = block.norm2, block.mlp
    branch = _attention_half(block, x, shift_size)
    if not x.is_cuda:  # a product that begins with a large sum may round each of its terms as it would that
        x, normed = add_norm(x, branch, norm.weight, norm.bias, norm.eps)
        return x.add_(mlp.fc2(gelu(mlp.fc1(normed))))
    x, normed = add_norm(x, branch, norm.weight, norm.bias, norm.eps, ahead=mlp.fc2.bias)
    hidden = gelu(mlp.fc1(normed))
    x.view(-1, x.shape[-1]).addmm_(hidden.flatten(0, 2), mlp.fc2.weight.T)  # the sum in the same product
    return x


def in_five_launches(block: SwinBlock, x: Tensor, shift_size: Size) -> Tensor:
    """Without gradients: each linear layer with what lies around it, and the attention.

    Only of what `triton.takes_block` takes.
    """
    attn, (fc1, fc2) = block.attn, (block.mlp.fc1, block.mlp.fc2)
    qkv = triton.launch_linear(x, attn.qkv.weight, attn.qkv.bias, _norm(block.norm1))
    attended = _attended(qkv, attn, attn.window_size, shift_size, block.convention)
    x = triton.launch_linear(attended, attn.proj.weight, attn.proj.bias, onto=x)
    hidden = triton.launch_linear(x, fc1.weight, fc1.bias, _norm(block.norm2), gelu=True)
    return triton.launch_linear(hidden, fc2.weight, fc2.bias, onto=x)


def _launches(x: Tensor, of: Iterable[Tensor | None]) -> bool:
    """Tells whether the kernels take each of a block's linear layers with its norm, and are faster so."""
    given = (one for one in of if one is not None)
    return triton.takes_block(x, *given) and choices.way(x) == choices.WAYS[0]


def _norm(norm: nn.LayerNorm) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps


def _plan(x: Tensor, block: SwinBlock, shift_size: Size) -> Plan:
    grid, window = (x.shape[1], x.shape[2]), checked_window(block.attn.window_size)
    padded, roll_first = _padded(grid, window, block.convention)
    heads = block.attn.relative_position_bias_table.shape[1]
    return Plan(grid, padded, window, checked_shift(shift_size, window), heads, roll_first)


def _padded(grid: Pair, window: Pair, convention: Convention) -> tuple[Pair, bool]:
    """The padded grid, and whether it is rolled before it is padded."""
    before, after = margins(grid, window, convention)
    height, width = (side + one + other for side, one, other in zip(grid, before, after, strict=True))
    return (height, width), any(after)


def _attention_half(block: SwinBlock, x: Tensor, shift_size: Size) -> Tensor:
    attn = block.attn
    return shifted_window_attention(block.norm1(x), attn, attn.window_size, shift_size, block.convention)


def _mlp_half(block: SwinBlock, x: Tensor) -> Tensor:
    return block.mlp(block.norm2(x))


def _suiting(by_kernels: bool) -> str:
    """What training keeps unless it is told: memory is what ends it on a GPU, time elsewhere."""
    return "little" if by_kernels else "all"


def fused_norm_reduce(merged: Tensor, merging: PatchMerging, keeping: str | None = None) -> Tensor:
    """The norm and the linear layer of a merge; their input alone is kept for backward where that pays."""
    if exporting() or torch.compiler.is_compiling() or not untouched(merging, PatchMerging, OF_A_MERGE):
        return norm_reduce(merged, merging)
    norm, reduction = merging.norm, merging.reduction
    whole = merged, norm.weight, norm.bias, norm.eps, reduction.weight, reduction.bias
    if not norm_linear_fits(merged, norm, reduction):
        return norm_reduce(merged, merging)
    by_kernels = triton.asked_for(merged)
    ours = not by_kernels and not torch.is_autocast_enabled(merged.device.type)
    launched = merged, reduction.weight, reduction.bias, _norm(norm)
    if not torch.is_grad_enabled() and triton.takes_linear(*launched):
        return triton.launch_linear(*launched)
    if ours and cpu_inference.takes_norm_linear(merged, norm, reduction):
        return (cpu_training.norm_linear if torch.is_grad_enabled() else cpu_inference.norm_linear)(*whole)
    if torch.is_grad_enabled() and (keeping or _suiting(by_kernels)) != "all":
        return norm_linear(merged, norm, reduction)
    return norm_reduce(merged, merging)


def fuse(model: Module, keeping: str | None = None) -> Module:
    """The same model, its parameters too, whose blocks from now on use the fused attention.

    ``keeping`` is what training keeps for backward: "all" is the fastest on a CPU, "little" less than that
    and the default on a GPU, "halves" a seventh, at the price of a second forward.

    Errors: ``ValueError`` for another ``keeping``.

    >>> from swin_torch.model.network import swin_t
    >>> model = fuse(swin_t(embed_dim=12), keeping="little")
    >>> model.layers[0].blocks[0].compute.keywords
    {'keeping': 'little'}
    """
    if keeping not in (None, *KEEPING):
        raise ValueError(
            f"training keeps {', '.join(KEEPING)} for backward, got {keeping!r}: use one of these"
        )
    for module in model.modules():
        if isinstance(module, SwinBlock):
            module.compute = partial(fused_block, keeping=keeping)
        elif isinstance(module, PatchMerging):
            module.norm_reduce = partial(fused_norm_reduce, keeping=keeping)
    return model
