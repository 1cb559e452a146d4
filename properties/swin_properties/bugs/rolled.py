"""Attention in a grid that is rolled already: what planted bugs of padding, shift and mask have in common."""

from __future__ import annotations

from typing import Any

from swin_reference.sizes import window_pair


def attend_rolled(
    o: Any, rolled: Any, mask: Any, params: Any, num_heads: int, window_size: Any, qk_scale: Any
) -> Any:
    """Returns the attention in a rolled grid of whole windows under a mask; it is not rolled back."""
    (mh, mw), channels = window_pair(window_size), rolled.shape[-1]
    windows = o.windows.window_partition(rolled, window_size).reshape(-1, mh * mw, channels)
    y = o.attention.window_attention(windows, params, num_heads, window_size, mask, qk_scale)
    return o.windows.window_reverse(y.reshape(-1, mh, mw, channels), window_size, *rolled.shape[1:3])
