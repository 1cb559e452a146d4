"""Sizes: windows, shifts and grids as plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

Size = int | Sequence[int]
"""A size along height and width: one integer for both, or ``(height, width)``."""


def pair(size: Size) -> tuple[int, int]:
    """Returns a size as ``(height, width)``.

    >>> pair(7), pair((3, 5))
    ((7, 7), (3, 5))
    """
    height, width = size if isinstance(size, Sequence) else (size, size)
    return index(height), index(width)


def check_window(window_size: Size) -> tuple[int, int]:
    """Returns a window as ``(height, width)``.

    Errors: ``ValueError`` for a side below 1.

    >>> check_window(7)
    (7, 7)
    """
    window = pair(window_size)
    if min(window) < 1:
        raise ValueError(f"a window has at least one token a side, got {window}: use positive sizes")
    return window


def check_shift(shift_size: Size, window_size: Size) -> tuple[int, int]:
    """Returns a shift as ``(height, width)``.

    Errors: ``ValueError`` unless 0 <= shift < window on both axes.

    >>> check_shift(3, (7, 4))
    (3, 3)
    """
    (sh, sw), (mh, mw) = pair(shift_size), check_window(window_size)
    if not (0 <= sh < mh and 0 <= sw < mw):
        raise ValueError(
            f"0 <= shift < window must hold on both axes, got shift {(sh, sw)} and window {(mh, mw)}: "
            f"use the shift modulo the window, {(sh % mh, sw % mw)}"
        )
    return sh, sw


def count_windows(height: int, width: int, window_size: Size) -> tuple[int, int]:
    """Returns how many windows a grid has along its height and width.

    Errors: ``ValueError`` unless the grid is made of whole windows.

    >>> count_windows(8, 14, (4, 7))
    (2, 2)
    """
    mh, mw = check_window(window_size)
    if height % mh or width % mw:
        raise ValueError(
            f"a grid is made of whole windows, got {height}x{width} and window {mh}x{mw}: "
            "pad it to a multiple of the window first"
        )
    return height // mh, width // mw


def find_missing(height: int, width: int, multiple: Size) -> tuple[int, int]:
    """Returns how many rows and columns must be added to a grid to make it a multiple of ``multiple``.

    >>> find_missing(10, 8, 4)
    (2, 0)
    """
    mh, mw = check_window(multiple)
    return -height % mh, -width % mw
