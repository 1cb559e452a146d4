"""How an array lies in memory, which a call may ask for: an implementation must not depend on it."""

from __future__ import annotations

from typing import Any

import numpy as np

LAYOUTS = ("contiguous", "offset view", "reversed strides", "other memory order")
"""What a call may ask for.

The other memory order may name the axes, the slowest first, as in ``other memory order 2,0,1``; without a
name the last axis is the slowest.
"""


class Asked(np.ndarray):
    """An array that a law wants to be given in a layout."""

    layout = "contiguous"


def ask_layout(array: Any, layout: str) -> Any:
    """Returns an array that `Implementation` gives to its adapter in a layout; its numbers are the same.

    >>> ask_layout(np.ones(2), "offset view").layout
    'offset view'
    """
    asked = np.array(array).view(Asked)
    asked.layout = layout
    return asked


def find_layout(array: Any) -> str:
    """Returns the layout of an array that `lay_out` made, or whose axes are compact in some order.

    >>> find_layout(np.ones((2, 3))), find_layout(np.ones((2, 3)).T)
    ('contiguous', 'other memory order 1,0')
    >>> [find_layout(lay_out(np.ones((2, 3)), layout)) for layout in LAYOUTS[1:3]]
    ['offset view', 'reversed strides']
    """
    if array.flags.c_contiguous:
        return "contiguous"
    if min(array.strides) < 0:
        return "reversed strides"
    if list(array.strides) == sorted(array.strides, reverse=True):
        return "offset view"
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return f"other memory order {','.join(map(str, order))}"


def lay_out(array: Any, layout: str) -> Any:
    """Returns a copy of an array with a layout in memory.

    Errors: ``ValueError`` for a layout that is not one of `LAYOUTS`.

    >>> x = lay_out(np.arange(6.0).reshape(2, 3), "reversed strides")
    >>> x[0], x.strides
    (array([0., 1., 2.]), (-24, -8))
    >>> lay_out(np.ones((2, 3)), "other memory order").strides
    (8, 16)
    """
    plain = np.array(array, order="C")
    if layout == "contiguous" or not plain.size or not plain.ndim:
        return plain
    if layout == "offset view":
        wide = np.zeros([side + 2 for side in plain.shape], plain.dtype)
        view = wide[tuple(slice(1, -1) for _ in plain.shape)]
        view[...] = plain
        return view
    if layout == "reversed strides":
        backwards = (slice(None, None, -1),) * plain.ndim
        return np.array(plain[backwards], order="C")[backwards]
    name, _, axes = layout.partition("order")
    try:
        order = (
            [int(axis) for axis in axes.split(",")]
            if axes.strip()
            else [plain.ndim - 1, *range(plain.ndim - 1)]
        )
    except ValueError:
        order = []
    if name != "other memory " or sorted(order) != list(range(plain.ndim)):
        raise ValueError(f"a layout is one of {', '.join(LAYOUTS)}, got {layout!r:.80}: use one of them")
    return np.array(plain.transpose(order), order="C").transpose(np.argsort(order))
