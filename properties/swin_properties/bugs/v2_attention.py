"""Planted bugs of V2's attention: its cosine, the scale and its clamp, its biases and its mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from swin_properties.bugs.gallery import (
    MISPLACED_WEIGHTS,
    WRONG_OUTPUTS,
    Plant,
    Replacements,
    bug,
    replaces,
)

ATTENTION, NORMALISE = "attention_v2.cosine_window_attention", "attention_v2.normalise"
CLAMP = 4.605170185988092
"""log 100."""


def as_logits(formula: Callable[..., Any]) -> Plant:
    """Plants formula(q, k, logit_scale, bias, normalise) as the logits, before the mask."""

    def plant(o: Any) -> Replacements:
        a, layers = o.attention_v2, o.layers

        def attention(
            x: Any,
            params: Any,
            num_heads: int,
            window_size: Any,
            mask: Any = None,
            pretrained_window_size: Any = None,
            *_: Any,
        ) -> Any:
            qkv = layers.linear(x, params["qkv"]["weight"], a.join_biases(params))
            q, k, v = a.split_heads(qkv, num_heads)
            table = a.continuous_position_bias_table(params["cpb_mlp"], window_size, pretrained_window_size)
            bias = a.relative_position_bias(table, window_size)
            logits = formula(q, k, params["logit_scale"], bias, a.normalise)
            weights = layers.softmax(logits if mask is None else a.add_mask(logits, mask))
            return layers.linear(a.merge_heads(weights @ v), **params["proj"])

        return {ATTENTION: attention}

    return plant


def product(q: Any, k: Any) -> Any:
    """Returns q k^T."""
    return q @ k.swapaxes(-1, -2)


def factor(logit_scale: Any) -> Any:
    """Returns the oracle's factor of a cosine."""
    return np.exp(np.minimum(logit_scale, CLAMP))


