"""(Shifted) window attention on a CPU, compiled by the machine's C compiler when first needed.

Tensors are float32 or bfloat16, sums and softmax float32.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from swin_torch.backends.c import threads
from swin_torch.backends.c.building import library
from swin_torch.backends.c.threads import parts_of, pointer, shared
from swin_torch.geometry import functional
from swin_torch.geometry.plan import Plan, places

LARGEST_HEAD, LARGEST_WINDOW = 128, 256
DTYPES = torch.float32, torch.bfloat16


def takes(qkv: Tensor, plan: Plan) -> bool:
    """Whether this call is one for the native kernel, the machine having a compiler."""
    if not qkv.is_cpu or qkv.dtype not in DTYPES or not qkv.numel():
        return False
    return fits(plan, qkv.shape[3] // 3 // plan.heads, qkv.dtype)


def fits(plan: Plan, head_dim: int, dtype: torch.dtype = torch.float32) -> bool:
    """Whether there is a kernel for windows and heads of this size."""
    small = head_dim <= LARGEST_HEAD and plan.tokens <= LARGEST_WINDOW
    return small and _attention(_upto(plan.tokens), _upto(head_dim), dtype) is not None


def forward(
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
    out: Tensor | None = None,
) -> Tensor:
    """The attended grid, into ``out`` where that is given: (B, H, W, 3 C) -> (B, H, W, C)."""
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3) if out is None else out
    call = _Call(qkv, bias_table, pad_qkv, plan, scale, mask_value)
    call.run("attend", out, parts=parts_of(call.windows))
    return out


def backward(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of qkv (in ``out`` where given), of the bias table and of the padding's qkv (3 C)."""
    call = _Call(qkv, bias_table, pad_qkv, plan, scale, mask_value)
    of_qkv, parts = torch.empty_like(qkv) if out is None else out, parts_of(call.windows)
    of_bias = torch.zeros(parts, plan.heads, call.wide, call.wide)
    of_pad = torch.zeros(parts, qkv.shape[3])
    call.run("differentiate", gradient, of_qkv, of_bias, of_pad, parts=parts)
    return of_qkv, call.table_of(of_bias).to(bias_table.dtype), of_pad.sum(0) if parts > 1 else of_pad[0]


class _Structure(ctypes.Structure):
    """What the C file calls struct call."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("tokens", "channels", "heads", "area", "windows")),
        *((name, ctypes.c_void_p) for name in ("qkv", "pad", "places", "classes", "bias", "masks")),
        ("scale", ctypes.c_float),
    )


class _Call:
    """A call as the kernel takes it; what it points to lives as long as it does."""

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
        self.kernel = _attention(_upto(plan.tokens), _upto(head_dim), qkv.dtype)
        self.wide = self.kernel.wide()
        self.windows = len(qkv) * prod(plan.counts)
        if not plan.is_padded:
            pad = qkv  # which is not read
        elif pad_qkv is None:
            pad = qkv.new_zeros(qkv.shape[3])
        else:
            pad = pad_qkv.detach().to(qkv.dtype).contiguous()
        spare = self.kernel.spare()
        place, classes, masks, self.index = _windows(plan, mask_value, self.wide, spare)
        bias = torch.empty(plan.heads * self.wide + spare, self.wide)
        table, self.table = bias_table.detach().float().contiguous(), bias_table.shape
        self.numbers = ctypes.c_int64(plan.heads), ctypes.c_int64(plan.tokens)
        threads.invoke(self.kernel, "spread", *map(pointer, (table, self.index, bias)), *self.numbers)
        self.tensors = qkv, pad, place, classes, bias, masks
        sizes = plan.tokens, head_dim, plan.heads, prod(plan.grid), prod(plan.counts)
        self.reference = ctypes.byref(_Structure(*sizes, *map(pointer, self.tensors), scale))

    def run(self, name: str, *tensors: Tensor, parts: int) -> None:
        """A function of the kernel on these tensors, for all windows of the batch."""
        given = map(pointer, tensors)
        shared(self.kernel, name, self.reference, *given, number=self.windows, parts=parts)

    def table_of(self, of_bias: Tensor) -> Tensor:
        """The bias table's gradient from those of each part's bias: in a fixed order, so always the same."""
        table = torch.zeros(*self.table)
        given = map(pointer, (of_bias, self.index, table))
        threads.invoke(self.kernel, "gather", *given, ctypes.c_int64(len(of_bias)), *self.numbers)
        return table


@cache
def _attention(tokens: int, head_dim: int, dtype: torch.dtype) -> Any:
    """The compiled kernel of windows of up to so many tokens and channels a head; None without one."""
    return library("attention.c", TOKENS=tokens, CHANNELS=head_dim, BFLOAT16=int(dtype == torch.bfloat16))


def _upto(number: int) -> int:
    """The next multiple of 8, the lanes of most vectors: one kernel for all numbers up to it."""
    return -(-number // 8) * 8


@lru_cache(maxsize=64)
def _windows(plan: Plan, mask_value: float, wide: int, spare: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each token's place in its image, -1 for padding; each window's class, -1 without a mask; their masks,
    and some rows that are read after these and not used; the bias table's row of each pair of tokens.

    Shapes: (windows, N), (windows), (classes wide + spare, wide), (N, N).
    """
    found = places(plan, torch.device("cpu"))
    place = [inside if padding is None else inside.masked_fill(padding, -1) for inside, padding, _ in found]
    numbers = [-1 if torn is None else number for number, (_, _, torn) in enumerate(found)]
    classes = [torch.full((len(one[0]),), number) for number, one in zip(numbers, found, strict=True)]
    masks = torch.zeros(len(found) * wide + spare, wide)
    for mask, (_, _, torn) in zip(masks[:-spare].view(-1, wide, wide), found, strict=True):
        if torn is not None:
            mask[: plan.tokens, : plan.tokens].masked_fill_(torn, mask_value)
    return torch.cat(place), torch.cat(classes), masks, functional.relative_position_index(plan.window)
