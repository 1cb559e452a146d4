"""Resizes bias tables for another window."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from swin_torch.geometry.sizes import Size, check_window


def resize_relative_position_bias(table: Tensor, window_size: Size, new_window_size: Size) -> Tensor:
    """Returns the bias table of another window: offsets are interpolated bicubically, as pixels of an image.

    Shapes: ((2 Mh - 1)(2 Mw - 1), heads) -> the same for the new window; its own window gives ``table``.

    Errors: ``ValueError`` unless the table has that many rows.

    >>> import torch
    >>> resize_relative_position_bias(torch.ones(9, 2), 2, 3).shape
    torch.Size([25, 2])
    """
    old, new = check_window(window_size), check_window(new_window_size)
    height, width = (2 * side - 1 for side in old)
    if table.shape[0] != height * width:
        raise ValueError(
            f"the bias table has (2 Mh - 1)(2 Mw - 1) rows, got {table.shape[0]} for window {old}: it needs "
            f"{height * width}"
        )
    if old == new:
        return table
    pixels = table.T.unflatten(1, (height, width))[None]
    resized = interpolate(pixels, [2 * side - 1 for side in new], mode="bicubic", align_corners=False)
    return resized[0].flatten(1).T
