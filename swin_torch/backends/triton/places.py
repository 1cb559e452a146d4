"""What every kernel needs: a program's windows, where their tokens lie in the image, and bias and mask.

Programs are persistent: program (head, p) takes the windows of one mask class, every so-many-th of them.
The classes are interior, bottom, right, corner; class c has the programs ends[c - 1] <= p < ends[c].
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
"""Softmax is taken by powers of 2: logits are multiplied by log2(e) as they are made."""

SIZES = ["batch", "heads", "height", "width", "rows", "columns", "period_h", "period_w"]
SIZES += ["roll_h", "roll_w", "cut_h", "cut_w", "end0", "end1", "end2", "end3"]
"""Sizes that a kernel is not compiled anew for: Triton would, for those that are 1 or multiples of 16."""

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """a b, summed in float32: "tf32" rounds float32 first, "widened" is bfloat16 under the interpreter."""
    if PRECISION == "widened":  # Triton 3.7's interpreter multiplies the bits of bfloat16 as integers
        c = tl.dot(a.to(tl.float32), b.to(tl.float32))
    else:
        c = tl.dot(a, b, input_precision=PRECISION)
    return c


@triton.jit
def rounded(x, kind: tl.constexpr):
    """Float32 in another type, to the nearest number, of two as near to the even one."""
    if INTERPRETED and kind == tl.bfloat16:  # Triton 3.7's interpreter cuts bits off
        bits = x.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(kind)


@triton.jit
def program_class(p, end0, end1, end2, end3):
    """The program's class, as (down, right), its number within it, and how many programs it has."""
    down = ((p >= end0) & (p < end1)) | (p >= end2)
    right = p >= end1
    first = tl.where(right, tl.where(down, end2, end1), tl.where(down, end0, 0))
    last = tl.where(right, tl.where(down, end3, end2), tl.where(down, end1, end0))
    return down, right, p - first, last - first


@triton.jit
def class_windows(down, right, rows, columns, SHIFTED_ROWS: tl.constexpr, SHIFTED_COLUMNS: tl.constexpr):
    """The class's rectangle of windows: its first row and column, and how many of each."""
    row = tl.where(down, rows - 1, 0)
    column = tl.where(right, columns - 1, 0)
    return row, column, tl.where(down, 1, rows - SHIFTED_ROWS), tl.where(right, 1, columns - SHIFTED_COLUMNS)


@triton.jit
def token_places(
    i,  # tokens of a window, a tile's side of them
    batch,
    row,
    column,  # the window
    height,
    width,
    period_h,
    period_w,
    roll_h,
    roll_w,
    MH: tl.constexpr,
    MW: tl.constexpr,
):
    """Where a window's tokens lie in the batch of images, and which lie in an image at all."""
    r = row * MH + i // MW
    c = column * MW + i % MW
    source_r = r + roll_h
    source_r = tl.where(source_r >= period_h, source_r - period_h, source_r)
    source_c = c + roll_w
    source_c = tl.where(source_c >= period_w, source_c - period_w, source_c)
    inside = (i < MH * MW) & (r < period_h) & (c < period_w) & (source_r < height) & (source_c < width)
    place = (batch.to(tl.int64) * height + source_r) * width + source_c
    return place, inside


@triton.jit
def load_tokens(
    base,  # of the tensor, moved to the part and head
    pad_base,
    place,
    inside,
    is_pad,
    stride,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PADDED: tl.constexpr,
):
    """The tokens' d numbers of one part and head, a tile; padding has those of ``pad_base``."""
    k = tl.arange(0, BLOCK_D)
    x = tl.load(base + place[:, None] * stride + k[None, :], inside[:, None] & (k < D)[None, :], 0.0)
    if PADDED:
        pad = tl.load(pad_base + k, k < D, 0.0)
        x = tl.where(is_pad[:, None], pad[None, :], x)
    return x


@triton.jit
def store_tokens(base, place, inside, stride, x, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Puts a tile's tokens into their places; padding has none."""
    k = tl.arange(0, BLOCK_D)
    where = inside[:, None] & (k < D)[None, :]
    tl.store(base + place[:, None] * stride + k[None, :], rounded(x, base.dtype.element_ty), where)


@triton.jit
def bias_tile(
    table,  # of the head, an entry every ``stride``
    stride,
    i,
    j,
    down,
    right,
    cut_h,
    cut_w,
    mask_value,
    MH: tl.constexpr,
    MW: tl.constexpr,
):
    """Bias and mask of queries i and keys j, one (n, 1), one (1, n), times log2(e).

    Keys beyond the window are masked.
    """
    N: tl.constexpr = MH * MW
    rows = i // MW - j // MW + (MH - 1)
    columns = i % MW - j % MW + (MW - 1)
    place = (rows * (2 * MW - 1) + columns) * stride
    bias = tl.load(table + place, (i < N) & (j < N), 0.0).to(tl.float32)
    torn_h = (i // MW >= cut_h) != (j // MW >= cut_h)
    torn_w = (i % MW >= cut_w) != (j % MW >= cut_w)
    bias = tl.where((down & torn_h) | (right & torn_w), bias + mask_value, bias)
    return tl.where(j < N, bias * LOG2E, float("-inf"))
