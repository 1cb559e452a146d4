"""Attention inside windows, and inside shifted windows."""

from __future__ import annotations

from math import sqrt

import numpy as np

from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import linear, softmax
from swin_reference.relative_position import relative_position_bias
from swin_reference.rules import pads_before_roll
from swin_reference.sizes import Size, shift_pair, window_pair
from swin_reference.types import Inexact, Params
from swin_reference.windows import (
    cyclic_shift,
    pad_to_multiple,
    reverse_cyclic_shift,
    shifted_window_mask,
    window_partition,
    window_reverse,
)


def window_attention(
    x: Inexact[np.ndarray, "windows tokens channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"] | None = None,
    qk_scale: float | None = None,
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Self-attention inside each window: softmax(scale q k^T + bias + mask) v, projected.

    ``scale`` is head_dim^-1/2 unless ``qk_scale`` says otherwise.  ``params`` holds ``qkv`` (with or
    without bias), ``proj`` and ``relative_position_bias_table``; ``mask`` is added to the logits, one
    matrix for each window of an image.  (Liu et al. 2021, equation 4.)

    Errors: ``ValueError`` unless channels divide into heads and windows into images.

    >>> eye, zero = np.eye(2), np.zeros(2)
    >>> params = {"qkv": {"weight": np.concatenate([0 * eye, 0 * eye, eye])},
    ...           "proj": {"weight": eye, "bias": zero},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> window_attention(np.array([[[0.0, 2.0], [4.0, 6.0]]]), params, 1, (1, 2))
    array([[[2., 4.],
            [2., 4.]]])
    """
    q, k, v = split_heads(linear(x, **params["qkv"]), num_heads)
    scale = 1.0 / sqrt(q.shape[-1]) if qk_scale is None else qk_scale
    bias = relative_position_bias(params["relative_position_bias_table"], window_size)
    logits = (q * scale) @ k.swapaxes(-1, -2) + bias
    attention = softmax(logits if mask is None else add_mask(logits, mask))
    return linear(merge_heads(attention @ v), **params["proj"])


def split_heads(
    qkv: Inexact[np.ndarray, "windows tokens channels_times_3"], num_heads: int
) -> Inexact[np.ndarray, "3 windows {num_heads} tokens head_dim"]:
    """Splits the last axis, (q, k, v) then heads then head_dim, into q, k and v of every head.

    >>> split_heads(np.arange(6.0).reshape(1, 1, 6), 2).shape
    (3, 1, 2, 1, 1)
    """
    windows, tokens, channels_times_3 = qkv.shape
    if num_heads < 1 or channels_times_3 % (3 * num_heads):
        raise ValueError(
            f"channels must be divisible by heads, got {channels_times_3 // 3} channels and {num_heads} "
            "heads: change one of them"
        )
    head_dim = channels_times_3 // (3 * num_heads)
    return qkv.reshape(windows, tokens, 3, num_heads, head_dim).transpose(2, 0, 3, 1, 4)


def merge_heads(
    x: Inexact[np.ndarray, "windows heads tokens head_dim"],
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Lays the heads side by side again: channel = head * head_dim + component.

    >>> merge_heads(np.zeros((5, 2, 4, 3))).shape
    (5, 4, 6)
    """
    windows, heads, tokens, head_dim = x.shape
    return x.transpose(0, 2, 1, 3).reshape(windows, tokens, heads * head_dim)


def add_mask(
    logits: Inexact[np.ndarray, "windows heads tokens tokens"],
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"],
) -> Inexact[np.ndarray, "windows heads tokens tokens"]:
    """Adds to every window the mask of its place in the image: window n gets mask[n mod nW].

    >>> add_mask(np.zeros((2, 1, 1, 1)), np.array([[[1.0]], [[2.0]]])).ravel()
    array([1., 2.])
    """
    windows, heads, tokens, _ = logits.shape
    per_image = mask.shape[0]
    if per_image < 1 or windows % per_image:
        raise ValueError(
            f"the mask has one matrix for each window of an image, got {per_image} for {windows} windows: "
            "make it for the grid that was partitioned"
        )
    by_image = logits.reshape(windows // per_image, per_image, heads, tokens, tokens)
    return (by_image + mask[:, None].astype(logits.real.dtype)).reshape(logits.shape)


def shifted_window_attention(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    shift_size: Size,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """The whole (S)W-MSA on a grid: pad, shift, partition, attend, reverse, shift back, crop.

    The grid is padded with zeros at the bottom and right to whole windows, before the shift unless the
    convention says otherwise; padded tokens take part as keys.  The window and the shift are applied as
    given.  (Liu et al. 2021, section 3.2.)

    Errors: ``ValueError`` for a window below 1x1 or a shift outside 0 <= shift < window; `Rejected` for a
    grid that the convention rejects.

    >>> from swin_reference.parameters import hot_parameters, window_attention_shapes
    >>> params = hot_parameters(window_attention_shapes(4, 2, 2), seed=0)
    >>> shifted_window_attention(np.ones((1, 5, 3, 4)), params, 2, 2, 1).shape
    (1, 5, 3, 4)
    """
    height, width, channels = x.shape[1:]
    mh, mw = window_pair(window_size)
    shift = shift_pair(shift_size, window_size)
    first = pads_before_roll((height, width), window_size, convention)
    padded = pad_to_multiple(x, window_size if first else 1)
    rolled = pad_to_multiple(cyclic_shift(padded, shift), window_size)
    whole_height, whole_width = rolled.shape[1:3]
    mask = shifted_window_mask(whole_height, whole_width, window_size, shift)
    windows = window_partition(rolled, window_size).reshape(-1, mh * mw, channels)
    attended = window_attention(
        windows, params, num_heads, window_size, np.maximum(mask, convention.mask_value), qk_scale
    )
    grid = window_reverse(attended.reshape(-1, mh, mw, channels), window_size, whole_height, whole_width)
    return reverse_cyclic_shift(grid[:, : padded.shape[1], : padded.shape[2]], shift)[:, :height, :width]
