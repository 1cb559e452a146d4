"""The second oracle's network: block, stage, features, classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_reference.config import CONVENTIONS, Convention, SwinConfig, convention_named
from swin_reference.direct.attention import shifted_window_attention
from swin_reference.direct.layers import layer_norm, mlp, patch_embed, patch_merging
from swin_reference.direct.sizes import Sizes, two, window_and_shift
from swin_reference.layers import linear
from swin_reference.types import Params

CANONICAL = CONVENTIONS["canonical"]


def swin_block(
    x: Any,
    params: Params,
    num_heads: int,
    window_size: Sizes,
    shift_size: Sizes,
    kept: Any = None,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Any:
    """Applies one block; each residual branch is multiplied by its drop path factors, if there are any."""
    keep_attention, keep_mlp = (np.ones(len(x)), np.ones(len(x))) if kept is None else kept
    branch = shifted_window_attention(
        layer_norm(x, params["norm1"]),
        params["attn"],
        num_heads,
        window_size,
        shift_size,
        qk_scale,
        convention,
    )
    y = x + np.einsum("b,bhwc->bhwc", keep_attention, branch)
    return y + np.einsum("b,bhwc->bhwc", keep_mlp, mlp(layer_norm(y, params["norm2"]), params["mlp"]))


def _stage(
    x: Any,
    params: Params,
    num_heads: int,
    window_size: Sizes,
    convention: Convention,
    kept: Any = None,
    qk_scale: float | None = None,
) -> Any:
    """Applies the blocks of a stage; every second one is shifted."""
    window, shift = window_and_shift(x.shape[1], x.shape[2], window_size, convention)
    factors = kept or [None] * len(params["blocks"])
    for number, (block, kept_block) in enumerate(zip(params["blocks"], factors, strict=True)):
        given = shift if number % 2 == 1 else (0, 0)
        attention = _fit_table(block["attn"], window, two(window_size), num_heads, convention)
        block = {**block, "attn": attention}
        x = swin_block(x, block, num_heads, window, given, kept_block, qk_scale, convention)
    return x


def _fit_table(params: Params, window: Any, full: Any, num_heads: int, convention: Convention) -> Params:
    """Returns an attention's parameters for a window that has shrunk, where its table has not.

    The middle of the full table is the table of the small window; the biases of the full window's first
    tokens are no table of any window.
    """
    (mh, mw), (fh, fw) = window, full
    table = params["relative_position_bias_table"]
    if len(table) == (2 * mh - 1) * (2 * mw - 1):
        return params
    table = table.reshape(2 * fh - 1, 2 * fw - 1, num_heads)
    if convention.small_table == "centre":
        middle = table[fh - mh : fh + mh - 1, fw - mw : fw + mw - 1].reshape(-1, num_heads)
        return {**params, "relative_position_bias_table": middle}
    places = [divmod(number, fw) for number in range(mh * mw)]
    bias = [[table[h - i + fh - 1, w - j + fw - 1] for i, j in places] for h, w in places]
    return {**params, "bias": np.array(bias)}


def swin_stage(
    x: Any,
    params: Params,
    depth: int,
    num_heads: int,
    window_size: Sizes,
    kept: Any = None,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Any:
    """Applies one stage: its blocks, and its merge if ``params`` has one."""
    y = _stage(x, params, num_heads, window_size, convention, kept, qk_scale)
    return patch_merging(y, params["downsample"]) if "downsample" in params else y


def swin_features(images: Any, params: Params, config: SwinConfig, kept: Any = None) -> list[Any]:
    """Returns the map of every stage, before its merge and without a norm."""
    convention = convention_named(config.convention)
    x = patch_embed(images, params["patch_embed"], config.patch_size, convention)
    if "absolute_pos_embed" in params:
        x = x + params["absolute_pos_embed"][0].reshape(x.shape[1:])
    maps: list[Any] = []
    factors = kept or [None] * len(config.depths)
    stages = zip(params["layers"], config.num_heads, config.windows, factors, strict=True)
    for layer, heads, window, kept_stage in stages:
        maps.append(_stage(x, layer, heads, window, convention, kept_stage, config.qk_scale))
        x = patch_merging(maps[-1], layer["downsample"]) if "downsample" in layer else maps[-1]
    return maps


def swin_transformer(images: Any, params: Params, config: SwinConfig, kept: Any = None) -> Any:
    """Returns the class logits: the mean of the last map's normed tokens, then the head if there is one."""
    tokens = layer_norm(swin_features(images, params, config, kept)[-1], params["norm"])
    pooled = tokens.mean((1, 2))
    return linear(pooled, **params["head"]) if "head" in params else pooled
