"""A linear layer in one launch with the norm before it, and the GELU or the residual sum after it."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.columns import normal
from swin_torch.backends.triton.windows import multiply, round_to


@triton.jit(do_not_specialize=["rows"])
def linear(
    x,  # (rows, CHANNELS)
    weight,  # (columns, CHANNELS)
    bias,  # (columns), read if BIAS
    gain,  # (CHANNELS), the norm's weight, read if NORM
    shift,  # (CHANNELS), the norm's bias, read if NORM
    onto,  # (rows, columns), read if ONTO
    out,  # (rows, columns)
    rows,
    columns,
    eps,  # the norm's
    CHANNELS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,  # a tile's rows and columns
    BLOCK_COLUMNS: tl.constexpr,
    STEP: tl.constexpr,  # channels that are multiplied at once
    NORM: tl.constexpr,
    BIAS: tl.constexpr,
    GELU: tl.constexpr,
    ONTO: tl.constexpr,
    PRECISION: tl.constexpr,  # how `multiply` multiplies
):
    """Writes out = onto + gelu(norm(x) weight^T + bias).

    Program (p, s) of (P, S) computes row block p, and of its column blocks s, s + S, s + 2 S, ...
    """
    row0 = tl.program_id(0) * BLOCK_ROWS
    row = tl.arange(0, BLOCK_ROWS)[:, None]
    there = row < rows - row0
    # The offset of the program's first row needs 64 bits, offsets from there 32.
    x += row0.to(tl.int64) * CHANNELS
    onto += row0.to(tl.int64) * columns
    out += row0.to(tl.int64) * columns
    if NORM:
        mean, scale = row_statistics(x + row * CHANNELS, there, eps, CHANNELS, BLOCK_ROWS, STEP)
    else:
        mean, scale = 0.0, 1.0
    HELD: tl.constexpr = STEP >= CHANNELS  # one step takes all channels: the tokens are read once
    if HELD:
        every = tl.arange(0, STEP)
        held = load_normed(x, row, there, every, mean, scale, gain, shift, weight, CHANNELS, NORM)
    for first in tl.range(tl.program_id(1) * BLOCK_COLUMNS, columns, tl.num_programs(1) * BLOCK_COLUMNS):
        column = first + tl.arange(0, BLOCK_COLUMNS)
        wanted = column < columns
        total = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
        if HELD:
            total += multiply(held, load_weight(weight, column, wanted, every, CHANNELS), PRECISION)
        else:
            for start in tl.range(0, CHANNELS, STEP):
                channel = start + tl.arange(0, STEP)
                tokens = load_normed(x, row, there, channel, mean, scale, gain, shift, weight, CHANNELS, NORM)
                total += multiply(tokens, load_weight(weight, column, wanted, channel, CHANNELS), PRECISION)
        if BIAS:
            total += tl.load(bias + column, wanted, 0.0).to(tl.float32)[None, :]
        if GELU:
            below, _ = normal(total, out.dtype.element_ty)
            total *= below
        place = row * columns + column[None, :]
        if ONTO:
            total += tl.load(onto + place, there & wanted[None, :], 0.0).to(tl.float32)
        tl.store(out + place, round_to(total, out.dtype.element_ty), there & wanted[None, :])


@triton.jit
def load_weight(weight, column, wanted, channel, CHANNELS: tl.constexpr):
    """Returns some columns of weight^T for some channels: (channels, columns), 0 where there are none."""
    place = weight + column[None, :] * CHANNELS + channel[:, None]
    return tl.load(place, (channel < CHANNELS)[:, None] & wanted[None, :], 0.0)


@triton.jit
def load_normed(
    x, row, there, channel, mean, scale, gain, shift, weight, CHANNELS: tl.constexpr, NORM: tl.constexpr
):
    """Returns some channels of the tokens, 0 where there are none: (rows, channels), like x.

    If NORM they are normed, like the weight, to which x may be of another type.
    """
    inside = channel < CHANNELS
    tokens = tl.load(x + row * CHANNELS + channel[None, :], there & inside[None, :], 0.0)
    if NORM:
        by = tl.load(gain + channel, inside, 0.0).to(tl.float32)[None, :]
        to = tl.load(shift + channel, inside, 0.0).to(tl.float32)[None, :]
        tokens = round_to((tokens.to(tl.float32) - mean) * scale * by + to, weight.dtype.element_ty)
    return tokens


@triton.jit
def row_statistics(tokens, there, eps, CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, STEP: tl.constexpr):
    """Returns each row's mean and 1 / sqrt(variance + eps), (rows, 1).

    Mean and variance of a step of channels are merged with those of the steps before (Chan et al., 1979).
    """
    mean = tl.zeros((BLOCK_ROWS, 1), tl.float32)
    squares = tl.zeros((BLOCK_ROWS, 1), tl.float32)  # of differences from the mean: no cancellation
    for start in tl.range(0, CHANNELS, STEP):
        channel = start + tl.arange(0, STEP)[None, :]
        inside = channel < CHANNELS
        part = tl.load(tokens + channel, there & inside, 0.0).to(tl.float32)
        count = tl.minimum(CHANNELS - start, STEP).to(tl.float32)
        middle = tl.sum(part, 1)[:, None] / count
        centred = tl.where(inside, part - middle, 0.0)
        apart, share = middle - mean, count / (start + count)
        squares += tl.sum(centred * centred, 1)[:, None] + apart * apart * (start * share)
        mean += apart * share
    return mean, 1.0 / tl.sqrt(squares / CHANNELS + eps)
