"""Bias tables for another window: bicubic interpolation, as official checkpoints are carried over."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact

A = -0.75
"""The slope of the cubic kernel at distance 1: that of torch's and OpenCV's bicubic."""


def resize_relative_position_bias(
    table: Inexact[np.ndarray, "offsets heads"], window_size: Size, new_window_size: Size
) -> Inexact[np.ndarray, "new_offsets heads"]:
    """The bias table of another window: R_h table_head R_w^T, the offsets taken as pixels of an image.

    R_h and R_w interpolate along height and width.  (Official code: ``load_pretrained``, which calls
    ``F.interpolate(..., mode="bicubic")``, corners not aligned.)

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
    per_head = table.reshape(height, width, -1).transpose(2, 0, 1)
    rows = interpolation(height, 2 * new_mh - 1, table)
    columns = interpolation(width, 2 * new_mw - 1, table)
    resized = rows @ per_head @ columns.T
    return resized.transpose(1, 2, 0).reshape(-1, table.shape[1])


def interpolation(length: int, new_length: int, like: Inexact[np.ndarray, "..."]) -> Any:
    """The matrix (new, old) of cubic convolution along one axis, in the precision of ``like``.

    Pixel i lies at s = (i + 1/2) length / new_length - 1/2; the four pixels around s weigh k(their
    distance); beyond an edge, the edge's pixel counts again.  (Keys 1981.)

    >>> interpolation(2, 1, np.zeros(1))
    array([[0.5, 0.5]])
    """
    i = np.zeros_like(like.real, shape=new_length) + np.arange(new_length, dtype=like.real.dtype)
    s = (i + 0.5) * (length / new_length) - 0.5
    pixels = np.floor(np.asarray(s)).astype(int)[:, None] + np.arange(-1, 3)
    weights = cubic_kernel(abs(s[:, None] - pixels.astype(s.dtype)))
    hits = np.clip(pixels, 0, length - 1)[:, :, None] == np.arange(length)
    return (weights[:, :, None] * hits).sum(axis=1)


def cubic_kernel(distance: Any) -> Any:
    """k(d) = (a + 2) d^3 - (a + 3) d^2 + 1 up to 1, a d^3 - 5a d^2 + 8a d - 4a up to 2.

    >>> cubic_kernel(np.array([0.0, 1.0, 1.5, 2.0]))
    array([ 1.     ,  0.     , -0.09375,  0.     ])
    """
    d = distance
    near = ((A + 2) * d - (A + 3)) * d * d + 1
    far = ((A * d - 5 * A) * d + 8 * A) * d - 4 * A
    return np.where(d <= 1, near, far)
