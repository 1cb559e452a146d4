"""The cost of attention: multiply-adds of global and of window attention, as the paper counts them."""

from __future__ import annotations

from math import prod

from swin_reference.sizes import Size, window_pair


def global_attention_operations(height: int, width: int, channels: int) -> int:
    """Returns the multiply-adds of attention over all tokens: 4 h w C^2 + 2 (h w)^2 C, quadratic in h w.

    The softmax is not counted.  (Liu et al. 2021, equation 1.)

    >>> global_attention_operations(56, 56, 96)
    2003828736
    """
    tokens = height * width
    return 4 * tokens * channels**2 + 2 * tokens**2 * channels


def window_attention_operations(height: int, width: int, channels: int, window_size: Size) -> int:
    """Returns the multiply-adds of attention inside windows: 4 h w C^2 + 2 Mh Mw h w C, linear in h w.

    The softmax is not counted; the grid is made of whole windows.  (Liu et al. 2021, equation 2.)

    Errors: ``ValueError`` for a window below 1x1.

    >>> window_attention_operations(56, 56, 96, 7)
    145108992
    """
    tokens = height * width
    return 4 * tokens * channels**2 + 2 * prod(window_pair(window_size)) * tokens * channels
