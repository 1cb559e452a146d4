"""Window attention, linear layers and residual norms as Triton kernels; the first launch imports Triton."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from swin_torch.geometry.plan import Plan

LARGEST_HEAD = 128
LARGEST_ROW = 8192
Norm = tuple[Tensor, Tensor, float]
"""A LayerNorm's weight, bias and epsilon."""

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def is_asked_for(qkv: Tensor) -> bool:
    """Returns whether the tensor is on a GPU, or on a CPU under Triton's interpreter.

    >>> is_asked_for(torch.zeros(1))
    False
    """
    return qkv.is_cuda or (os.environ.get("TRITON_INTERPRET") == "1" and qkv.device.type == "cpu")


def explain_lack(qkv: Tensor, plan: Plan) -> str | None:
    """Returns why the kernels cannot take this call, None if they can.

    >>> one = 1, 1
    >>> explain_lack(torch.zeros(1, 1, 1, 3, dtype=torch.float64), Plan(one, one, one, (0, 0), 1, False))
    'they compute in float16, bfloat16 and float32, got torch.float64'
    """
    if qkv.dtype not in DTYPES:
        return f"they compute in float16, bfloat16 and float32, got {qkv.dtype}"
    head_dim = qkv.shape[3] // 3 // plan.heads
    if head_dim > LARGEST_HEAD:
        return f"they take up to {LARGEST_HEAD} channels a head, got {head_dim}"
    return _explain_missing(qkv.device)


@cache
def _explain_missing(device: torch.device) -> str | None:
    """Returns why no kernel runs on a device, None if one does; to find out takes as long as a launch."""
    if find_spec("triton") is None:
        return "triton is not installed"
    if device.type == "cuda" and (torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0)):
        return "they are made for NVIDIA GPUs of compute capability 8.0 and above"
    return None


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """Returns the attended grid: (B, H, W, 3 C) -> (B, H, W, C)."""
    from swin_torch.backends.triton import launch

    return launch.forward(qkv, bias_table, pad_qkv, plan, scale, mask_value)


