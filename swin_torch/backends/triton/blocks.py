"""Windows of more than 64 tokens: queries by blocks, keys by steps, the softmax as it goes.

Bias and mask are made anew for each step, from the head's table: that is small enough to stay near.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.places import (
    LOG2E,
    SIZES,
    bias_tile,
    class_windows,
    load_tokens,
    product,
    program_class,
    rounded,
    store_tokens,
    token_places,
)


@triton.jit(do_not_specialize=SIZES)
def forward(
    qkv,
    table,
    pad,
    out,
    batch,
    heads,
    height,
    width,
    rows,
    columns,
    period_h,
    period_w,
    roll_h,
    roll_w,
    cut_h,
    cut_w,
    end0,
    end1,
    end2,
    end3,
    scale,
    mask_value,
    MH: tl.constexpr,
    MW: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PADDED: tl.constexpr,
    SHIFTED_ROWS: tl.constexpr,
    SHIFTED_COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
    STEP: tl.constexpr,
):
    """The attended blocks of program (head, p): softmax(scale q k^T + bias + mask) v.

    The running maximum, sum and average are Milakov & Gimelshein's (2018).
    """
    head, p = tl.program_id(0), tl.program_id(1)
    down, right, number, programs = program_class(p, end0, end1, end2, end3)
    row0, column0, n_rows, n_columns = class_windows(
        down, right, rows, columns, SHIFTED_ROWS, SHIFTED_COLUMNS
    )
    N: tl.constexpr = MH * MW
    BLOCKS: tl.constexpr = (N + BLOCK - 1) // BLOCK
    channels = heads * D
    stride = 3 * channels
    table += head * (2 * MH - 1) * (2 * MW - 1)
    qkv += head * D
    pad += head * D
    out += head * D
    for t in tl.range(number, batch * n_rows * n_columns * BLOCKS, programs):
        w = t // BLOCKS
        b = w // (n_rows * n_columns)
        row = row0 + w // n_columns % n_rows
        column = column0 + w % n_columns
        i = t % BLOCKS * BLOCK + tl.arange(0, BLOCK)
        place_i, inside_i = token_places(
            i, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
        )
        pad_i = (i < N) & (inside_i == 0)
        q = load_tokens(qkv, pad, place_i, inside_i, pad_i, stride, D, BLOCK_D, PADDED)
        top = tl.full((BLOCK,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        attended = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        for first in tl.range(0, N, STEP):
            j = first + tl.arange(0, STEP)
            place_j, inside_j = token_places(
                j, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
            )
            pad_j = (j < N) & (inside_j == 0)
            k = load_tokens(
                qkv + channels, pad + channels, place_j, inside_j, pad_j, stride, D, BLOCK_D, PADDED
            )
            v = load_tokens(
                qkv + 2 * channels, pad + 2 * channels, place_j, inside_j, pad_j, stride, D, BLOCK_D, PADDED
            )
            bias = bias_tile(table, 1, i[:, None], j[None, :], down, right, cut_h, cut_w, mask_value, MH, MW)
            logits = product(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
            higher = tl.maximum(top, tl.max(logits, 1))
            # A query may have met no visible key yet: nothing is above -inf.
            base = tl.where(higher == float("-inf"), 0.0, higher)
            weights = tl.exp2(logits - base[:, None])
            kept = tl.exp2(top - base)
            total = total * kept + tl.sum(weights, 1)
            attended *= kept[:, None]
            attended += product(rounded(weights, v.dtype), v, PRECISION)
            top = higher
        attended /= total[:, None]
        store_tokens(out, place_i, inside_i, channels, attended, D, BLOCK_D)
