"""What all attention kernels share: their arguments, a program's windows, the windows' tokens, bias and mask.

A call has the programs (head, p).  A program computes windows of one class, which have the same mask, so that
it makes bias and mask once; `swin_torch.geometry.plan` draws the four classes.  The windows of a class are
divided between its programs: program number k of n takes the windows k, k + n, k + 2 n, ...

Every attention kernel has this signature, with some of the tensors:

    qkv, d_qkv   (B, H, W, 3 C): q, k and v of each token; each has heads D channels, C in all
    out, d_out   (B, H, W, C)
    table        the bias table, in the layout that `launch` gives it
    pad          (3 C): the qkv of every padded token; any tensor where no token is padded
    d_bias       (programs, heads, N, N): the bias's gradient, a sum for each program p
    stats        (B windows, heads, 2, N): see `blocks_backward.queries`
    batch ... end_corner   the fields of `Sizes`, which the kernel puts together: in a tuple Triton would
                 specialize for each number that is 1 or a multiple of 16, and compile again
    scale        the factor of q k^T
    mask_value   what is added to the logits of masked pairs
    const        `Constants`: what the kernel is compiled for
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
"""The softmax uses powers of 2: logits are multiplied by log2(e)."""

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


class Sizes(NamedTuple):
    """The sizes of a call."""

    batch: int
    heads: int
    height: int  # of the image, in tokens
    width: int
    rows: int  # of windows
    columns: int
    period_h: int  # the shifted grid is the image rolled modulo the period
    period_w: int
    roll_h: int  # by how much it is rolled: the shift modulo the period
    roll_w: int
    cut_h: int  # from this row on, a bottom window's tokens came round the edge
    cut_w: int
    end_inside: int  # programs 0 to end_inside (excluded) have the class inside
    end_bottom: int  # programs end_inside to end_bottom the class bottom, and so on
    end_right: int
    end_corner: int  # the number of programs


SIZES = [*Sizes._fields]
"""Arguments that Triton must not specialize for."""


class Constants(NamedTuple):
    """The constants that an attention kernel is compiled for."""

    MH: int  # the window's height and width
    MW: int
    D: int  # channels of a head
    BLOCK: int  # tokens of a tile, a power of two
    BLOCK_D: int  # channels of a tile: the power of two from D on
    STEP: int  # tokens of a step through a large window; 0 where one tile holds a window
    PADDED: bool  # whether some tokens are padding
    SHIFTED_ROWS: int  # whether the last row of windows has classes of its own
    SHIFTED_COLUMNS: int
    PRECISION: str  # how `multiply` multiplies


class Share(NamedTuple):
    """A program's windows, in a kernel: every step-th of a rectangle of windows of each image."""

    down: Any  # whether the class is bottom or corner
    right: Any  # whether the class is right or corner
    row: Any  # the rectangle's first row and column
    column: Any
    rows: Any  # how many it has
    columns: Any
    first: Any  # the program's first window, counted through all images
    step: Any


class Window(NamedTuple):
    """A window, in a kernel: its image, row and column."""

    image: Any
    row: Any
    column: Any


class Tokens(NamedTuple):
    """Some tokens of a window, in a kernel: vectors of as many elements."""

    position: Any  # the index into (B H W)
    inside: Any  # whether it is a token of the image
    is_pad: Any  # whether it is padding; beyond the window's last token both are false


@triton.jit
def multiply(a, b, PRECISION: tl.constexpr):
    """Returns a b, summed in float32: "tf32" rounds float32 first, "widened" is bfloat16 when interpreted."""
    if PRECISION == "tf32":
        a, b = round_to_tf32(a), round_to_tf32(b)
    if PRECISION == "widened":  # Triton 3.7's interpreter multiplies the bits of bfloat16 as integers
        c = tl.dot(a.to(tl.float32), b.to(tl.float32))
    else:
        c = tl.dot(a, b, input_precision=PRECISION)
    return c


@triton.jit
def round_to_tf32(x):
    """Rounds float32 to the 11 bits that tensor cores read: they would cut the others off.

    Cutting off doubles the error, and makes all products too small.
    """
    bits = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
    return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)


@triton.jit
def round_to(x, kind: tl.constexpr):
    """Converts float32 to another type: rounds to nearest, ties to even."""
    if INTERPRETED and kind == tl.bfloat16:  # Triton 3.7's interpreter cuts bits off
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(kind)


