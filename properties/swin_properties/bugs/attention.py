"""Planted bugs inside window attention: heads, scale, bias, softmax, projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import NOT_SEEN, PORTED, Replacements, bug


def attending(
    o: Any, logits: Callable[..., Any], weights: Callable[[Any], Any] | None = None
) -> Replacements:
    """Window attention with other logits(q, k, scale, bias), and perhaps other weights(logits)."""
    layers, a = o.layers, o.attention
    softmax = layers.softmax

    def attention(
        x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None, qk_scale: Any = None
    ) -> Any:
        q, k, v = a.split_heads(layers.linear(x, **params["qkv"]), num_heads)
        bias = a.relative_position_bias(params["relative_position_bias_table"], window_size)
        scores = logits(q, k, q.shape[-1] ** -0.5 if qk_scale is None else qk_scale, bias)
        scores = scores if mask is None else a.add_mask(scores, mask)
        attended = (weights or softmax)(scores) @ v
        return layers.linear(a.merge_heads(attended), **params["proj"])

    return {"attention.window_attention": attention}


def product(q: Any, k: Any) -> Any:
    """q k^T."""
    return q @ k.swapaxes(-1, -2)


SCALED: dict[str, tuple[str, str, str, Callable[..., Any]]] = {
    "scale-missing": (
        "The logits are not scaled.",
        "Sharper attention: trains worse, and checkpoints give other outputs.",
        NOT_SEEN,
        lambda q, k, scale, bias: product(q, k) + bias,
    ),
    "scale-twice": (
        "The logits are scaled twice.",
        "Attention is nearly uniform.",
        "Scaling q by hand before a fused attention that scales as well.",
        lambda q, k, scale, bias: product(q * scale, k * scale) + bias,
    ),
    "scale-by-channels": (
        "The scale is C^-1/2 of all channels, not head_dim^-1/2.",
        "Right for one head; the more heads, the flatter the attention.",
        NOT_SEEN,
        lambda q, k, scale, bias: product(q * (scale / q.shape[1] ** 0.5), k) + bias,
    ),
    "scale-ignores-qk-scale": (
        "An explicit qk_scale is ignored.",
        "Only models trained with qk_scale are wrong.",
        NOT_SEEN,
        lambda q, k, scale, bias: product(q * q.shape[-1] ** -0.5, k) + bias,
    ),
    "scale-after-bias": (
        "The scale multiplies the bias as well.",
        "The position bias is weaker than it was trained to be.",
        "Passing the bias to kernels that scale the sum.",
        lambda q, k, scale, bias: (product(q, k) + bias) * scale,
    ),
    "query-key-swapped": (
        "Queries and keys are exchanged.",
        PORTED,
        "Checkpoints whose qkv order is (k, q, v).",
        lambda q, k, scale, bias: product(k * scale, q) + bias,
    ),
    "cosine": (
        "The logits are cosines, as in V2.",
        "V1 weights in V2 attention.",
        NOT_SEEN,
        lambda q, k, scale, bias: (
            product(q / np.sqrt((q * q).sum(-1, keepdims=True) + 1e-12), k)
            / np.sqrt((k * k).sum(-1)[..., None, :] + 1e-12)
            + bias
        ),
    ),
}
for _name, (_wrong, _effect, _seen, _logits) in SCALED.items():
    bug(_name, _wrong, _effect, _seen)(lambda o, logits=_logits: attending(o, logits))  # type: ignore[misc]


def right(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    """The oracle's logits."""
    return product(q * scale, k) + bias


@bug("softmax-over-queries", "The softmax runs over the queries.", "Columns sum to 1, rows do not.")
def softmax_over_queries(o: Any) -> Replacements:
    softmax = o.layers.softmax

    def weights(logits: Any) -> Any:
        finite = np.where(np.isfinite(logits.real), logits, -1e4)
        return softmax(finite.swapaxes(-1, -2)).swapaxes(-1, -2)

    return attending(o, right, weights)


@bug("softmax-over-heads", "The softmax runs over the heads.", "With one head every weight is 1.")
def softmax_over_heads(o: Any) -> Replacements:
    softmax = o.layers.softmax

    def weights(logits: Any) -> Any:
        finite = np.where(np.isfinite(logits.real), logits, -1e4)
        return np.moveaxis(softmax(np.moveaxis(finite, 1, -1)), -1, 1)

    return attending(o, right, weights)


@bug(
    "softmax-plus-one",
    "The softmax's denominator has one more.",
    "Every token is dimmed, most where logits are small.",
    "Attention with a sink, `softmax1`.",
)
def softmax_plus_one(o: Any) -> Replacements:
    def weights(logits: Any) -> Any:
        top = np.maximum(logits.real.max(axis=-1, keepdims=True), 0.0)
        exponentials = np.exp(logits - top)
        return exponentials / (exponentials.sum(axis=-1, keepdims=True) + np.exp(-top))

    return attending(o, right, weights)


