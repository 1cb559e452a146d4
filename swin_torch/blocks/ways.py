"""The ways of computing a block and a merge: two tables, in which the first way that takes a call runs.

The faster ways come first.  The last way of each table, plain operations, takes everything.  `explain` tells
for each block of a model which way ran, and why the ways before it did not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from swin_torch.attention import operator
from swin_torch.backends import triton
from swin_torch.backends.triton import choices
from swin_torch.blocks import cpu_inference, cpu_training, norms, products, recompute
from swin_torch.blocks.calls import (
    NO_PLAN,
    Call,
    Kept,
    MergeCall,
    find_keeping,
    find_obstacle,
    refuse_by_layers,
    refuse_c,
    refuse_in_one_type,
    refuse_with_gradients,
    refuse_without_gradients,
    run_first,
)
from swin_torch.blocks.calls import (
    Way as Way,
)
from swin_torch.blocks.calls import (
    recorded as recorded,
)
from swin_torch.blocks.parts import (
    Attention,
    Block,
    Merge,
    find_layers,
    find_merge_misfit,
    find_misfit,
    find_parameters,
)
from swin_torch.blocks.plain import plain_block, plain_merge
from swin_torch.geometry.conventions import CANONICAL, Convention
from swin_torch.geometry.functional import drop_path
from swin_torch.geometry.plan import Plan, make_plan
from swin_torch.geometry.sizes import Size


def compute_block(block: Block, x: Tensor, shift_size: Size, kept: Kept) -> Tensor:
    """Computes a block in the first way that takes the call: (B, H, W, C) -> same."""
    return run_first(WAYS, make_call(block, x, shift_size, kept), block)


def make_call(block: Block, x: Tensor, shift_size: Size, kept: Kept = (None, None)) -> Call:
    """Returns a call of a block with what its ways ask about it."""
    obstacle, of, plan = find_obstacle(block), None, NO_PLAN
    if obstacle is None:
        attn = block.attn
        if not torch.compiler.is_compiling():
            layers = find_layers(block)
            of = find_parameters(block, layers)
            obstacle = find_misfit(layers, of, x, attn.window_size, kept)
        if obstacle is None:
            heads = attn.relative_position_bias_table.shape[1]
            plan = make_plan((x.shape[1], x.shape[2]), attn.window_size, shift_size, heads, block.convention)
    by_kernels = triton.is_asked_for(x)
    keeping = block.keeping or find_keeping(by_kernels)
    gradients = torch.is_grad_enabled()
    return Call(block, x, shift_size, kept, keeping, by_kernels, gradients, obstacle, of, plan)


def compute_merge(merging: Merge, x: Tensor) -> Tensor:
    """Computes a merge in the first way that takes the call: (B, H, W, C) -> (B, H/2, W/2, 2 C)."""
    obstacle = find_obstacle(merging)
    if obstacle is None and torch.compiler.is_compiling():
        obstacle = "PyTorch compiles it"
    if obstacle is None:
        obstacle = find_merge_misfit(x, merging.norm, merging.reduction)
    by_kernels = triton.is_asked_for(x)
    keeping = merging.keeping or find_keeping(by_kernels)
    call = MergeCall(merging, x, keeping, by_kernels, torch.is_grad_enabled(), obstacle)
    return run_first(MERGE_WAYS, call, merging)


# Why a way does not take a call of a block.


def _refuse_c_inference(call: Call) -> str | None:
    return refuse_without_gradients(call) or refuse_c(call)


def _refuse_c_training(call: Call) -> str | None:
    return refuse_with_gradients(call, "most") or refuse_c(call)


def _refuse_five_launches(call: Call) -> str | None:
    found = refuse_without_gradients(call) or refuse_in_one_type(call)
    if found is not None or call.of is None:
        return found
    if not call.by_kernels:
        return "x is not on a GPU"
    if not triton.takes_block(call.x, *(one for one in call.of if one is not None)):
        return "Triton is missing, or its kernels are not made for these types or this GPU"
    measured = choices.choose_way(call.x)
    return None if measured == choices.WAYS[0] else f"{measured} were measured to be faster"


def _refuse_library_products(call: Call) -> str | None:
    return refuse_without_gradients(call) or refuse_in_one_type(call)


def _refuse_recomputed(call: Call) -> str | None:
    return refuse_with_gradients(call, "little") or refuse_by_layers(call)


def _refuse_halves(call: Call) -> str | None:
    return refuse_with_gradients(call, "halves") or call.obstacle


def _refuse_fused_attention(call: Call) -> str | None:
    return call.obstacle


def _refuse_nothing(_: Call | MergeCall) -> None:
    return None


# The ways of a block.


def compute_in_five_launches(call: Call) -> Tensor:
    """Computes a block without gradients in five kernels: the attention and four linear layers."""
    block = call.block
    attn, (fc1, fc2) = block.attn, (block.mlp.fc1, block.mlp.fc2)
    qkv = triton.launch_linear(call.x, attn.qkv.weight, attn.qkv.bias, _read_norm(block.norm1))
    attended = attend(qkv, attn, call.plan, block.convention)
    x = triton.launch_linear(attended, attn.proj.weight, attn.proj.bias, onto=call.x)
    hidden = triton.launch_linear(x, fc1.weight, fc1.bias, _read_norm(block.norm2), gelu=True)
    return triton.launch_linear(hidden, fc2.weight, fc2.bias, onto=x)


def compute_around_products(call: Call) -> Tensor:
    """Computes a block without gradients by the library's products, with few passes between them."""
    x, norm, mlp, attn = call.x, call.block.norm2, call.block.mlp, call.block.attn
    qkv = _apply_linear(norms.norm(x, *_read_norm(call.block.norm1)), attn.qkv)
    branch = _apply_linear(attend(qkv, attn, call.plan, call.block.convention), attn.proj)
    if not x.is_cuda:  # a CPU's library may add a product's terms to x one by one, and round each time
        x, normed = norms.add_norm(x, branch, norm.weight, norm.bias, norm.eps)
        return x.add_(_apply_linear(_apply_linear(normed, mlp.fc1, gelu=True), mlp.fc2))
    x, normed = norms.add_norm(x, branch, norm.weight, norm.bias, norm.eps, ahead=mlp.fc2.bias)
    hidden = _apply_linear(normed, mlp.fc1, gelu=True)
    x.view(-1, x.shape[-1]).addmm_(hidden.flatten(0, 2), mlp.fc2.weight.T)  # the sum in the same product
    return x


