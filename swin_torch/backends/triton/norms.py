"""LayerNorm alone, after a residual sum, or of the 2x2 tokens that a merge puts side by side: one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.windows import round_to


@triton.jit(do_not_specialize=["rows"])
def norm(x, gain, shift, out, rows, channels, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Writes out = LayerNorm(x) for ROWS tokens of (rows, channels).

    BLOCK is the power of two from channels on.  PyTorch's own norm of 96 channels takes ten times as long: it
    gives every token a block of threads.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    channel = tl.arange(0, BLOCK)[None, :]
    inside = channel < channels
    own = row * channels + channel
    there = (row < rows) & inside
    tokens = tl.load(x + own, there, 0.0).to(tl.float32)
    normed, _ = standardize(tokens, inside, channels, eps)
    weight = tl.load(gain + channel, inside, 0.0).to(tl.float32)
    bias = tl.load(shift + channel, inside, 0.0).to(tl.float32)
    tl.store(out + own, round_to(normed * weight + bias, out.dtype.element_ty), there)


@triton.jit(do_not_specialize=["rows"])
def merge_norm(
    x, gain, shift, out, rows, height, width, channels, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Writes out = LayerNorm of 2x2 tokens side by side, (rows, 4 channels), for ROWS of its rows.

    x (B, height, width, channels); the rows of out are those of the grid of half the sides, rounded up.  The
    neighbours' offsets are (0, 0), (1, 0), (0, 1), (1, 1); a neighbour outside of x is 0.  BLOCK is the power
    of two from channels on.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lane = tl.arange(0, 4 * BLOCK)[None, :]
    neighbour, channel = lane // BLOCK, lane % BLOCK
    down, across = (height + 1) // 2, (width + 1) // 2
    i = row // across % down * 2 + neighbour % 2
    j = row % across * 2 + neighbour // 2
    token = (row // across // down * height + i) * width + j
    inside = channel < channels
    there = (row < rows) & (i < height) & (j < width) & inside
    tokens = tl.load(x + token * channels + channel, there, 0.0).to(tl.float32)
    normed, _ = standardize(tokens, inside, 4 * channels, eps)
    own = neighbour * channels + channel
    weight = tl.load(gain + own, inside, 0.0).to(tl.float32)
    bias = tl.load(shift + own, inside, 0.0).to(tl.float32)
    result = round_to(normed * weight + bias, out.dtype.element_ty)
    tl.store(out + row * (4 * channels) + own, result, (row < rows) & inside)


@triton.jit
def standardize(tokens, inside, channels, eps):
    """Returns tokens (rows, channels) with mean 0 and variance 1, and each row's 1 / sqrt(variance + eps)."""
    mean = tl.sum(tokens, 1)[:, None] / channels
    centred = tl.where(inside, tokens - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1)[:, None] / channels + eps)
    return centred * scale, scale


@triton.jit(do_not_specialize=["rows"])
def norm_backward(
    gradient, x, gain, onto, of_x, of_gain, of_shift, rows, channels, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, ONTO: tl.constexpr,
):  # fmt: skip
    """Writes the gradients of a LayerNorm of (rows, channels) from that of its output.

    If ONTO, onto (rows, channels) is added to the gradient of x.

    Program p of P takes every P-th ROWS tokens, and writes the sums of its tokens into row p of of_gain and
    of_shift (P, channels).
    """
    p = tl.program_id(0)
    channel = tl.arange(0, BLOCK)
    inside = channel < channels
    weight = tl.load(gain + channel, inside, 0.0).to(tl.float32)[None, :]
    for_gain = tl.zeros((ROWS, BLOCK), tl.float32)  # summed over rows at the end: once, not each time
    for_shift = tl.zeros((ROWS, BLOCK), tl.float32)
    for first in tl.range(p * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
        own = row * channels + channel[None, :]
        there = (row < rows) & inside[None, :]
        tokens = tl.load(x + own, there, 0.0).to(tl.float32)
        given = tl.load(gradient + own, there, 0.0).to(tl.float32)
        normed, scale = standardize(tokens, inside[None, :], channels, eps)
        for_gain += given * normed
        for_shift += given
        given *= weight
        along = tl.sum(given * normed, 1)[:, None] / channels
        result = (given - tl.sum(given, 1)[:, None] / channels - normed * along) * scale
        if ONTO:
            result += tl.load(onto + own, there, 0.0).to(tl.float32)
        tl.store(of_x + own, round_to(result, of_x.dtype.element_ty), there)
    tl.store(of_gain + p * channels + channel, tl.sum(for_gain, 0), inside)
    tl.store(of_shift + p * channels + channel, tl.sum(for_shift, 0), inside)


@triton.jit
def add_norm(
    x, branch, gain, shift, ahead, y, normed, channels, eps, BLOCK: tl.constexpr, AHEAD: tl.constexpr
):
    """Writes y = x + branch (+ ahead) and normed = LayerNorm(x + branch) for one token.

    x, branch, y and normed (rows, channels); gain, shift and ahead (channels); BLOCK is the power of two from
    channels on; ahead is added if AHEAD.
    """
    first = tl.program_id(0).to(tl.int64) * channels
    channel = tl.arange(0, BLOCK)
    inside = channel < channels
    own = first + channel
    total = tl.load(x + own, inside, 0.0).to(tl.float32) + tl.load(branch + own, inside, 0.0).to(tl.float32)
    # The norm takes the rounded sum, as it does where sum and norm are computed apart.
    total = round_to(total, y.dtype.element_ty).to(tl.float32)
    mean = tl.sum(total, 0) / channels
    centred = tl.where(inside, total - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / channels + eps)
    weight = tl.load(gain + channel, inside, 0.0).to(tl.float32)
    bias = tl.load(shift + channel, inside, 0.0).to(tl.float32)
    tl.store(normed + own, round_to(centred * scale * weight + bias, normed.dtype.element_ty), inside)
    if AHEAD:
        total += tl.load(ahead + channel, inside, 0.0).to(tl.float32)
    tl.store(y + own, round_to(total, y.dtype.element_ty), inside)