@bug(
    "softmax-unshifted",
    "The softmax does not subtract the maximum.",
    "Infinite or NaN once a logit passes 88 in float32, 11 in float16.",
)
def softmax_unshifted(o: Any) -> Replacements:
    def weights(logits: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            # 88 is float32's limit; the gallery computes in float64 as well, and must show it there too.
            exponentials = np.where(logits.real > 88.0, np.inf, np.exp(np.minimum(logits.real, 88.0)))
            return exponentials / exponentials.sum(axis=-1, keepdims=True)

    return attending(o, right, weights)


@bug("bias-after-softmax", "The position bias is added after the softmax.", "Rows no longer sum to 1.")
def bias_after_softmax(o: Any) -> Replacements:
    layers, a = o.layers, o.attention

    def attention(
        x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None, qk_scale: Any = None
    ) -> Any:
        q, k, v = a.split_heads(layers.linear(x, **params["qkv"]), num_heads)
        scores = product(q * (q.shape[-1] ** -0.5 if qk_scale is None else qk_scale), k)
        weights = layers.softmax(scores if mask is None else a.add_mask(scores, mask))
        weights = weights + a.relative_position_bias(params["relative_position_bias_table"], window_size)
        return layers.linear(a.merge_heads(weights @ v), **params["proj"])

    return {"attention.window_attention": attention}


def without(o: Any, layer: str, part: slice) -> Replacements:
    """Window attention whose ``layer`` has no bias in ``part`` of it."""
    original = o.attention.window_attention

    def attention(x: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        if "bias" not in params[layer]:
            return original(x, params, *args, **kwargs)
        bias = params[layer]["bias"] + 0.0
        third = len(bias) // 3
        bias[slice(part.start and part.start * third, part.stop and part.stop * third)] = 0.0
        return original(x, {**params, layer: {**params[layer], "bias": bias}}, *args, **kwargs)

    return {"attention.window_attention": attention}


@bug("query-bias-dropped", "The query's bias is not added.", PORTED)
def query_bias_dropped(o: Any) -> Replacements:
    return without(o, "qkv", slice(None, 1))


@bug("value-bias-dropped", "The value's bias is not added.", PORTED)
def value_bias_dropped(o: Any) -> Replacements:
    return without(o, "qkv", slice(2, None))


@bug("proj-bias-dropped", "The projection's bias is not added.", "A constant is missing from every branch.")
def proj_bias_dropped(o: Any) -> Replacements:
    return without(o, "proj", slice(None, None))


@bug(
    "projection-missing",
    "There is no output projection.",
    "Heads never mix.",
    "Kernels that stop before it, counted as the whole attention.",
)
def projection_missing(o: Any) -> Replacements:
    original = o.attention.window_attention

    def attention(x: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        eye = {"weight": np.eye(x.shape[-1], dtype=x.real.dtype), "bias": None}
        return original(x, {**params, "proj": eye}, *args, **kwargs)

    return {"attention.window_attention": attention}


@bug(
    "padding-hidden",
    "Padded tokens are masked as keys.",
    "Border windows of grids that are no multiple of the window differ from every public implementation.",
    "A plausible reading of the paper; no implementation does it.",
)
def padding_hidden(o: Any) -> Replacements:
    w, a = o.windows, o.attention

    def shifted(
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        shift_size: Any,
        qk_scale: Any = None,
        *_: Any,
    ) -> Any:
        mh, mw = w.window_pair(window_size)
        padded = w.pad_to_multiple(x, window_size)
        real = w.pad_to_multiple(np.ones((1, *x.shape[1:3], 1)), window_size)
        windows, seen = (
            w.window_partition(w.cyclic_shift(grid, shift_size), window_size).reshape(
                -1, mh * mw, grid.shape[-1]
            )
            for grid in (padded, real)
        )
        mask = w.shifted_window_mask(*padded.shape[1:3], window_size, shift_size)
        hidden = np.where(seen[:, None, :, 0] == 0, -np.inf, 0.0) + mask
        # A padded query would see nothing at all; what it computes is cropped.
        hidden = np.where(seen[:, :, :1] == 0, mask, hidden)
        y = a.window_attention(windows, params, num_heads, window_size, hidden, qk_scale)
        grid = w.window_reverse(y.reshape(-1, mh, mw, x.shape[-1]), window_size, *padded.shape[1:3])
        return w.reverse_cyclic_shift(grid, shift_size)[:, : x.shape[1], : x.shape[2]]

    return {"attention.shifted_window_attention": shifted}
