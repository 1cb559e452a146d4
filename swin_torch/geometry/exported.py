"""Graphs that are exported: of plain operations, and never silently wrong at a size that was not exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from swin_torch.geometry.conventions import Convention, Sides


def exporting() -> bool:
    """Tells whether an exporter or PyTorch's tracer records operations: others than PyTorch run the graph.

    >>> exporting()
    False
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def required(x: Tensor, orders: Iterable[tuple[int, int]]) -> Tensor:
    """Returns x; a graph of dynamic sizes fails unless of each pair the first is at most the second.

    A graph holds one answer to every question about sizes, and most runtimes do not ask again.

    Shapes: any -> same.

    >>> x = torch.zeros(2, 3)
    >>> required(x, [(2, 1)]) is x
    True
    """
    if not exporting():
        return x
    hidden = torch.compiler.is_dynamo_compiling()  # there a dynamic size looks like any other
    for smaller, larger in orders:
        if hidden or isinstance(smaller, torch.SymInt) or isinstance(larger, torch.SymInt):
            # An index that is not there is an error to every runtime.  What is found at the first is 0.
            found = torch.arange(larger, device=x.device)[torch.arange(smaller, device=x.device)]
            x = x + found[0]
    return x


def shifted_alike(grid: Sides, window: Sides, convention: Convention) -> Iterator[tuple[int, int]]:
    """What holds as long as a grid is shifted along the axes that this one is.

    >>> from swin_torch.geometry.conventions import CANONICAL
    >>> list(shifted_alike((8, 3), (4, 4), CANONICAL))
    [(5, 8), (3, 4)]
    """
    if convention.shift != "never":
        for side, m in zip(grid, window, strict=True):
            yield (m + 1, side) if side > m else (side, m)


def the_same(sides: Sides, others: Sides) -> Iterator[tuple[int, int]]:
    """What holds where sides are the same as others.

    >>> list(the_same((8, 3), (8, 4)))
    [(8, 8), (8, 8), (3, 4), (4, 3)]
    """
    for side, other in zip(sides, others, strict=True):
        yield from ((side, other), (other, side))
