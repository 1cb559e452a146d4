"""What Swin and Swin V2 do alike with a grid: cut it into shifted windows, attend in each, put it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin_reference.conventions import Convention
from swin_reference.rules import padding_before, pads_before_roll
from swin_reference.sizes import Size, shift_pair, window_pair
from swin_reference.types import Inexact
from swin_reference.windows import (
    cyclic_shift,
    pad_to_multiple,
    reverse_cyclic_shift,
    shifted_window_mask,
    window_partition,
    window_reverse,
)


def attend_in_windows(
    x: Inexact[np.ndarray, "batch height width channels"],
    window_size: Size,
    shift_size: Size,
    convention: Convention,
    attend: Callable[[Any, Any], Any],
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies ``attend`` inside shifted windows: pad, shift, partition, attend, reverse, shift back, crop.

    ``attend`` is given the windows (B nW, N, C) and their masks (nW, N, N).  Zeros are padded at the bottom
    and right up to whole windows, before the shift, and padded tokens are keys like others, unless the
    convention says otherwise.

    Errors: ``ValueError`` for a window below 1x1 or a shift outside 0 <= shift < window; `Rejected` for a
    grid that the convention rejects.

    >>> from swin_reference.conventions import CANONICAL
    >>> means = lambda windows, mask: 0 * windows + windows.mean(axis=1, keepdims=True)
    >>> attend_in_windows(np.arange(4.0).reshape(1, 1, 4, 1), (1, 2), 0, CANONICAL, means).ravel()
    array([0.5, 0.5, 2.5, 2.5])
    """
    height, width, channels = x.shape[1:]
    mh, mw = window_pair(window_size)
    shift = shift_pair(shift_size, window_size)
    pad_first = pads_before_roll((height, width), window_size, convention)
    padded = _pad(x, window_size, convention) if pad_first else x
    rolled = _pad(cyclic_shift(padded, shift), window_size, convention)
    whole_height, whole_width = rolled.shape[1:3]  # of whole windows
    windows = window_partition(rolled, window_size).reshape(-1, mh * mw, channels)  # (B nW, N, C)
    mask = shifted_window_mask(whole_height, whole_width, window_size, shift)  # (nW, N, N)
    if convention.padded_keys == "hidden":
        mask = hide_padding(mask, (height, width), window_size, shift, convention)
    mask = np.maximum(mask, convention.mask_value)  # some conventions add -100, not -inf
    windows = attend(windows, mask)  # (B nW, N, C)
    rolled = window_reverse(windows.reshape(-1, mh, mw, channels), window_size, whole_height, whole_width)
    if not pad_first:
        rolled = _crop(rolled, (height, width), window_size, convention)
    y = reverse_cyclic_shift(rolled, shift)
    return _crop(y, (height, width), window_size, convention) if pad_first else y  # (B, H, W, C)


def _pad(x: Any, window_size: Size, convention: Convention) -> Any:
    """Pads a grid to whole windows on the side that the convention says."""
    before = padding_before(x.shape[1:3], window_size, convention)
    padded = pad_to_multiple(x, window_size)
    return reverse_cyclic_shift(padded, before) if any(before) else padded  # zeros at the end go to the front


def _crop(y: Any, grid: tuple[int, int], window_size: Size, convention: Convention) -> Any:
    """Takes the padding away: the inverse of `_pad`."""
    before = padding_before(grid, window_size, convention)
    y = cyclic_shift(y, before) if any(before) else y
    return y[:, : grid[0], : grid[1]]


def hide_padding(
    mask: Any, grid: tuple[int, int], window_size: Size, shift: tuple[int, int], convention: Convention
) -> Any:
    """Returns a mask that also hides tokens of padding from the tokens of a grid.

    >>> from swin_reference.conventions import CANONICAL
    >>> mask = shifted_window_mask(1, 2, (1, 2), 0)
    >>> hide_padding(mask, (1, 1), (1, 2), (0, 0), CANONICAL)
    array([[[  0., -inf],
            [  0.,   0.]]])
    """
    real = np.ones((1, *grid, 1))
    if pads_before_roll(grid, window_size, convention):
        real = cyclic_shift(_pad(real, window_size, convention), shift)
    else:
        real = _pad(cyclic_shift(real, shift), window_size, convention)
    there = window_partition(real, window_size).reshape(len(mask), -1) > 0  # (nW, N)
    return np.where(there[:, :, None] & ~there[:, None, :], -np.inf, mask)