@triton.jit
def find_share(p, sizes, const: tl.constexpr):
    """Returns the windows of program (head, p), a `Share`."""
    end0, end1, end2, end3 = sizes.end_inside, sizes.end_bottom, sizes.end_right, sizes.end_corner
    down = ((p >= end0) & (p < end1)) | (p >= end2)
    right = p >= end1
    first = tl.where(right, tl.where(down, end2, end1), tl.where(down, end0, 0))
    last = tl.where(right, tl.where(down, end3, end2), tl.where(down, end1, end0))
    return Share(
        down=down,
        right=right,
        row=tl.where(down, sizes.rows - 1, 0),
        column=tl.where(right, sizes.columns - 1, 0),
        rows=tl.where(down, 1, sizes.rows - const.SHIFTED_ROWS),
        columns=tl.where(right, 1, sizes.columns - const.SHIFTED_COLUMNS),
        first=p - first,
        step=last - first,
    )


@triton.jit
def find_window(w, share):
    """Returns window w of the class, a `Window`: they are counted through all images of the batch."""
    return Window(
        image=w // (share.rows * share.columns),
        row=share.row + w // share.columns % share.rows,
        column=share.column + w % share.columns,
    )


@triton.jit
def find_tokens(i, window, sizes, const: tl.constexpr):
    """Returns the tokens i of a window, `Tokens`: roll, padding and crop are arithmetic of positions."""
    r = window.row * const.MH + i // const.MW
    c = window.column * const.MW + i % const.MW
    source_r = r + sizes.roll_h
    source_r = tl.where(source_r >= sizes.period_h, source_r - sizes.period_h, source_r)
    source_c = c + sizes.roll_w
    source_c = tl.where(source_c >= sizes.period_w, source_c - sizes.period_w, source_c)
    in_window = i < const.MH * const.MW
    inside = in_window & (r < sizes.period_h) & (c < sizes.period_w)
    inside = inside & (source_r < sizes.height) & (source_c < sizes.width)
    position = (window.image.to(tl.int64) * sizes.height + source_r) * sizes.width + source_c
    return Tokens(position=position, inside=inside, is_pad=in_window & (inside == 0))


@triton.jit
def load_tokens(base, tokens, stride, const: tl.constexpr):
    """Loads D numbers of each token, (tokens, BLOCK_D), 0 for padding; tokens are ``stride`` apart."""
    k = tl.arange(0, const.BLOCK_D)
    where = tokens.inside[:, None] & (k < const.D)[None, :]
    return tl.load(base + tokens.position[:, None] * stride + k[None, :], where, 0.0)


@triton.jit
def load_part(part: tl.constexpr, qkv, pad, tokens, channels, const: tl.constexpr):
    """Loads the tokens' q, k or v (part 0, 1, 2) of one head, (tokens, BLOCK_D); padding has ``pad``'s."""
    x = load_tokens(qkv + part * channels, tokens, 3 * channels, const)
    if const.PADDED:
        k = tl.arange(0, const.BLOCK_D)
        padding = tl.load(pad + part * channels + k, k < const.D, 0.0)
        x = tl.where(tokens.is_pad[:, None], padding[None, :], x)
    return x


@triton.jit
def store_tokens(base, tokens, stride, x, const: tl.constexpr):
    """Stores a tile (tokens, BLOCK_D) where the tokens lie; padding is not stored."""
    k = tl.arange(0, const.BLOCK_D)
    where = tokens.inside[:, None] & (k < const.D)[None, :]
    tl.store(base + tokens.position[:, None] * stride + k[None, :], round_to(x, base.dtype.element_ty), where)


@triton.jit
def make_bias(table, stride, i, j, share, sizes, mask_value, const: tl.constexpr):
    """Returns bias + mask of queries i and keys j, times log2(e); -inf for keys beyond the window's last.

    i and j are (n, 1) and (1, n), or the other way round.  The head's table has an entry every ``stride``.
    """
    N: tl.constexpr = const.MH * const.MW
    rows = i // const.MW - j // const.MW + (const.MH - 1)
    columns = i % const.MW - j % const.MW + (const.MW - 1)
    entry = (rows * (2 * const.MW - 1) + columns) * stride
    bias = tl.load(table + entry, (i < N) & (j < N), 0.0).to(tl.float32)
    apart_h = (i // const.MW >= sizes.cut_h) != (j // const.MW >= sizes.cut_h)
    apart_w = (i % const.MW >= sizes.cut_w) != (j % const.MW >= sizes.cut_w)
    bias = tl.where((share.down & apart_h) | (share.right & apart_w), bias + mask_value, bias)
    return tl.where(j < N, bias * LOG2E, float("-inf"))
