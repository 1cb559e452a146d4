"""The second oracle's attention: inside true shifted windows, without a roll, a mask or a partition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from swin_reference.config import CONVENTIONS, Convention
from swin_reference.direct.sizes import Sizes, brought_together, true_windows, two
from swin_reference.layers import linear, softmax
from swin_reference.types import Inexact, Params

CANONICAL = CONVENTIONS["canonical"]

Attend = Callable[..., Any]
"""Attends among tokens (windows, N, C) that are given with their rows, their columns and a mask (N, N)."""


def shifted_window_attention(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Sizes,
    shift_size: Sizes,
    qk_scale: float | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Attends inside each true shifted window of the grid, padded with zero tokens to whole windows.

    Some conventions have no true windows: they add a finite number to the logits of separated tokens, or pad
    after the roll.  Under these, all tokens that the roll brings into one window attend to each other.

    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> shifted_window_attention(np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 1, 4, 1), params, 1, (1, 2),
    ...                          (0, 1)).ravel()
    array([1., 3., 3., 8.])
    """
    window = two(window_size)

    def attend(tokens: Any, h: Any, w: Any, mask: Any = 0.0) -> Any:
        return _attend(tokens, h, w, params, num_heads, window, qk_scale, mask)

    return attend_in_true_windows(x, window, two(shift_size), convention, attend, "bias" not in params)


def attend_in_true_windows(
    x: Any,
    window: tuple[int, int],
    shift: tuple[int, int],
    convention: Convention,
    attend: Attend,
    by_offset: bool = True,
) -> Any:
    """Applies ``attend`` to the tokens of each true window of the grid, padded to whole windows.

    ``by_offset``: any tokens may be given, whose bias follows from their offsets; else a whole window.

    >>> attend = lambda tokens, h, w, mask=0.0: 0 * tokens + w[:, None]
    >>> attend_in_true_windows(np.ones((1, 1, 3, 1)), (1, 2), (0, 1), CANONICAL, attend).ravel()
    array([0., 1., 2.])
    """
    own_ways = {"roll-pad", "hidden", "both"}
    decided = {convention.padding, convention.padded_keys, convention.pad_side}
    if convention.mask_value != -np.inf or own_ways & decided or not by_offset:
        return _rolled(x, window, shift, convention, attend)
    (mh, mw), (batch, height, width, channels) = window, x.shape
    padded_height, padded_width = -(-height // mh) * mh, -(-width // mw) * mw
    padded = np.zeros((batch, padded_height, padded_width, channels), x.dtype)
    padded[:, :height, :width] = x
    y = np.empty_like(padded)
    for tokens in true_windows(padded_height, padded_width, window, shift).values():
        h, w = np.array(tokens).T
        y[:, h, w] = attend(padded[:, h, w], h, w)
    return y[:, :height, :width]


def _rolled(x: Any, window: Any, shift: Any, convention: Convention, attend: Attend) -> Any:
    """Attends among all tokens that the roll brings into one window, with ``mask_value`` between regions."""
    (mh, mw), (batch, height, width, channels) = window, x.shape
    lines = (
        brought_together(length, m, s, convention)
        for length, m, s in zip((height, width), window, shift, strict=True)
    )
    u, v = np.array(list(product(range(mh), range(mw)))).T
    y = np.zeros_like(x)
    for rows, columns in product(*lines):
        window_tokens = list(product(rows, columns))
        tokens = np.zeros((batch, mh * mw, channels), x.dtype)
        real = [n for n, ((h, _), (w, _)) in enumerate(window_tokens) if h is not None and w is not None]
        h, w = (np.array([window_tokens[n][axis][0] for n in real], int) for axis in (0, 1))
        tokens[:, real] = x[:, h, w]
        regions = np.array([2 * row_side + column_side for (_, row_side), (_, column_side) in window_tokens])
        allowed = np.equal.outer(regions, regions)
        if convention.padded_keys == "hidden":
            there = np.isin(np.arange(mh * mw), real)
            allowed &= ~np.logical_and.outer(there, ~there)
        mask = np.where(allowed, 0.0, convention.mask_value)
        y[:, h, w] = attend(tokens, u, v, mask)[:, real]
    return y


def window_attention(
    x: Inexact[np.ndarray, "windows tokens channels"],
    params: Params,
    num_heads: int,
    window_size: Sizes,
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"] | None = None,
    qk_scale: float | None = None,
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Attends inside each window; window n of an image gets mask n.

    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> window_attention(np.array([[[1.0], [3.0]]]), params, 1, (1, 2)).ravel()
    array([2., 2.])
    """
    h, w = np.array(list(product(*map(range, two(window_size))))).T
    masks = [0.0] if mask is None else list(mask)
    y = np.empty_like(x)
    for n, one_mask in enumerate(masks):
        windows = slice(n, None, len(masks))  # window n of every image
        y[windows] = _attend(x[windows], h, w, params, num_heads, two(window_size), qk_scale, one_mask)
    return y


def _attend(
    x: Any,
    h: Any,
    w: Any,
    params: Params,
    num_heads: int,
    window: tuple[int, int],
    qk_scale: float | None,
    mask: Any = 0.0,
) -> Any:
    """Attends among the tokens at positions (h, w); looks the bias up by the offset of each two tokens."""
    (mh, mw), head_dim = window, x.shape[-1] // num_heads
    if "bias" in params:  # (tokens, tokens, heads) of a window that has shrunk
        bias = params["bias"]
    else:
        table = params["relative_position_bias_table"].reshape(2 * mh - 1, 2 * mw - 1, num_heads)
        bias = table[np.subtract.outer(h, h) + mh - 1, np.subtract.outer(w, w) + mw - 1]
    qkv = linear(x, **params["qkv"])  # (windows, tokens, 3C)
    heads = []
    for head in range(num_heads):
        start, channels = head * head_dim, x.shape[-1]
        q, k, v = (qkv[..., part * channels + start :][..., :head_dim] for part in range(3))  # one head's
        scale = head_dim**-0.5 if qk_scale is None else qk_scale
        logits = np.stack([(q[:, [i]] * k).sum(-1) for i in range(len(h))], axis=1) * scale
        weights = softmax(logits + bias[..., head] + mask)
        heads.append(np.stack([(weights[:, i, :, None] * v).sum(1) for i in range(len(h))], axis=1))
    return linear(np.concatenate(heads, axis=-1), **params["proj"])


def global_attention(
    x: Inexact[np.ndarray, "batch height width channels"], params: Params, num_heads: int
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Attends from every token to every token, as ViT does: without windows, shifts or a position bias.

    ``params`` holds ``qkv`` and ``proj``.  (Dosovitskiy et al. 2021.)

    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)}}
    >>> global_attention(np.array([1.0, 3.0]).reshape(1, 1, 2, 1), params, 1).ravel()
    array([2., 2.])
    """
    batch, height, width, channels = x.shape
    qkv = linear(x.reshape(batch, height * width, channels), **params["qkv"])
    q, k, v = np.split(qkv, 3, axis=-1)
    heads = []
    for part in np.split(np.arange(channels), num_heads):
        logits = q[..., part] @ k[..., part].swapaxes(-1, -2) / len(part) ** 0.5
        heads.append(softmax(logits) @ v[..., part])
    y = linear(np.concatenate(heads, axis=-1), **params["proj"])
    return y.reshape(batch, height, width, channels)
