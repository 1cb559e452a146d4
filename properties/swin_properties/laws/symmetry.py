"""Laws of symmetry: they relate an implementation to itself and need no oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.cases import GridCase
from swin_properties.registry import law
from swin_properties.strategies import grids

SWA = ["shifted_window_attention"]
Whole = grids(whole=True, enough=True)


def retabled(case: GridCase, params: Any, change: Any) -> Any:
    """The parameters with the bias table, seen as (2 Mh - 1, 2 Mw - 1, heads), changed."""
    table = params["relative_position_bias_table"].reshape(*case.offset_rows, case.heads)
    return params | {"relative_position_bias_table": change(table).reshape(-1, case.heads)}


@law("shifted_window_attention/flip", SWA, Whole)
def flip(swin: Any, case: GridCase) -> Any:
    """Flipping the image flips the output, once the shift becomes (M - s) mod M and the bias is flipped."""
    x, params = case.tokens(), case.attention()
    y = swin.shifted_window_attention(x, params, case.heads, case.window, case.shift)
    pairs = []
    for axis in (0, 1):
        flipped = retabled(case, params, lambda table, axis=axis: np.flip(table, axis))
        shift = list(case.shift)
        shift[axis] = -shift[axis] % case.window[axis]
        turned = np.ascontiguousarray(np.flip(x, axis + 1))
        got = swin.shifted_window_attention(turned, flipped, case.heads, case.window, tuple(shift))
        pairs.append((np.flip(got, axis + 1), y))
    return pairs


@law("shifted_window_attention/transpose", SWA, grids(enough=True))
def transpose(swin: Any, case: GridCase) -> Any:
    """Swapping height and width everywhere, in grid, window, shift and table, swaps them in the output."""
    x, params = case.tokens(), case.attention()
    swapped = retabled(case, params, lambda table: table.swapaxes(0, 1))
    got = swin.shifted_window_attention(
        np.ascontiguousarray(x.swapaxes(1, 2)), swapped, case.heads, case.window[::-1], case.shift[::-1]
    )
    y = swin.shifted_window_attention(x, params, case.heads, case.window, case.shift)
    return got.swapaxes(1, 2), y
