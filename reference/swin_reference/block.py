"""A block, and a stage: blocks, then a merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swin_reference.attention import fit_table, shifted_window_attention
from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import drop_path, layer_norm, mlp
from swin_reference.patches import patch_merging
from swin_reference.rules import stage_shift, stage_window
from swin_reference.sizes import Size, window_pair
from swin_reference.types import Inexact, Params

Kept = tuple[Any, Any]
"""The factors of `drop_path` for one block: two (batch,) arrays, for the attention and the MLP branch."""


def swin_block(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    shift_size: Size,
    kept: Kept | None = None,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies one block: z = x + (S)W-MSA(norm1(x)), y = z + MLP(norm2(z)).

    ``params`` holds ``norm1``, ``attn``, ``norm2`` and ``mlp``.  ``kept`` are the factors of drop path, in
    training.  The window and the shift are applied as given.  (Liu et al. 2021, equation 3 and figure 3b.)

    Errors: those of `shifted_window_attention` and `drop_path`.

    >>> from swin_reference.parameters import block_shapes, hot_parameters
    >>> params = hot_parameters(block_shapes(4, 2, 2, hidden=16), seed=0)
    >>> swin_block(np.ones((1, 4, 4, 4)), params, 2, 2, 1).shape
    (1, 4, 4, 4)
    """
    kept_attention, kept_mlp = (None, None) if kept is None else kept
    normed = layer_norm(x, params["norm1"])
    attended = shifted_window_attention(
        normed, params["attn"], num_heads, window_size, shift_size, qk_scale, convention
    )
    x = x + drop_path(attended, kept_attention)
    return x + drop_path(mlp(layer_norm(x, params["norm2"]), params["mlp"]), kept_mlp)


def stage_blocks(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    depth: int,
    num_heads: int,
    window_size: Size,
    kept: Sequence[Kept] | None = None,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies the blocks of a stage: blocks 0, 2, ... without a shift, blocks 1, 3, ... with floor(M / 2).

    Where the grid is no larger than the window, the convention decides the window and the shift.  ``params``
    holds ``blocks``, a list; ``kept`` has one entry for each.  (Liu et al. 2021, section 3.2.)

    Errors: ``ValueError`` unless there are ``depth`` blocks; `Rejected` if the convention rejects the grid.

    >>> from swin_reference.parameters import hot_parameters, stage_shapes
    >>> params = hot_parameters(stage_shapes(4, 2, 2, 2, hidden=16, merge=False), seed=0)
    >>> stage_blocks(np.ones((1, 4, 4, 4)), params, 2, 2, 2).shape
    (1, 4, 4, 4)
    """
    if len(params["blocks"]) != depth:
        raise ValueError(
            f"a stage of depth {depth} has that many blocks, got parameters of {len(params['blocks'])}: "
            "check depth"
        )
    window = stage_window(x.shape[1:3], window_size, convention)
    shift = stage_shift(x.shape[1:3], window, convention)
    for number, block in enumerate(params["blocks"]):
        shift_size = shift if number % 2 else (0, 0)
        kept_block = None if kept is None else kept[number]
        if window != window_pair(window_size):
            block = {**block, "attn": fit_table(block["attn"], window, window_size, convention)}
        x = swin_block(x, block, num_heads, window, shift_size, kept_block, qk_scale, convention)
    return x


def swin_stage(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    depth: int,
    num_heads: int,
    window_size: Size,
    kept: Sequence[Kept] | None = None,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch out_height out_width out_channels"]:
    """Applies one stage: its blocks, then the merge if ``params`` has a ``downsample``.

    A merge turns (B, H, W, C) into (B, H/2, W/2, 2C), sides rounded up.
    (Liu et al. 2021, figure 3a.  Official code: ``BasicLayer``.)

    Errors: those of `stage_blocks` and `patch_merging`.

    >>> from swin_reference.parameters import hot_parameters, stage_shapes
    >>> params = hot_parameters(stage_shapes(4, 1, 2, 2, hidden=16, merge=True), seed=0)
    >>> swin_stage(np.ones((1, 4, 4, 4)), params, 1, 2, 2).shape
    (1, 2, 2, 8)
    """
    x = stage_blocks(x, params, depth, num_heads, window_size, kept, qk_scale, convention)
    return patch_merging(x, params["downsample"], convention) if "downsample" in params else x
