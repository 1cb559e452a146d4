"""Planted bugs of patch embedding and patch merging."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import Plant, Replacements, bug, replaces

ORDER = "Checkpoints load and outputs are wrong; training from scratch hides it."


def with_weight(params: Any, weight: Any) -> Any:
    """Returns a patch embedding's parameters with another weight of its projection."""
    return {**params, "proj": {**params["proj"], "weight": weight}}


@bug(
    "patch-transposed",
    "A patch's rows and columns are exchanged.",
    ORDER,
    "Kernels in (W, H) order.",
    component="patch_embed",
    when="a window of several rows and columns; several tokens in the grid",
)
@replaces("patches.patch_embed")
def patch_transposed(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    weight = params["proj"]["weight"]
    turned = weight.swapaxes(2, 3).reshape(weight.shape)
    return original(images, with_weight(params, turned), patch_size)


@bug(
    "patch-channels-last",
    "A patch is flattened as (dy, dx, channel), the weight as (channel, dy, dx).",
    ORDER,
    "ViT-style patchify with a convolution's weights.",
    component="patch_embed",
    when="a window of more than one token",
)
@replaces("patches.patch_embed")
def patch_channels_last(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    weight = params["proj"]["weight"]
    outputs, colours, height, width = weight.shape
    turned = weight.reshape(outputs, height, width, colours).transpose(0, 3, 1, 2)
    return original(images, with_weight(params, turned), patch_size)


@bug(
    "patch-bgr",
    "The colours are read in the order blue, green, red.",
    ORDER,
    "OpenCV images.",
    component="patch_embed",
)
@replaces("patches.patch_embed")
def patch_bgr(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    return original(images[:, ::-1], params, patch_size)


@bug(
    "patch-bias-dropped",
    "The patch embedding has no bias.",
    "A constant is missing from every token.",
    component="patch_embed",
)
@replaces("patches.patch_embed")
def patch_bias_dropped(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    proj = {"weight": params["proj"]["weight"], "bias": np.zeros_like(params["proj"]["bias"])}
    return original(images, {**params, "proj": proj}, patch_size)


@bug(
    "patch-norm-missing",
    "The norm after the patch embedding is left out.",
    "Activations start unscaled.",
    component="patch_embed",
)
@replaces("patches.patch_embed")
def patch_norm_missing(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    return original(images, {"proj": params["proj"]}, patch_size)


@bug(
    "patch-norm-eps-1e-3",
    "The eps of the norm after the patch embedding is 1e-3, not 1e-5.",
    "Flat patches are dimmed: skies, borders.",
    "keras-hub, pull request 2298.",
    component="patch_embed",
    only_when="",
)
def patch_norm_eps(o: Any) -> Replacements:
    original, norm = o.patches.patch_embed, o.layers.layer_norm

    def embed(images: Any, params: Any, *rest: Any) -> Any:
        x = original(images, {"proj": params["proj"]}, *rest)
        return norm(x, params["norm"], 1e-3) if "norm" in params else x

    return {"patches.patch_embed": embed}


@bug(
    "patch-overlapping",
    "Each patch starts one pixel early.",
    "A convolution with padding: every token sees its neighbour's pixels.",
    component="patch_embed",
    when="a window of several rows",
)
@replaces("patches.patch_embed")
def patch_overlapping(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    ph = window_pair(patch_size)[0]
    moved = np.concatenate([np.zeros_like(images[:, :, :1]), images[:, :, :-1]], axis=2)
    return original(moved if ph > 1 else images, params, patch_size)


def merging(o: Any, order: tuple[int, ...]) -> Replacements:
    """Returns a merge that concatenates the neighbours (0,0), (1,0), (0,1), (1,1) in another order."""
    original = o.patches.patch_merging

    def merge(x: Any, params: Any, *_: Any) -> Any:
        # The neighbours in another order are the grid with the four places of every cell exchanged.
        padded = o.windows.pad_to_multiple(x, 2)
        moved = np.zeros_like(padded)
        for place, source in enumerate(order):
            moved[:, place % 2 :: 2, place // 2 :: 2] = padded[:, source % 2 :: 2, source // 2 :: 2]
        return original(moved, params)

    return {"patches.patch_merging": merge}


@bug(
    "merge-columns-first",
    "The merge concatenates (0,0), (0,1), (1,0), (1,1): the column offset fastest.",
    ORDER,
    "Ports that use einops or pixel_unshuffle without the permutation.",
    component="patch_merging",
    when="several tokens in the grid",
)
def merge_columns_first(o: Any) -> Replacements:
    return merging(o, (0, 2, 1, 3))


@bug(
    "merge-reversed",
    "The merge concatenates the four neighbours backwards.",
    ORDER,
    component="patch_merging",
)
def merge_reversed(o: Any) -> Replacements:
    return merging(o, (3, 2, 1, 0))


@bug(
    "merge-duplicates",
    "The merge takes (1,1) twice and (0,1) never.",
    "A quarter of the tokens is thrown away at every merge.",
    "A slice copied and not changed.",
    component="patch_merging",
    when="several columns of tokens",
)
def merge_duplicates(o: Any) -> Replacements:
    return merging(o, (0, 1, 3, 3))


def as_merge(combine: Callable[[Any, list[Any], Any], Any]) -> Plant:
    """Plants ``combine(layers, neighbours, params)`` as the merge of the four neighbours of a padded grid."""

    def plant(o: Any) -> Replacements:
        pad = o.windows.pad_to_multiple

        def merge(x: Any, params: Any, *_: Any) -> Any:
            x = pad(x, 2)
            return combine(o.layers, [x[:, h::2, w::2] for w in (0, 1) for h in (0, 1)], params)

        return {"patches.patch_merging": merge}

    return plant


@bug(
    "merge-channels-interleaved",
    "The merged channels are ordered channel first, neighbour second.",
    ORDER,
    "`torch.nn.PixelUnshuffle`, which does just that.",
    component="patch_merging",
    when="several channels",
)
@as_merge
def merge_channels_interleaved(layers: Any, neighbours: list[Any], params: Any) -> Any:
    stacked = np.stack(neighbours, axis=-1)
    merged = stacked.reshape(*stacked.shape[:3], -1)
    return layers.linear(layers.layer_norm(merged, params["norm"]), **params["reduction"])


@bug(
    "merge-norm-after",
    "The merge reduces first and norms after, as V2 does.",
    "V1 weights give other outputs.",
    "V2's order.",
    component="patch_merging",
)
@as_merge
def merge_norm_after(layers: Any, neighbours: list[Any], params: Any) -> Any:
    reduced = layers.linear(np.concatenate(neighbours, axis=-1), **params["reduction"])
    norm = {name: value[: reduced.shape[-1]] for name, value in params["norm"].items()}
    return layers.layer_norm(reduced, norm)


@bug(
    "merge-norm-missing",
    "The merge does not norm.",
    "Activations grow from stage to stage.",
    component="patch_merging",
)
@as_merge
def merge_norm_missing(layers: Any, neighbours: list[Any], params: Any) -> Any:
    return layers.linear(np.concatenate(neighbours, axis=-1), **params["reduction"])


@bug(
    "patch-activated",
    "The patch embedding ends in a ReLU.",
    "Half of every token is lost.",
    "CNN stems.",
    component="patch_embed",
)
@replaces("patches.patch_embed")
def patch_activated(original: Any, images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
    y = original(images, params, patch_size)
    return np.where(y.real > 0, y, 0.0 * y)


@bug(
    "merge-off-by-one",
    "The merge pairs tokens 1 and 2, 3 and 4, ..., with a zero before the first row.",
    "Maps are displaced by half a merged token at every stage.",
    "A strided gather with padding on the wrong side.",
    component="patch_merging",
)
def merge_off_by_one(o: Any) -> Replacements:
    original, pad = o.patches.patch_merging, o.windows.pad_to_multiple

    def merge(x: Any, params: Any, *_: Any) -> Any:
        x = pad(x, 2)
        return original(np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1), params)

    return {"patches.patch_merging": merge}


@bug(
    "merge-eps-1e-6",
    "The eps of the merge's norm is 1e-6, not 1e-5.",
    "Only flat neighbours differ: backgrounds, padding.",
    "mindcv.",
    component="patch_merging",
    only_when="",
)
@as_merge
def merge_eps_1e_6(layers: Any, neighbours: list[Any], params: Any) -> Any:
    normed = layers.layer_norm(np.concatenate(neighbours, axis=-1), params["norm"], 1e-6)
    return layers.linear(normed, **params["reduction"])


@bug(
    "merge-along-rows",
    "The merge joins its four neighbours along the height and reshapes: four tokens of a row become one.",
    "All shapes fit, and each merged token has channels of tokens that are not its own.",
    "A port to Paddle.",
    component="patch_merging",
    only_when="several tokens in the grid",
)
@as_merge
def merge_along_rows(layers: Any, neighbours: list[Any], params: Any) -> Any:
    batch, height, width, channels = neighbours[0].shape
    merged = np.concatenate(neighbours, axis=1).reshape(batch, height, width, 4 * channels)
    return layers.linear(layers.layer_norm(merged, params["norm"]), **params["reduction"])
