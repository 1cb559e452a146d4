"""Window attention and linear layers as Triton kernels; Triton is imported at the first launch."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

from swin_torch.geometry.plan import Plan

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
    from swin_torch.backends.triton import launch

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
    from swin_torch.backends.triton import launch

    return launch.backward(gradient, qkv, bias_table, pad_qkv, plan, scale, mask_value)


def lie_plainly(x: Tensor, *others: Tensor) -> bool:
    """Whether kernels may read these: one after the other in the memory of x's device, and of its type."""
    device, dtype = x.device, x.dtype
    return dtype in DTYPES and all(
        one.dtype == dtype and one.device == device and is_dense(one) for one in (x, *others)
    )


def is_dense(x: Tensor) -> bool:
    """Whether the numbers lie one after the other in memory, with their own signs."""
    return x.layout == torch.strided and x.is_contiguous() and not x.is_neg()


def takes_rows(x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, ahead: Tensor | None = None) -> bool:
    """Whether the kernel of `add_norm` takes these: two grids of tokens, and what has a number a channel."""
    vectors = (gain, shift) if ahead is None else (gain, shift, ahead)
    if not x.dim() or branch.shape != x.shape or x.shape[-1] > LARGEST_ROW:
        return False
    fit = all(one is not None and one.shape == x.shape[-1:] for one in vectors)
    return fit and lie_plainly(x, branch, *vectors) and _missing(x.device) is None


def launch_add_norm(
    x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, eps: float, ahead: Tensor | None
) -> tuple[Tensor, Tensor]:
    """x + branch (+ ahead), and LayerNorm(x + branch), of what `takes_rows` takes: (..., C) twice."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.add_norm(x, branch, gain, shift, eps, ahead)


def takes_block(x: Tensor, *parameters: Tensor) -> bool:
    """Whether `launch_linear` takes the layers of a block, without gradients; their shapes go together."""
    return asked_for(x) and lie_plainly(x, *parameters) and _pays(x, x) and _missing(x.device) is None


def takes_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: Norm | None = None, onto: Tensor | None = None
) -> bool:
    """Whether this call of `linear` is one for the kernels: what fits each other, and types they compute in.

    Under autocast the tokens may be of another type than the weight.
    """
    if not asked_for(x) or weight is None or weight.dim() != 2 or not weight.numel() or not x.dim():
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
    return mixed and _pays(x, weight) and _missing(x.device) is None


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernel may be faster: float32 unrounded no tensor core multiplies, as the library does."""
    exact = weight.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32"
    return not (exact and x.is_cuda)


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm: Norm | None = None,
    gelu: bool = False,
    onto: Tensor | None = None,
) -> Tensor:
    """onto + gelu(norm(x) weight^T + bias): (..., C) -> (..., K), in one launch where `takes_linear` says so.

    >>> linear(torch.ones(1, 2), torch.ones(3, 2), None, onto=torch.ones(1, 3))
    tensor([[3., 3., 3.]])
    """
    if takes_linear(x, weight, bias, norm, onto):
        return launch_linear(x, weight, bias, norm, gelu, onto)
    normed = x if norm is None else functional.layer_norm(x, x.shape[-1:], *norm)
    found = functional.linear(normed, weight, bias)
    found = functional.gelu(found) if gelu else found
    return found if onto is None else onto + found


def launch_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    norm: Norm | None = None,
    gelu: bool = False,
    onto: Tensor | None = None,
) -> Tensor:
    """`linear` of what `takes_linear` takes."""
    from swin_torch.backends.triton import launch_rows

    return launch_rows.linear(x, weight, bias, norm, gelu, onto)
