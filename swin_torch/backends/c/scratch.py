"""Scratch memory that is used again by the next call: new memory costs a page fault for every page."""

from __future__ import annotations

import threading
from functools import cache
from math import prod

import torch
from torch import Tensor

LARGEST = 2**23
"""How many numbers a tensor may have to be kept for the next call."""

_KEPT = threading.local()


def take_scratch(name: str, *shape: int) -> Tensor:
    """Returns an uninitialized float32 tensor; the same thread's next call with this name reuses its memory.

    >>> take_scratch("some", 2, 3).data_ptr() == take_scratch("some", 3, 1).data_ptr()
    True
    """
    _keep_freed_memory()
    count = prod(shape)
    if count > LARGEST:
        return _allocate(count).view(shape)
    kept = _KEPT.__dict__.get(name)
    if kept is None or kept.numel() < count:
        kept = _KEPT.__dict__[name] = _allocate(count)
    return kept[:count].view(shape)


@cache
def _keep_freed_memory() -> None:
    """Makes glibc keep freed memory for later outputs, as it does once it has freed a large block."""
    torch.empty(LARGEST - 2**16, device="cpu", dtype=torch.float32)  # not above glibc's limit of 32 MB


def _allocate(count: int) -> Tensor:
    # A tensor that is made in inference mode may not be written to outside it.
    with torch.inference_mode(False):
        return torch.empty(count, device="cpu", dtype=torch.float32)
