"""The second oracle's network of Swin V2: block, merge, stage, features, classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_reference.config import CONVENTIONS, Convention, convention_named
from swin_reference.config_v2 import SwinV2Config
from swin_reference.direct.attention_v2 import shifted_cosine_window_attention
from swin_reference.direct.layers import gather_cells, layer_norm, mlp, patch_embed
from swin_reference.direct.sizes import Sizes, two, window_and_shift
from swin_reference.layers import linear
from swin_reference.types import Params

CANONICAL = CONVENTIONS["canonical"]


def swin_v2_block(
    x: Any,
    params: Params,
    num_heads: int,
    window_size: Sizes,
    shift_size: Sizes,
    kept: Any = None,
    pretrained_window_size: Sizes | None = None,
    convention: Convention = CANONICAL,
) -> Any:
    """Applies one block: what each branch gives is normed, multiplied by its factors, and added."""
    keep_attention, keep_mlp = (np.ones(len(x)), np.ones(len(x))) if kept is None else kept
    branch = shifted_cosine_window_attention(
        x, params["attn"], num_heads, window_size, shift_size, pretrained_window_size, convention
    )
    y = x + np.einsum("b,bhwc->bhwc", keep_attention, layer_norm(branch, params["norm1"]))
    return y + np.einsum("b,bhwc->bhwc", keep_mlp, layer_norm(mlp(y, params["mlp"]), params["norm2"]))


def swin_v2_patch_merging(x: Any, params: Params) -> Any:
    """Merges 2x2 tokens: they are reduced, then normed."""
    return layer_norm(linear(gather_cells(x), **params["reduction"]), params["norm"])


def _stage(
    x: Any,
    params: Params,
    num_heads: int,
    window_size: Sizes,
    convention: Convention,
    kept: Any = None,
    trained: Sizes | None = None,
    grid: Any = None,
) -> Any:
    """Applies the blocks of a stage; every second one is shifted, as ``grid``, or that of ``x``, decides."""
    height, width = grid or x.shape[1:3]
    window, shift = window_and_shift(height, width, window_size, convention)
    factors = kept or [None] * len(params["blocks"])
    for number, (block, kept_block) in enumerate(zip(params["blocks"], factors, strict=True)):
        given = shift if number % 2 == 1 else (0, 0)
        x = swin_v2_block(x, block, num_heads, window, given, kept_block, trained, convention)
    return x


def swin_v2_stage(
    x: Any,
    params: Params,
    depth: int,
    num_heads: int,
    window_size: Sizes,
    kept: Any = None,
    pretrained_window_size: Sizes | None = None,
    convention: Convention = CANONICAL,
) -> Any:
    """Applies one stage: its blocks, and its merge if ``params`` has one."""
    y = _stage(x, params, num_heads, window_size, convention, kept, pretrained_window_size)
    return swin_v2_patch_merging(y, params["downsample"]) if "downsample" in params else y


def swin_v2_features(images: Any, params: Params, config: SwinV2Config, kept: Any = None) -> list[Any]:
    """Returns the map of every stage, before its merge and without a norm."""
    convention = convention_named(config.convention)
    x = patch_embed(images, params["patch_embed"], config.patch_size, convention)
    if "absolute_pos_embed" in params:
        x = x + params["absolute_pos_embed"][0].reshape(x.shape[1:])
    maps: list[Any] = []
    factors = kept or [None] * len(config.depths)
    trained = config.pretrained_window_sizes or (0,) * len(config.depths)
    grids: list[Any] = [None] * len(config.depths)
    if convention.grid == "built-nominal":  # once for the configuration's images
        sides = list(zip(two(config.image_size), two(config.patch_size), strict=True))
        grids = [tuple(side // (patch * 2**k) for side, patch in sides) for k in range(len(config.depths))]
    stages = zip(params["layers"], config.num_heads, config.windows, factors, trained, grids, strict=True)
    for layer, heads, window, kept_stage, before, grid in stages:
        maps.append(_stage(x, layer, heads, window, convention, kept_stage, before or None, grid))
        x = swin_v2_patch_merging(maps[-1], layer["downsample"]) if "downsample" in layer else maps[-1]
    return maps


def swin_v2_transformer(images: Any, params: Params, config: SwinV2Config, kept: Any = None) -> Any:
    """Returns the class logits: the mean of the last map's normed tokens, then the head if there is one."""
    tokens = layer_norm(swin_v2_features(images, params, config, kept)[-1], params["norm"])
    pooled = tokens.mean((1, 2))
    return linear(pooled, **params["head"]) if "head" in params else pooled
