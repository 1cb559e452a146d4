"""A block of Swin V2, its merge, and a stage: blocks, then a merge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swin_reference.attention_v2 import shifted_cosine_window_attention
from swin_reference.block import Kept
from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import drop_path, layer_norm, linear, mlp
from swin_reference.neighbours import join_neighbours
from swin_reference.rules import stage_shift, stage_window
from swin_reference.sizes import Size
from swin_reference.types import Inexact, Params


def swin_v2_block(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    shift_size: Size,
    kept: Kept | None = None,
    pretrained_window_size: Size | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies one block: z = x + norm1((S)W-MSA(x)), y = z + norm2(MLP(z)).

    The norm comes after its branch, and before the sum.  ``params`` holds ``attn``, ``norm1``, ``mlp`` and
    ``norm2``.  The rest is as in `swin_block`.  (Liu et al. 2022, section 3.2 and figure 1.)

    Errors: those of `shifted_window_attention` and `drop_path`.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import block_v2_shapes
    >>> params = hot_parameters(block_v2_shapes(4, 2, hidden=16), seed=0)
    >>> swin_v2_block(np.ones((1, 4, 4, 4)), params, 2, 2, 1).shape
    (1, 4, 4, 4)
    """
    kept_attention, kept_mlp = (None, None) if kept is None else kept
    attended = shifted_cosine_window_attention(
        x, params["attn"], num_heads, window_size, shift_size, pretrained_window_size, convention
    )
    x = x + drop_path(layer_norm(attended, params["norm1"]), kept_attention)
    return x + drop_path(layer_norm(mlp(x, params["mlp"]), params["norm2"]), kept_mlp)


def swin_v2_patch_merging(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch half_height half_width merged_channels"]:
    """Merges 2x2 tokens into one: y = norm(reduction(the four tokens, concatenated)).

    The order of the four, and odd sides, are as in `patch_merging`.  ``params`` holds ``reduction``, a linear
    layer 4C to 2C without bias, and ``norm``, of 2C channels.  (Official code: ``PatchMerging``.)

    Errors: `Rejected` for an odd side that the convention rejects.

    >>> params = {"reduction": {"weight": np.eye(2, 4)},
    ...           "norm": {"weight": np.ones(2), "bias": np.zeros(2)}}
    >>> swin_v2_patch_merging(np.array([[3.0, 3.0], [1.0, 1.0]]).reshape(1, 2, 2, 1), params).round(3)
    array([[[[ 1., -1.]]]])
    """
    return layer_norm(linear(join_neighbours(x, convention), **params["reduction"]), params["norm"])


def stage_v2_blocks(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    depth: int,
    num_heads: int,
    window_size: Size,
    kept: Sequence[Kept] | None = None,
    pretrained_window_size: Size | None = None,
    convention: Convention = CANONICAL,
    grid: tuple[int, int] | None = None,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies the blocks of a stage: every second one is shifted, as in `stage_blocks`.

    ``grid`` decides the window and the shift, if it is not that of ``x`` that does.

    Errors: ``ValueError`` unless there are ``depth`` blocks; `Rejected` if the convention rejects the grid.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import stage_v2_shapes
    >>> params = hot_parameters(stage_v2_shapes(4, 2, 2, hidden=16, merge=False), seed=0)
    >>> stage_v2_blocks(np.ones((1, 4, 4, 4)), params, 2, 2, 2).shape
    (1, 4, 4, 4)
    """
    if len(params["blocks"]) != depth:
        raise ValueError(
            f"a stage of depth {depth} has that many blocks, got parameters of {len(params['blocks'])}: "
            "check depth"
        )
    grid = grid or x.shape[1:3]
    window = stage_window(grid, window_size, convention)
    shift = stage_shift(grid, window, convention)
    for number, block in enumerate(params["blocks"]):
        shift_size = shift if number % 2 else (0, 0)
        kept_block = None if kept is None else kept[number]
        x = swin_v2_block(
            x, block, num_heads, window, shift_size, kept_block, pretrained_window_size, convention
        )
    return x


def swin_v2_stage(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    depth: int,
    num_heads: int,
    window_size: Size,
    kept: Sequence[Kept] | None = None,
    pretrained_window_size: Size | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch out_height out_width out_channels"]:
    """Applies one stage: its blocks, then the merge if ``params`` has a ``downsample``.

    A merge turns (B, H, W, C) into (B, H/2, W/2, 2C), sides rounded up.  (Liu et al. 2022, figure 1.)

    Errors: those of `stage_v2_blocks` and `swin_v2_patch_merging`.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import stage_v2_shapes
    >>> params = hot_parameters(stage_v2_shapes(4, 1, 2, hidden=16, merge=True), seed=0)
    >>> swin_v2_stage(np.ones((1, 4, 4, 4)), params, 1, 2, 2).shape
    (1, 2, 2, 8)
    """
    x = stage_v2_blocks(x, params, depth, num_heads, window_size, kept, pretrained_window_size, convention)
    return swin_v2_patch_merging(x, params["downsample"], convention) if "downsample" in params else x
