"""Operation counts: multiply-adds of global and of window attention, as the paper gives them."""

from __future__ import annotations

from math import prod

from swin_reference.sizes import Size, window_pair


def global_attention_operations(height: int, width: int, channels: int) -> int:
    """Multiply-adds of attention over all tokens: 4 h w C^2 + 2 (h w)^2 C, quadratic in h w.

    (Liu et al. 2021, equation 1; softmax not counted.)

    >>> global_attention_operations(56, 56, 96)
    2003828736
    """
    tokens = height * width
    return 4 * tokens * channels**2 + 2 * tokens**2 * channels


def window_attention_operations(height: int, width: int, channels: int, window_size: Size) -> int:
    """Multiply-adds of attention inside windows: 4 h w C^2 + 2 Mh Mw h w C, linear in h w.

    (Liu et al. 2021, equation 2; softmax not counted; a grid of whole windows.)

    >>> window_attention_operations(56, 56, 96, 7)
    145108992
    """
    tokens = height * width
    return 4 * tokens * channels**2 + 2 * prod(window_pair(window_size)) * tokens * channels
