"""Estimates the least time that a GPU needs for the work: the roofline.

Each linear layer is one kernel together with what follows it, and so is each attention.  A kernel takes the
longer of two times: its operations at the speed of a large matmul, and its numbers at the speed of a copy.
Swin V2 has the same kernels: a norm behind a layer needs no pass of its own if a program holds whole tokens.
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
"""The work of a training step in forwards: backward multiplies and moves everything twice."""


def estimate_network(config: SwinConfig, batch: int, ceilings: tuple[float, float], size: int = 2) -> float:
    """Returns the seconds of a forward.

    Numbers have ``size`` bytes; ``ceilings`` are operations and bytes a second.

    >>> from swin_reference.config import swin_t, swin_b
    >>> h200 = 790e12, 4.3e12
    >>> [round(128 / estimate_network(config, 128, h200) / 1000) for config in (swin_t, swin_b)]
    [55, 21]
    """
    return sum(estimate_kernel(work, ceilings, size) for work in list_kernels(config, batch))


def estimate_kernel(work: Work, ceilings: tuple[float, float], size: int) -> float:
    """Returns the seconds of a kernel."""
    return max(work[0] / ceilings[0], work[1] * size / ceilings[1])


def estimate_attention(
    tokens: int, channels: int, ceilings: tuple[float, float], size: int = 2
) -> tuple[float, float]:
    """Returns the seconds of the attention operator: its forward moves 4 T C numbers, its backward 7 T C.

    >>> [round(1e6 * s, 1) for s in estimate_attention(128 * 56 * 56, 96, (790e12, 4.3e12))]
    [71.7, 125.5]
    """
    once = tokens * channels * size / ceilings[1]
    return 4 * once, 7 * once


def list_kernels(config: SwinConfig, batch: int) -> Iterator[Work]:
    """Yields the work of every kernel of a forward."""
    grids = stage_grids(config, CANONICAL)
    patch = config.in_channels * prod(pair(config.patch_size))
    yield _make_linear(batch * prod(grids[0]), patch, config.embed_dim)
    for stage, (depth, channels, grid) in enumerate(zip(config.depths, config.channels, grids, strict=True)):
        tokens = batch * prod(grid)
        hidden = config.hidden(channels)
        keys = prod(config.windows[stage])
        for _ in range(depth):
            yield from list_block_kernels(tokens, channels, keys, hidden)
        if stage < len(config.depths) - 1:
            yield _make_linear(batch * prod(grids[stage + 1]), 4 * channels, 2 * channels)
    yield _make_linear(batch, config.channels[-1], config.num_classes)


def list_block_kernels(tokens: int, channels: int, keys: int, hidden: int) -> Iterator[Work]:
    """Yields the work of every kernel of a block; ``keys`` is the number of tokens in a window."""
    yield _make_linear(tokens, channels, 3 * channels)
    yield operations.count_attending(tokens, channels, keys), 4 * tokens * channels
    yield _make_linear(tokens, channels, channels, residual=True)
    yield _make_linear(tokens, channels, hidden)
    yield _make_linear(tokens, hidden, channels, residual=True)


def _make_linear(tokens: int, inputs: int, outputs: int, residual: bool = False) -> Work:
    moved = tokens * (inputs + outputs * (2 if residual else 1)) + inputs * outputs
    return operations.count_linear(tokens, inputs, outputs), moved
