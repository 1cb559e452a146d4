"""(Shifted) window attention and its gradients in C, on a CPU (``attention.c``).

Tensors are float32 or bfloat16, arithmetic is in float32.  `swin_torch.backends.c.building` compiles the C
at the first call.  `swin_torch.geometry.plan` draws the four classes of windows.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from swin_torch.backends.c import threads
from swin_torch.backends.c.building import build_library
from swin_torch.backends.c.threads import count_parts, find_pointer, invoke_in_parallel
from swin_torch.geometry import functional
from swin_torch.geometry.plan import Plan, find_places

LARGEST_HEAD, LARGEST_WINDOW = 128, 256
DTYPES = torch.float32, torch.bfloat16


def takes(qkv: Tensor, plan: Plan) -> bool:
    """Returns whether the kernel takes this call, on a machine with a compiler."""
    if not qkv.is_cpu or qkv.dtype not in DTYPES or not qkv.numel():
        return False
    return fits(plan, qkv.shape[3] // 3 // plan.heads, qkv.dtype)


def fits(plan: Plan, head_dim: int, dtype: torch.dtype = torch.float32) -> bool:
    """Returns whether there is a kernel for windows and heads of this size."""
    small = head_dim <= LARGEST_HEAD and plan.tokens <= LARGEST_WINDOW
    return small and _load_kernel(_round_up(plan.tokens), _round_up(head_dim), dtype) is not None


def forward(
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
    out: Tensor | None = None,
) -> Tensor:
    """Writes the attended grid to ``out``, a new tensor by default: (B, H, W, 3 C) -> (B, H, W, C)."""
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3) if out is None else out
    call = _Call(qkv, bias_table, pad_qkv, plan, scale, mask_value)
    call.run("attend", out, parts=count_parts(call.windows))
    return out


def backward(
    d_out: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of qkv, of the bias table, and of the padding's qkv (3 C).

    The gradient of qkv is written to ``out``, a new tensor by default.
    """
    call = _Call(qkv, bias_table, pad_qkv, plan, scale, mask_value)
    d_qkv, parts = torch.empty_like(qkv) if out is None else out, count_parts(call.windows)
    d_bias = torch.zeros(parts, plan.heads, call.row_length, call.row_length)
    d_pad = torch.zeros(parts, qkv.shape[3])
    call.run("attend_backward", d_out, d_qkv, d_bias, d_pad, parts=parts)
    return d_qkv, call.sum_by_offset(d_bias).to(bias_table.dtype), d_pad.sum(0) if parts > 1 else d_pad[0]


class _Arguments(ctypes.Structure):
    """The fields of ``struct call`` in ``attention.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("tokens", "channels", "heads", "area", "windows")),
        *((name, ctypes.c_void_p) for name in ("qkv", "pad", "positions", "classes", "bias", "masks")),
        ("scale", ctypes.c_float),
    )


class _Call:
    """The arguments of a call of the kernel.  It holds the tensors that they point to."""

    def __init__(
        self,
        qkv: Tensor,
        bias_table: Tensor,
        pad_qkv: Tensor | None,
        plan: Plan,
        scale: float,
        mask_value: float,
    ) -> None:
        head_dim = qkv.shape[3] // 3 // plan.heads
        self.kernel = _load_kernel(_round_up(plan.tokens), _round_up(head_dim), qkv.dtype)
        self.row_length = self.kernel.row_length()
        self.windows = len(qkv) * prod(plan.counts)
        if not plan.is_padded:
            pad = qkv  # any tensor: it is not read
        elif pad_qkv is None:
            pad = qkv.new_zeros(qkv.shape[3])
        else:
            pad = pad_qkv.detach().to(qkv.dtype).contiguous()
        past_end = self.kernel.rows_past_end()
        positions, classes, masks, self.index = _describe_windows(plan, mask_value, self.row_length, past_end)
        bias = torch.empty(plan.heads * self.row_length + past_end, self.row_length)
        table, self.table_shape = bias_table.detach().float().contiguous(), bias_table.shape
        self.heads_and_tokens = ctypes.c_int64(plan.heads), ctypes.c_int64(plan.tokens)
        given = map(find_pointer, (table, self.index, bias))
        threads.invoke(self.kernel, "expand_bias", *given, *self.heads_and_tokens)
        self.tensors = qkv, pad, positions, classes, bias, masks
        sizes = plan.tokens, head_dim, plan.heads, prod(plan.grid), prod(plan.counts)
        self.reference = ctypes.byref(_Arguments(*sizes, *map(find_pointer, self.tensors), scale))

    def run(self, name: str, *tensors: Tensor, parts: int) -> None:
        """Calls a function of the kernel with these tensors, for all windows of the batch."""
        given = map(find_pointer, tensors)
        invoke_in_parallel(self.kernel, name, self.reference, *given, count=self.windows, parts=parts)

    def sum_by_offset(self, d_bias: Tensor) -> Tensor:
        """Returns the bias table's gradient, summed over d_bias (parts, heads, ...) in a fixed order."""
        d_table = torch.zeros(*self.table_shape)
        given = map(find_pointer, (d_bias, self.index, d_table))
        sizes = ctypes.c_int64(len(d_bias)), *self.heads_and_tokens
        threads.invoke(self.kernel, "expand_bias_backward", *given, *sizes)
        return d_table


@cache
def _load_kernel(tokens: int, head_dim: int, dtype: torch.dtype) -> Any:
    """Returns the kernel for windows and heads of up to these sizes; None if it cannot be compiled."""
    return build_library(
        "attention.c", TOKENS=tokens, CHANNELS=head_dim, BFLOAT16=int(dtype == torch.bfloat16)
    )


def _round_up(size: int) -> int:
    """Returns the next multiple of 8, the lanes of most vectors: one kernel for all sizes up to it."""
    return -(-size // 8) * 8


@lru_cache(maxsize=64)
def _describe_windows(
    plan: Plan, mask_value: float, row_length: int, past_end: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the tokens' positions, the windows' classes, the masks, and each pair's row of the bias table.

    A position is -1 for padding, a class -1 for windows without a mask.  The last ``past_end`` rows of the
    masks are read by the kernel, but change nothing.

    Shapes: (windows, N), (windows), (classes row_length + past_end, row_length), (N, N).
    """
    found = find_places(plan, torch.device("cpu"))
    positions = [
        inside if padding is None else inside.masked_fill(padding, -1) for inside, padding, _ in found
    ]
    numbers = [-1 if torn is None else number for number, (_, _, torn) in enumerate(found)]
    classes = [torch.full((len(one[0]),), number) for number, one in zip(numbers, found, strict=True)]
    masks = torch.zeros(len(found) * row_length + past_end, row_length)
    for mask, (_, _, torn) in zip(masks[:-past_end].view(-1, row_length, row_length), found, strict=True):
        if torn is not None:
            mask[: plan.tokens, : plan.tokens].masked_fill_(torn, mask_value)
    return torch.cat(positions), torch.cat(classes), masks, functional.relative_position_index(plan.window)
