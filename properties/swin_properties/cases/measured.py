"""How large the cases were that a run asked, which a report tells."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from swin_reference.rules import Rejected

from swin_properties.cases.case import Case, GridCase, NetCase

Pair = tuple[int, int]


class Sizes(NamedTuple):
    """The largest sizes that were asked, each for itself."""

    window: Pair = (0, 0)
    heads: int = 0
    head_dim: int = 0
    channels: int = 0
    grid: Pair = (0, 0)
    windows: int = 0

    def __str__(self) -> str:
        (mh, mw), (height, width) = self.window, self.grid
        return (
            f"windows up to {mh}x{mw}, {self.heads} heads, head dimension {self.head_dim}, "
            f"{self.channels} channels, grids up to {height}x{width}, {self.windows} windows"
        )


NO_SIZES = Sizes()


def largest(one: Sizes, other: Sizes) -> Sizes:
    """Returns the larger of each size; of windows and grids the one with more tokens.

    >>> largest(Sizes(window=(2, 3), heads=4), Sizes(window=(4, 1), heads=1)).window
    (2, 3)
    """
    return Sizes(
        max(one.window, other.window, key=prod),
        max(one.heads, other.heads),
        max(one.head_dim, other.head_dim),
        max(one.channels, other.channels),
        max(one.grid, other.grid, key=prod),
        max(one.windows, other.windows),
    )


def measure(case: Case) -> Sizes:
    """Returns the sizes of a case; of a network those of its first stage, and the most heads.

    A convention may reject a grid that is smaller than the window: a law may ask that an image is refused.

    >>> measure(NetCase(image=(2, 2), window=(3, 3), convention="transformers")).window
    (3, 3)
    """
    if isinstance(case, NetCase):
        heads = max(case.heads)
        try:
            window = case.stage_window
        except Rejected:
            window = case.window
        return Sizes(
            window, heads, case.embed_dim // case.heads[0], case.embed_dim, case.grid, _windows(case, window)
        )
    if isinstance(case, GridCase):
        windows = _windows(case, case.window)
        return Sizes(case.window, case.heads, case.head_dim, case.channels, case.grid, windows)
    return NO_SIZES


def _windows(case: GridCase | NetCase, window: Pair) -> int:
    return case.batch * prod(-(-side // m) for side, m in zip(case.grid, window, strict=True))
