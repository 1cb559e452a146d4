"""The ways of computing a block and a merge of Swin V2: two tables, as `ways` has them for Swin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from swin_torch.attention import cosines
from swin_torch.backends import triton
from swin_torch.backends.c import cosines as c
from swin_torch.blocks import cpu_inference_v2, cpu_training_v2
from swin_torch.blocks.calls import (
    NO_PLAN,
    Call,
    Kept,
    MergeCall,
    Way,
    find_keeping,
    find_obstacle,
    refuse_c,
    refuse_with_gradients,
    refuse_without_gradients,
    run_first,
)
from swin_torch.blocks.parts import Merge, find_layers, find_misfit
from swin_torch.blocks.parts_v2 import BlockV2, CosineAttention, find_misfit_of_attention, find_parameters
from swin_torch.blocks.plain_v2 import plain_block, plain_merge
from swin_torch.geometry import functional_v2
from swin_torch.geometry.conventions import CANONICAL, Convention
from swin_torch.geometry.functional import drop_path
from swin_torch.geometry.plan import Plan, make_plan
from swin_torch.geometry.sizes import Size


def compute_block(block: BlockV2, x: Tensor, shift_size: Size, kept: Kept) -> Tensor:
    """Computes a block in the first way that takes the call: (B, H, W, C) -> same."""
    return run_first(WAYS, make_call(block, x, shift_size, kept), block)


def make_call(block: BlockV2, x: Tensor, shift_size: Size, kept: Kept = (None, None)) -> Call:
    """Returns a call of a block with what its ways ask about it."""
    obstacle, of, factors, plan = find_obstacle(block), None, None, NO_PLAN
    attn = block.attn
    if obstacle is None and not torch.compiler.is_compiling():
        obstacle = find_misfit_of_attention(attn, x.shape[-1] if x.dim() else 0)
        if obstacle is None:
            of, factors = find_parameters(block)
            obstacle = find_misfit(find_layers(block), of, x, attn.window_size, kept)
    if obstacle is None:
        heads = attn.logit_scale.shape[0]
        plan = make_plan((x.shape[1], x.shape[2]), attn.window_size, shift_size, heads, block.convention)
    by_kernels = triton.is_asked_for(x)
    keeping, gradients = block.keeping or find_keeping(by_kernels), torch.is_grad_enabled()
    return Call(block, x, shift_size, kept, keeping, by_kernels, gradients, obstacle, of, plan, factors)


def compute_merge(merging: Merge, x: Tensor) -> Tensor:
    """Computes a merge in the first way that takes the call: (B, H, W, C) -> (B, H/2, W/2, 2 C)."""
    obstacle = find_obstacle(merging)
    if obstacle is None and torch.compiler.is_compiling():
        obstacle = "PyTorch compiles it"
    by_kernels, gradients = triton.is_asked_for(x), torch.is_grad_enabled()
    keeping = merging.keeping or find_keeping(by_kernels)
    call = MergeCall(merging, x, keeping, by_kernels, gradients, obstacle)
    return run_first(MERGE_WAYS, call, merging)


# Why a way does not take a call of a block.


def _refuse_c_inference(call: Call) -> str | None:
    return refuse_without_gradients(call) or _refuse_c(call)


def _refuse_c_training(call: Call) -> str | None:
    return refuse_with_gradients(call, "most") or _refuse_c(call)


def _refuse_c(call: Call) -> str | None:
    found = refuse_c(call)
    if found is not None or call.factors is None or c.takes(call.x, call.factors):
        return found
    return f"logit_scale is {call.factors.dtype} on {call.factors.device}, C reads float32 on a CPU"


def _refuse_part(call: Call) -> str | None:
    return refuse_with_gradients(call, "little") or call.obstacle


def _refuse_halves(call: Call) -> str | None:
    return refuse_with_gradients(call, "halves") or call.obstacle


def _refuse_fused_attention(call: Call) -> str | None:
    return call.obstacle


def _refuse_nothing(_: Call | MergeCall) -> None:
    return None


# The ways of a block.


def compute_in_halves(call: Call) -> Tensor:
    """Computes a block that keeps the inputs of its two halves, and computes the halves again in backward."""
    attended = checkpoint(_compute_attention_half, call, use_reentrant=False)
    x = call.x + drop_path(attended, call.kept[0])
    return x + drop_path(checkpoint(_compute_mlp_half, call.block, x, use_reentrant=False), call.kept[1])


def compute_in_part(call: Call) -> Tensor:
    """Computes a block by its own layers around the fused attention, and the MLP's half again in backward."""
    x = call.x + drop_path(_compute_attention_half(call), call.kept[0])
    return x + drop_path(checkpoint(_compute_mlp_half, call.block, x, use_reentrant=False), call.kept[1])


