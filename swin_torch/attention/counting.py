"""Counts what a call does: its launches and the bytes kept for backward, which are the same on every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from swin_torch.attention import cosines, operator
from swin_torch.backends import triton
from swin_torch.backends.c import threads

NO_WORK = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
"""The operators that start no work; views start none either."""

OWN: dict[str, Callable[..., Any]] = {
    operator.FORWARD: operator.forward,
    operator.BACKWARD: operator.backward,
    cosines.FORWARD: cosines.forward,
    cosines.BACKWARD: cosines.backward,
}
"""The functions of our operators, whose inner operators are counted."""


class _Counting(TorchDispatchMode):
    """Counts every operator that starts work, also inside our operators."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own, kwargs = OWN.get(func._schema.name), kwargs or {}
        with self:
            parts = own(*args, **kwargs) if own else func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        name = func._schema.name.removeprefix("aten::")
        result = func(*args, **kwargs)
        if isinstance(result, (Tensor, tuple)) and not func.is_view and name not in NO_WORK:
            self.found[name] += 1
        return result


def count_launches(call: Callable[[], Any]) -> Counter[str]:
    """Returns what a call starts, by name: operators that are no view or allocation, and our C functions.

    >>> count_launches(lambda: torch.zeros(2).view(1, 2).add(1))
    Counter({'zeros': 1, 'add': 1})
    """
    invoke = threads.invoke

    def count(library: Any, name: str, *arguments: Any) -> None:
        counting.found[name] += 1
        invoke(library, name, *arguments)

    with _Counting() as counting, patch.object(threads, "invoke", count):
        call()
    return counting.found


@contextmanager
def count_as_on_a_gpu() -> Iterator[Counter[str]]:
    """Counts what a GPU would be given, without one: our kernels are counted and not run.

    The outputs mean nothing.
    """
    from swin_torch.backends.triton import launch

    found: Counter[str] = Counter()

    def count(kernel: Any, *_: Any, **__: Any) -> None:
        found[kernel.__name__] += 1

    with patch.object(triton, "is_asked_for", lambda _: True), patch.object(launch, "run", count):
        yield found


def count_launches_on_a_gpu(call: Callable[[], Any]) -> Counter[str]:
    """Returns the kernels that a call on CPU tensors would start on a GPU."""
    with count_as_on_a_gpu() as ours:
        others = count_launches(call)
    return others + ours


def count_saved_bytes(call: Callable[[], Any], model: nn.Module) -> int:
    """Returns the bytes that a call keeps for backward, each memory once, without parameters and buffers.

    >>> layer = nn.Linear(2, 3)
    >>> count_saved_bytes(lambda: layer(torch.zeros(5, 2)).relu(), layer)
    100
    """
    held = {x.untyped_storage().data_ptr() for x in (*model.parameters(), *model.buffers())}
    return count_kept_bytes(call, lambda x: x.untyped_storage().data_ptr() in held)


def count_kept_bytes(call: Callable[[], Any], is_parameter: Callable[[Tensor], bool]) -> int:
    """Returns the bytes that a call keeps for backward, each memory once, without what is a parameter.

    A tensor that a function keeps as an attribute of its context is not seen.

    >>> x = torch.ones(3, requires_grad=True)
    >>> count_kept_bytes(lambda: x.exp() * x, lambda kept: kept is x)
    12
    """
    found: dict[int, Tensor] = {}  # the tensors themselves, so that no other takes a memory's place

    def keep(x: Tensor) -> Tensor:
        if not is_parameter(x):
            found[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        call()
    return sum(x.untyped_storage().nbytes() for x in found.values())
