"""Fused (shifted) window attention of Swin V2: one operator from qkv to the attended grid.

It is the operator of Swin (`swin_torch.attention.operator`), whose queries and keys are given length 1 first,
the queries times the factor of their head: q k^T is then the factor times the cosine.  Backward keeps qkv
alone, and computes the rest again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swin_torch.attention import operator
from swin_torch.backends import triton
from swin_torch.backends.c import cosines as c
from swin_torch.backends.c.scratch import take_scratch
from swin_torch.geometry import functional_v2
from swin_torch.geometry.plan import Plan

FORWARD = "swin_torch::shifted_window_cosine_attention"
BACKWARD = "swin_torch::shifted_window_cosine_attention_backward"


def attend(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, factors: Tensor, plan: Plan, mask_value: float
) -> Tensor:
    """Returns softmax(factor cos(q, k) + bias + mask) v of every head in every window of a plan.

    A vector shorter than 1e-12 is divided by 1e-12 in place of its length.  The rest is as in
    `shifted_window_attention_core`.  Gradients reach all four tensors, the same on every run.

    Shapes: qkv (B, H, W, 3 C), bias_table ((2 Mh - 1)(2 Mw - 1), heads), pad_qkv (3 C), factors (heads)
    -> (B, H, W, C).

    Source: Liu et al. 2022, equation 2.
    """
    return torch.ops.swin_torch.shifted_window_cosine_attention.default(
        qkv,
        bias_table,
        pad_qkv,
        factors,
        plan.heads,
        plan.window,
        plan.shift,
        plan.padded,
        plan.roll_first,
        mask_value,
    )


def turn(qkv: Tensor, factors: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns qkv with queries and keys of length 1, queries times their factor, without a gradient.

    It may be written to ``out``, which may be qkv.

    Shapes: (..., 3 C), factors (heads) -> (..., 3 C).
    """
    if triton.takes_cosines(qkv, factors):
        return triton.launch_turn(qkv, factors)
    if c.takes(qkv, factors):
        return c.turn(qkv, factors, torch.empty_like(qkv) if out is None else out)
    return functional_v2.turn_to_cosines(qkv, factors)