def compute_in_halves(call: Call) -> Tensor:
    """Computes a block that keeps the inputs of its two halves, and computes the halves again in backward."""
    attended = checkpoint(_compute_attention_half, call, use_reentrant=False)
    x = call.x + drop_path(attended, call.kept[0])
    return x + drop_path(checkpoint(_compute_mlp_half, call.block, x, use_reentrant=False), call.kept[1])


def compute_by_layers(call: Call) -> Tensor:
    """Computes a block by its own layers around the fused attention; each layer keeps what it needs."""
    x = call.x + drop_path(_compute_attention_half(call), call.kept[0])
    return x + drop_path(_compute_mlp_half(call.block, x), call.kept[1])


def _compute_attention_half(call: Call) -> Tensor:
    attn, qkv = call.block.attn, call.block.attn.qkv(call.block.norm1(call.x))
    return attn.proj(attend(qkv, attn, call.plan, call.block.convention))


def _compute_mlp_half(block: Block, x: Tensor) -> Tensor:
    return block.mlp(block.norm2(x))


def attend(qkv: Tensor, attention: Attention, plan: Plan, convention: Convention) -> Tensor:
    """Returns the fused attention of qkv (B, H, W, 3 C), by the parameters of a module: (B, H, W, C)."""
    scale = operator.find_scale(qkv.shape[3], plan.heads, attention.qk_scale)
    pad_qkv = attention.qkv.bias  # a padded token is zero after its norm
    table = attention.relative_position_bias_table
    return operator.attend(qkv, table, pad_qkv, plan, scale, convention.mask_value)


