"""Planted bugs of patch embedding and patch merging."""

from __future__ import annotations

from typing import Any

import numpy as np
from swin_reference.sizes import window_pair

from swin_properties.bugs.gallery import Replacements, bug

ORDER = "Checkpoints load and outputs are wrong; training from scratch hides it."


@bug("patch-transposed", "A patch's rows and columns are exchanged.", ORDER, "Kernels in (W, H) order.")
def patch_transposed(o: Any) -> Replacements:
    original = o.patches.patch_embed

    def embed(images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
        weight = params["proj"]["weight"]
        turned = weight.swapaxes(2, 3).reshape(weight.shape)
        return original(images, {**params, "proj": {**params["proj"], "weight": turned}}, patch_size)

    return {"patches.patch_embed": embed}


@bug(
    "patch-channels-last",
    "A patch is flattened as (dy, dx, channel), the weight as (channel, dy, dx).",
    ORDER,
    "ViT-style patchify with a convolution's weights.",
)
def patch_channels_last(o: Any) -> Replacements:
    original = o.patches.patch_embed

    def embed(images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
        weight = params["proj"]["weight"]
        outputs, colours, height, width = weight.shape
        turned = weight.reshape(outputs, height, width, colours).transpose(0, 3, 1, 2)
        return original(images, {**params, "proj": {**params["proj"], "weight": turned}}, patch_size)

    return {"patches.patch_embed": embed}


@bug("patch-bgr", "The colours are read in the order blue, green, red.", ORDER, "OpenCV images.")
def patch_bgr(o: Any) -> Replacements:
    original = o.patches.patch_embed
    return {"patches.patch_embed": lambda images, params, p, *_: original(images[:, ::-1], params, p)}


@bug("patch-bias-dropped", "The patch embedding has no bias.", "A constant is missing from every token.")
def patch_bias_dropped(o: Any) -> Replacements:
    original = o.patches.patch_embed

    def embed(images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
        proj = {"weight": params["proj"]["weight"], "bias": np.zeros_like(params["proj"]["bias"])}
        return original(images, {**params, "proj": proj}, patch_size)

    return {"patches.patch_embed": embed}


@bug("patch-norm-missing", "The norm after the patch embedding is left out.", "Activations start unscaled.")
def patch_norm_missing(o: Any) -> Replacements:
    original = o.patches.patch_embed
    return {
        "patches.patch_embed": lambda images, params, p, *_: original(images, {"proj": params["proj"]}, p)
    }


@bug(
    "patch-overlapping",
    "Each patch starts one pixel early.",
    "A convolution with padding: every token sees its neighbour's pixels.",
)
def patch_overlapping(o: Any) -> Replacements:
    original = o.patches.patch_embed

    def embed(images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
        ph = window_pair(patch_size)[0]
        moved = np.concatenate([np.zeros_like(images[:, :, :1]), images[:, :, :-1]], axis=2)
        return original(moved if ph > 1 else images, params, patch_size)

    return {"patches.patch_embed": embed}


def merging(o: Any, order: tuple[int, ...]) -> Replacements:
    """A merge that concatenates the neighbours (0,0), (1,0), (0,1), (1,1) in another order."""
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
)
def merge_columns_first(o: Any) -> Replacements:
    return merging(o, (0, 2, 1, 3))


@bug("merge-reversed", "The merge concatenates the four neighbours backwards.", ORDER)
def merge_reversed(o: Any) -> Replacements:
    return merging(o, (3, 2, 1, 0))


@bug(
    "merge-duplicates",
    "The merge takes (1,1) twice and (0,1) never.",
    "A quarter of the tokens is thrown away at every merge.",
    "A slice copied and not changed.",
)
def merge_duplicates(o: Any) -> Replacements:
    return merging(o, (0, 1, 3, 3))


@bug(
    "merge-channels-interleaved",
    "The merged channels are ordered channel first, neighbour second.",
    ORDER,
    "`torch.nn.PixelUnshuffle`, which does just that.",
)
def merge_channels_interleaved(o: Any) -> Replacements:
    e, pad = o.layers, o.windows.pad_to_multiple

    def merge(x: Any, params: Any, *_: Any) -> Any:
        x = pad(x, 2)
        neighbours = np.stack([x[:, h::2, w::2] for w in (0, 1) for h in (0, 1)], axis=-1)
        merged = neighbours.reshape(*neighbours.shape[:3], -1)
        return e.linear(e.layer_norm(merged, params["norm"]), **params["reduction"])

    return {"patches.patch_merging": merge}


@bug(
    "merge-norm-after",
    "The merge reduces first and norms after, as V2 does.",
    "V1 weights give other outputs.",
    "V2's order.",
)
def merge_norm_after(o: Any) -> Replacements:
    e, pad = o.layers, o.windows.pad_to_multiple

    def merge(x: Any, params: Any, *_: Any) -> Any:
        x = pad(x, 2)
        merged = np.concatenate([x[:, h::2, w::2] for w in (0, 1) for h in (0, 1)], axis=-1)
        reduced = e.linear(merged, **params["reduction"])
        norm = {name: value[: reduced.shape[-1]] for name, value in params["norm"].items()}
        return e.layer_norm(reduced, norm)

    return {"patches.patch_merging": merge}


@bug("merge-norm-missing", "The merge does not norm.", "Activations grow from stage to stage.")
def merge_norm_missing(o: Any) -> Replacements:
    e, pad = o.layers, o.windows.pad_to_multiple

    def merge(x: Any, params: Any, *_: Any) -> Any:
        x = pad(x, 2)
        merged = np.concatenate([x[:, h::2, w::2] for w in (0, 1) for h in (0, 1)], axis=-1)
        return e.linear(merged, **params["reduction"])

    return {"patches.patch_merging": merge}


@bug("patch-activated", "The patch embedding ends in a ReLU.", "Half of every token is lost.", "CNN stems.")
def patch_activated(o: Any) -> Replacements:
    original = o.patches.patch_embed

    def embed(images: Any, params: Any, patch_size: Any, *_: Any) -> Any:
        y = original(images, params, patch_size)
        return np.where(y.real > 0, y, 0.0 * y)

    return {"patches.patch_embed": embed}


@bug(
    "merge-off-by-one",
    "The merge pairs tokens 1 and 2, 3 and 4, ..., with a zero before the first row.",
    "Maps are displaced by half a merged token at every stage.",
    "A strided gather with padding on the wrong side.",
)
def merge_off_by_one(o: Any) -> Replacements:
    original, pad = o.patches.patch_merging, o.windows.pad_to_multiple

    def merge(x: Any, params: Any, *_: Any) -> Any:
        x = pad(x, 2)
        return original(np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1), params)

    return {"patches.patch_merging": merge}
