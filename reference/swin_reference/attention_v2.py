"""Attention of Swin V2: by the cosine of queries and keys, with a computed position bias.

In the comments, B is the batch, C the channels, d = C / heads, N = Mh Mw the window's tokens, nW the windows
of one image.
"""

from __future__ import annotations

from math import log

import numpy as np

from swin_reference.attention import add_mask, merge_heads, split_heads
from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import linear, softmax
from swin_reference.position_bias_v2 import continuous_position_bias_table
from swin_reference.relative_position import relative_position_bias
from swin_reference.shifted_windows import attend_in_windows
from swin_reference.sizes import Size
from swin_reference.types import Inexact, Params

LARGEST_LOGIT_SCALE = log(100.0)
"""The logit scale is clamped to this, so that it multiplies a cosine by at most 100."""

SMALLEST_NORM = 1e-12
"""A query or key that is shorter is divided by this, in place of its length."""


def cosine_window_attention(
    x: Inexact[np.ndarray, "windows tokens channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"] | None = None,
    pretrained_window_size: Size | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Attends inside each window: proj(softmax(tau cos(q, k) + bias + mask) v), for every head.

    ``tau`` is exp(min(logit_scale, log 100)), one number a head.  ``params`` holds ``qkv``, C to 3C, whose
    bias is (``q_bias``, 0, ``v_bias``) if there is one, ``logit_scale`` (heads, 1, 1), ``cpb_mlp``, from
    which `continuous_position_bias_table` makes the bias, and ``proj``.  (Liu et al. 2022, equation 2.)

    Errors: those of `window_attention`.

    >>> eye, zero = np.eye(2), np.zeros(2)
    >>> params = {"qkv": {"weight": np.concatenate([0 * eye, 0 * eye, eye])},
    ...           "proj": {"weight": eye, "bias": zero}, "logit_scale": np.zeros((1, 1, 1)),
    ...           "cpb_mlp": {"0": {"weight": np.ones((4, 2)), "bias": np.zeros(4)},
    ...                       "2": {"weight": np.zeros((1, 4))}}}
    >>> cosine_window_attention(np.array([[[0.0, 2.0], [4.0, 6.0]]]), params, 1, (1, 2))
    array([[[2., 4.],
            [2., 4.]]])
    """
    q, k, v = split_heads(linear(x, params["qkv"]["weight"], join_biases(params)), num_heads)
    largest = np.float32(LARGEST_LOGIT_SCALE) if convention.clamp == "float32" else LARGEST_LOGIT_SCALE
    tau = np.exp(np.minimum(params["logit_scale"], float(largest)))  # (heads, 1, 1)
    table = continuous_position_bias_table(params["cpb_mlp"], window_size, pretrained_window_size, convention)
    bias = relative_position_bias(table, window_size)  # (heads, N, N)
    logits = normalise(q) @ normalise(k).swapaxes(-1, -2) * tau + bias  # (B nW, heads, N, N)
    attention = softmax(logits if mask is None else add_mask(logits, mask))
    return linear(merge_heads(attention @ v), **params["proj"])  # (B nW, N, C)


def normalise(
    x: Inexact[np.ndarray, "*tokens head_dim"],
) -> Inexact[np.ndarray, "*tokens head_dim"]:
    """Divides each vector by its length: y = x / max(|x|, 1e-12).

    >>> normalise(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    return x / np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), SMALLEST_NORM)


def join_biases(params: Params) -> Inexact[np.ndarray, " channels_times_3"] | None:
    """Returns the bias of the queries, keys and values: that of the keys is 0; None if there is none.

    >>> join_biases({"q_bias": np.ones(1), "v_bias": np.ones(1)})
    array([1., 0., 1.])
    """
    if "q_bias" not in params:
        return None
    q_bias, v_bias = params["q_bias"], params["v_bias"]
    return np.concatenate([q_bias, np.zeros_like(q_bias), v_bias])


def shifted_cosine_window_attention(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Size,
    shift_size: Size,
    pretrained_window_size: Size | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Applies the attention of Swin V2 to a grid, in windows that are padded and shifted as in V1.

    ``params`` are those of `cosine_window_attention`, the rest is as in `shifted_window_attention`.  (Liu et
    al. 2022, section 3.)

    Errors: those of `shifted_window_attention`.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import cosine_window_attention_shapes
    >>> params = hot_parameters(cosine_window_attention_shapes(4, 2), seed=0)
    >>> shifted_cosine_window_attention(np.ones((1, 5, 3, 4)), params, 2, 2, 1).shape
    (1, 5, 3, 4)
    """
    return attend_in_windows(
        x,
        window_size,
        shift_size,
        convention,
        lambda windows, mask: cosine_window_attention(
            windows, params, num_heads, window_size, mask, pretrained_window_size, convention
        ),
    )
