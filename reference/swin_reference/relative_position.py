"""The relative position bias: for every pair of tokens in a window, its row of the bias table."""

from __future__ import annotations

import numpy as np

from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact, Int


def relative_position_index(window_size: Size) -> Int[np.ndarray, "tokens tokens"]:
    """Returns, for query i and key j of a window, the row of the bias table that holds their offset.

    index[i, j] = (dh + Mh - 1) (2 Mw - 1) + (dw + Mw - 1), where (dh, dw) is the query's position minus the
    key's.  Tokens count row by row.  (Official code: ``relative_position_index``.)

    Errors: ``ValueError`` for a window below 1x1.

    >>> relative_position_index((1, 3))
    array([[2, 1, 0],
           [3, 2, 1],
           [4, 3, 2]])
    """
    mh, mw = window_pair(window_size)
    h, w = (axis.ravel() for axis in np.indices((mh, mw)))  # each (N,)
    dh, dw = h[:, None] - h[None, :], w[:, None] - w[None, :]  # each (N, N)
    return (dh + mh - 1) * (2 * mw - 1) + (dw + mw - 1)


def relative_position_bias(
    table: Inexact[np.ndarray, "offsets heads"], window_size: Size
) -> Inexact[np.ndarray, "heads tokens tokens"]:
    """Returns the bias that is added to the logits: bias[head, i, j] = table[index[i, j], head].

    (Liu et al. 2021, equation 4.)

    Errors: ``ValueError`` unless the table has (2 Mh - 1)(2 Mw - 1) rows.

    >>> relative_position_bias(np.arange(3.0)[:, None], (1, 2))
    array([[[1., 0.],
            [2., 1.]]])
    """
    mh, mw = window_pair(window_size)
    offsets = (2 * mh - 1) * (2 * mw - 1)
    if table.shape[0] != offsets:
        raise ValueError(
            f"the bias table has (2 Mh - 1)(2 Mw - 1) rows, got {table.shape[0]} for window {mh}x{mw}: "
            f"it needs {offsets}"
        )
    return table[relative_position_index(window_size)].transpose(2, 0, 1)  # (N, N, heads) -> (heads, N, N)


def small_window_bias(
    table: Inexact[np.ndarray, "offsets heads"], window_size: Size, full_size: Size, first: bool = False
) -> Inexact[np.ndarray, "heads tokens tokens"]:
    """Returns the bias of a window that is smaller than the one that the table was made for.

    Offsets are looked up in the full table.  ``first``: the tokens are taken for the first ones of the full
    window, counted row by row there, as code does that cuts the full index to its first N rows and columns.

    >>> small_window_bias(np.arange(5.0)[:, None], (1, 2), (1, 3))
    array([[[2., 1.],
            [3., 2.]]])
    """
    (mh, mw), window = window_pair(full_size), window_pair(window_size)
    h, w = (axis.ravel() for axis in np.indices((mh, mw) if first else window))
    tokens = slice(window[0] * window[1])
    dh, dw = (axis[tokens, None] - axis[None, tokens] for axis in (h, w))  # each (N, N)
    return table[(dh + mh - 1) * (2 * mw - 1) + (dw + mw - 1)].transpose(2, 0, 1)
