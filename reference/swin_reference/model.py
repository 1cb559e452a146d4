"""The network: block, stage, features, classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swin_reference.attention import shifted_window_attention
from swin_reference.config import SwinConfig
from swin_reference.conventions import CANONICAL, Convention, named
from swin_reference.decisions import check_image, stage_grids, stage_shift, stage_window
from swin_reference.elementary import drop_path, layer_norm, linear, mlp
from swin_reference.patches import patch_embed, patch_merging
from swin_reference.sizes import Size
from swin_reference.types import Inexact, Params

Kept = tuple[Any, Any]
"""Drop path's factors for one block: two (batch,) arrays, for the attention and the MLP branch."""


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
    """One block: x + (S)W-MSA(norm1(x)), then x + MLP(norm2(x)).

    ``kept`` are drop path's factors in training.  (Liu et al. 2021, equation 3 and figure 3b.)

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
    """A stage's blocks alone: even blocks are not shifted, odd blocks by floor(M / 2).

    On grids no larger than the window, the convention decides the window and the shift.

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
    for block in range(depth):
        kept_block = None if kept is None else kept[block]
        shift_size = shift if block % 2 else (0, 0)
        x = swin_block(
            x, params["blocks"][block], num_heads, window, shift_size, kept_block, qk_scale, convention
        )
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
    """One stage: its blocks, then the merge if ``params`` has a ``downsample``.

    >>> from swin_reference.parameters import hot_parameters, stage_shapes
    >>> params = hot_parameters(stage_shapes(4, 1, 2, 2, hidden=16, merge=True), seed=0)
    >>> swin_stage(np.ones((1, 4, 4, 4)), params, 1, 2, 2).shape
    (1, 2, 2, 8)
    """
    x = stage_blocks(x, params, depth, num_heads, window_size, kept, qk_scale, convention)
    return patch_merging(x, params["downsample"], convention) if "downsample" in params else x


def swin_features(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinConfig,
    kept: Sequence[Sequence[Kept]] | None = None,
    convention: Convention | None = None,
) -> list[Any]:
    """The map of every stage, (B, H, W, C), before its merge and not normed.

    ``convention`` stands for the configuration's own.

    Errors: `Rejected` for an image, or a grid on the way, that the convention rejects.

    >>> from swin_reference.parameters import hot_parameters, parameter_shapes
    >>> config = SwinConfig(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> params = hot_parameters(parameter_shapes(config), seed=0)
    >>> [y.shape for y in swin_features(np.ones((1, 3, 16, 16)), params, config)]
    [(1, 4, 4, 4), (1, 2, 2, 8)]
    """
    convention = named(config.convention) if convention is None else convention
    check_image(images.shape[2:], config, convention)
    x = patch_embed(images, params["patch_embed"], config.patch_size, convention)
    if config.absolute_position_embedding:
        x = add_position_embedding(x, params["absolute_pos_embed"], stage_grids(config, convention)[0])
    features = []
    for stage, stage_params in enumerate(params["layers"]):
        x = stage_blocks(
            x,
            stage_params,
            config.depths[stage],
            config.num_heads[stage],
            config.window_size,
            None if kept is None else kept[stage],
            config.qk_scale,
            convention,
        )
        features.append(x)
        if "downsample" in stage_params:
            x = patch_merging(x, stage_params["downsample"], convention)
    return features


def add_position_embedding(
    x: Inexact[np.ndarray, "batch height width channels"],
    embedding: Inexact[np.ndarray, "1 tokens channels"],
    grid: tuple[int, int],
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Adds the absolute position embedding, one vector a token, row by row.

    Errors: ``ValueError`` unless the tokens' grid is ``grid``, the one the embedding was made for.

    >>> add_position_embedding(np.zeros((1, 2, 2, 1)), np.arange(4.0).reshape(1, 4, 1), (2, 2)).ravel()
    array([0., 1., 2., 3.])
    """
    if x.shape[1:3] != grid:
        raise ValueError(
            f"an absolute position embedding fits the grid it was made for, got {x.shape[1]}x{x.shape[2]} "
            f"and an embedding of {grid[0]}x{grid[1]}: feed images of config.image_size"
        )
    return x + embedding.reshape(1, *x.shape[1:])


def swin_transformer(
    images: Inexact[np.ndarray, "batch colours height width"],
    params: Params,
    config: SwinConfig,
    kept: Sequence[Sequence[Kept]] | None = None,
    convention: Convention | None = None,
) -> Inexact[np.ndarray, "batch classes"]:
    """The classifier: features, LayerNorm, mean over the last stage's tokens, linear head.

    With ``num_classes`` 0 there is no head and the mean itself comes out.

    >>> from swin_reference.parameters import hot_parameters, parameter_shapes
    >>> config = SwinConfig(embed_dim=4, depths=(1, 1), num_heads=(1, 2), window_size=2, num_classes=3)
    >>> params = hot_parameters(parameter_shapes(config), seed=0)
    >>> swin_transformer(np.ones((1, 3, 16, 16)), params, config).shape
    (1, 3)
    """
    last = layer_norm(swin_features(images, params, config, kept, convention)[-1], params["norm"])
    batch, height, width, channels = last.shape
    pooled = last.reshape(batch, height * width, channels).sum(axis=1) / (height * width)
    return linear(pooled, **params["head"]) if config.num_classes else pooled
