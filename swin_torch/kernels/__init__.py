"""Window attention and the norm after it as Triton kernels; Triton is imported at the first launch."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from swin_torch.plan import Plan

LARGEST_HEAD = 128
LARGEST_ROW = 8192
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
    if find_spec("triton") is None:
        return "triton is not installed"
    if qkv.is_cuda and (torch.version.hip or torch.cuda.get_device_capability(qkv.device) < (8, 0)):
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
    return alike and x.dtype in DTYPES and x.shape[-1] <= LARGEST_ROW and find_spec("triton") is not None


def add_norm(
    x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, eps: float, ahead: Tensor | None
) -> tuple[Tensor, Tensor]:
    """x + branch (+ ahead), and LayerNorm(x + branch): (..., C) twice."""
    from swin_torch.kernels import launch

    return launch.add_norm(x, branch, gain, shift, eps, ahead)
