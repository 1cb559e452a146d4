"""Exported graphs fail, and are never silently wrong, at a size for which Swin computes otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from swin_torch.geometry.conventions import Convention, Sides


def is_recorded() -> bool:
    """Tells whether an exporter or the tracer of PyTorch records operations, which other programs may run.

    >>> is_recorded()
    False
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def is_in_a_graph() -> bool:
    """Tells whether PyTorch makes a graph: what was kept from another call is no part of it.

    >>> is_in_a_graph()
    False
    """
    return torch.compiler.is_compiling() or is_recorded()


def require(x: Tensor, orders: Iterable[tuple[int, int]]) -> Tensor:
    """Returns x; a graph of dynamic sizes fails unless the first number of each pair is at most the second.

    An exporter decides every question about sizes once, and most runtimes do not ask again.

    Shapes: any -> same.

    >>> x = torch.zeros(2, 3)
    >>> require(x, [(2, 1)]) is x
    True
    """
    if not is_recorded():
        return x
    hidden = torch.compiler.is_dynamo_compiling()  # there a dynamic size looks like any other
    for smaller, larger in orders:
        if hidden or isinstance(smaller, torch.SymInt) or isinstance(larger, torch.SymInt):
            # Every runtime refuses an index that is out of range.  The number at the first index is 0.
            found = torch.arange(larger, device=x.device)[torch.arange(smaller, device=x.device)]
            x = x + found[0]
    return x


def list_shift_pairs(grid: Sides, window: Sides, convention: Convention) -> Iterator[tuple[int, int]]:
    """Yields pairs for `require` that hold as long as a grid is shifted along the same axes as this one.

    >>> from swin_torch.geometry.conventions import CANONICAL
    >>> list(list_shift_pairs((8, 3), (4, 4), CANONICAL))
    [(5, 8), (3, 4)]
    """
    if convention.shift != "never":
        for side, m in zip(grid, window, strict=True):
            yield (m + 1, side) if side > m else (side, m)


def list_equal_pairs(sides: Sides, others: Sides) -> Iterator[tuple[int, int]]:
    """Yields pairs for `require` that hold as long as sides equal others.

    >>> list(list_equal_pairs((8, 3), (8, 4)))
    [(8, 8), (8, 8), (3, 4), (4, 3)]
    """
    for side, other in zip(sides, others, strict=True):
        yield from ((side, other), (other, side))
