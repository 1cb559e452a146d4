"""The sizes of a picture, and what the oracle computes for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from swin_reference.direct import true_windows
from swin_reference.sizes import shift_pair, window_pair
from swin_reference.windows import cyclic_shift, pad_to_multiple, reverse_cyclic_shift, window_partition

LARGEST_GRID, LARGEST_WINDOW = 64, 256
REGION_NAMES = ("not carried around", "first columns", "first rows", "first rows and columns")
REGION_LETTERS = "ABCD"


def write_size(size: tuple[int, ...]) -> str:
    """Returns a size in words.

    >>> write_size((4, 7))
    '4x7'
    """
    return "x".join(map(str, size))


@dataclass(frozen=True)
class Layout:
    """A grid of tokens with its window and shift; every array here comes from the oracle's functions.

    Errors: ``ValueError`` for sizes that are not possible, or that are too large to be drawn.

    >>> Layout((3, 8), (4, 4), (2, 2)).padded
    (4, 8)
    """

    grid: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]

    def __post_init__(self) -> None:
        window_pair(self.window)
        shift_pair(self.shift, self.window)
        if min(self.grid) < 1:
            raise ValueError(f"a grid is at least 1x1, got {write_size(self.grid)}: use a positive size")
        if max(self.padded) > LARGEST_GRID:
            raise ValueError(
                f"a picture has at most {LARGEST_GRID}x{LARGEST_GRID} tokens, got {write_size(self.padded)} "
                "in whole windows: use a smaller grid"
            )

    def fit_matrix(self) -> Layout:
        """Returns this layout.

        Errors: ``ValueError`` if the window has too many tokens for a matrix over their pairs.
        """
        if prod(self.window) > LARGEST_WINDOW:
            raise ValueError(
                f"a matrix is drawn for windows of at most {LARGEST_WINDOW} tokens, got "
                f"{write_size(self.window)}: use a smaller window"
            )
        return self

    @cached_property
    def real(self) -> Any:
        """Returns booleans over the padded grid: False where a token is padding."""
        return pad_to_multiple(np.ones((1, *self.grid, 1), bool), self.window)[0, ..., 0]

    @property
    def padded(self) -> tuple[int, int]:
        """Returns the size of the grid after padding to whole windows."""
        height, width = (-(-g // m) * m for g, m in zip(self.grid, self.window, strict=True))
        return height, width

    @cached_property
    def names(self) -> Any:
        """Returns the row and column of each token of the padded grid, as text."""
        return np.array([[f"{h},{w}" for w in range(self.padded[1])] for h in range(self.padded[0])])

    def number_windows(self, shifted: bool) -> Any:
        """Returns, over the padded grid, the number of each token's window, regular or shifted."""
        labels = np.empty(self.padded, int)
        shift = self.shift if shifted else (0, 0)
        for place, tokens in enumerate(true_windows(*self.padded, self.window, shift).values()):
            labels[tuple(np.array(tokens).T)] = place
        return labels

    def roll_table(self, table: Any) -> Any:
        """Returns a table over the padded grid after the cyclic shift."""
        return cyclic_shift(table[None, :, :, None], self.shift)[0, ..., 0]

    def cut(self, table: Any) -> Any:
        """Returns a table over the padded grid, cut into windows: (windows, N)."""
        return window_partition(table[None, :, :, None], self.window).reshape(-1, prod(self.window))

    @cached_property
    def regions_rolled(self) -> Any:
        """Returns the region of each token after the roll.

        It is 2 if the roll carried the token to the other side along the height, plus 1 along the width.
        """
        h, w = np.indices(self.padded)
        return 2 * (self.roll_table(h) < h) + (self.roll_table(w) < w)

    @cached_property
    def regions(self) -> Any:
        """Returns the region of each token at its place before the roll."""
        return reverse_cyclic_shift(self.regions_rolled[None, :, :, None], self.shift)[0, ..., 0]

    @property
    def words(self) -> str:
        """Returns the sizes in words, for a title."""
        grid, window, shift = map(write_size, (self.grid, self.window, self.shift))
        return f"{grid} tokens, window {window}, shift {shift}"
