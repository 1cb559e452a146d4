"""A linear layer with what lies around it, in one launch: the norm before it, GELU or a residual after it."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.places import product, rounded


@triton.jit(do_not_specialize=["rows"])
def linear(
    x,
    weight,
    bias,
    gain,
    shift,
    onto,
    out,
    rows,
    columns,
    eps,
    CHANNELS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    STEP: tl.constexpr,
    NORM: tl.constexpr,
    BIAS: tl.constexpr,
    GELU: tl.constexpr,
    ONTO: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out = onto + gelu(norm(x) weight^T + bias), of program (p, s): its rows, every s-th block of columns.

    x (rows, CHANNELS), weight (columns, CHANNELS), onto and out (rows, columns).
    """
    row0 = tl.program_id(0) * BLOCK_ROWS
    row = tl.arange(0, BLOCK_ROWS)[:, None]
    there = row < rows - row0
    # Where the program's rows begin takes 64 bits, what lies between them 32.
    x += row0.to(tl.int64) * CHANNELS
    onto += row0.to(tl.int64) * columns
    out += row0.to(tl.int64) * columns
    if NORM:
        mean, scale = statistics(x + row * CHANNELS, there, eps, CHANNELS, BLOCK_ROWS, STEP)
    for first in tl.range(tl.program_id(1) * BLOCK_COLUMNS, columns, tl.num_programs(1) * BLOCK_COLUMNS):
        column = first + tl.arange(0, BLOCK_COLUMNS)
        wanted = column < columns
        total = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
        for start in tl.range(0, CHANNELS, STEP):
            channel = start + tl.arange(0, STEP)
            inside = channel < CHANNELS
            tokens = tl.load(x + row * CHANNELS + channel[None, :], there & inside[None, :], 0.0)
            if NORM:
                by = tl.load(gain + channel, inside, 0.0).to(tl.float32)[None, :]
                to = tl.load(shift + channel, inside, 0.0).to(tl.float32)[None, :]
                tokens = rounded((tokens.to(tl.float32) - mean) * scale * by + to, weight.dtype.element_ty)
            place = weight + column[None, :] * CHANNELS + channel[:, None]
            total += product(tokens, tl.load(place, inside[:, None] & wanted[None, :], 0.0), PRECISION)
        if BIAS:
            total += tl.load(bias + column, wanted, 0.0).to(tl.float32)[None, :]
        if GELU:
            total = 0.5 * total * (1.0 + tl.erf(total * 0.7071067811865476))
        place = row * columns + column[None, :]
        if ONTO:
            total += tl.load(onto + place, there & wanted[None, :], 0.0).to(tl.float32)
        tl.store(out + place, rounded(total, out.dtype.element_ty), there & wanted[None, :])


@triton.jit
def statistics(tokens, there, eps, CHANNELS: tl.constexpr, BLOCK_ROWS: tl.constexpr, STEP: tl.constexpr):
    """Each row's mean and one over its standard deviation, (rows, 1): joined step by step of channels."""
    mean = tl.zeros((BLOCK_ROWS, 1), tl.float32)
    squares = tl.zeros((BLOCK_ROWS, 1), tl.float32)  # of what departs from the mean, so that none cancels
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
