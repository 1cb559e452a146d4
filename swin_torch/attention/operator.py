"""Fused (shifted) window attention: one operator from qkv to the attended grid, both in image order.

On a GPU it is Triton kernels (`swin_torch.backends.triton`), on a CPU in float32 and bfloat16 C
(`swin_torch.backends.c`), elsewhere PyTorch operations (`swin_torch.backends.torch_ops`).
Backward computes the attention again: it keeps qkv, the bias table and the qkv of padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from swin_torch.backends import c, torch_ops, triton
from swin_torch.backends.slower import say_once
from swin_torch.geometry.plan import Plan
from swin_torch.geometry.sizes import Size, check_shift, check_window, find_missing, pair

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def shifted_window_attention_core(
    qkv: Tensor,
    bias_table: Tensor,
    num_heads: int,
    window_size: Size,
    shift_size: Size = 0,
    *,
    qk_scale: float | None = None,
    pad_qkv: Tensor | None = None,
    padded_size: Size | None = None,
    roll_first: bool = False,
    mask_value: float = -math.inf,
) -> Tensor:
    """Returns the attention of every head in every (shifted) window: softmax(scale q k^T + bias + mask) v.

    The grid is padded at the bottom and right up to ``padded_size``, the next multiple of the window unless
    given, and then rolled by -shift; with ``roll_first`` it is rolled, then padded.  Padded tokens take part
    as keys with the qkv ``pad_qkv``, zeros if None.  ``mask_value`` is added where the roll carried one of
    two tokens around an edge of the padded grid and not the other.  ``scale`` is head_dim^-1/2 unless
    ``qk_scale`` says otherwise.  Logits, softmax and sums are float32, or float64 for float64.

    Shapes: qkv (B, H, W, 3 C), laid out as (q, k, v), then heads; bias_table ((2 Mh - 1)(2 Mw - 1), heads);
    pad_qkv (3 C) -> (B, H, W, C).  Gradients reach qkv, bias_table and pad_qkv, the same on every run.

    Errors: ``ValueError`` for shapes, sizes or types that do not fit each other.

    Source: Liu et al. 2021, eq. 4 and section 3.2.

    >>> qkv = torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 4.0, 0.0, 0.0, 8.0]).view(1, 1, 3, 3)
    >>> shifted_window_attention_core(qkv, torch.zeros(3, 1), 1, (1, 2)).flatten()
    tensor([3., 3., 4.])
    """
    window, shift = check_window(window_size), check_shift(shift_size, window_size)
    check_qkv(qkv, num_heads)
    grid = qkv.shape[1], qkv.shape[2]
    plan = Plan(grid, _check_padded(grid, window, padded_size), window, shift, num_heads, roll_first)
    return attend(qkv, bias_table, pad_qkv, plan, find_scale(qkv.shape[3], num_heads, qk_scale), mask_value)


def attend(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """Returns the attention of `shifted_window_attention_core` by a plan, whose sizes the operator checks."""
    sizes = _list_sizes(plan, scale, mask_value)
    return torch.ops.swin_torch.shifted_window_attention.default(qkv, bias_table, pad_qkv, *sizes)


def differentiate(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of qkv, of the bias table and of the padding's qkv (3 C) of `attend`."""
    backward = torch.ops.swin_torch.shifted_window_attention_backward.default
    return backward(gradient, qkv, bias_table, pad_qkv, *_list_sizes(plan, scale, mask_value))


def _list_sizes(plan: Plan, scale: float, mask_value: float) -> tuple[Any, ...]:
    """Returns the arguments of the operators beside tensors, in the order of `SIZES`."""
    return plan.heads, plan.window, plan.shift, plan.padded, plan.roll_first, scale, mask_value


