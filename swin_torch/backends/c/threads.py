"""Calls of C functions, in parallel over rows or windows, and the pointers that they take."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor


def invoke_in_parallel(library: Any, name: str, *arguments: Any, count: int, parts: int) -> None:
    """Calls a C function of ``library`` for ``count`` rows or windows, in parallel parts.

    A library without OpenMP runs in threads of a pool: ctypes releases Python's lock during a call.
    """
    sizes = ctypes.c_int64(count), ctypes.c_int64(parts)

    def work(first: int, last: int) -> None:
        invoke(library, name, *arguments, *sizes, ctypes.c_int64(first), ctypes.c_int64(last))

    if parts == 1 or library.has_openmp():
        work(0, parts)
    else:
        list(_count_threads(parts).map(work, range(parts), range(1, parts + 1)))


def invoke(library: Any, name: str, *arguments: Any) -> None:
    """Calls a C function that computes something; `swin_torch.attention.counting` counts these calls."""
    getattr(library, name)(*arguments)


def count_parts(count: int) -> int:
    """Returns how many parts to divide ``count`` items into: one for each of PyTorch's threads, none empty.

    >>> count_parts(1)
    1
    """
    return max(1, min(count, torch.get_num_threads()))


def find_pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Returns a pointer to a tensor's first number; null for None.

    Errors: ``RuntimeError`` for a tensor whose memory was freed.
    """
    if tensor is None:
        return ctypes.c_void_p(None)
    address = tensor.data_ptr()
    if not address and tensor.numel():
        raise RuntimeError(
            f"a tensor's numbers lie in memory, got one of shape {tuple(tensor.shape)} whose memory is gone: "
            "gather a sharded parameter before the layer is called"
        )
    return ctypes.c_void_p(address)


@cache
def _count_threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, "swin_torch")
