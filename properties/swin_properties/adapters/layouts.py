"""How an array lies in memory, which a call may ask for: an implementation must not depend on it."""

from __future__ import annotations

from typing import Any

import numpy as np

LAYOUTS = ("contiguous", "offset view", "reversed strides", "other memory order")
"""What a call may ask for.

An offset view lies behind other numbers, in a flat array of twice its size.  The other memory order may name
the axes, the slowest first, as in ``other memory order 2,0,1``; without a name the last axis is the slowest.
"""


def find_larger(x: Any) -> Any:
    """Returns the flat array inside which an array lies, if that is larger; else None.

    >>> find_larger(np.arange(4.0)[1:]), find_larger(np.arange(4.0).reshape(2, 2))
    (array([0., 1., 2., 3.]), None)
    """
    larger = isinstance(x.base, np.ndarray) and x.base.ndim == 1 and x.base.size > x.size
    return x.base if larger and x.base.dtype == x.dtype else None


def find_offset(x: Any) -> int:
    """Returns the number of elements before an array in the flat array inside which it lies.

    >>> find_offset(np.arange(4.0)[1:])
    1
    """
    starts = [array.__array_interface__["data"][0] for array in (x, x.base)]
    return int(starts[0] - starts[1]) // int(x.itemsize)


def find_layout(array: Any) -> str:
    """Returns the layout of an array that lies in a larger one, or whose axes are compact in some order.

    >>> find_layout(np.ones((2, 3))), find_layout(np.ones((2, 3)).T), find_layout(np.ones(3)[1:])
    ('contiguous', 'other memory order 1,0', 'offset view')
    """
    if find_larger(array) is not None:
        return "offset view"
    if array.flags.c_contiguous:
        return "contiguous"
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
        flat = plain.ravel()
        return np.concatenate([flat[::-1], flat])[flat.size :].reshape(plain.shape)
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
