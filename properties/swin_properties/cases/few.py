"""Moves cases to a few sizes, for an implementation that compiles each shape that it is given."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from swin_properties.cases.case import GridCase, NetCase

WINDOW = (3, 2)
WHOLE, PADDED = (6, 4), (5, 3)
HEADS, HEAD_DIM = 2, 4
BATCHES = (2, 16, 64, 256)


def move_to_few(case: Any) -> Any:
    """Returns a case of one of a few sizes, with the recipe and seed of a case.

    What a law may depend on stays: whether windows are whole, whether there is one, whether there is a shift,
    about how many numbers there are, and which parts of a network.

    >>> print(move_to_few(GridCase(grid=(9, 8), window=(3, 4), shift=(0, 2), heads=3)))
    batch=2 grid=6x4 window=3x2 shift=1x1 heads=2 head_dim=4
    """
    if isinstance(case, GridCase):
        grid = WHOLE if case.grid == case.padded else PADDED
        if case.grid == case.window:
            grid = WINDOW
        numbers = case.batch * prod(case.grid) * case.channels
        return replace(
            case,
            grid=grid,
            window=WINDOW,
            shift=(1, 1) if any(case.shift) else (0, 0),
            heads=HEADS,
            head_dim=HEAD_DIM,
            batch=choose_batch(numbers, prod(grid) * HEADS * HEAD_DIM),
        )
    return move_network(case) if isinstance(case, NetCase) else case


def move_network(case: NetCase) -> NetCase:
    """Returns a network of one of a few sizes.

    >>> print(move_network(NetCase(image=(9, 9), window=(4, 4), depths=(3, 1), heads=(1, 1), classes=500)))
    batch=2 image=7x6 window=3x2 depths=2x2 heads=2x2 embed_dim=8 classes=500
    """
    if case.recipe == "own":
        return case
    stages = min(len(case.depths), 2)
    spans = [side <= m for side, m in zip(case.grid, case.window, strict=True)]
    grid, patch = (7, 6), (1, 1) if case.patch == (1, 1) else (2, 2)
    if spans[0] != spans[1] and stages == 1:
        grid = (3, 5)
    elif max(case.depths) == 1 and not case.position_embedding:  # such networks may be rolled: whole windows
        grid = (6 * stages, 4 * stages)
    least = grid[0] * grid[1] * 8 >> (stages - 1)
    outputs = case.classes or least
    return replace(
        case,
        image=(grid[0] * patch[0], grid[1] * patch[1]),
        patch=patch,
        window=WINDOW,
        depths=(min(max(case.depths), 2),) * stages,
        heads=(HEADS,) * stages,
        embed_dim=HEADS * HEAD_DIM,
        hidden=0,
        batch=choose_batch(case.batch * (case.classes or 16), outputs if case.batch > 2 else 500),
    )


def choose_batch(numbers: int, of_one: int) -> int:
    """Returns the least of a few batches that holds as many numbers, where one item holds ``of_one``.

    >>> choose_batch(1, 8), choose_batch(1000, 8), choose_batch(10**6, 8)
    (2, 256, 256)
    """
    needed = -(-min(numbers, 4000) // of_one)
    return next((batch for batch in BATCHES if batch >= needed), BATCHES[-1])
