"""Windows of up to 64 tokens: one tile holds all logits, and bias and mask stay in registers."""

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
):
    """The attended windows of program (head, p): softmax(scale q k^T + bias + mask) v."""
    head = tl.program_id(0)
    down, right, number, programs = program_class(tl.program_id(1), end0, end1, end2, end3)
    row0, column0, n_rows, n_columns = class_windows(
        down, right, rows, columns, SHIFTED_ROWS, SHIFTED_COLUMNS
    )
    channels = heads * D
    i = tl.arange(0, BLOCK)
    table += head
    bias = bias_tile(table, heads, i[:, None], i[None, :], down, right, cut_h, cut_w, mask_value, MH, MW)
    qkv += head * D
    pad += head * D
    out += head * D
    for w in tl.range(number, batch * n_rows * n_columns, programs):
        b = w // (n_rows * n_columns)
        row = row0 + w // n_columns % n_rows
        column = column0 + w % n_columns
        place, inside = token_places(
            i, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
        )
        is_pad = (i < MH * MW) & (inside == 0)
        q = load_tokens(qkv, pad, place, inside, is_pad, 3 * channels, D, BLOCK_D, PADDED)
        k = load_tokens(
            qkv + channels, pad + channels, place, inside, is_pad, 3 * channels, D, BLOCK_D, PADDED
        )
        v = load_tokens(
            qkv + 2 * channels, pad + 2 * channels, place, inside, is_pad, 3 * channels, D, BLOCK_D, PADDED
        )
        logits = product(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
        weights = tl.exp2(logits - tl.max(logits, 1)[:, None])
        total = tl.sum(weights, 1)
        attended = product(rounded(weights, v.dtype), v, PRECISION) / total[:, None]
        store_tokens(out, place, inside, channels, attended, D, BLOCK_D)


@triton.jit(do_not_specialize=SIZES)
def backward(
    gradient,
    qkv,
    table,
    pad,
    of_qkv,
    of_bias,
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
    """The gradients of program (head, p)'s windows; the bias's is summed over them, and written once.

    of_bias: (programs, heads, N, N).
    """
    head, p = tl.program_id(0), tl.program_id(1)
    down, right, number, programs = program_class(p, end0, end1, end2, end3)
    row0, column0, n_rows, n_columns = class_windows(
        down, right, rows, columns, SHIFTED_ROWS, SHIFTED_COLUMNS
    )
    channels = heads * D
    i = tl.arange(0, BLOCK)
    table += head
    bias = bias_tile(table, heads, i[:, None], i[None, :], down, right, cut_h, cut_w, mask_value, MH, MW)
    qkv += head * D
    pad += head * D
    gradient += head * D
    of_qkv += head * D
    bias_sum = tl.zeros((BLOCK, BLOCK), tl.float32)
    for w in tl.range(number, batch * n_rows * n_columns, programs):
        b = w // (n_rows * n_columns)
        row = row0 + w // n_columns % n_rows
        column = column0 + w % n_columns
        place, inside = token_places(
            i, b, row, column, height, width, period_h, period_w, roll_h, roll_w, MH, MW
        )
        is_pad = (i < MH * MW) & (inside == 0)
        q = load_tokens(qkv, pad, place, inside, is_pad, 3 * channels, D, BLOCK_D, PADDED)
        k = load_tokens(
            qkv + channels, pad + channels, place, inside, is_pad, 3 * channels, D, BLOCK_D, PADDED
        )
        v = load_tokens(
            qkv + 2 * channels, pad + 2 * channels, place, inside, is_pad, 3 * channels, D, BLOCK_D, PADDED
        )
        # What is cropped has no gradient: padded queries have 0.
        of_out = load_tokens(gradient, pad, place, inside, is_pad, channels, D, BLOCK_D, False)
        logits = product(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
        weights = tl.exp2(logits - tl.max(logits, 1)[:, None])
        weights *= (1.0 / tl.sum(weights, 1))[:, None]
        # Each gradient is stored as soon as it is made: registers are what this kernel lacks.
        of_v = product(tl.trans(rounded(weights, v.dtype)), of_out, PRECISION)
        store_tokens(of_qkv + 2 * channels, place, inside, 3 * channels, of_v, D, BLOCK_D)
        of_weights = product(of_out, tl.trans(v), PRECISION)
        of_logits = weights * (of_weights - tl.sum(weights * of_weights, 1)[:, None])
        bias_sum += of_logits
        narrow = rounded(of_logits, q.dtype)
        of_q = product(narrow, k, PRECISION) * scale
        store_tokens(of_qkv, place, inside, 3 * channels, of_q, D, BLOCK_D)
        of_k = product(tl.trans(narrow), q, PRECISION) * scale
        store_tokens(of_qkv + channels, place, inside, 3 * channels, of_k, D, BLOCK_D)
    N: tl.constexpr = MH * MW
    of_bias += (p * heads + head) * N * N
    tl.store(of_bias + i[:, None] * N + i[None, :], bias_sum, (i < N)[:, None] & (i < N)[None, :])
