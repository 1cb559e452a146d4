"""Windows of more than 64 tokens, backward: the bias's gradient, tile by tile."""

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
    token_places,
)


@triton.jit(do_not_specialize=SIZES)
def bias_gradient(
    gradient,
    qkv,
    table,
    pad,
    of_bias,
    stats,
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
):
    """One tile of the bias's gradient, summed over program (head, p)'s windows, and written once.

    of_bias: (programs, heads, N, N).
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
    gradient += head * D
    tile = tl.program_id(2)
    i = tile // BLOCKS * BLOCK + tl.arange(0, BLOCK)
    j = tile % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    bias_sum = tl.zeros((BLOCK, BLOCK), tl.float32)
    bias = bias_tile(table, 1, i[:, None], j[None, :], down, right, cut_h, cut_w, mask_value, MH, MW)
    for w in tl.range(number, batch * n_rows * n_columns, programs):
        b = w // (n_rows * n_columns)
        row = row0 + w // n_columns % n_rows
        column = column0 + w % n_columns
        window = (b * rows + row) * columns + column
        mine = stats + (window.to(tl.int64) * heads + head) * 2 * N
        place_i, inside_i = token_places(
            i, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
        )
        pad_i = (i < N) & (inside_i == 0)
        place_j, inside_j = token_places(
            j, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
        )
        pad_j = (j < N) & (inside_j == 0)
        q = load_tokens(qkv, pad, place_i, inside_i, pad_i, stride, D, BLOCK_D, PADDED)
        k = load_tokens(qkv + channels, pad + channels, place_j, inside_j, pad_j, stride, D, BLOCK_D, PADDED)
        v = load_tokens(
            qkv + 2 * channels, pad + 2 * channels, place_j, inside_j, pad_j, stride, D, BLOCK_D, PADDED
        )
        of_out = load_tokens(gradient, pad, place_i, inside_i, pad_i, channels, D, BLOCK_D, False)
        logits = product(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
        weights = tl.exp2(logits - tl.load(mine + i, i < N, 0.0)[:, None])
        of_weights = product(of_out, tl.trans(v), PRECISION)
        bias_sum += weights * (of_weights - tl.load(mine + N + i, i < N, 0.0)[:, None])
    of_bias += (p * heads + head) * N * N
    tl.store(of_bias + i[:, None] * N + j[None, :], bias_sum, (i < N)[:, None] & (j < N)[None, :])
