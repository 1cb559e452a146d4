"""The formulations as implementations: the oracle's code around one's attention, every operation rounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from studies.honest.emulated import emulate, find_accumulator
from studies.honest.formulations import FORMULATIONS, Attend, Skipped
from swin_properties.adapters.contract import CONTRACT
from swin_properties.budget.precision import PRECISIONS, Precision
from swin_properties.bugs.backward.complex_step import change_oracle
from swin_reference.attention import add_mask, merge_heads, split_heads
from swin_reference.attention_v2 import LARGEST_LOGIT_SCALE, join_biases, normalise
from swin_reference.conventions import CANONICAL, Convention
from swin_reference.layers import linear
from swin_reference.position_bias_v2 import continuous_position_bias_table
from swin_reference.relative_position import relative_position_bias

__all__ = ["FORMULATIONS", "Skipped", "make_adapter"]

OFFERED = (
    "window_attention",
    "shifted_window_attention",
    "swin_block",
    "cosine_window_attention",
    "shifted_cosine_window_attention",
    "swin_v2_block",
)
"""The callables that compute an attention, of both versions of Swin."""


def make_adapter(formulation: str, precision: str) -> SimpleNamespace:
    """An implementation whose attention is a formulation, in a precision.

    >>> swin = make_adapter("naive", "bfloat16")
    >>> params = {"qkv": {"weight": np.eye(3, 1, -2)}, "proj": {"weight": np.eye(1)},
    ...           "relative_position_bias_table": np.zeros((3, 1))}
    >>> swin.window_attention(np.array([[[1.0], [2.0]]]), params, 1, (1, 2)).ravel()
    array([1.5, 1.5], dtype=float32)
    """
    rounding = PRECISIONS[precision]
    attention = make_window_attention(FORMULATIONS[formulation], rounding)
    cosine = make_cosine_attention(FORMULATIONS[formulation], rounding)
    oracle = change_oracle(
        {
            "window_attention": lambda _: attention,
            "cosine_window_attention": lambda _: cosine,
            "layer_norm": lambda norm: widen_norm(norm, rounding),
        }
    )
    return SimpleNamespace(
        **{
            name: round_every_operation(getattr(oracle, name), rounding)
            for name in CONTRACT
            if name in OFFERED
        },
        name=f"{formulation} in {precision}",
        precision=precision,
    )


def make_window_attention(attend: Attend, precision: Precision) -> Callable[..., Any]:
    """The oracle's window attention with another attention between its two linear layers."""

    def attended(
        x: Any, params: Any, num_heads: int, window_size: Any, mask: Any = None, qk_scale: float | None = None
    ) -> Any:
        q, k, v = split_heads(linear(x, **params["qkv"]), num_heads)
        scale = q.shape[-1] ** -0.5 if qk_scale is None else qk_scale
        bias = make_bias(params["relative_position_bias_table"], window_size, mask, len(x))
        together = attend(q, k, v, emulate(bias, precision), scale, precision)
        return linear(merge_heads(together), **params["proj"])

    return attended


def make_cosine_attention(attend: Attend, precision: Precision) -> Callable[..., Any]:
    """The oracle's cosine attention with another attention of normalised queries and keys.

    Lengths are computed in the accumulator's precision, as those of `widen_norm`, and rounded once.
    """
    inside = find_accumulator(precision)

    def attended(
        x: Any,
        params: Any,
        num_heads: int,
        window_size: Any,
        mask: Any = None,
        pretrained_window_size: Any = None,
        convention: Convention = CANONICAL,
    ) -> Any:
        q, k, v = split_heads(linear(x, params["qkv"]["weight"], join_biases(params)), num_heads)
        q, k = (emulate(normalise(emulate(one, inside)), precision) for one in (q, k))
        tau = np.exp(np.minimum(params["logit_scale"], LARGEST_LOGIT_SCALE))
        table = continuous_position_bias_table(
            params["cpb_mlp"], window_size, pretrained_window_size, convention
        )
        bias = make_bias(table, window_size, mask, len(x))
        together = attend(q, k, v, emulate(bias, precision), tau, precision)
        return linear(merge_heads(together), **params["proj"])

    return attended


def make_bias(table: Any, window_size: Any, mask: Any, windows: int) -> Any:
    """What is added to the logits: the position bias (1, heads, N, N), with a mask one for each window."""
    bias = relative_position_bias(table, window_size)[None]
    if mask is None:
        return bias
    return add_mask(np.broadcast_to(bias, (windows, *bias.shape[1:])), mask)


def widen_norm(layer_norm: Callable[..., Any], precision: Precision) -> Callable[..., Any]:
    """LayerNorm as frameworks compute it: in the accumulator's precision, rounded once at the end.

    In float16 itself the squares of tokens above 255 overflow: code that does so is what the laws are after.
    """
    inside = find_accumulator(precision)

    def normed(x: Any, params: Mapping[str, Any], eps: float = 1e-5) -> Any:
        given = {name: emulate(value, inside) for name, value in params.items()}
        return emulate(layer_norm(emulate(x, inside), given, eps), precision)

    return normed


def round_every_operation(function: Callable[..., Any], precision: Precision) -> Callable[..., Any]:
    """A function that rounds every operation to the precision, arrays in and out."""

    def given(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return emulate(value, precision)
        if isinstance(value, Mapping):
            return {name: given(child) for name, child in value.items()}
        return value

    def call(*args: Any, **kwargs: Any) -> Any:
        return np.array(function(*map(given, args), **{name: given(x) for name, x in kwargs.items()}))

    return call
