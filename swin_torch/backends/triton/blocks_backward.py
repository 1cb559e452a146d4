"""Windows of more than 64 tokens, backward: of queries, and of keys and values.

`queries` goes through the keys twice, first for the softmax's normaliser and delta, which the others need;
`keys` goes through the queries.  (The bias's gradient, summed over windows, is `blocks_bias`.)
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
def queries(
    gradient,
    qkv,
    table,
    pad,
    of_qkv,
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
    STEP: tl.constexpr,
):
    """The queries' gradients of program (head, p)'s blocks.

    stats (windows, heads, 2, N): log2 of the sum of the weights' exponentials, and delta, the sum of
    weights times their gradients.
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
    of_qkv += head * D
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
        of_out = load_tokens(gradient, pad, place_i, inside_i, pad_i, channels, D, BLOCK_D, False)
        top = tl.full((BLOCK,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        delta = tl.zeros((BLOCK,), tl.float32)
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
            of_weights = product(of_out, tl.trans(v), PRECISION)
            total = total * kept + tl.sum(weights, 1)
            delta = delta * kept + tl.sum(weights * of_weights, 1)
            top = higher
        normaliser = top + tl.log2(total)
        delta /= total
        of_q = tl.zeros((BLOCK, BLOCK_D), tl.float32)
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
            weights = tl.exp2(logits - normaliser[:, None])
            of_weights = product(of_out, tl.trans(v), PRECISION)
            of_logits = weights * (of_weights - delta[:, None])
            of_q += product(rounded(of_logits, k.dtype), k, PRECISION)
        store_tokens(of_qkv, place_i, inside_i, stride, of_q * scale, D, BLOCK_D)
        window = (b * rows + row) * columns + column
        mine = stats + (window.to(tl.int64) * heads + head) * 2 * N
        tl.store(mine + i, normaliser, i < N)
        tl.store(mine + N + i, delta, i < N)


@triton.jit(do_not_specialize=SIZES)
def keys(
    gradient,
    qkv,
    table,
    pad,
    of_qkv,
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
    STEP: tl.constexpr,
):
    """The keys' and values' gradients of program (head, p)'s blocks."""
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
    of_qkv += head * D
    for t in tl.range(number, batch * n_rows * n_columns * BLOCKS, programs):
        w = t // BLOCKS
        b = w // (n_rows * n_columns)
        row = row0 + w // n_columns % n_rows
        column = column0 + w % n_columns
        window = (b * rows + row) * columns + column
        mine = stats + (window.to(tl.int64) * heads + head) * 2 * N
        j = t % BLOCKS * BLOCK + tl.arange(0, BLOCK)
        place_j, inside_j = token_places(
            j, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
        )
        pad_j = (j < N) & (inside_j == 0)
        k = load_tokens(qkv + channels, pad + channels, place_j, inside_j, pad_j, stride, D, BLOCK_D, PADDED)
        v = load_tokens(
            qkv + 2 * channels, pad + 2 * channels, place_j, inside_j, pad_j, stride, D, BLOCK_D, PADDED
        )
        of_k = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        of_v = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        for first in tl.range(0, N, STEP):
            i = first + tl.arange(0, STEP)
            place_i, inside_i = token_places(
                i, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
            )
            pad_i = (i < N) & (inside_i == 0)
            q = load_tokens(qkv, pad, place_i, inside_i, pad_i, stride, D, BLOCK_D, PADDED)
            of_out = load_tokens(gradient, pad, place_i, inside_i, pad_i, channels, D, BLOCK_D, False)
            # Keys down, queries across: so the sums over queries need no transpose.
            bias = bias_tile(table, 1, i[None, :], j[:, None], down, right, cut_h, cut_w, mask_value, MH, MW)
            logits = product(k, tl.trans(q), PRECISION) * (scale * LOG2E) + bias
            # Queries beyond the window: their weights are 0.
            weights = tl.exp2(logits - tl.load(mine + i, i < N, float("inf"))[None, :])
            of_v += product(rounded(weights, v.dtype), of_out, PRECISION)
            of_weights = product(v, tl.trans(of_out), PRECISION)
            of_logits = weights * (of_weights - tl.load(mine + N + i, i < N, 0.0)[None, :])
            of_k += product(rounded(of_logits, q.dtype), q, PRECISION)
        store_tokens(of_qkv + channels, place_j, inside_j, stride, of_k * scale, D, BLOCK_D)
        store_tokens(of_qkv + 2 * channels, place_j, inside_j, stride, of_v, D, BLOCK_D)