def find_scale(channels: int, num_heads: int, qk_scale: float | None) -> float:
    """Returns the factor of q k^T for the 3 C channels of qkv: head_dim^-1/2 unless ``qk_scale`` is given.

    >>> find_scale(24, 2, None), find_scale(24, 2, 1)
    (0.5, 1.0)
    """
    return (channels // 3 // num_heads) ** -0.5 if qk_scale is None else float(qk_scale)


SIZES = (
    "SymInt num_heads, SymInt[] window, SymInt[] shift, SymInt[] padded, bool roll_first, float scale, "
    "float mask_value"
)
FORWARD, BACKWARD = "swin_torch::shifted_window_attention", "swin_torch::shifted_window_attention_backward"

# `torch.library.custom_op` would do the same, but it adds 40 us to each call and imports the compiler.
torch.library.define(
    FORWARD,
    f"(Tensor qkv, Tensor bias_table, Tensor? pad_qkv, {SIZES}) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    BACKWARD,
    f"(Tensor gradient, Tensor qkv, Tensor bias_table, Tensor? pad_qkv, {SIZES}) -> (Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


def forward(
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    num_heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    padded: Sequence[int],
    roll_first: bool,
    scale: float,
    mask_value: float,
) -> Tensor:
    """Computes the operator: the attention of `shifted_window_attention_core`, of any tensors and sizes."""
    _check_tensors(qkv, bias_table, pad_qkv, num_heads, window)
    plan = _make_checked_plan(qkv.shape[1:3], num_heads, (*window,), (*shift,), (*padded,), roll_first)
    if not mask_value < 0:
        raise ValueError(f"a mask lowers logits, got mask_value {mask_value}: use -inf, or -100 as some do")
    if not qkv.numel():
        return _make_empty_out(qkv)
    chosen = triton if _goes_by_kernels(qkv, plan) else c if c.takes(qkv, plan) else torch_ops
    return chosen.forward(qkv.contiguous(), bias_table, pad_qkv, plan, scale, mask_value)


def backward(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    num_heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    padded: Sequence[int],
    roll_first: bool,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the gradients of qkv, of the bias table and of the padding's qkv from the output's."""
    _check_tensors(qkv, bias_table, pad_qkv, num_heads, window)
    _check_gradient(gradient, qkv)
    plan = _make_checked_plan(qkv.shape[1:3], num_heads, (*window,), (*shift,), (*padded,), roll_first)
    if not qkv.numel():
        of_qkv, of_table, of_pad = _make_empty_gradients(qkv, bias_table)
        return of_qkv, of_table.zero_(), of_pad.zero_()
    chosen = triton if _goes_by_kernels(qkv, plan) else c if c.takes(qkv, plan) else torch_ops
    qkv, gradient = qkv.contiguous(), gradient.contiguous()
    return chosen.backward(gradient, qkv, bias_table, pad_qkv, plan, scale, mask_value)


def make_forward_shape(
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    num_heads: int,
    window: Sequence[int],
    *_: Any,
) -> Tensor:
    """Returns a tensor of the shape of what `forward` returns."""
    _check_tensors(qkv, bias_table, pad_qkv, num_heads, window)
    return _make_empty_out(qkv)


def _make_empty_out(qkv: Tensor) -> Tensor:
    batch, height, width, channels = qkv.shape
    return qkv.new_empty(batch, height, width, channels // 3)


def make_backward_shapes(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    num_heads: int,
    window: Sequence[int],
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns tensors of the shapes of what `backward` returns."""
    _check_tensors(qkv, bias_table, pad_qkv, num_heads, window)
    _check_gradient(gradient, qkv)
    return _make_empty_gradients(qkv, bias_table)


def _make_empty_gradients(qkv: Tensor, bias_table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    of_pad = qkv.new_empty(qkv.shape[3], dtype=torch.promote_types(qkv.dtype, torch.float32))
    return qkv.new_empty(qkv.shape), bias_table.new_empty(bias_table.shape), of_pad


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 -- PyTorch's names
    ctx.save_for_backward(*inputs[:3])
    ctx.sizes = inputs[3:]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    qkv, bias_table, pad_qkv = ctx.saved_tensors
    differentiate = torch.ops.swin_torch.shifted_window_attention_backward.default
    of_qkv, of_table, of_pad = differentiate(gradient, qkv, bias_table, pad_qkv, *ctx.sizes)
    of_pad = None if pad_qkv is None else of_pad.to(pad_qkv.dtype)
    return of_qkv, of_table, of_pad, *(None for _ in ctx.sizes)


torch.library.impl(FORWARD, "CompositeExplicitAutograd", forward)
torch.library.impl(BACKWARD, "CompositeExplicitAutograd", backward)
torch.library.register_fake(FORWARD, make_forward_shape)
torch.library.register_fake(BACKWARD, make_backward_shapes)
torch.library.register_autograd(FORWARD, _differentiate, setup_context=_keep)


@lru_cache(maxsize=256)
def _make_checked_plan(
    grid: tuple[int, int],
    heads: int,
    window: tuple[int, int],
    shift: tuple[int, int],
    padded: tuple[int, int],
    roll_first: bool,
) -> Plan:
    """Returns the plan of a call of the operator, which anybody may call with any sizes."""
    check_shift(shift, window)
    return Plan((grid[0], grid[1]), _check_padded(grid, window, padded), window, shift, heads, roll_first)


def _goes_by_kernels(qkv: Tensor, plan: Plan) -> bool:
    """Tells whether the Triton kernels take this call; warns once where a call on a GPU has to do without."""
    if not triton.is_asked_for(qkv):
        return False
    lacking = triton.explain_lack(qkv, plan)
    if lacking is not None:
        say_once("its kernels", lacking)
    return lacking is None


def check_qkv(qkv: Tensor, num_heads: int) -> None:
    """Checks that qkv is a grid of tokens whose channels divide into heads."""
    if qkv.dim() != 4 or num_heads < 1 or not qkv.shape[3] or qkv.shape[3] % (3 * num_heads):
        raise ValueError(
            f"qkv is (B, H, W, 3 C) with C divisible by heads, got {tuple(qkv.shape)} and {num_heads} heads: "
            "project the grid's tokens to queries, keys and values first"
        )


def _check_tensors(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, num_heads: int, window: Sequence[int]
) -> None:
    """Checks what the kernels rely on, in the operators themselves: anybody may call these."""
    check_qkv(qkv, num_heads)
    if qkv.dtype not in DTYPES:
        raise ValueError(f"qkv is float16, bfloat16, float32 or float64, got {qkv.dtype}: convert it")
    rows = _count_table_rows((*window,))
    if bias_table.shape != (rows, num_heads):
        raise ValueError(
            f"the bias table has (2 Mh - 1)(2 Mw - 1) rows and a column a head, got "
            f"{tuple(bias_table.shape)} for window {window[0]}x{window[1]} and {num_heads} heads: "
            f"it needs {(rows, num_heads)}"
        )
    if pad_qkv is not None and pad_qkv.shape != qkv.shape[3:]:
        raise ValueError(
            f"pad_qkv is one token's qkv, got {tuple(pad_qkv.shape)} for {qkv.shape[3]} channels: "
            "give the bias of the qkv layer"
        )
    device, dense = qkv.device, torch.strided
    for one in (qkv, bias_table, bias_table if pad_qkv is None else pad_qkv):
        if one.dtype not in DTYPES or one.device != device or one.layout != dense:
            raise ValueError(
                f"qkv, bias table and pad_qkv are dense floats on one device, got {qkv.dtype} on {device}, "
                f"{one.dtype} on {one.device}, {one.layout}: move or convert them"
            )


@lru_cache(maxsize=64)
def _count_table_rows(window: tuple[int, ...]) -> int:
    """Returns the number of rows of the bias table of a window."""
    height, width = check_window(window)
    return (2 * height - 1) * (2 * width - 1)


def _check_gradient(gradient: Tensor, qkv: Tensor) -> None:
    """Checks the gradient of the output: hooks and direct calls may give another shape or type."""
    shape = (*qkv.shape[:3], qkv.shape[3] // 3)
    if gradient.shape != shape or gradient.dtype != qkv.dtype or gradient.device != qkv.device:
        raise RuntimeError(
            f"the output's gradient is {qkv.dtype} of shape {shape} on {qkv.device}, got {gradient.dtype} of "
            f"shape {tuple(gradient.shape)} on {gradient.device}: give backward what forward was given"
        )


def _check_padded(grid: Sequence[int], window: tuple[int, int], padded_size: Size | None) -> tuple[int, int]:
    height, width = grid
    if padded_size is None:
        bottom, right = find_missing(height, width, window)
        return height + bottom, width + right
    padded = pair(padded_size)
    if padded[0] < height or padded[1] < width or padded[0] % window[0] or padded[1] % window[1]:
        raise ValueError(
            f"a padded grid is whole windows and holds the grid, got {padded} for grid {(height, width)} and "
            f"window {window}: leave padded_size out for the next multiple"
        )
    return padded
