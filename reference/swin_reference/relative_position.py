"""Relative positions: the index of every pair of tokens in a window, and the bias it looks up."""

from __future__ import annotations

import numpy as np

from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact, Int


def relative_position_index(window_size: Size) -> Int[np.ndarray, "tokens tokens"]:
    """For query i and key j of a window, the row of the bias table that holds their offset.

    index = (dh + Mh - 1) (2 Mw - 1) + (dw + Mw - 1), where (dh, dw) = query - key, tokens row by row.
    (Official code: ``relative_position_index``.)

    >>> relative_position_index((1, 3))
    array([[2, 1, 0],
           [3, 2, 1],
           [4, 3, 2]])
    """
    mh, mw = window_pair(window_size)
    h, w = (axis.ravel() for axis in np.indices((mh, mw)))
    dh, dw = h[:, None] - h[None, :], w[:, None] - w[None, :]
    return (dh + mh - 1) * (2 * mw - 1) + (dw + mw - 1)


def relative_position_bias(
    table: Inexact[np.ndarray, "offsets heads"], window_size: Size
) -> Inexact[np.ndarray, "heads tokens tokens"]:
    """The bias added to the logits: bias[head, i, j] = table[index[i, j], head].

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
    return table[relative_position_index(window_size)].transpose(2, 0, 1)