def turn_backward(gradient: Tensor, qkv: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of qkv and of the factors from that of `turn`; it may overwrite ``gradient``.

    >>> qkv = torch.tensor([3.0, 4.0, 0.0, 2.0, 0.0, 0.0])
    >>> turn_backward(torch.ones(6), qkv, torch.ones(1))
    (tensor([ 0.0320, -0.0240,  0.5000,  0.0000,  1.0000,  1.0000]), tensor([1.4000]))
    """
    if triton.takes_cosines(qkv, factors, gradient):
        return triton.launch_turn_backward(gradient, qkv, factors)
    if c.takes(qkv, factors, gradient):
        return gradient, c.turn_backward(gradient, qkv, factors)
    wide, heads = torch.promote_types(qkv.dtype, torch.float32), factors.shape[0]
    q_and_k = qkv.unflatten(-1, (3, heads, -1))[..., :2, :, :].to(wide)
    of_both, of_v = gradient.unflatten(-1, (3, heads, -1)).split([2, 1], -3)
    of_both = of_both.to(wide)
    inverse = functional_v2.find_inverse_lengths(q_and_k, qkv.dtype)
    units = q_and_k * inverse
    along = (units * of_both).sum(-1, keepdim=True)
    by = torch.stack([factors.to(wide), torch.ones_like(factors, dtype=wide)])[..., None]
    is_long = inverse < 1 / functional_v2.SMALLEST_LENGTH
    of_both = (of_both - units * (along * is_long)) * (by * inverse)
    of_qkv = torch.cat([of_both.to(gradient.dtype), of_v], -3).flatten(-3)
    return of_qkv, along[..., 0, :, 0].reshape(-1, heads).sum(0).to(factors.dtype)


SIZES = (
    "SymInt num_heads, SymInt[] window, SymInt[] shift, SymInt[] padded, bool roll_first, float mask_value"
)

for _name, _results in (
    (FORWARD, "Tensor"),
    (BACKWARD, "(Tensor, Tensor, Tensor, Tensor)"),
):
    _tensors = "Tensor qkv, Tensor bias_table, Tensor? pad_qkv, Tensor factors"
    _given = _tensors if _name == FORWARD else f"Tensor gradient, {_tensors}"
    torch.library.define(_name, f"({_given}, {SIZES}) -> {_results}", tags=torch.Tag.pt2_compliant_tag)


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, factors: Tensor, num_heads: int, *sizes: Any
) -> Tensor:
    """Computes the operator of `attend`, of any tensors and sizes."""
    _check_factors(factors, num_heads, qkv)
    turned, pad = _turn_all(qkv, pad_qkv, factors)
    return operator.forward(turned, bias_table, pad, num_heads, *_insert_scale(sizes))


def backward(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    factors: Tensor,
    num_heads: int,
    *sizes: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Computes the gradients of qkv, the bias table, the padding's qkv and the factors from the output's."""
    _check_factors(factors, num_heads, qkv)
    turned, pad = _turn_all(qkv, pad_qkv, factors)
    of_turned, of_table, of_pad = operator.backward(
        gradient, turned, bias_table, pad, num_heads, *_insert_scale(sizes)
    )
    of_qkv, of_factors = turn_backward(of_turned, qkv.contiguous(), factors)
    if pad_qkv is not None:
        of_pad, more = turn_backward(of_pad, pad_qkv.to(qkv.dtype).to(of_pad.dtype), factors)
        of_factors = of_factors + more
    return of_qkv, of_table, of_pad, of_factors


def _turn_all(qkv: Tensor, pad_qkv: Tensor | None, factors: Tensor) -> tuple[Tensor, Tensor | None]:
    operator.check_qkv(qkv, len(factors))
    qkv = qkv.contiguous()
    by_c = qkv.dtype == torch.float32 and c.takes(qkv, factors) and not triton.is_asked_for(qkv)
    turned = turn(qkv, factors, take_scratch("cosines", *qkv.shape) if by_c else None)
    return turned, None if pad_qkv is None else turn(pad_qkv.to(qkv.dtype).contiguous(), factors)


def _insert_scale(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the sizes of the operator of Swin, whose scale of q k^T is 1 here."""
    return *sizes[:-1], 1.0, sizes[-1]


def _check_factors(factors: Tensor, num_heads: int, qkv: Tensor) -> None:
    if factors.shape != (num_heads,) or factors.device != qkv.device:
        raise ValueError(
            f"the cosines have a factor for each head on the device of qkv, got {tuple(factors.shape)} on "
            f"{factors.device} for {num_heads} heads on {qkv.device}: give each head one"
        )


def _make_forward_shape(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, factors: Tensor, num_heads: int, *sizes: Any
) -> Tensor:
    _check_factors(factors, num_heads, qkv)
    return operator.make_forward_shape(qkv, bias_table, pad_qkv, num_heads, *sizes)


def _make_backward_shapes(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    factors: Tensor,
    num_heads: int,
    *sizes: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_factors(factors, num_heads, qkv)
    found = operator.make_backward_shapes(gradient, qkv, bias_table, pad_qkv, num_heads, *sizes)
    return *found, torch.empty_like(factors)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 -- PyTorch's names
    ctx.save_for_backward(*inputs[:4])
    ctx.sizes = inputs[4:]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    qkv, bias_table, pad_qkv, factors = ctx.saved_tensors
    differentiate = torch.ops.swin_torch.shifted_window_cosine_attention_backward.default
    of_qkv, of_table, of_pad, of_factors = differentiate(
        gradient, qkv, bias_table, pad_qkv, factors, *ctx.sizes
    )
    of_pad = None if pad_qkv is None else of_pad.to(pad_qkv.dtype)
    return of_qkv, of_table, of_pad, of_factors, *(None for _ in ctx.sizes)


torch.library.impl(FORWARD, "CompositeExplicitAutograd", forward)
torch.library.impl(BACKWARD, "CompositeExplicitAutograd", backward)
torch.library.register_fake(FORWARD, _make_forward_shape)
torch.library.register_fake(BACKWARD, _make_backward_shapes)
torch.library.register_autograd(FORWARD, _differentiate, setup_context=_keep)
