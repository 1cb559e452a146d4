"""Sizes: reads a size as (height, width), checks windows and shifts, rounds lengths up.  No mathematics."""

from __future__ import annotations

from operator import index

Size = int | tuple[int, int]
"""A size along height and width: one integer for both, or ``(height, width)``."""


Windows = Size | tuple[tuple[int, int], ...]
"""The window of every stage, or one ``(height, width)`` for each stage."""


def pair(size: Size) -> tuple[int, int]:
    """Returns a size as ``(height, width)``.

    Errors: ``ValueError`` for a tuple that has not two entries.

    >>> pair(7), pair((3, 5))
    ((7, 7), (3, 5))
    """
    if isinstance(size, (tuple, list)):
        if len(size) != 2 or isinstance(size[0], (tuple, list)):
            raise ValueError(f"a size is one integer or (height, width), got {size!r}: give two integers")
        return index(size[0]), index(size[1])
    return index(size), index(size)


def window_pair(window_size: Size) -> tuple[int, int]:
    """Returns a window size as ``(height, width)``, both at least 1.

    Errors: ``ValueError`` for a side below 1.

    >>> window_pair(7)
    (7, 7)
    """
    height, width = pair(window_size)
    if height < 1 or width < 1:
        raise ValueError(f"a window is at least 1x1, got window_size={height}x{width}: use a positive size")
    return height, width


def stage_pairs(window_size: Windows, stages: int) -> tuple[tuple[int, int], ...]:
    """Returns the window of each stage as ``(height, width)``.

    Errors: ``ValueError`` for a side below 1, and for windows of more or fewer stages.

    >>> stage_pairs(7, 2), stage_pairs(((7, 7), (14, 14)), 2)
    (((7, 7), (7, 7)), ((7, 7), (14, 14)))
    """
    if not isinstance(window_size, tuple) or not isinstance(window_size[0], tuple):
        return (window_pair(window_size),) * stages
    if len(window_size) != stages:
        raise ValueError(
            f"window_size is one for all stages or one (height, width) for each, got {len(window_size)} for "
            f"{stages} stages: give each one"
        )
    return tuple(window_pair(window) for window in window_size)


def shift_pair(shift_size: Size, window_size: Size) -> tuple[int, int]:
    """Returns a shift as ``(height, width)``, with 0 <= shift < window on each axis.

    Errors: ``ValueError`` for a shift outside that range.

    >>> shift_pair(3, 7)
    (3, 3)
    """
    window, shift = window_pair(window_size), pair(shift_size)
    for name, s, m in zip(("height", "width"), shift, window, strict=True):
        if not 0 <= s < m:
            raise ValueError(
                f"0 <= shift < window must hold on each axis, got shift {s} and window {m} along the "
                f"{name}: a shift is taken modulo the window, use {s % m}"
            )
    return shift


def round_up(length: int, multiple: int) -> int:
    """Returns the smallest multiple of ``multiple`` that is at least ``length``.

    >>> round_up(10, 4), round_up(8, 4)
    (12, 8)
    """
    return -(-length // multiple) * multiple