def backward(
    d_out: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of qkv, of the bias table, and of the padding's qkv (3 C)."""
    from swin_torch.backends.triton import launch

    return launch.backward(d_out, qkv, bias_table, pad_qkv, plan, scale, mask_value)


def lie_plainly(x: Tensor, *others: Tensor) -> bool:
    """Returns whether the kernels can read these tensors: contiguous, on x's device and of its type."""
    return all(one.dtype == x.dtype for one in others) and lie_densely(x, *others)


def lie_densely(x: Tensor, *others: Tensor) -> bool:
    """Returns whether the kernels can read these tensors, each by its own type."""
    device = x.device
    return all(one.dtype in DTYPES and one.device == device and is_dense(one) for one in (x, *others))


def is_dense(x: Tensor) -> bool:
    """Returns whether the tensor is contiguous in memory, and no negated view."""
    return x.layout == torch.strided and x.is_contiguous() and not x.is_neg()


def takes_rows(x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, ahead: Tensor | None = None) -> bool:
    """Returns whether `launch_add_norm` takes these: x and branch (..., C), the others (C)."""
    vectors = (gain, shift) if ahead is None else (gain, shift, ahead)
    if not x.dim() or branch.shape != x.shape or x.shape[-1] > LARGEST_ROW:
        return False
    fit = all(one is not None and one.shape == x.shape[-1:] for one in vectors)
    return fit and lie_densely(x, branch, *vectors) and _explain_missing(x.device) is None


def takes_norm(x: Tensor, gain: Tensor | None, shift: Tensor | None) -> bool:
    """Returns whether `launch_norm` takes these: x (..., C), and the norm's parameters (C)."""
    return x.dim() > 0 and _takes_row(x.shape[-1], x, gain, shift)


def takes_merge_norm(x: Tensor, gain: Tensor | None, shift: Tensor | None) -> bool:
    """Returns whether `launch_merge_norm` takes these: x (B, H, W, C), and the norm's parameters (4 C)."""
    return x.dim() == 4 and _takes_row(4 * x.shape[-1], x, gain, shift)


def _takes_row(channels: int, x: Tensor, gain: Tensor | None, shift: Tensor | None) -> bool:
    """Returns whether a norm over so many channels takes x and its parameters."""
    if gain is None or shift is None or channels > LARGEST_ROW:
        return False
    fit = gain.shape == shift.shape == (channels,)
    return fit and lie_densely(x, gain, shift) and _explain_missing(x.device) is None


def takes_cosines(qkv: Tensor, factors: Tensor, *others: Tensor) -> bool:
    """Returns whether `launch_turn` and its backward take these: tensors (..., 3 C), factors (heads)."""
    if not is_asked_for(qkv) or factors.dtype != torch.float32:
        return False
    fit = qkv.shape[-1] // 3 // len(factors) <= LARGEST_HEAD
    return fit and lie_densely(qkv, factors, *others) and _explain_missing(qkv.device) is None


def launch_turn(qkv: Tensor, factors: Tensor) -> Tensor:
    """Returns qkv with queries and keys of length 1, queries times their head's factor."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.turn(qkv, factors)


def launch_turn_backward(gradient: Tensor, qkv: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of qkv and of the factors from that of what `launch_turn` returns."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.turn_backward(gradient, qkv, factors)


def launch_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Returns LayerNorm(x) in a type, (..., C), for what `takes_norm` takes."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.norm(x, gain, shift, eps, dtype)


def launch_merge_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Returns LayerNorm of 2x2 tokens side by side, for what `takes_merge_norm` takes.

    Shapes: (B, H, W, C), gain and shift (4 C) -> (B, ceil(H/2), ceil(W/2), 4 C).
    """
    from swin_torch.backends.triton import launch_rows

    return launch_rows.merge_norm(x, gain, shift, eps)


def launch_norm_backward(
    gradient: Tensor, x: Tensor, gain: Tensor, eps: float, onto: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of a LayerNorm's input (..., C), plus onto, and of its weight and bias (C)."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.norm_backward(gradient, x, gain, eps, onto)


def launch_add_norm(
    x: Tensor,
    branch: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    ahead: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Returns x + branch (+ ahead), and LayerNorm(x + branch) in a type, for what `takes_rows` takes.

    Shapes: (..., C) twice, the vectors (C) -> (..., C) twice.
    """
    from swin_torch.backends.triton import launch_rows

    return launch_rows.add_norm(x, branch, gain, shift, eps, ahead, dtype)


def takes_pass(x: Tensor, *others: Tensor) -> bool:
    """Returns whether `launch_narrow` and `launch_gelu_backward` take these tensors."""
    return (
        is_asked_for(x) and x.numel() > 0 and lie_densely(x, *others) and _explain_missing(x.device) is None
    )


def launch_narrow(x: Tensor, factor: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns factor x in a type, (B, ..., C), and its sums over all tokens (C); factor is (B)."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.narrow(x, factor, dtype)


def launch_gelu_backward(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gelu(x) and the gradient of x, (..., C) each, and the sums of that over all tokens (C)."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.gelu_backward(x, gradient)


def takes_block(x: Tensor, *parameters: Tensor) -> bool:
    """Returns whether `launch_linear` takes a block's layers, whose shapes fit each other, and is faster."""
    return (
        is_asked_for(x) and lie_plainly(x, *parameters) and _pays(x, x) and _explain_missing(x.device) is None
    )


def takes_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: Norm | None = None, onto: Tensor | None = None
) -> bool:
    """Returns whether `launch_linear` takes these tensors, and is faster than PyTorch.

    Under autocast the tokens may have another type than the weight.
    """
    if not is_asked_for(x) or weight is None or weight.dim() != 2 or not weight.numel() or not x.dim():
        return False
    (columns, channels), rows, (gain, shift, _) = weight.shape, x.shape[:-1], norm or (None, None, None)
    if norm is not None and (gain is None or shift is None):
        return False
    alike = True
    for one, shape in (
        (x, (*rows, channels)),
        (weight, (columns, channels)),
        (bias, (columns,)),
        (gain, (channels,)),
        (shift, (channels,)),
        (onto, (*rows, columns)),
    ):
        if one is not None:
            if one.shape != shape or one.dtype not in DTYPES or one.device != x.device or not is_dense(one):
                return False
            alike &= one.dtype == x.dtype
    mixed = alike or (norm is not None and torch.is_autocast_enabled(x.device.type))
    return mixed and _pays(x, weight) and _explain_missing(x.device) is None


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Returns whether the kernel can be faster than the library: not in float32, unless TF32 is allowed."""
    exact = weight.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32"
    return not (exact and x.is_cuda)


def launch_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm: Norm | None = None,
    gelu: bool = False,
    onto: Tensor | None = None,
) -> Tensor:
    """Returns onto + gelu(norm(x) weight^T + bias) in one launch, for what `takes_linear` takes.

    Shapes: (..., C), (K, C), (K), norm's weight and bias (C), onto (..., K) -> (..., K).
    """
    from swin_torch.backends.triton import launch_rows

    return launch_rows.linear(x, weight, bias, norm, gelu, onto)