def compute_by_layers(call: Call) -> Tensor:
    """Computes a block by its own layers around the fused attention; each layer keeps what it needs."""
    x = call.x + drop_path(_compute_attention_half(call), call.kept[0])
    return x + drop_path(_compute_mlp_half(call.block, x), call.kept[1])


def _compute_attention_half(call: Call) -> Tensor:
    block: BlockV2 = call.block
    of, given = call.of, (call.plan, block.convention)
    if of is None or call.factors is None:  # nothing is computed from the weights beforehand
        return block.norm1(attend(call.x, block.attn, *given))
    return block.norm1(_attend_with(call.x, block.attn, of.qkv_bias, of.table, call.factors, *given))


def _compute_mlp_half(block: BlockV2, x: Tensor) -> Tensor:
    return block.norm2(block.mlp(x))


def attend(x: Tensor, attn: CosineAttention, plan: Plan, convention: Convention) -> Tensor:
    """Returns the (S)W-MSA of tokens by the fused attention: (B, H, W, C) -> same."""
    bias = functional_v2.join_biases(attn.q_bias, attn.v_bias)
    return _attend_with(x, attn, bias, attn.compute_table(), attn.find_factors(), plan, convention)


def _attend_with(
    x: Tensor,
    attn: CosineAttention,
    bias: Tensor | None,
    table: Tensor,
    factors: Tensor,
    plan: Plan,
    convention: Convention,
) -> Tensor:
    """Returns the (S)W-MSA of tokens by what was computed from the attention's weights."""
    qkv = linear(x, attn.qkv.weight, bias)
    return attn.proj(cosines.attend(qkv, table, bias, factors, plan, convention.mask_value))


def shifted_cosine_window_attention(
    x: Tensor,
    attn: CosineAttention,
    window_size: Size,
    shift_size: Size,
    convention: Convention = CANONICAL,
) -> Tensor:
    """Returns the whole (S)W-MSA of Swin V2: (B, H, W, C) -> same.

    Errors: ``ValueError`` for a shift outside 0 <= shift < window, or a grid that the convention rejects.
    """
    heads = attn.logit_scale.shape[0]
    plan = make_plan((x.shape[1], x.shape[2]), window_size, shift_size, heads, convention)
    return attend(x, attn, plan, convention)


WAYS = (
    Way(
        "C",
        _refuse_c_inference,
        lambda call: cpu_inference_v2.forward(call.block, call.of, call.factors, call.x, call.plan),
    ),
    Way(
        "C, with gradients",
        _refuse_c_training,
        lambda call: cpu_training_v2.forward(call.block, call.of, call.factors, call.x, call.plan, call.kept),
    ),
    Way("fused attention, the MLP computed again in backward", _refuse_part, compute_in_part),
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


def _refuse_merge_by_c(call: MergeCall) -> str | None:
    if call.obstacle is not None:
        return call.obstacle
    if call.gradients:
        return "gradients are recorded"
    if call.by_kernels:
        return "x is on a GPU, or TRITON_INTERPRET is 1"
    if torch.is_autocast_enabled(call.x.device.type):
        return "autocast chooses the types of its layers"
    return cpu_inference_v2.find_refusal_of_merge(call.merging, call.merged)


MERGE_WAYS = (
    Way("C", _refuse_merge_by_c, lambda call: cpu_inference_v2.merge(call.merging, call.merged)),
    Way("plain operations", _refuse_nothing, lambda call: plain_merge(call.merging, call.merged)),
)
"""The ways of computing a merge, in the order in which they are asked: functions of a `MergeCall`."""
