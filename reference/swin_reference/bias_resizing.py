"""Bias tables for another window: bicubic interpolation, as the official code loads checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact

A = -0.75
"""The slope of the cubic kernel at distance 1, as in the bicubic interpolation of torch and OpenCV."""


def resize_relative_position_bias(
    table: Inexact[np.ndarray, "offsets heads"], window_size: Size, new_window_size: Size
) -> Inexact[np.ndarray, "new_offsets heads"]:
    """Returns the bias table for another window: R_h T R_w^T for the table T of each head.

    T is read as an image of (2 Mh - 1) x (2 Mw - 1) offsets.  R_h and R_w interpolate along its height and
    width, corners not aligned.  (Official code: ``load_pretrained``, ``F.interpolate(..., mode="bicubic")``.)

    Errors: ``ValueError`` unless the table has (2 Mh - 1)(2 Mw - 1) rows.

    >>> resize_relative_position_bias(np.array([[0.0], [1.0], [2.0]]), (1, 2), (1, 3)).ravel().round(3)
    array([-0.096,  0.316,  1.   ,  1.684,  2.096])
    """
    (mh, mw), (new_mh, new_mw) = window_pair(window_size), window_pair(new_window_size)
    height, width = 2 * mh - 1, 2 * mw - 1
    if table.shape[0] != height * width:
        raise ValueError(
            f"the bias table has (2 Mh - 1)(2 Mw - 1) rows, got {table.shape[0]} for window {mh}x{mw}: "
            f"it needs {height * width}"
        )
    per_head = table.reshape(height, width, -1).transpose(2, 0, 1)  # (heads, height, width)
    rows = interpolation(height, 2 * new_mh - 1, table)  # (new height, height)
    columns = interpolation(width, 2 * new_mw - 1, table)  # (new width, width)
    resized = rows @ per_head @ columns.T  # (heads, new height, new width)
    return resized.transpose(1, 2, 0).reshape(-1, table.shape[1])


def interpolation(length: int, new_length: int, like: Inexact[np.ndarray, "..."]) -> Any:
    """Returns the matrix (new, old) of cubic interpolation along one axis, in the precision of ``like``.

    New pixel i lies at s = (i + 1/2) length / new_length - 1/2.  Each of the four old pixels around s has the
    weight k(its distance from s).  A pixel beyond an edge is that of the edge.  (Keys 1981.)

    >>> interpolation(2, 1, np.zeros(1))
    array([[0.5, 0.5]])
    """
    i = np.zeros_like(like.real, shape=new_length) + np.arange(new_length, dtype=like.real.dtype)
    s = (i + 0.5) * (length / new_length) - 0.5
    pixels = np.floor(np.asarray(s)).astype(int)[:, None] + np.arange(-1, 3)  # (new, 4)
    weights = cubic_kernel(abs(s[:, None] - pixels.astype(s.dtype)))  # (new, 4)
    hits = np.clip(pixels, 0, length - 1)[:, :, None] == np.arange(length)  # (new, 4, old)
    return (weights[:, :, None] * hits).sum(axis=1)


def cubic_kernel(distance: Any) -> Any:
    """Returns k(d) = (a + 2) d^3 - (a + 3) d^2 + 1 for d <= 1, else a d^3 - 5a d^2 + 8a d - 4a.  (Keys 1981.)

    >>> cubic_kernel(np.array([0.0, 1.0, 1.5, 2.0]))
    array([ 1.     ,  0.     , -0.09375,  0.     ])
    """
    d = distance
    near = ((A + 2) * d - (A + 3)) * d * d + 1
    far = ((A * d - 5 * A) * d + 8 * A) * d - 4 * A
    return np.where(d <= 1, near, far)
