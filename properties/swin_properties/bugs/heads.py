"""Planted bugs of how heads are split and merged."""

from __future__ import annotations

from typing import Any

from swin_properties.bugs.gallery import PORTED, Replacements, bug


@bug(
    "heads-interleaved",
    "The qkv channels are read as (heads, 3, head_dim), not (3, heads, head_dim).",
    PORTED,
    "Ports from layouts that keep a head's q, k and v together (GPT-NeoX).",
)
def heads_interleaved(o: Any) -> Replacements:
    def split(qkv: Any, num_heads: int) -> Any:
        windows, tokens, channels = qkv.shape
        return qkv.reshape(windows, tokens, num_heads, 3, channels // (3 * num_heads)).transpose(
            3, 0, 2, 1, 4
        )

    return {"attention.split_heads": split}


@bug("heads-last", "The channels are read as (head_dim, heads), not (heads, head_dim).", PORTED)
def heads_last(o: Any) -> Replacements:
    def split(qkv: Any, num_heads: int) -> Any:
        windows, tokens, channels = qkv.shape
        return qkv.reshape(windows, tokens, 3, channels // (3 * num_heads), num_heads).transpose(
            2, 0, 4, 1, 3
        )

    return {"attention.split_heads": split}


@bug("qkv-reversed", "The qkv channels are read as (v, k, q).", PORTED)
def qkv_reversed(o: Any) -> Replacements:
    original = o.attention.split_heads
    return {"attention.split_heads": lambda qkv, num_heads: original(qkv, num_heads)[::-1]}


@bug(
    "heads-not-transposed",
    "After attention the heads are reshaped into channels without the transpose.",
    "Tokens and heads are mixed; right for one head.",
    "A forgotten `.transpose(1, 2)` before the reshape.",
)
def heads_not_transposed(o: Any) -> Replacements:
    def merge(x: Any) -> Any:
        windows, heads, tokens, head_dim = x.shape
        return x.reshape(windows, tokens, heads * head_dim)

    return {"attention.merge_heads": merge}
