"""Buffers: the relative position indices and attention masks that sizes alone determine.

The oracle computes them; those in a checkpoint are compared with the oracle's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig, convention_named
from swin_reference.config_v2 import SwinV2Config
from swin_reference.conventions import CONVENTIONS_V2
from swin_reference.position_bias_v2 import log_spaced_offsets
from swin_reference.relative_position import relative_position_index
from swin_reference.rules import stage_windows, token_grid
from swin_reference.sizes import Size, pair, window_pair
from swin_reference.windows import shifted_window_mask

TABLE = ".attn.relative_position_bias_table"
INDEX = ".attn.relative_position_index"
LOGIT_SCALE = ".attn.logit_scale"
OFFSETS = ".attn.relative_coords_table"


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
        if exists and name.endswith(OFFSETS) and isinstance(config, SwinV2Config):
            agrees = _are_offsets(x, windows[stage], config.pretrained_window(stage))
        else:
            agrees = exists and _agrees(name, x, windows[stage], odd=block % 2 == 1)
        if not agrees:
            wrong.append(name)
    return wrong


def _are_offsets(x: Any, window: tuple[int, int], trained: int | None) -> bool:
    """Tells whether a table has V2's offsets.

    Four operations round them, one by one, in float32 or in the table's own precision if that is lower.
    """
    if x.shape != (1, 2 * window[0] - 1, 2 * window[1] - 1, 2) or x.dtype.kind != "f":
        return False
    exact = log_spaced_offsets(window, trained).reshape(x.shape)
    unit = max(np.finfo(x.dtype).eps, np.finfo(np.float32).eps)
    return bool((np.abs(x - exact) <= 4 * unit * np.abs(exact)).all())


def is_of_another_size(name: str, x: Any, config: SwinConfig) -> bool:
    """Tells whether a buffer is of another window than its stage has: one that was not made anew with it.

    >>> name = "layers.0.blocks.0.attn.relative_position_index"
    >>> is_of_another_size(name, np.zeros((4, 4), int), SwinConfig(window_size=3))
    True
    """
    windows, stage = stage_windows(config, convention_named(config.convention)), _stage(name)
    if stage >= len(windows) or int(name.split(".")[3]) >= config.depths[stage]:
        return False
    height, width = windows[stage]
    if name.endswith(OFFSETS):
        return x.ndim == 4 and tuple(x.shape) != (1, 2 * height - 1, 2 * width - 1, 2)
    sides = set(x.shape[-2:])
    return x.ndim > 1 and len(sides) == 1 and sides != {height * width}


def read_trained_windows(buffers: Mapping[str, Any], stages: int) -> tuple[int, ...]:
    """Returns the window of each stage in which V2's weights were trained, 0 for that which is used.

    The largest offset shows it: t = (M - 1) / (M' - 1), where M' is that window.  Empty if all are 0, or no
    table of offsets shows them.

    >>> offsets = log_spaced_offsets(4, 3).reshape(1, 7, 7, 2)
    >>> read_trained_windows({"layers.0.blocks.0.attn.relative_coords_table": offsets}, 1)
    (3,)
    """
    trained = []
    for stage in range(stages):
        x = buffers.get(f"layers.{stage}.blocks.0{OFFSETS}")
        sides = 0
        if x is not None and x.ndim == 4 and x.shape[1] > 1 and x[0, -1, -1, 0] > 0:
            most = (x.shape[1] - 1) // 2  # M - 1
            share = (8.0 ** float(x[0, -1, -1, 0]) - 1.0) / 8.0
            sides = 1 + round(most / share) if share > most / 2**12 else 0
            sides = 0 if sides == most + 1 else sides
        trained.append(sides)
    return tuple(trained) if any(trained) else ()


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

    For each computed one, of V2, it returns its offsets besides.

    >>> list(index_buffers(["layers.0.blocks.0.attn.relative_position_bias_table"], SwinConfig()))
    ['layers.0.blocks.0.attn.relative_position_index']
    """
    windows = stage_windows(config, convention_named(config.convention))
    buffers: dict[str, Any] = {}
    for name in names:
        for mark in (TABLE, LOGIT_SCALE):
            if name.endswith(mark):
                window = windows[_stage(name)]
                buffers[name.removesuffix(mark) + INDEX] = relative_position_index(window)
        if name.endswith(LOGIT_SCALE) and isinstance(config, SwinV2Config):
            trained = config.pretrained_window(_stage(name))
            offsets = log_spaced_offsets(window, trained, CONVENTIONS_V2["torchvision-v2"])
            shape = 1, 2 * window[0] - 1, 2 * window[1] - 1, 2
            buffers[name.removesuffix(LOGIT_SCALE) + OFFSETS] = offsets.reshape(shape)
    return buffers


def first_grid(config: SwinConfig) -> tuple[int, int]:
    """Returns the token grid of the first stage, for images of ``config.image_size``.

    >>> first_grid(SwinConfig())
    (56, 56)
    """
    return token_grid(pair(config.image_size), config.patch_size, convention_named(config.convention))


def _stage(name: str) -> int:
    return int(name.split(".")[1])
