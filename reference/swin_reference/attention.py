"""Attention inside windows, and inside shifted windows.

In the comments, B is the batch, H and W the grid, C the channels, d = C / heads, Mh and Mw the window,
N = Mh Mw its tokens, nW the windows of one image.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import linear, softmax
from swin_reference.relative_position import relative_position_bias, small_window_bias
from swin_reference.shifted_windows import attend_in_windows
from swin_reference.sizes import Size
from swin_reference.types import Inexact, Params


def window_attention(
    x: Inexact[np.ndarray, "windows tokens channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"] | None = None,
    qk_scale: float | None = None,
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Attends inside each window: proj(softmax(scale q k^T + bias + mask) v), for every head.

    ``scale`` is d^-1/2, or ``qk_scale`` if it is given.  ``params`` holds two linear layers, ``qkv`` (C to
    3C, with or without a bias) and ``proj`` (C to C), and ``relative_position_bias_table``.  ``mask`` has
    one matrix for each window of an image.  (Liu et al. 2021, equation 4.)

    Errors: ``ValueError`` unless the heads divide the channels and the mask's matrices divide the windows.

    >>> eye, zero = np.eye(2), np.zeros(2)
    >>> params = {"qkv": {"weight": np.concatenate([0 * eye, 0 * eye, eye])},
    ...           "proj": {"weight": eye, "bias": zero},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> window_attention(np.array([[[0.0, 2.0], [4.0, 6.0]]]), params, 1, (1, 2))
    array([[[2., 4.],
            [2., 4.]]])
    """
    q, k, v = split_heads(linear(x, **params["qkv"]), num_heads)  # each (B nW, heads, N, d)
    scale = 1.0 / sqrt(q.shape[-1]) if qk_scale is None else qk_scale
    bias = params.get("bias")  # of a window that has shrunk
    if bias is None:
        bias = relative_position_bias(params["relative_position_bias_table"], window_size)  # (heads, N, N)
    logits = (q * scale) @ k.swapaxes(-1, -2) + bias  # (B nW, heads, N, N)
    attention = softmax(logits if mask is None else add_mask(logits, mask))
    return linear(merge_heads(attention @ v), **params["proj"])  # (B nW, N, C)


def split_heads(
    qkv: Inexact[np.ndarray, "windows tokens channels_times_3"], num_heads: int
) -> Inexact[np.ndarray, "3 windows {num_heads} tokens head_dim"]:
    """Returns q, k and v of every head: the 3C channels are, slowest first, (q, k, v), heads, d.

    Errors: ``ValueError`` unless the heads divide the channels.

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
    qkv = qkv.reshape(windows, tokens, 3, num_heads, head_dim)
    return qkv.transpose(2, 0, 3, 1, 4)  # (3, B nW, heads, N, d)


def merge_heads(
    x: Inexact[np.ndarray, "windows heads tokens head_dim"],
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Puts the heads side by side again: component i of a head becomes channel head * d + i.

    >>> merge_heads(np.zeros((5, 2, 4, 3))).shape
    (5, 4, 6)
    """
    windows, heads, tokens, head_dim = x.shape
    return x.transpose(0, 2, 1, 3).reshape(windows, tokens, heads * head_dim)  # (B nW, N, C)


def add_mask(
    logits: Inexact[np.ndarray, "windows heads tokens tokens"],
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"],
) -> Inexact[np.ndarray, "windows heads tokens tokens"]:
    """Adds the mask to the logits: window n gets mask[n mod nW], in every head.

    Errors: ``ValueError`` unless the mask's matrices divide the windows.

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
    return (by_image + mask[:, None].astype(logits.real.dtype)).reshape(logits.shape)  # mask: (nW, 1, N, N)


def shifted_window_attention(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    shift_size: Size,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies the whole (S)W-MSA to a grid: pad, shift, partition, attend, reverse, shift back, crop.

    Zeros are padded at the bottom and right up to whole windows, before the shift, and padded tokens are keys
    like others, unless the convention says otherwise.  The window and the shift are applied as given.
    ``params`` and ``qk_scale`` are those of `window_attention`.  (Liu et al. 2021, section 3.2.)

    Errors: ``ValueError`` for a window below 1x1 or a shift outside 0 <= shift < window; `Rejected` for a
    grid that the convention rejects.

    >>> from swin_reference.parameters import hot_parameters, window_attention_shapes
    >>> params = hot_parameters(window_attention_shapes(4, 2, 2), seed=0)
    >>> shifted_window_attention(np.ones((1, 5, 3, 4)), params, 2, 2, 1).shape
    (1, 5, 3, 4)
    """
    return attend_in_windows(
        x,
        window_size,
        shift_size,
        convention,
        lambda windows, mask: window_attention(windows, params, num_heads, window_size, mask, qk_scale),
    )


def fit_table(params: Params, window: tuple[int, int], full_size: Size, convention: Convention) -> Params:
    """Returns an attention's parameters with the bias of a window that has shrunk, if its table has not."""
    table = params["relative_position_bias_table"]
    mh, mw = window
    if len(table) == (2 * mh - 1) * (2 * mw - 1):
        return params
    return {**params, "bias": small_window_bias(table, window, full_size, convention.small_table == "first")}
