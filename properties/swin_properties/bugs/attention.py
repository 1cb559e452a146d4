"""Planted bugs inside window attention: scale, bias, softmax, projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import MISPLACED_WEIGHTS, Plant, Replacements, bug, replaces
from swin_properties.bugs.rolled import attend_rolled

ATTENTION = "attention.window_attention"


def attending(
    o: Any, logits: Callable[..., Any], weights: Callable[[Any], Any] | None = None
) -> Replacements:
    """Returns window attention with other logits(q, k, scale, bias), and perhaps other weights(logits)."""
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

    return {ATTENTION: attention}


def as_logits(function: Callable[..., Any]) -> Plant:
    """Plants a function as the logits(q, k, scale, bias) of window attention."""
    return lambda o: attending(o, function)


def product(q: Any, k: Any) -> Any:
    """Returns q k^T."""
    return q @ k.swapaxes(-1, -2)


def right_logits(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    """Returns the oracle's logits."""
    return product(q * scale, k) + bias


@bug(
    "scale-missing",
    "The logits are not scaled.",
    "Sharper attention: trains worse, and checkpoints give other outputs.",
    component="window_attention",
    when="several channels a head; a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_missing(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    return product(q, k) + bias


@bug(
    "scale-twice",
    "The logits are scaled twice.",
    "Attention is nearly uniform.",
    "Scaling q by hand before a fused attention that scales as well.",
    component="window_attention",
    when="several channels a head; a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_twice(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    return product(q * scale, k * scale) + bias


@bug(
    "scale-by-channels",
    "The scale is C^-1/2 of all channels, not head_dim^-1/2.",
    "Right for one head; the more heads, the flatter the attention.",
    component="window_attention",
    when="several heads; a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_by_channels(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    return product(q * (scale / q.shape[1] ** 0.5), k) + bias


@bug(
    "scale-by-heads",
    "The scale is heads^-1/2, not (head dimension)^-1/2.",
    "Right where there are as many heads as channels in each.",
    "timm's attention2d (issue 2385) and a dozen copies.",
    component="window_attention",
    only_when="a number of heads other than the channels of a head; a window of more than one token",
)
def scale_by_heads(o: Any) -> Replacements:
    def logits(q: Any, k: Any, scale: Any, bias: Any) -> Any:
        given = scale != q.shape[-1] ** -0.5
        return right_logits(q, k, scale if given else q.shape[-3] ** -0.5, bias)

    return attending(o, logits)


@bug(
    "scale-ignores-qk-scale",
    "An explicit qk_scale is ignored.",
    "Only models trained with qk_scale are wrong.",
    component="window_attention",
    when="a window of more than one token",
)
@as_logits
def scale_ignores_qk_scale(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    return product(q * q.shape[-1] ** -0.5, k) + bias


@bug(
    "scale-zero-is-none",
    "A qk_scale of 0 is taken for none.",
    "Attention by position alone cannot be asked for.",
    "The official code: `qk_scale or head_dim ** -0.5`.",
    component="window_attention",
    when="a window of more than one token",
)
@replaces("attention.window_attention")
def scale_zero_is_none(
    original: Any,
    x: Any,
    params: Any,
    heads: int,
    window: Any,
    mask: Any = None,
    qk_scale: float | None = None,
) -> Any:
    return original(x, params, heads, window, mask, qk_scale or None)


@bug(
    "last-key-dropped",
    "No token attends to the last token of its window.",
    "Right for windows of one token; elsewhere a corner is never seen by the others.",
    component="window_attention",
    when="a window of more than one token",
)
@replaces("layers.softmax")
def last_key_dropped(original: Any, x: Any) -> Any:
    if x.shape[-1] == 1:
        return original(x)
    alone = ~np.isfinite(x[..., :-1]).any(axis=-1, keepdims=True)  # where it is all that is not masked
    others = original(np.where(alone, 0.0, x[..., :-1]))
    return np.concatenate([np.where(alone, 0.0, others), 1.0 * alone], axis=-1)


@bug(
    "scale-after-bias",
    "The scale multiplies the bias as well.",
    "The position bias is weaker than it was trained to be.",
    "Passing the bias to kernels that scale the sum.",
    component="window_attention",
    when="several channels a head; a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_after_bias(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    return (product(q, k) + bias) * scale


@bug(
    "query-key-swapped",
    "Queries and keys are exchanged.",
    MISPLACED_WEIGHTS,
    "Checkpoints whose qkv order is (k, q, v).",
    component="window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def query_key_swapped(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    return product(k * scale, q) + bias


@bug(
    "cosine",
    "The logits are cosines, as in V2.",
    "V1 weights in V2 attention.",
    component="window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def cosine(q: Any, k: Any, scale: Any, bias: Any) -> Any:
    unit_queries = q / np.sqrt((q * q).sum(-1, keepdims=True) + 1e-12)
    return product(unit_queries, k) / np.sqrt((k * k).sum(-1)[..., None, :] + 1e-12) + bias


@bug(
    "tile-not-hidden",
    "Keys are padded to a whole tile of 32 with zero logits, which the softmax counts.",
    "Right for 32 or 64 tokens; a window of 49 loses weight to 15 keys that do not exist.",
    "tt-metal, issue 54833.",
    component="window_attention",
    only_when="a number of tokens in a window that 32 does not divide",
)
def tile_not_hidden(o: Any) -> Replacements:
    softmax = o.layers.softmax

    def weights(logits: Any) -> Any:
        tokens = logits.shape[-1]
        zeros = np.zeros_like(logits, shape=(*logits.shape[:-1], -tokens % 32))
        return softmax(np.concatenate([logits, zeros], axis=-1))[..., :tokens]

    return attending(o, right_logits, weights)


@bug(
    "softmax-over-queries",
    "The softmax runs over the queries.",
    "Columns sum to 1, rows do not.",
    component="window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
def softmax_over_queries(o: Any) -> Replacements:
    softmax = o.layers.softmax

    def weights(logits: Any) -> Any:
        finite = np.where(np.isfinite(logits.real), logits, -1e4)
        return softmax(finite.swapaxes(-1, -2)).swapaxes(-1, -2)

    return attending(o, right_logits, weights)


@bug(
    "softmax-over-heads",
    "The softmax runs over the heads.",
    "With one head every weight is 1.",
    component="window_attention",
    only_when="",
)
def softmax_over_heads(o: Any) -> Replacements:
    softmax = o.layers.softmax

    def weights(logits: Any) -> Any:
        finite = np.where(np.isfinite(logits.real), logits, -1e4)
        return np.moveaxis(softmax(np.moveaxis(finite, 1, -1)), -1, 1)

    return attending(o, right_logits, weights)


@bug(
    "softmax-plus-one",
    "The denominator of the softmax has an extra 1.",
    "Every token is dimmed, most where logits are small.",
    "Attention with a sink, `softmax1`.",
    component="window_attention",
)
def softmax_plus_one(o: Any) -> Replacements:
    def weights(logits: Any) -> Any:
        top = np.maximum(logits.real.max(axis=-1, keepdims=True), 0.0)
        exponentials = np.exp(logits - top)
        return exponentials / (exponentials.sum(axis=-1, keepdims=True) + np.exp(-top))

    return attending(o, right_logits, weights)


@bug(
    "softmax-unshifted",
    "The softmax does not subtract the maximum.",
    "Infinite or NaN once a logit passes 88 in float32, 11 in float16.",
    component="window_attention",
    when="logits that are far apart",
)
def softmax_unshifted(o: Any) -> Replacements:
    def weights(logits: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            # 88 is float32's limit; the gallery computes in float64 as well, and must show it there too.
            exponentials = np.where(logits.real > 88.0, np.inf, np.exp(np.minimum(logits.real, 88.0)))
            return exponentials / exponentials.sum(axis=-1, keepdims=True)

    return attending(o, right_logits, weights)


@bug(
    "bias-after-softmax",
    "The position bias is added after the softmax.",
    "Rows no longer sum to 1.",
    component="window_attention",
    when="weights with queries and a bias",
)
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

    return {ATTENTION: attention}


def zero_bias(params: Any, layer: str, first: int, last: int) -> Any:
    """Returns parameters in which thirds ``first`` to ``last`` of a layer's bias, if it has one, are 0."""
    if "bias" not in params[layer]:
        return params
    bias = params[layer]["bias"] + 0.0
    third = len(bias) // 3
    bias[first * third : None if last == 3 else last * third] = 0.0
    return {**params, layer: {**params[layer], "bias": bias}}


@bug(
    "query-bias-dropped",
    "The query's bias is not added.",
    MISPLACED_WEIGHTS,
    component="window_attention",
    when="a qkv bias; a window of more than one token; weights with queries and a bias",
)
@replaces(ATTENTION)
def query_bias_dropped(original: Any, x: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
    return original(x, zero_bias(params, "qkv", 0, 1), *args, **kwargs)


@bug(
    "value-bias-dropped",
    "The value's bias is not added.",
    MISPLACED_WEIGHTS,
    component="window_attention",
    when="a qkv bias",
)
@replaces(ATTENTION)
def value_bias_dropped(original: Any, x: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
    return original(x, zero_bias(params, "qkv", 2, 3), *args, **kwargs)


@bug(
    "proj-bias-dropped",
    "The projection's bias is not added.",
    "A constant is missing from every branch.",
    component="window_attention",
)
@replaces(ATTENTION)
def proj_bias_dropped(original: Any, x: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
    return original(x, zero_bias(params, "proj", 0, 3), *args, **kwargs)


@bug(
    "projection-missing",
    "There is no output projection.",
    "Heads never mix.",
    "Kernels that stop before it, counted as the whole attention.",
    component="window_attention",
)
@replaces(ATTENTION)
def projection_missing(original: Any, x: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
    eye = {"weight": np.eye(x.shape[-1], dtype=x.real.dtype), "bias": None}
    return original(x, {**params, "proj": eye}, *args, **kwargs)


@bug(
    "padding-hidden",
    "Padded tokens are masked as keys.",
    "Border windows of grids that are no multiple of the window differ from the official code.",
    "tfswin 4.1.1 and zeromodels 1.3.6.",
    component="shifted_window_attention",
    only_when="a padded grid",
)
def padding_hidden(o: Any) -> Replacements:
    w = o.windows

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
        seen = w.window_partition(w.cyclic_shift(real, shift_size), window_size).reshape(-1, mh * mw, 1)
        mask = w.shifted_window_mask(*padded.shape[1:3], window_size, shift_size)
        hidden = np.where(seen[:, None, :, 0] == 0, -np.inf, 0.0) + mask
        # A padded query would see nothing at all; what it computes is cropped.
        hidden = np.where(seen[:, :, :1] == 0, mask, hidden)
        rolled = w.cyclic_shift(padded, shift_size)
        y = attend_rolled(o, rolled, hidden, params, num_heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y, shift_size)[:, : x.shape[1], : x.shape[2]]

    return {"attention.shifted_window_attention": shifted}


@bug(
    "padding-hidden-not-rolled",
    "Padded tokens are hidden where they lie before the roll.",
    "Shifted windows of padded grids hide real tokens, and show padding.",
    "tfswin 4.1.1.",
    component="shifted_window_attention",
    only_when="a padded grid",
)
def padding_hidden_not_rolled(o: Any) -> Replacements:
    w = o.windows

    def shifted(
        x: Any, params: Any, heads: int, window_size: Any, shift_size: Any, qk_scale: Any = None, *_: Any
    ) -> Any:
        mh, mw = w.window_pair(window_size)
        padded = w.pad_to_multiple(x, window_size)
        real = w.pad_to_multiple(np.ones((1, *x.shape[1:3], 1)), window_size)
        real = w.window_partition(real, window_size).reshape(-1, mh * mw)
        mask = w.shifted_window_mask(*padded.shape[1:3], window_size, shift_size)
        mask = np.where(real[:, :, None] == real[:, None, :], mask, -np.inf)
        y = attend_rolled(o, w.cyclic_shift(padded, shift_size), mask, params, heads, window_size, qk_scale)
        return w.reverse_cyclic_shift(y, shift_size)[:, : x.shape[1], : x.shape[2]]

    return {"attention.shifted_window_attention": shifted}
