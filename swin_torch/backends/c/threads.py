"""Threads that share rows or windows out, and the pointers that they are given."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor


def shared(library: Any, name: str, *arguments: Any, number: int, parts: int) -> None:
    """Calls a C function of ``library`` for all of ``number`` rows or windows, in so many parts at once.

    Where it has no OpenMP the threads are our own: C functions run without Python's lock.
    """
    sizes = ctypes.c_int64(number), ctypes.c_int64(parts)

    def work(first: int, last: int) -> None:
        invoke(library, name, *arguments, *sizes, ctypes.c_int64(first), ctypes.c_int64(last))

    if parts == 1 or library.together():
        work(0, parts)
    else:
        list(_threads(parts).map(work, range(parts), range(1, parts + 1)))


def invoke(library: Any, name: str, *arguments: Any) -> None:
    """A C function that does some work: all are called here, where `swin_torch.attention.counting` counts."""
    getattr(library, name)(*arguments)


def parts_of(number: int) -> int:
    """How many of PyTorch's threads have something to do.

    >>> parts_of(1)
    1
    """
    return max(1, min(number, torch.get_num_threads()))


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's numbers start; null for None.

    Errors: ``RuntimeError`` for one whose memory was given back.
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
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, "swin_torch")
