"""The second oracle's attention of Swin V2: each pair of tokens has a cosine, and a bias of its own."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from swin_reference.config import CONVENTIONS, Convention
from swin_reference.direct.attention import attend_in_true_windows
from swin_reference.direct.sizes import Sizes, two
from swin_reference.layers import linear, softmax
from swin_reference.types import Inexact, Params

CANONICAL = CONVENTIONS["canonical"]


def continuous_position_bias_table(
    params: Params,
    window_size: Sizes,
    pretrained_window_size: Sizes | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "offsets heads"]:
    """Computes the bias of each offset of a window, one after the other, row by row.

    >>> mlp = {"0": {"weight": np.ones((4, 2)), "bias": np.zeros(4)}, "2": {"weight": np.zeros((1, 4))}}
    >>> continuous_position_bias_table(mlp, (1, 2)).ravel()
    array([8., 8., 8.])
    """
    window = two(window_size)
    trained = window if pretrained_window_size is None else two(pretrained_window_size)
    if any(t == 1 and m > 1 for t, m in zip(trained, window, strict=True)):
        raise ValueError(
            f"weights know the offsets of the window of their training, got {trained} and window {window}: "
            "give the window of the training"
        )
    offsets = product(*(range(1 - m, m) for m in window))
    return np.stack([bias_of_offset(params, dh, dw, trained, convention) for dh, dw in offsets])


def bias_of_offset(
    params: Params, dh: int, dw: int, trained: tuple[int, int], convention: Convention = CANONICAL
) -> Inexact[np.ndarray, " heads"]:
    """Computes the bias of one offset in every head, under weights that were trained in a window.

    16 sigmoid(x) is 8 + 8 tanh(x / 2), and log2(1 + 8 |t|) / 3 the logarithm of 1 + 8 |t| to the base 8.

    >>> mlp = {"0": {"weight": np.ones((4, 2)), "bias": np.zeros(4)}, "2": {"weight": np.zeros((1, 4))}}
    >>> bias_of_offset(mlp, 0, 1, (1, 2))
    array([8.])
    """
    kept: Any = np.float32 if convention.offsets == "float32" else np.float64
    shares = [kept(0.0 if m == 1 else d / (m - 1)) for d, m in zip((dh, dw), trained, strict=True)]
    if convention.offsets == "float32":  # the sum, the logarithm and the third are rounded one by one
        thirds = [kept(np.log(float(kept(1.0) + 8 * abs(t))) / np.log(2.0)) / kept(3.0) for t in shares]
    else:
        thirds = [np.log1p(8.0 * abs(t)) / np.log(8.0) for t in shares]
    logarithms = [float(np.copysign(third, t)) for third, t in zip(thirds, shares, strict=True)]
    hidden = params["0"]["bias"] + sum(
        t * column for t, column in zip(logarithms, params["0"]["weight"].T, strict=True)
    )
    return 8.0 + 8.0 * np.tanh(0.5 * (params["2"]["weight"] * np.where(hidden > 0, hidden, 0.0)).sum(-1))


def shifted_cosine_window_attention(
    x: Inexact[np.ndarray, "batch height width channels"],
    params: Params,
    num_heads: int,
    window_size: Sizes,
    shift_size: Sizes,
    pretrained_window_size: Sizes | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "batch height width channels"]:
    """Attends by cosine inside each true shifted window of the grid, as `shifted_window_attention` does.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import cosine_window_attention_shapes
    >>> params = hot_parameters(cosine_window_attention_shapes(4, 2), seed=0)
    >>> shifted_cosine_window_attention(np.ones((1, 3, 3, 4)), params, 2, 2, 1).shape
    (1, 3, 3, 4)
    """
    window = two(window_size)
    trained = window if pretrained_window_size is None else two(pretrained_window_size)

    def attend(tokens: Any, h: Any, w: Any, mask: Any = 0.0) -> Any:
        return _attend(tokens, h, w, params, num_heads, trained, mask, convention)

    return attend_in_true_windows(x, window, two(shift_size), convention, attend)


def cosine_window_attention(
    x: Inexact[np.ndarray, "windows tokens channels"],
    params: Params,
    num_heads: int,
    window_size: Sizes,
    mask: Inexact[np.ndarray, "windows_per_image tokens tokens"] | None = None,
    pretrained_window_size: Sizes | None = None,
    convention: Convention = CANONICAL,
) -> Inexact[np.ndarray, "windows tokens channels"]:
    """Attends by cosine inside each window; window n of an image gets mask n.

    >>> from swin_reference.parameters import hot_parameters
    >>> from swin_reference.parameters_v2 import cosine_window_attention_shapes
    >>> params = hot_parameters(cosine_window_attention_shapes(4, 2), seed=0)
    >>> cosine_window_attention(np.ones((1, 2, 4)), params, 2, (1, 2)).shape
    (1, 2, 4)
    """
    h, w = np.array(list(product(*map(range, two(window_size))))).T
    trained = two(window_size if pretrained_window_size is None else pretrained_window_size)
    masks = [0.0] if mask is None else list(mask)
    y = np.empty_like(x)
    for n, one_mask in enumerate(masks):
        windows = slice(n, None, len(masks))  # window n of every image
        y[windows] = _attend(x[windows], h, w, params, num_heads, trained, one_mask, convention)
    return y


def _attend(
    x: Any,
    h: Any,
    w: Any,
    params: Params,
    num_heads: int,
    trained: tuple[int, int],
    mask: Any,
    convention: Convention,
) -> Any:
    """Attends among the tokens at positions (h, w) by the cosine of each two, and by their offset."""
    dh, dw = np.subtract.outer(h, h), np.subtract.outer(w, w)
    bias = np.empty((*dh.shape, num_heads))
    for one, other in product(np.unique(dh), np.unique(dw)):
        bias[(dh == one) & (dw == other)] = bias_of_offset(
            params["cpb_mlp"], int(one), int(other), trained, convention
        )
    parts = []
    for name, weight in zip(("q_bias", None, "v_bias"), np.split(params["qkv"]["weight"], 3), strict=True):
        parts.append(linear(x, weight) + (params.get(name, 0.0) if name else 0.0))
    most = 100.0 if convention.clamp == "exact" else np.exp(float(np.float32(np.log(100.0))))
    heads = []
    for head, channels in enumerate(np.split(np.arange(x.shape[-1]), num_heads)):
        q, k, v = (part[..., channels] for part in parts)  # one head's
        product_of_lengths = np.linalg.norm(q, axis=-1)[:, :, None] * np.linalg.norm(k, axis=-1)[:, None]
        dot = np.einsum("wid,wjd->wij", q, k)
        cosine = dot / np.maximum(product_of_lengths, 1e-24)
        scale = min(np.exp(params["logit_scale"][head, 0, 0]), most)
        weights = softmax(scale * cosine + bias[..., head] + mask)
        heads.append(np.einsum("wij,wjd->wid", weights, v))
    return linear(np.concatenate(heads, axis=-1), **params["proj"])
