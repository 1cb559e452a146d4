"""Work in formulas: the floating-point operations of matmuls, and the numbers that must be moved.

A multiplication and an addition are two operations, as everywhere but in the paper, which counts one.
Padding is no work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from swin_reference.config import SwinConfig
from swin_reference.sizes import pair


def linear(tokens: int, inputs: int, outputs: int) -> int:
    """Operations of a linear layer: 2 per token and weight.

    >>> linear(10, 3, 4)
    240
    """
    return 2 * tokens * inputs * outputs


def attention(tokens: int, channels: int, keys: int) -> int:
    """Operations of attention to ``keys`` tokens each: 8 T C^2 + 4 T keys C.  (Liu et al. 2021, eq. 1 and 2)

    ``keys`` is M^2 in windows and T globally.

    >>> attention(56 * 56, 96, 49), attention(56 * 56, 96, 56 * 56)
    (290217984, 4007657472)
    """
    return linear(tokens, channels, 4 * channels) + attending(tokens, channels, keys)


def attending(tokens: int, channels: int, keys: int) -> int:
    """The part of it that is no linear layer: q k^T and the weights times v."""
    return 4 * tokens * keys * channels


def mlp(tokens: int, channels: int, hidden: int) -> int:
    """Operations of the two layers of an MLP."""
    return 2 * linear(tokens, channels, hidden)


def merging(height: int, width: int, channels: int) -> int:
    """Operations of a patch merging, from 4 C to 2 C."""
    return linear(-(-height // 2) * -(-width // 2), 4 * channels, 2 * channels)


def block(tokens: int, channels: int, window: int, hidden: int) -> int:
    """Operations of a block with square windows."""
    return attention(tokens, channels, window**2) + mlp(tokens, channels, hidden)


def network(config: SwinConfig, image: tuple[int, int], batch: int = 1) -> int:
    """Operations of a forward.

    >>> from swin_reference.config import swin_t
    >>> round(network(swin_t, (224, 224)) / 2e9, 1)  # 4.5 G in the paper's table 1
    4.5
    """
    ph, pw = pair(config.patch_size)
    height, width = -(-image[0] // ph), -(-image[1] // pw)
    total = linear(height * width, config.in_channels * ph * pw, config.embed_dim)
    for stage, channels in enumerate(config.channels):
        window, hidden = pair(config.window_size)[0], config.hidden(channels)
        total += config.depths[stage] * block(height * width, channels, window, hidden)
        if stage < len(config.depths) - 1:
            total += merging(height, width, channels)
            height, width = -(-height // 2), -(-width // 2)
    return batch * total + linear(batch, config.channels[-1], config.num_classes)


def numbers(value: Any) -> int:
    """How many numbers there are in arrays at any level.

    >>> numbers([{"weight": np.ones((2, 3))}, np.ones(4), 7])
    10
    """
    return sum(prod(array.shape) for array in _arrays(value))


def _arrays(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(child)
