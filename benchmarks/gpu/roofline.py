"""The least time that a GPU needs, from its own ceilings: what must be multiplied, and what must be moved.

One kernel a linear layer with what follows it, one an attention; each takes the longer of its operations at
the speed of a large matmul and its numbers at the speed of a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from swin_reference.config import SwinConfig
from swin_reference.conventions import CANONICAL
from swin_reference.rules import stage_grids
from swin_reference.sizes import pair

from benchmarks.cases import operations

Work = tuple[int, int]
"""Operations, and numbers moved."""

TRAINING = 3
"""A step's work in forwards: backward multiplies and moves everything twice."""


def network(config: SwinConfig, batch: int, ceilings: tuple[float, float], size: int = 2) -> float:
    """Seconds of a forward in numbers of ``size`` bytes; ``ceilings`` are operations and bytes a second.

    >>> from swin_reference.config import swin_t, swin_b
    >>> h200 = 790e12, 4.3e12
    >>> [round(128 / network(config, 128, h200) / 1000) for config in (swin_t, swin_b)]
    [55, 21]
    """
    return sum(seconds(work, ceilings, size) for work in works(config, batch))


def seconds(work: Work, ceilings: tuple[float, float], size: int) -> float:
    """The longer of both."""
    return max(work[0] / ceilings[0], work[1] * size / ceilings[1])


def attention(
    tokens: int, channels: int, ceilings: tuple[float, float], size: int = 2
) -> tuple[float, float]:
    """Seconds of the attention operator's forward, which moves 4 T C numbers, and backward, which moves 7.

    >>> [round(1e6 * s, 1) for s in attention(128 * 56 * 56, 96, (790e12, 4.3e12))]
    [71.7, 125.5]
    """
    once = tokens * channels * size / ceilings[1]
    return 4 * once, 7 * once


def works(config: SwinConfig, batch: int) -> Iterator[Work]:
    """Every kernel of a forward."""
    grids = stage_grids(config, CANONICAL)
    patch = config.in_channels * prod(pair(config.patch_size))
    yield _linear(batch * prod(grids[0]), patch, config.embed_dim)
    for stage, (depth, channels, grid) in enumerate(zip(config.depths, config.channels, grids, strict=True)):
        tokens = batch * prod(grid)
        hidden = config.hidden(channels)
        keys = prod(pair(config.window_size))
        for _ in range(depth):
            yield from block(tokens, channels, keys, hidden)
        if stage < len(config.depths) - 1:
            yield _linear(batch * prod(grids[stage + 1]), 4 * channels, 2 * channels)
    yield _linear(batch, config.channels[-1], config.num_classes)


def block(tokens: int, channels: int, keys: int, hidden: int) -> Iterator[Work]:
    """Every kernel of a block whose windows have so many keys."""
    yield _linear(tokens, channels, 3 * channels)
    yield operations.attending(tokens, channels, keys), 4 * tokens * channels
    yield _linear(tokens, channels, channels, residual=True)
    yield _linear(tokens, channels, hidden)
    yield _linear(tokens, hidden, channels, residual=True)


def _linear(tokens: int, inputs: int, outputs: int, residual: bool = False) -> Work:
    moved = tokens * (inputs + outputs * (2 if residual else 1)) + inputs * outputs
    return operations.linear(tokens, inputs, outputs), moved
