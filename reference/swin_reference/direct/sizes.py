"""The second oracle's windows: which tokens attend to each other, by definition.

What a convention decides is written here a second time: the second oracle takes no rule from the first.
"""

from __future__ import annotations

from itertools import product

from swin_reference.config import Convention

Token = tuple[int, int]
Sizes = int | tuple[int, int]


def two(size: Sizes) -> tuple[int, int]:
    """Returns a size as ``(height, width)``.

    >>> two(4)
    (4, 4)
    """
    return size if isinstance(size, tuple) else (size, size)


def true_windows(
    height: int, width: int, window_size: Sizes, shift_size: Sizes
) -> dict[tuple[int, int], list[Token]]:
    """Returns the true shifted windows, and the tokens (h, w) in each.

    Token (h, w) is in window (floor((h - sh) / Mh), floor((w - sw) / Mw)).  The windows of a shifted layer
    begin s rows and columns further down and right; at the edges of the grid they are smaller.  (Liu et al.
    2021, figure 2.)

    >>> true_windows(1, 3, (1, 2), (0, 1))
    {(0, -1): [(0, 0)], (0, 0): [(0, 1), (0, 2)]}
    """
    (mh, mw), (sh, sw) = two(window_size), two(shift_size)
    windows: dict[tuple[int, int], list[Token]] = {}
    for h, w in product(range(height), range(width)):
        windows.setdefault(((h - sh) // mh, (w - sw) // mw), []).append((h, w))
    return windows


def brought_together(
    length: int, window: int, shift: int, convention: Convention
) -> list[list[tuple[int | None, bool]]]:
    """Returns, along one axis, what the roll brings into each window: tokens, each with its side of the mask.

    A token is its position in the grid, or None for padding.  The side is True for the last ``shift``
    positions after the roll: the mask hides them from the others, whatever token stands there.

    >>> from swin_reference.config import CONVENTIONS
    >>> brought_together(3, 2, 1, CONVENTIONS["torchvision"])
    [[(1, False), (2, False)], [(None, False), (0, True)]]
    >>> brought_together(3, 2, 1, CONVENTIONS["timm"])
    [[(1, False), (2, False)], [(0, False), (None, True)]]
    """
    whole = (length + window - 1) // window * window
    front = (whole - length) // 2 if convention.pad_side == "both" else 0
    line: list[tuple[int | None, bool]] = []
    for position in range(whole):
        if convention.padding == "roll-pad":  # the padding stands around what was rolled
            rolled = position - front
            token = (rolled + shift) % length if 0 <= rolled < length else -1
        else:
            token = (position + shift) % whole - front
        line.append((token if 0 <= token < length else None, position >= whole - shift))
    return [line[start : start + window] for start in range(0, whole, window)]


def window_and_shift(
    height: int, width: int, window_size: Sizes, convention: Convention
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the window of a stage, and the shift of every second block.

    >>> from swin_reference.config import CONVENTIONS
    >>> [window_and_shift(8, 3, 4, CONVENTIONS[name]) for name in ("canonical", "timm", "detection")]
    [((4, 4), (0, 0)), ((4, 3), (2, 0)), ((4, 4), (2, 2))]
    """
    sides, window = (height, width), list(two(window_size))
    spans = [side <= m for side, m in zip(sides, window, strict=True)]
    if convention.window == "shrink-axis":
        window = [min(pair) for pair in zip(sides, window, strict=True)]
    elif convention.window == "shrink-both" and any(spans):
        window = [min(m, *sides) for m in window]
    elif convention.window == "shrink-height":
        window = [min(m, height) for m in window]
    spans = [side <= m for side, m in zip(sides, window, strict=True)]
    drops = {"never": [False, False], "min": [any(spans)] * 2, "axis": spans, "height": spans[:1] * 2}[
        convention.shift
    ]
    shift = [0 if drop else m // 2 for m, drop in zip(window, drops, strict=True)]
    return (window[0], window[1]), (shift[0], shift[1])
