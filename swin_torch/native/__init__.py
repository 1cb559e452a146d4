"""(Shifted) window attention on a CPU in float32, compiled by the machine's C compiler when first needed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

from swin_torch import functional
from swin_torch.native.building import library
from swin_torch.plan import Plan, places

LARGEST_HEAD, LARGEST_WINDOW = 128, 256


def takes(qkv: Tensor, plan: Plan) -> bool:
    """Whether this call is one for the native kernel, the machine having a compiler."""
    if qkv.device.type != "cpu" or qkv.dtype != torch.float32 or not qkv.numel():
        return False
    head_dim = qkv.shape[3] // 3 // plan.heads
    fits = head_dim <= LARGEST_HEAD and plan.tokens <= LARGEST_WINDOW
    return fits and _attention(_upto(plan.tokens), _upto(head_dim)) is not None


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """The attended grid: (B, H, W, 3 C) -> (B, H, W, C)."""
    channels = qkv.shape[3] // 3
    head_dim = channels // plan.heads
    kernel = _attention(_upto(plan.tokens), _upto(head_dim))
    qkv, out = qkv.detach(), qkv.new_empty(*qkv.shape[:3], channels)
    pad = torch.zeros(3 * channels) if pad_qkv is None else pad_qkv.detach().to(qkv.dtype).contiguous()
    wide = kernel.wide()
    place, classes, masks = _windows(plan, mask_value, wide)
    bias = bias_table.detach().float().T.index_select(1, _index(plan.window, wide))
    pointers = [ctypes.c_void_p(x.data_ptr()) for x in (qkv, pad, out, place, classes, bias, masks)]
    sizes = prod(plan.grid), prod(plan.counts), plan.heads
    tile = map(ctypes.c_int64, (plan.tokens, head_dim))
    arguments = [*tile, *pointers, *map(ctypes.c_int64, sizes), ctypes.c_float(scale)]

    def attend(ends: tuple[int, int]) -> None:
        kernel.attend(*arguments, *map(ctypes.c_int64, ends))  # without Python's lock

    parts = list(_shares(len(qkv) * prod(plan.counts), torch.get_num_threads()))
    if len(parts) == 1:
        attend(parts[0])
    else:
        list(_threads(len(parts)).map(attend, parts))
    return out


@cache
def _attention(tokens: int, head_dim: int) -> Any:
    """The compiled kernel of windows of up to so many tokens and channels a head; None without one."""
    return library("attention.c", TOKENS=tokens, CHANNELS=head_dim)


def _upto(number: int) -> int:
    """The next multiple of 8, the lanes of most vectors: one kernel for all numbers up to it."""
    return -(-number // 8) * 8


def _shares(number: int, threads: int) -> Iterator[tuple[int, int]]:
    """First and last of each thread's windows.

    >>> list(_shares(5, 2)), list(_shares(1, 4))
    ([(0, 2), (2, 5)], [(0, 1)])
    """
    threads = min(threads, number)
    ends = [number * thread // threads for thread in range(threads + 1)]
    yield from pairwise(ends)


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, "swin_torch")


@lru_cache(maxsize=64)
def _windows(plan: Plan, mask_value: float, wide: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each token's place in its image, -1 for padding; each window's class; each class's mask.

    Shapes: (windows, N), (windows), (classes, wide, wide): -inf beyond the last key.
    """
    found = places(plan, torch.device("cpu"))
    place = [inside if padding is None else inside.masked_fill(padding, -1) for inside, padding, _ in found]
    classes = [torch.full((len(inside),), number) for number, (inside, _, _) in enumerate(found)]
    masks = torch.zeros(len(found), wide, wide)
    masks[..., plan.tokens :] = -torch.inf
    for mask, (_, _, torn) in zip(masks, found, strict=True):
        if torn is not None:
            mask[: plan.tokens, : plan.tokens].masked_fill_(torn, mask_value)
    return torch.cat(place), torch.cat(classes), masks


@lru_cache(maxsize=64)
def _index(window: tuple[int, int], wide: int) -> Tensor:
    """The table's row of each pair of tokens, row by row; beyond the last token any row: (wide wide)."""
    index = torch.zeros(wide, wide, dtype=torch.int64)
    own = functional.relative_position_index(window)
    index[: len(own), : len(own)] = own
    return index.flatten()
