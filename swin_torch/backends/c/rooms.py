"""Memory that is written over again and again: new memory would be asked of the system, page by page."""

from __future__ import annotations

import threading
from functools import cache
from math import prod

import torch
from torch import Tensor

LARGEST = 2**23
"""Numbers of a tensor that is kept from one call to the next."""

_KEPT = threading.local()


def room(name: str, *shape: int) -> Tensor:
    """A float32 tensor with whatever was left in it, for this thread until it asks for the same name again.

    >>> room("some", 2, 3).data_ptr() == room("some", 3, 1).data_ptr()
    True
    """
    _keep_what_is_freed()
    number = prod(shape)
    if number > LARGEST:
        return _new(number).view(shape)
    kept = _KEPT.__dict__.get(name)
    if kept is None or kept.numel() < number:
        kept = _KEPT.__dict__[name] = _new(number)
    return kept[:number].view(shape)


@cache
def _keep_what_is_freed() -> None:
    """Has glibc keep what outputs take and leave: it does once it has seen as large a block come and go."""
    torch.empty(LARGEST - 2**16, device="cpu", dtype=torch.float32)  # above 32 MB it would not


def _new(number: int) -> Tensor:
    with torch.inference_mode(False):  # one that was made there could not be written to elsewhere
        return torch.empty(number, device="cpu", dtype=torch.float32)
