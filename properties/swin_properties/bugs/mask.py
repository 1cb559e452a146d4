"""Planted bugs of the shifted-window mask."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from swin_reference.sizes import pair, window_pair

from swin_properties.bugs.gallery import Replacements, bug, replaces
from swin_properties.bugs.rolled import attend_rolled

MASK = "windows.shifted_window_mask"
LEAK = "Tokens from opposite edges of the image attend to each other; accuracy hardly shows it."


@bug(
    "mask-dropped",
    "There is no mask.",
    LEAK,
    "Kernels that stop at the roll: Flash Window Attention, NATTEN; tt-forge-onnx, issues 1793 and 1943, "
    "where a tracer loses labels that are written in place.",
    component="shifted_window_mask",
    when="a shift",
)
@replaces(MASK)
def mask_dropped(original: Any, *sizes: Any) -> Any:
    return np.zeros_like(original(*sizes))


@bug(
    "mask-minus-100",
    "The mask is -100, not -inf.",
    "A masked token with a large logit still leaks; on a CPU exp(-100) is a subnormal number and slow.",
    "The official code, timm and torchvision; in V2 the logits reach 116.",
    component="shifted_window_attention",
    only_when="a shift; logits that are far apart",
)
@replaces(MASK)
def mask_minus_100(original: Any, *sizes: Any) -> Any:
    return np.maximum(original(*sizes), -100.0)


@bug(
    "mask-minus-5",
    "The mask is -5.",
    "Masked tokens keep a weight of about one percent each.",
    component="shifted_window_attention",
    when="a shift",
)
@replaces(MASK)
def mask_minus_5(original: Any, *sizes: Any) -> Any:
    return np.maximum(original(*sizes), -5.0)


@bug(
    "mask-inverted",
    "The mask hides what it should show, and shows what it should hide.",
    LEAK,
    component="shifted_window_mask",
    when="a shift",
)
@replaces(MASK)
def mask_inverted(original: Any, *sizes: Any) -> Any:
    right = original(*sizes)
    other = np.where(right == 0, -np.inf, 0.0)
    other[:, np.arange(right.shape[1]), np.arange(right.shape[1])] = 0.0
    return np.where((right == 0).all((1, 2), keepdims=True), right, other)


@bug(
    "mask-windows-by-columns",
    "The masks of the windows are numbered by columns.",
    "Right only on the diagonal of as many rows as columns of windows; leaks at one edge, hides at another.",
    component="shifted_window_mask",
    when="a shift; several windows along both axes",
)
@replaces(MASK)
def mask_windows_by_columns(original: Any, height: int, width: int, window_size: Any, shift: Any) -> Any:
    (mh, mw), right = window_pair(window_size), original(height, width, window_size, shift)
    by_place = right.reshape(height // mh, width // mw, *right.shape[1:])
    return by_place.swapaxes(0, 1).reshape(right.shape)


@bug(
    "mask-half-window",
    "The regions are cut at floor(M / 2), whatever the shift is.",
    "Right for the usual shift, wrong for every other.",
    "Slices of regions copied with the default shift built in (ResShift, issue 81).",
    component="shifted_window_mask",
    when="a shift by other than half the window, rounded down, along an axis that shifts",
)
@replaces(MASK)
def mask_half_window(original: Any, height: int, width: int, window_size: Any, shift: Any) -> Any:
    half = (m // 2 if s else 0 for m, s in zip(window_pair(window_size), pair(shift), strict=True))
    return original(height, width, window_size, tuple(half))


@bug(
    "mask-of-unpadded-grid",
    "The regions are cut where the grid without its padding would have them.",
    "Right for whole windows; on padded grids neighbours are separated and strangers are not.",
    "keras-hub 0.32.",
    component="shifted_window_attention",
    when="a padded grid",
)
def mask_of_unpadded_grid(o: Any) -> Replacements:
    w = o.windows

    def mask(grid: Any, padded: Any, window: Any, shift: Any) -> Any:
        rows, columns = (np.arange(p) >= g - s for g, p, s in zip(grid, padded, shift, strict=True))
        region = (2 * rows[:, None] + columns[None, :])[None, :, :, None]
        region = w.window_partition(region, window).reshape(-1, prod(window))
        return np.where(region[:, :, None] == region[:, None, :], 0.0, -np.inf)

    def shifted(
        x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, qk_scale: Any = None, *_: Any
    ) -> Any:
        window, shift = window_pair(window_size), pair(shift_size)
        rolled = w.cyclic_shift(w.pad_to_multiple(x, window_size), shift)
        masks = mask(x.shape[1:3], rolled.shape[1:3], window, shift)
        y = attend_rolled(o, rolled, masks, params, heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y, shift)[:, : x.shape[1], : x.shape[2]]

    return {"attention.shifted_window_attention": shifted}


@bug(
    "mask-off-by-one",
    "The regions are cut one token too early.",
    "A row and a column of tokens leak.",
    component="shifted_window_mask",
    when="a shift",
)
def mask_off_by_one(o: Any) -> Replacements:
    def mask(height: int, width: int, window_size: Any, shift_size: Any) -> Any:
        sides = zip((height, width), pair(shift_size), strict=True)
        cuts = (side - s - 1 if s else side for side, s in sides)
        rows, columns = (np.arange(n) >= cut for n, cut in zip((height, width), cuts, strict=True))
        regions = 2 * rows[:, None] + columns[None, :]
        windows = o.windows.window_partition(regions[None, :, :, None], window_size)
        windows = windows.reshape(-1, prod(window_pair(window_size)))
        return np.where(windows[:, :, None] == windows[:, None, :], 0.0, -np.inf)

    return {MASK: mask}


@bug(
    "mask-rows-only",
    "Only the rows that came around are masked, not the columns.",
    LEAK,
    component="shifted_window_mask",
    when="a shift along the columns",
)
@replaces(MASK)
def mask_rows_only(original: Any, height: int, width: int, window_size: Any, shift: Any) -> Any:
    return original(height, width, window_size, (pair(shift)[0], 0))


@bug(
    "mask-either-axis",
    "Two tokens see each other if one axis agrees, where both must.",
    "Leaks in the corner window only: the rarest window of all.",
    component="shifted_window_mask",
    when="a shift along both axes",
)
@replaces(MASK)
def mask_either_axis(original: Any, height: int, width: int, window_size: Any, shift: Any) -> Any:
    sh, sw = pair(shift)
    rows, columns = (original(height, width, window_size, s) for s in ((sh, 0), (0, sw)))
    return np.maximum(rows, columns) if sh and sw else np.minimum(rows, columns)


@bug(
    "mask-without-shift",
    "Blocks without a shift are masked too, as if they were shifted by floor(M / 2).",
    "Half of the border tokens' attention is lost in every even block.",
    "vision.cpp (ggml), whose own test has inputs that LayerNorm makes equal.",
    component="shifted_window_mask",
    when="no shift; a window of more than one token",
)
@replaces(MASK)
def mask_without_shift(original: Any, height: int, width: int, window_size: Any, shift: Any) -> Any:
    mh, mw = window_pair(window_size)
    return original(height, width, window_size, shift if any(pair(shift)) else (mh // 2, mw // 2))


@bug(
    "mask-repeated",
    "Window n of a batch gets mask n // B, not mask n mod nW.",
    "Right for one image; in a batch, most windows get another window's mask.",
    "`repeat_interleave` where `repeat` is meant.",
    component="window_attention",
    only_when="several images; several windows; a window of more than one token",
)
@replaces("attention.add_mask")
def mask_repeated(original: Any, logits: Any, mask: Any) -> Any:
    which = np.arange(len(logits)) // (len(logits) // len(mask))
    return logits + mask[which][:, None].astype(logits.real.dtype)


@bug(
    "mask-first-window",
    "Every window gets the mask of the first.",
    LEAK,
    component="window_attention",
    only_when="several windows; a window of more than one token",
)
@replaces("attention.add_mask")
def mask_first_window(original: Any, logits: Any, mask: Any) -> Any:
    return original(logits, mask[:1])


@bug(
    "mask-after-softmax",
    "Masked weights are set to zero after the softmax, so that rows no longer sum to 1.",
    "Border tokens are dimmed by the weight that the hidden tokens took.",
    component="window_attention",
    only_when="a window of more than one token",
)
def mask_after_softmax(o: Any) -> Replacements:
    layers, a = o.layers, o.attention

    def attention(
        x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None, qk_scale: Any = None
    ) -> Any:
        q, k, v = a.split_heads(layers.linear(x, **params["qkv"]), num_heads)
        scale = q.shape[-1] ** -0.5 if qk_scale is None else qk_scale
        bias = a.relative_position_bias(params["relative_position_bias_table"], window_size)
        weights = layers.softmax((q * scale) @ k.swapaxes(-1, -2) + bias)
        if mask is not None:
            weights = a.add_mask(weights, np.where(mask < 0, -np.inf, 0.0))
            weights = np.where(np.isfinite(weights), weights, 0.0)
        return layers.linear(a.merge_heads(weights @ v), **params["proj"])

    return {"attention.window_attention": attention}


@bug(
    "mask-positive",
    "The mask is 1 where a token may not attend, and that 1 is added.",
    "Hidden tokens are preferred instead of hidden.",
    "Boolean masks of the opposite meaning (True = hidden), added as numbers.",
    component="shifted_window_mask",
    when="a shift",
)
@replaces(MASK)
def mask_positive(original: Any, *sizes: Any) -> Any:
    return (original(*sizes) < 0).astype(float)
