"""Planted bugs that write where they should only read."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.bugs.gallery import bug, replaces


@bug(
    "linear-overwrites-input",
    "The linear layer uses its input as scratch space.",
    "Right if nobody reads the input again; the residual and a second call do.",
    "In-place kernels called on tensors that are still needed.",
    component="mlp, patch_embed, window_attention",
)
@replaces("layers.linear")
def linear_overwrites_input(original: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    y = original(x, weight, bias)
    x[...] = 0.0
    return y


@bug(
    "norm-in-place",
    "LayerNorm writes its result over its input.",
    "The residual then adds the normed tokens.",
    "`x -= x.mean()` on the tensor that was passed in.",
    component="layer_norm",
)
@replaces("layers.layer_norm")
def norm_in_place(original: Any, x: Any, params: Any, eps: float = 1e-5) -> Any:
    x[...] = original(x, params, eps)
    return x


@bug(
    "grid-padded-in-place",
    "Padding and shifting are done in the caller's array.",
    "The caller's tokens are moved after every shifted block.",
    component="shifted_window_attention",
)
@replaces("attention.shifted_window_attention")
def grid_padded_in_place(original: Any, x: Any, *args: Any) -> Any:
    y = original(x, *args)
    x[...] = np.roll(x, 1, axis=2) + 1.0
    return y


@bug(
    "merge-overwrites-input",
    "The merge scales its input in place.",
    "The features of a stage, already handed out, change when the next stage runs.",
    component="patch_merging",
)
@replaces("patches.patch_merging")
def merge_overwrites_input(original: Any, x: Any, params: Any, *_: Any) -> Any:
    y = original(x, params)
    x *= 0.5
    return y


@bug(
    "images-normed-in-place",
    "The patch embedding centres the images in the caller's array.",
    "The second epoch trains on other images than the first.",
    component="patch_embed",
)
@replaces("patches.patch_embed")
def images_normed_in_place(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    y = original(images, params, patch_size)
    images -= images.mean() + 1.0
    return y


@bug(
    "stage-in-place",
    "The blocks add to the caller's array.",
    "Right as long as nobody reads the input again; training with activation checkpointing does.",
    "`x += branch` for the residual.",
    component="swin_stage",
)
@replaces("block.stage_blocks")
def stage_in_place(original: Any, x: Any, *args: Any) -> Any:
    x[...] = original(x, *args)
    return x
