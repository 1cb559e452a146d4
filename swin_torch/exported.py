"""Graphs that are exported: of plain operations, and never silently wrong at a size that was not exported."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from swin_torch.decisions import Convention, Sides


def exporting() -> bool:
    """Tells whether an exporter or PyTorch's tracer records operations: others than PyTorch run the graph.

    >>> exporting()
    False
    """
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]


def bound(x: Tensor, window: Sides, convention: Convention) -> Tensor:
    """Returns a grid, in a graph of dynamic sizes only where the window decides as it did at the export.

    A graph holds one answer to whether a grid is larger than the window, by which Swin drops its shift, and
    most runtimes check no sizes.

    Shapes: (B, H, W, C) -> same.

    Errors: where the graph runs, for a grid on the other side of its window.

    >>> from swin_torch.decisions import CANONICAL
    >>> x = torch.zeros(1, 5, 7, 8)
    >>> bound(x, (4, 4), CANONICAL) is x
    True
    """
    if not exporting():
        return x
    hidden = torch.compiler.is_dynamo_compiling()  # there a dynamic size looks like any other
    for side, m in zip(x.shape[1:3], window, strict=True):
        if hidden or isinstance(side, torch.SymInt):
            for smaller, larger in _orders(side, m, convention):
                # An index that is not there is an error to every runtime.  What is found at the first is 0.
                found = torch.arange(larger, device=x.device)[torch.arange(smaller, device=x.device)]
                x = x + found[0]
    return x


def _orders(side: int, m: int, convention: Convention) -> Iterator[tuple[int, int]]:
    """Pairs of sizes of which the first is at most the second, as long as the window decides as it does now."""
    if convention.window == "reject":
        yield m, side
    if convention.shift != "never":
        yield (m + 1, side) if side > m else (side, m)
