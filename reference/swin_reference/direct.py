"""The second oracle: Swin straight from its definitions, token by token, slow and obvious.

It exists to prove the first one, and shares no code with it beyond `softmax` and `linear`: no roll,
no mask, no partition, no table of relative indices, another LayerNorm, another GELU, loops for the
patches.  It offers the same names, so that the first oracle is judged by the laws like anybody else.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Inexact
from scipy.special import ndtr

from swin_reference.config import SwinConfig
from swin_reference.direct_resizing import Sizes, two
from swin_reference.direct_resizing import resize_relative_position_bias as resize_relative_position_bias
from swin_reference.elementary import linear, softmax
from swin_reference.types import Params


def true_windows(
    height: int, width: int, window_size: Sizes, shift_size: Sizes
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The true shifted windows: token (h, w) is in window (floor((h - sh) / Mh), floor((w - sw) / Mw)).

    The windows of a shifted layer are cut s rows and columns further down and right; at the edges they
    are simply smaller.  (Liu et al. 2021, figure 2.)

    >>> true_windows(1, 3, (1, 2), (0, 1))
    {(0, -1): [(0, 0)], (0, 0): [(0, 1), (0, 2)]}
    """
    (mh, mw), (sh, sw) = two(window_size), two(shift_size)
    windows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for h, w in product(range(height), range(width)):
        windows.setdefault(((h - sh) // mh, (w - sw) // mw), []).append((h, w))
    return windows


def shifted_window_attention(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Sizes,
    shift_size: Sizes,
    qk_scale: float | None = None,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Attention inside each true shifted window of the grid, padded with zero tokens to whole windows.

    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> shifted_window_attention(np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 1, 4, 1), params, 1, (1, 2),
    ...                          (0, 1)).ravel()
    array([1., 3., 3., 8.])
    """
    batch, height, width, channels = x.shape
    mh, mw = two(window_size)
    padded_height, padded_width = -(-height // mh) * mh, -(-width // mw) * mw
    padded = np.zeros((batch, padded_height, padded_width, channels), x.dtype)
    padded[:, :height, :width] = x
    y = np.empty_like(padded)
    for tokens in true_windows(padded_height, padded_width, window_size, shift_size).values():
        h, w = np.array(tokens).T
        y[:, h, w] = _attend(padded[:, h, w], h, w, params, num_heads, (mh, mw), qk_scale)
    return y[:, :height, :width]


def window_attention(
    x: Inexact[np.ndarray, "windows tokens channels"],
    params: Params,
    num_heads: int,
    window_size: Sizes,
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"] | None = None,
    qk_scale: float | None = None,
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Attention inside whole windows, window after window; window n of an image gets mask n.

    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> window_attention(np.array([[[1.0], [3.0]]]), params, 1, (1, 2)).ravel()
    array([2., 2.])
    """
    h, w = np.array(list(product(*map(range, two(window_size))))).T
    masks = [0.0] if mask is None else list(mask)
    y = np.empty_like(x)
    for place, one in enumerate(masks):
        windows = slice(place, None, len(masks))
        y[windows] = _attend(x[windows], h, w, params, num_heads, two(window_size), qk_scale, one)
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
    """Attention among the tokens at (h, w), the bias looked up by the two tokens' offset."""
    (mh, mw), head_dim = window, x.shape[-1] // num_heads
    table = params["relative_position_bias_table"].reshape(2 * mh - 1, 2 * mw - 1, num_heads)
    bias = table[np.subtract.outer(h, h) + mh - 1, np.subtract.outer(w, w) + mw - 1]
    qkv = linear(x, **params["qkv"])
    heads = []
    for head in range(num_heads):
        start, channels = head * head_dim, x.shape[-1]
        q, k, v = (qkv[..., part * channels + start :][..., :head_dim] for part in range(3))
        scale = head_dim**-0.5 if qk_scale is None else qk_scale
        logits = np.stack([(q[:, [i]] * k).sum(-1) for i in range(len(h))], axis=1) * scale
        weights = softmax(logits + bias[..., head] + mask)
        heads.append(np.stack([(weights[:, i, :, None] * v).sum(1) for i in range(len(h))], axis=1))
    return linear(np.concatenate(heads, axis=-1), **params["proj"])


def global_attention(
    x: Inexact[np.ndarray, "batch height width channels"], params: Params, num_heads: int
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Plain attention of every token to every token, without a position bias: a ViT's.

    ``params`` holds ``qkv`` and ``proj``.  What distinguishes Swin from ViT is what this lacks: windows,
    their shift, and the relative position bias.

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


def layer_norm(
    x: Inexact[np.ndarray, "*tokens channels"], params: Params, eps: float = 1e-5
) -> Inexact[np.ndarray, "*tokens channels"]:
    """LayerNorm with the variance as half the mean squared difference of all pairs of channels.

    var = sum over (i, j) of (x_i - x_j)^2 / (2 C^2); x - mean = mean over j of (x - x_j).

    >>> layer_norm(np.array([1.0, 3.0]), {"weight": np.ones(2), "bias": np.zeros(2)}, eps=0.0)
    array([-1.,  1.])
    """
    channels = x.shape[-1]
    differences = x[..., :, None] - x[..., None, :]
    variance = (differences**2).sum((-1, -2)) / (2 * channels**2)
    centred = differences.sum(-1) / channels
    normed = centred * (1.0 / (variance + eps) ** 0.5)[..., None]
    return normed * params["weight"] + params["bias"]


def mlp(
    x: Inexact[np.ndarray, "*tokens channels"], params: Params
) -> Inexact[np.ndarray, "*tokens channels"]:
    """The MLP with GELU as x times the normal distribution function.

    >>> eye = {"weight": np.eye(2), "bias": np.zeros(2)}
    >>> mlp(np.array([0.0, 100.0]), {"fc1": eye, "fc2": eye})
    array([  0., 100.])
    """
    hidden = linear(x, **params["fc1"])
    return linear(hidden * ndtr(hidden), **params["fc2"])


def patch_embed(
    images: Inexact[np.ndarray, "batch colours height width"], params: Params, patch_size: Sizes
) -> Inexact[np.ndarray, "batch grid_height grid_width channels"]:
    """The patch embedding, one pixel offset of the patch at a time; pixels past the edge count as 0.

    >>> proj = {"weight": np.ones((1, 1, 2, 2)), "bias": np.zeros(1)}
    >>> patch_embed(np.ones((1, 1, 2, 3)), {"proj": proj}, 2).ravel()
    array([4., 2.])
    """
    ph, pw = two(patch_size)
    batch, _, height, width = images.shape
    weight, bias = params["proj"]["weight"], params["proj"]["bias"]
    y = np.zeros((batch, -(-height // ph), -(-width // pw), weight.shape[0]), images.dtype) + bias
    for dy, dx in product(range(ph), range(pw)):
        pixels = images[:, :, dy::ph, dx::pw]
        rows, columns = pixels.shape[2:]
        y[:, :rows, :columns] += linear(np.moveaxis(pixels, 1, -1), weight[:, :, dy, dx])
    return layer_norm(y, params["norm"]) if "norm" in params else y


def patch_merging(
    x: Inexact[np.ndarray, "batch height width channels"], params: Params
) -> Inexact[np.ndarray, "batch half_height half_width merged_channels"]:
    """The merge, cell by cell: tokens (2i, 2j), (2i+1, 2j), (2i, 2j+1), (2i+1, 2j+1), absent ones zero.

    >>> params = {"norm": {"weight": np.ones(4), "bias": np.zeros(4)},
    ...           "reduction": {"weight": np.eye(2, 4)}}
    >>> patch_merging(np.array([[3.0, 3.0], [1.0, 1.0]]).reshape(1, 2, 2, 1), params).round(3)
    array([[[[ 1., -1.]]]])
    """
    batch, height, width, channels = x.shape
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    cells = np.zeros((batch, half_height, half_width, 4 * channels), x.dtype)
    for i, j, place in product(range(half_height), range(half_width), range(4)):
        h, w = 2 * i + place % 2, 2 * j + place // 2
        if h < height and w < width:
            cells[:, i, j, place * channels : (place + 1) * channels] = x[:, h, w]
    return linear(layer_norm(cells, params["norm"]), **params["reduction"])


def swin_block(
    x: Any,
    params: Params,
    num_heads: int,
    window_size: Sizes,
    shift_size: Sizes,
    kept: Any = None,
    qk_scale: float | None = None,
) -> Any:
    """One block, each residual branch times its drop path factors, if there are any."""
    keep_attention, keep_mlp = (np.ones(len(x)), np.ones(len(x))) if kept is None else kept
    branch = shifted_window_attention(
        layer_norm(x, params["norm1"]), params["attn"], num_heads, window_size, shift_size, qk_scale
    )
    y = x + np.einsum("b,bhwc->bhwc", keep_attention, branch)
    return y + np.einsum("b,bhwc->bhwc", keep_mlp, mlp(layer_norm(y, params["norm2"]), params["mlp"]))


def _stage(x: Any, params: Params, num_heads: int, window_size: Sizes, qk_scale: Any = None) -> Any:
    """The blocks of a stage: shifted by floor(M / 2) in every second, if the grid exceeds the window."""
    window = two(window_size)
    larger = all(side > m for side, m in zip(x.shape[1:3], window, strict=True))
    for number, block in enumerate(params["blocks"]):
        shift = (window[0] // 2, window[1] // 2) if number % 2 == 1 and larger else (0, 0)
        x = swin_block(x, block, num_heads, window, shift, None, qk_scale)
    return x


def swin_stage(x: Any, params: Params, depth: int, num_heads: int, window_size: Sizes) -> Any:
    """One stage, with its merge where ``params`` has one."""
    y = _stage(x, params, num_heads, window_size)
    return patch_merging(y, params["downsample"]) if "downsample" in params else y


def swin_features(images: Any, params: Params, config: SwinConfig) -> list[Any]:
    """The map of every stage, before its merge, not normed."""
    x = patch_embed(images, params["patch_embed"], config.patch_size)
    if "absolute_pos_embed" in params:
        x = x + params["absolute_pos_embed"][0].reshape(x.shape[1:])
    maps = [_stage(x, params["layers"][0], config.num_heads[0], config.window_size, config.qk_scale)]
    for previous, layer, heads in zip(
        params["layers"], params["layers"][1:], config.num_heads[1:], strict=False
    ):
        merged = patch_merging(maps[-1], previous["downsample"])
        maps.append(_stage(merged, layer, heads, config.window_size, config.qk_scale))
    return maps


def swin_transformer(images: Any, params: Params, config: SwinConfig) -> Any:
    """The classifier: mean of the normed tokens of the last map, then the head where there is one."""
    tokens = layer_norm(swin_features(images, params, config)[-1], params["norm"])
    pooled = tokens.mean((1, 2))
    return linear(pooled, **params["head"]) if "head" in params else pooled
