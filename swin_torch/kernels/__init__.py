"""Window attention and linear layers as Triton kernels; Triton is imported at the first launch."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from swin_torch.plan import Plan

LARGEST_HEAD = 128
LARGEST_ROW = 8192
Norm = tuple[Tensor, Tensor, float]
"""A LayerNorm's weight, bias and epsilon."""

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def asked_for(qkv: Tensor) -> bool:
    """Whether this call is one for the kernels: on a GPU, or anywhere under Triton's interpreter.

    >>> asked_for(torch.zeros(1))
    False
    """
    return qkv.is_cuda or (os.environ.get("TRITON_INTERPRET") == "1" and qkv.device.type == "cpu")


def lacking(qkv: Tensor, plan: Plan) -> str | None:
    """What keeps the kernels from taking this call, None if nothing does.

    >>> lacking(torch.zeros(1, 1, 1, 3, dtype=torch.float64), Plan((1, 1), (1, 1), (1, 1), (0, 0), 1, False))
    'they compute in float16, bfloat16 and float32, got torch.float64'
    """
    if qkv.dtype not in DTYPES:
        return f"they compute in float16, bfloat16 and float32, got {qkv.dtype}"
    head_dim = qkv.shape[3] // 3 // plan.heads
    if head_dim > LARGEST_HEAD:
        return f"they take up to {LARGEST_HEAD} channels a head, got {head_dim}"
    return _missing(qkv.device)


@cache
def _missing(device: torch.device) -> str | None:
    """What the kernels miss on a device: looked for once, for it takes as long as a launch."""
    if find_spec("triton") is None:
        return "triton is not installed"
    if device.type == "cuda" and (torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0)):
        return "they are made for NVIDIA GPUs of compute capability 8.0 and above"
    return None


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """The attended grid: (B, H, W, 3 C) -> (B, H, W, C)."""
    from swin_torch.kernels import launch

    return launch.forward(qkv, bias_table, pad_qkv, plan, scale, mask_value)


def backward(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of qkv, of the bias table, and of the padding's qkv (3 C)."""
    from swin_torch.kernels import launch

    return launch.backward(gradient, qkv, bias_table, pad_qkv, plan, scale, mask_value)


def takes_rows(x: Tensor, *others: Tensor) -> bool:
    """Whether the kernel of `add_norm` takes these: contiguous tokens of one type, which it computes in."""
    alike = all(other.dtype == x.dtype and other.is_contiguous() for other in (x, *others))
    return alike and x.dtype in DTYPES and x.shape[-1] <= LARGEST_ROW and _missing(x.device) is None


def add_norm(
    x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, eps: float, ahead: Tensor | None
) -> tuple[Tensor, Tensor]:
    """x + branch (+ ahead), and LayerNorm(x + branch): (..., C) twice."""
    from swin_torch.kernels import launch_rows

    return launch_rows.add_norm(x, branch, gain, shift, eps, ahead)


def takes_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: Norm | None = None, onto: Tensor | None = None
) -> bool:
    """Whether this call of `linear` is one for the kernels: contiguous, and of types that they compute in.

    With a norm the tokens may be of another type than the weight.  float32 unrounded no tensor core
    multiplies: there the library's product is as fast as any.
    """
    given = [one for one in (x, weight, bias, onto) if one is not None] + list((norm or ())[:2])
    plain = all(one is not None and one.dtype in DTYPES and one.is_contiguous() for one in given)
    exact = weight.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32"
    alike = norm is not None or x.dtype == weight.dtype
    return asked_for(x) and plain and alike and not (exact and x.is_cuda) and _missing(x.device) is None


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm: Norm | None = None,
    gelu: bool = False,
    onto: Tensor | None = None,
) -> Tensor:
    """onto + gelu(norm(x) weight^T + bias) in one launch: (..., C) -> (..., K)."""
    from swin_torch.kernels import launch_rows

    return launch_rows.linear(x, weight, bias, norm, gelu, onto)
