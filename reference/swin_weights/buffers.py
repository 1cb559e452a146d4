"""Buffers: the relative position indices and attention masks that sizes alone determine.

The oracle computes them; those in a checkpoint are compared with the oracle's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig, convention_named
from swin_reference.relative_position import relative_position_index
from swin_reference.rules import stage_windows, token_grid
from swin_reference.sizes import Size, pair, window_pair
from swin_reference.windows import shifted_window_mask

TABLE = ".attn.relative_position_bias_table"
INDEX = ".attn.relative_position_index"


def find_wrong_buffers(buffers: Mapping[str, Any], config: SwinConfig) -> list[str]:
    """Returns the names of the indices and masks that differ from the oracle's.

    ``buffers`` have official names.  A mask may be that of any grid of whole windows, and may hide tokens by
    -100 or -inf.

    >>> buffers = {"layers.0.blocks.0.attn.relative_position_index": np.eye(1, dtype=int)}
    >>> find_wrong_buffers(buffers, SwinConfig(window_size=1))
    ['layers.0.blocks.0.attn.relative_position_index']
    """
    windows = stage_windows(config, convention_named(config.convention))
    wrong = []
    for name, x in buffers.items():
        stage, block = _stage(name), int(name.split(".")[3])
        exists = stage < len(windows) and block < config.depths[stage]
        if not exists or not _agrees(name, x, windows[stage], odd=block % 2 == 1):
            wrong.append(name)
    return wrong


def _agrees(name: str, x: Any, window: tuple[int, int], odd: bool) -> bool:
    if name.endswith(INDEX):
        tokens = prod(window)  # compared first: the oracle's takes memory
        return x.shape == (tokens, tokens) and np.array_equal(x, relative_position_index(window))
    return odd and mask_grid(x, window) is not None


def mask_grid(mask: Any, window_size: Size) -> tuple[int, int] | None:
    """Returns the token grid whose windows, shifted by floor(M / 2), have this mask; None if there is none.

    >>> mask_grid(-100.0 * (shifted_window_mask(4, 8, 2, 1) < 0), 2)
    (4, 8)
    """
    mh, mw = window_pair(window_size)
    if mask.ndim != 3 or mask.dtype.kind not in "fi" or not (mask <= 0).all():
        return None
    if mask.shape[1:] != (mh * mw, mh * mw):
        return None
    windows, shift = mask.shape[0], (mh // 2, mw // 2)
    masked = np.count_nonzero(mask.any((1, 2)))
    for rows in (rows for rows in range(1, windows + 1) if windows % rows == 0):
        columns = windows // rows
        if windows - (rows - (shift[0] > 0)) * (columns - (shift[1] > 0)) != masked:
            continue  # the last row and column of windows are masked, on an axis with a shift
        grid = rows * mh, columns * mw
        if np.array_equal(mask == 0, shifted_window_mask(*grid, window_size, shift) == 0):
            return grid
    return None


def index_buffers(names: Iterable[str], config: SwinConfig) -> dict[str, Any]:
    """Returns the relative position index for each bias table among the official ``names``.

    >>> list(index_buffers(["layers.0.blocks.0.attn.relative_position_bias_table"], SwinConfig()))
    ['layers.0.blocks.0.attn.relative_position_index']
    """
    windows = stage_windows(config, convention_named(config.convention))
    return {
        name.removesuffix(TABLE) + INDEX: relative_position_index(windows[_stage(name)])
        for name in names
        if name.endswith(TABLE)
    }


def first_grid(config: SwinConfig) -> tuple[int, int]:
    """Returns the token grid of the first stage, for images of ``config.image_size``.

    >>> first_grid(SwinConfig())
    (56, 56)
    """
    return token_grid(pair(config.image_size), config.patch_size, convention_named(config.convention))


def _stage(name: str) -> int:
    return int(name.split(".")[1])
