"""Planted bugs that write where they should only read."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin_properties.bugs.gallery import Replacements, bug


@bug(
    "linear-overwrites-input",
    "The linear layer uses its input as scratch space.",
    "Right if nobody reads the input again; the residual and a second call do.",
    "In-place kernels called on tensors that are still needed.",
)
def linear_overwrites_input(o: Any) -> Replacements:
    original = o.layers.linear

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        y = original(x, weight, bias)
        x[...] = 0.0
        return y

    return {"layers.linear": linear}


@bug(
    "norm-in-place",
    "LayerNorm writes its result over its input.",
    "The residual then adds the normed tokens.",
    "`x -= x.mean()` on the tensor that was passed in.",
)
def norm_in_place(o: Any) -> Replacements:
    original = o.layers.layer_norm

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        x[...] = original(x, params, eps)
        return x

    return {"layers.layer_norm": layer_norm}


@bug(
    "grid-padded-in-place",
    "Padding and shifting are done in the caller's array.",
    "The caller's tokens are moved after every shifted block.",
)
def grid_padded_in_place(o: Any) -> Replacements:
    original = o.attention.shifted_window_attention

    def shifted(x: Any, *args: Any) -> Any:
        y = original(x, *args)
        x[...] = np.roll(x, 1, axis=2) + 1.0
        return y

    return {"attention.shifted_window_attention": shifted}


@bug(
    "merge-overwrites-input",
    "The merge scales its input in place.",
    "The features of a stage, already handed out, change when the next stage runs.",
)
def merge_overwrites_input(o: Any) -> Replacements:
    original = o.patches.patch_merging

    def merge(x: Any, params: Any, *_: Any) -> Any:
        y = original(x, params)
        x *= 0.5
        return y

    return {"patches.patch_merging": merge}


@bug(
    "images-normed-in-place",
    "The patch embedding centres the images in the caller's array.",
    "The second epoch trains on other images than the first.",
)
def images_normed_in_place(o: Any) -> Replacements:
    original = o.patches.patch_embed

    def embed(images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
        y = original(images, params, patch_size)
        images -= images.mean() + 1.0
        return y

    return {"patches.patch_embed": embed}


@bug(
    "stage-in-place",
    "The blocks add to the caller's array.",
    "Right as long as nobody looks at the input again; checkpointed training does.",
    "`x += branch` for the residual.",
)
def stage_in_place(o: Any) -> Replacements:
    original = o.block.stage_blocks

    def stage_blocks(x: Any, *args: Any) -> Any:
        x[...] = original(x, *args)
        return x

    return {"block.stage_blocks": stage_blocks}
