"""Threads that share rows or windows out, and the pointers that they are given."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Ends = tuple[ctypes.c_int64, ctypes.c_int64]


def shared(number: int, work: Callable[[int, Ends], Any]) -> None:
    """``work`` takes a thread's number, its first and its last; C functions run without Python's lock."""
    ends = [(ctypes.c_int64(first), ctypes.c_int64(last)) for first, last in parts(number)]
    if len(ends) == 1:
        work(0, ends[0])
    else:
        list(_threads(len(ends)).map(work, range(len(ends)), ends))


def parts(number: int) -> list[tuple[int, int]]:
    """First and last of each of PyTorch's threads."""
    return list(_shares(number, torch.get_num_threads()))


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's numbers start; null for None."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _shares(number: int, threads: int) -> Iterator[tuple[int, int]]:
    """First and last of each thread's share.

    >>> list(_shares(5, 2)), list(_shares(1, 4))
    ([(0, 2), (2, 5)], [(0, 1)])
    """
    threads = min(threads, number)
    ends = [number * thread // threads for thread in range(threads + 1)]
    yield from pairwise(ends)


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, "swin_torch")
