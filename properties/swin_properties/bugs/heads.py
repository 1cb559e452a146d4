"""Planted bugs of how heads are split and merged."""

from __future__ import annotations

from typing import Any

from swin_properties.bugs.gallery import MISPLACED_WEIGHTS, bug, replaces


@bug(
    "heads-interleaved",
    "The qkv channels are read as (heads, 3, head_dim), not (3, heads, head_dim).",
    MISPLACED_WEIGHTS,
    "Ports from layouts that keep a head's q, k and v together (GPT-NeoX).",
    component="window_attention",
    when="several heads",
)
@replaces("attention.split_heads")
def heads_interleaved(original: Any, qkv: Any, num_heads: int) -> Any:
    windows, tokens, channels = qkv.shape
    split = qkv.reshape(windows, tokens, num_heads, 3, channels // (3 * num_heads))
    return split.transpose(3, 0, 2, 1, 4)


@bug(
    "heads-last",
    "The channels are read as (head_dim, heads), not (heads, head_dim).",
    MISPLACED_WEIGHTS,
    component="window_attention",
    when="several heads; several channels a head",
)
@replaces("attention.split_heads")
def heads_last(original: Any, qkv: Any, num_heads: int) -> Any:
    windows, tokens, channels = qkv.shape
    split = qkv.reshape(windows, tokens, 3, channels // (3 * num_heads), num_heads)
    return split.transpose(2, 0, 4, 1, 3)


@bug(
    "qkv-reversed", "The qkv channels are read as (v, k, q).", MISPLACED_WEIGHTS, component="window_attention"
)
@replaces("attention.split_heads")
def qkv_reversed(original: Any, qkv: Any, num_heads: int) -> Any:
    return original(qkv, num_heads)[::-1]


@bug(
    "heads-not-transposed",
    "After attention the heads are reshaped into channels without the transpose.",
    "Tokens and heads are mixed; right for one head.",
    "A forgotten `.transpose(1, 2)` before the reshape.",
    component="window_attention",
    when="several heads; a window of more than one token",
)
@replaces("attention.merge_heads")
def heads_not_transposed(original: Any, x: Any) -> Any:
    windows, heads, tokens, head_dim = x.shape
    return x.reshape(windows, tokens, heads * head_dim)