def shifted_window_attention(
    x: Tensor,
    attention: Attention,
    window_size: Size,
    shift_size: Size,
    convention: Convention = CANONICAL,
) -> Tensor:
    """Returns the whole (S)W-MSA as three operators: qkv, the fused attention, the projection.

    Shapes: (B, H, W, C) -> same.

    Errors: ``ValueError`` for a shift outside 0 <= shift < window, or a grid that the convention rejects.
    """
    heads = attention.relative_position_bias_table.shape[1]
    plan = make_plan((x.shape[1], x.shape[2]), window_size, shift_size, heads, convention)
    return attention.proj(attend(attention.qkv(x), attention, plan, convention))


def _read_norm(norm: nn.LayerNorm) -> tuple[Tensor, Tensor, float]:
    return norm.weight, norm.bias, norm.eps


def _apply_linear(x: Tensor, layer: nn.Linear, gelu: bool = False) -> Tensor:
    return products.linear(x, layer.weight, layer.bias, gelu)


WAYS = (
    Way("C", _refuse_c_inference, lambda call: cpu_inference.forward(call.block, call.of, call.x, call.plan)),
    Way(
        "C, with gradients",
        _refuse_c_training,
        lambda call: cpu_training.forward(call.block, call.of, call.x, call.plan, call.kept),
    ),
    Way("five Triton kernels", _refuse_five_launches, compute_in_five_launches),
    Way("fused attention between products", _refuse_library_products, compute_around_products),
    Way(
        "fused attention, layers computed again in backward",
        _refuse_recomputed,
        lambda call: recompute.forward(call.block, call.of, call.x, call.plan, call.kept),
    ),
    Way("fused attention, halves computed again in backward", _refuse_halves, compute_in_halves),
    Way("fused attention", _refuse_fused_attention, compute_by_layers),
    Way(
        "plain operations",
        _refuse_nothing,
        lambda call: plain_block(call.block, call.x, call.shift_size, *call.kept),
    ),
)
"""The ways of computing a block, in the order in which they are asked: functions of a `Call`."""


# The ways of a merge.


def _refuse_norm_kernel(call: MergeCall) -> str | None:
    if call.obstacle is not None:
        return call.obstacle
    if call.gradients:
        return "gradients are recorded"
    if not call.by_kernels:
        return "x is not on a GPU"
    norm = call.merging.norm
    takes = triton.takes_merge_norm(call.x, norm.weight, norm.bias)
    return None if takes else "the kernel does not take it"


def _refuse_merge_by_c(call: MergeCall) -> str | None:
    if call.obstacle is not None:
        return call.obstacle
    if call.by_kernels:
        return "x is on a GPU, or TRITON_INTERPRET is 1"
    if torch.is_autocast_enabled(call.x.device.type):
        return "autocast chooses the types of its layers"
    return cpu_inference.find_refusal_of_norm_linear(call.merged, call.merging.norm, call.merging.reduction)


def _refuse_merge_recomputed(call: MergeCall) -> str | None:
    if call.obstacle is not None or (call.gradients and call.keeping != "most"):
        return call.obstacle
    return "training keeps 'most'" if call.gradients else "no gradients are recorded"


def _run_norm_and_product(call: MergeCall) -> Tensor:
    normed = triton.launch_merge_norm(call.x, *_read_norm(call.merging.norm))
    return linear(normed, call.merging.reduction.weight, call.merging.reduction.bias)


def _run_merge_by_c(call: MergeCall) -> Tensor:
    reduction = call.merging.reduction
    compute = cpu_training.norm_linear if call.gradients else cpu_inference.norm_linear
    return compute(call.merged, *_read_norm(call.merging.norm), reduction.weight, reduction.bias)


MERGE_WAYS = (
    Way(
        "a Triton kernel's gathering and norm before the library's product",
        _refuse_norm_kernel,
        _run_norm_and_product,
    ),
    Way("C", _refuse_merge_by_c, _run_merge_by_c),
    Way(
        "the norm computed again in backward",
        _refuse_merge_recomputed,
        lambda call: recompute.norm_linear(
            call.merged,
            *_read_norm(call.merging.norm),
            call.merging.reduction.weight,
            call.merging.reduction.bias,
        ),
    ),
    Way("plain operations", _refuse_nothing, lambda call: plain_merge(call.merging, call.merged)),
)
"""The ways of computing a merge, in the order in which they are asked: functions of a `MergeCall`."""
