"""The network: the maps of the stages, and the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swin_reference.block import Kept, stage_blocks
from swin_reference.config import SwinConfig
from swin_reference.conventions import Convention, convention_named
from swin_reference.layers import layer_norm, linear
from swin_reference.patches import patch_embed, patch_merging
from swin_reference.rules import check_image, stage_grids
from swin_reference.types import Inexact, Params


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
    convention = convention_named(config.convention) if convention is None else convention
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