@bug(
    "v2-scale-no-exp",
    "The cosine is multiplied by the logit scale itself, not by its exponential.",
    WRONG_OUTPUTS,
    "A public port of V2.",
    component="cosine_window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_no_exp(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * np.minimum(logit_scale, CLAMP) + bias


@bug(
    "v2-scale-floor",
    "The factor of the cosine is at least 0.01.",
    "Seen only in heads whose logit scale fell far below its first value.",
    "The paper's own text: tau is not smaller than 0.01; a public port of V2.",
    component="cosine_window_attention",
    only_when="a window of more than one token",
)
@as_logits
def scale_floor(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * np.maximum(factor(logit_scale), 0.01) + bias


@bug(
    "v2-clamp-missing",
    "The logit scale is not clamped at log 100.",
    "Right until a scale passes 100: then training diverges where it should not.",
    component="cosine_window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def clamp_missing(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * np.exp(logit_scale) + bias


@bug(
    "v2-clamp-base-two",
    "The logit scale is clamped at log2(100).",
    "Right until a scale passes 100.",
    component="cosine_window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def clamp_base_two(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * np.exp(np.minimum(logit_scale, np.log2(100.0))) + bias


@bug(
    "v2-clamp-early",
    "The factor of the cosine is at most 10.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def clamp_early(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * np.exp(np.minimum(logit_scale, np.log(10.0))) + bias


@bug(
    "v2-tau-divides",
    "The cosine is divided by the factor, as the paper writes tau.",
    WRONG_OUTPUTS,
    "Ports of the paper's equation 2 with the weights of the official code.",
    component="cosine_window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def tau_divides(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) / factor(logit_scale) + bias


@bug(
    "v2-scale-of-first-head",
    "Every head has the first head's scale.",
    "Right for one head.",
    component="cosine_window_attention",
    only_when="several heads; a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_of_first_head(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * factor(logit_scale[:1]) + bias


@bug(
    "v2-scale-on-bias",
    "The factor multiplies the bias as well.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_on_bias(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return (product(normalise(q), normalise(k)) + bias) * factor(logit_scale)


@bug(
    "v2-scale-of-v1-too",
    "The logits are also multiplied by head_dim^-1/2.",
    "Right for heads of one channel.",
    "Fused attention kernels with their own default scale.",
    component="cosine_window_attention",
    only_when="several channels a head; a window of more than one token; weights with queries and a bias",
)
@as_logits
def scale_of_v1_too(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * factor(logit_scale) * q.shape[-1] ** -0.5 + bias


@bug(
    "v2-bias-subtracted",
    "The position bias is subtracted.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def bias_subtracted(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), normalise(k)) * factor(logit_scale) - bias


@bug(
    "v2-not-cosine",
    "Queries and keys are not normalised, as in V1.",
    WRONG_OUTPUTS,
    "V1 code.",
    component="cosine_window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def not_cosine(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(q, k) * factor(logit_scale) + bias


@bug(
    "v2-query-not-normalised",
    "Only the keys are normalised.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def query_not_normalised(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(q, normalise(k)) * factor(logit_scale) + bias


@bug(
    "v2-key-not-normalised",
    "Only the queries are normalised.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    only_when="a window of more than one token; weights with queries and a bias",
)
@as_logits
def key_not_normalised(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    return product(normalise(q), k) * factor(logit_scale) + bias


@bug(
    "v2-norm-of-product",
    "The product is divided by max(|q| |k|, 1e-6).",
    "Wrong for short queries and keys.",
    "Ports with a cosine similarity of their framework.",
    component="cosine_window_attention",
    only_when="a window of more than one token",
)
@as_logits
def norm_of_product(q: Any, k: Any, logit_scale: Any, bias: Any, normalise: Any) -> Any:
    lengths = [np.sqrt((x * x).sum(-1, keepdims=True)) for x in (q, k)]
    cosine = product(q, k) / np.maximum(product(*lengths), 1e-6)
    return cosine * factor(logit_scale) + bias


@bug(
    "v2-norm-plus-eps",
    "Vectors are divided by |x| + 1e-5.",
    "Wrong for short queries and keys, by 1e-5 for all.",
    "mlx-image 0.1.",
    component="cosine_window_attention",
    only_when="a window of more than one token",
)
@replaces(NORMALISE)
def norm_plus_eps(_: Any, x: Any) -> Any:
    return x / (np.sqrt((x * x).sum(axis=-1, keepdims=True)) + 1e-5)


@bug(
    "v2-norm-eps-inside",
    "Vectors are divided by sqrt(|x|^2 + 1e-6).",
    "Wrong for short queries and keys.",
    "tfswin and kecam: `rsqrt` of the sum and an eps.",
    component="cosine_window_attention",
    only_when="a window of more than one token",
)
@replaces(NORMALISE)
def norm_eps_inside(_: Any, x: Any) -> Any:
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True) + 1e-6)


@bug(
    "v2-norm-no-eps",
    "Vectors are divided by their length, without a least one.",
    "NaN for a token whose query or key is 0; a padded token where there is no bias.",
    "Half precision, where 1e-12 is 0: torchvision's `.half()`.",
    component="cosine_window_attention",
    only_when="",
)
@replaces(NORMALISE)
def norm_no_eps(_: Any, x: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return x / np.sqrt((x * x).sum(axis=-1, keepdims=True))


@bug(
    "v2-norm-of-squares",
    "Vectors are divided by the square of their length.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@replaces(NORMALISE)
def norm_of_squares(_: Any, x: Any) -> Any:
    return x / np.maximum((x * x).sum(axis=-1, keepdims=True), 1e-12)


@bug(
    "v2-norm-of-sum",
    "Vectors are divided by the sum of their absolute values.",
    WRONG_OUTPUTS,
    component="cosine_window_attention",
    only_when="several channels a head; a window of more than one token; weights with queries and a bias",
)
@replaces(NORMALISE)
def norm_of_sum(_: Any, x: Any) -> Any:
    return x / np.maximum((x * np.sign(x.real)).sum(axis=-1, keepdims=True), 1e-12)


@bug(
    "v2-norm-over-tokens",
    "Queries and keys are normalised over the tokens of the window.",
    WRONG_OUTPUTS,
    "A wrong axis.",
    component="cosine_window_attention",
    when="a window of more than one token; weights with queries and a bias",
)
@replaces(NORMALISE)
def norm_over_tokens(original: Any, x: Any) -> Any:
    return original(x.swapaxes(-1, -2)).swapaxes(-1, -2)


@bug(
    "v2-norm-over-heads",
    "Queries and keys are normalised over all channels, before they are split into heads.",
    "Right for one head.",
    component="cosine_window_attention",
    only_when="several heads; a window of more than one token; weights with queries and a bias",
)
@replaces(NORMALISE)
def norm_over_heads(_: Any, x: Any) -> Any:
    return x / np.maximum(np.sqrt((x * x).sum(axis=(-1, -3), keepdims=True)), 1e-12)


@bug(
    "v2-query-bias-dropped",
    "q_bias is not added.",
    MISPLACED_WEIGHTS,
    component="cosine_window_attention",
    only_when="a qkv bias; a window of more than one token; weights with queries and a bias",
)
@replaces("attention_v2.join_biases")
def query_bias_dropped(original: Any, params: Any) -> Any:
    return original({**params, "q_bias": 0.0 * params["q_bias"]} if "q_bias" in params else params)


@bug(
    "v2-value-bias-dropped",
    "v_bias is not added.",
    MISPLACED_WEIGHTS,
    component="cosine_window_attention",
    when="a qkv bias",
)
@replaces("attention_v2.join_biases")
def value_bias_dropped(original: Any, params: Any) -> Any:
    return original({**params, "v_bias": 0.0 * params["v_bias"]} if "v_bias" in params else params)


@bug(
    "v2-biases-exchanged",
    "q_bias and v_bias are exchanged.",
    MISPLACED_WEIGHTS,
    component="cosine_window_attention",
    when="a qkv bias",
)
@replaces("attention_v2.join_biases")
def biases_exchanged(original: Any, params: Any) -> Any:
    both = {"q_bias": params.get("v_bias"), "v_bias": params.get("q_bias")}
    return original({**params, **both} if "q_bias" in params else params)


@bug(
    "v2-query-bias-for-keys",
    "The keys have the bias of the queries.",
    "One bias for all of qkv, filled with q_bias twice: each key is turned towards it.",
    component="cosine_window_attention",
    only_when="a qkv bias; a window of more than one token; weights with queries and a bias",
)
@replaces("attention_v2.join_biases")
def query_bias_for_keys(original: Any, params: Any) -> Any:
    joined = original(params)
    return None if joined is None else np.concatenate([params["q_bias"], params["q_bias"], params["v_bias"]])


@bug(
    "v2-mask-minus-100",
    "The mask of V2 is -100, not -inf.",
    "In V2 logits reach 116: a token of another region moved one by half as much as its own did.",
    "The official code, timm and torchvision.",
    component="cosine_window_attention",
    only_when="a window of more than one token",
)
@replaces(ATTENTION)
def mask_minus_100(
    original: Any, x: Any, params: Any, heads: int, window: Any, mask: Any = None, *rest: Any
) -> Any:
    return original(x, params, heads, window, None if mask is None else np.maximum(mask, -100.0), *rest)


@bug(
    "v2-mask-twice",
    "The mask is added twice.",
    "Nothing is seen where it is -inf; one of -100 hides twice as much.",
    "transformers.",
    component="cosine_window_attention",
    when="a window of more than one token",
)
@replaces(ATTENTION)
def mask_twice(
    original: Any, x: Any, params: Any, heads: int, window: Any, mask: Any = None, *rest: Any
) -> Any:
    return original(x, params, heads, window, None if mask is None else mask + mask, *rest)
