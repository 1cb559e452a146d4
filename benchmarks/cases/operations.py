"""Counts by formula the floating-point operations of matmuls, and the numbers that must be moved.

A multiplication and an addition count as two operations; the paper counts them as one.  Padding does not
count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig
from swin_reference.sizes import pair


def count_linear(tokens: int, inputs: int, outputs: int) -> int:
    """Returns the operations of a linear layer: 2 per token and weight.

    >>> count_linear(10, 3, 4)
    240
    """
    return 2 * tokens * inputs * outputs


def count_attention(tokens: int, channels: int, keys: int) -> int:
    """Returns the operations of attention: 8 T C^2 + 4 T keys C.  (Liu et al. 2021, eq. 1 and 2)

    Each of T tokens attends to ``keys`` tokens: M^2 in windows, T in global attention.

    >>> count_attention(56 * 56, 96, 49), count_attention(56 * 56, 96, 56 * 56)
    (290217984, 4007657472)
    """
    return count_linear(tokens, channels, 4 * channels) + count_attending(tokens, channels, keys)


def count_attending(tokens: int, channels: int, keys: int) -> int:
    """Returns the operations of q k^T and of the attention weights times v: 4 T keys C."""
    return 4 * tokens * keys * channels


def count_mlp(tokens: int, channels: int, hidden: int) -> int:
    """Returns the operations of the two linear layers of an MLP."""
    return 2 * count_linear(tokens, channels, hidden)


def count_merging(height: int, width: int, channels: int) -> int:
    """Returns the operations of a patch merging, whose linear layer maps 4 C to 2 C."""
    return count_linear(-(-height // 2) * -(-width // 2), 4 * channels, 2 * channels)


def count_block(tokens: int, channels: int, window: int, hidden: int) -> int:
    """Returns the operations of a block with square windows."""
    return count_attention(tokens, channels, window**2) + count_mlp(tokens, channels, hidden)


def count_network(config: SwinConfig, image: tuple[int, int], batch: int = 1) -> int:
    """Returns the operations of a forward.

    >>> from swin_reference.config import swin_t
    >>> round(count_network(swin_t, (224, 224)) / 2e9, 1)  # 4.5 G in the paper's table 1
    4.5
    """
    ph, pw = pair(config.patch_size)
    height, width = -(-image[0] // ph), -(-image[1] // pw)
    total = count_linear(height * width, config.in_channels * ph * pw, config.embed_dim)
    for stage, channels in enumerate(config.channels):
        window, hidden = config.windows[stage][0], config.hidden(channels)
        total += config.depths[stage] * count_block(height * width, channels, window, hidden)
        if stage < len(config.depths) - 1:
            total += count_merging(height, width, channels)
            height, width = -(-height // 2), -(-width // 2)
    return batch * total + count_linear(batch, config.channels[-1], config.num_classes)


def count_numbers(value: Any) -> int:
    """Returns how many numbers the arrays in a nested value hold.

    >>> count_numbers([{"weight": np.ones((2, 3))}, np.ones(4), 7])
    10
    """
    return sum(prod(array.shape) for array in _find_arrays(value))


def _find_arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _find_arrays(child)
