"""The gradients of q, k and v in windows of more than 64 tokens; `blocks_bias` has the bias's.

`queries` goes through the keys twice, the first time for the softmax's normaliser and delta, which the other
kernels need too; `keys` goes through the queries.  `windows` describes the kernels' arguments.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.windows import (
    LOG2E,
    SIZES,
    Sizes,
    find_share,
    find_tokens,
    find_window,
    load_part,
    load_tokens,
    make_bias,
    multiply,
    round_to,
    store_tokens,
)


@triton.jit
def find_stats(stats, window, head, sizes, const: tl.constexpr):
    """Returns where the statistics of a head of a window begin."""
    number = (window.image * sizes.rows + window.row) * sizes.columns + window.column
    return stats + (number.to(tl.int64) * sizes.heads + head) * 2 * (const.MH * const.MW)


@triton.jit(do_not_specialize=SIZES)
def queries(
    d_out, qkv, table, pad, d_qkv, stats,
    batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
    end_inside, end_bottom, end_right, end_corner,
    scale, mask_value, const: tl.constexpr,
):  # fmt: skip
    """Writes d_q for the blocks of program (head, p), and stats (windows, heads, 2, N) for the other kernels.

    The statistics of each query are the normaliser, log2 of the sum of 2^logits, and delta, the sum of
    weights times their gradients.
    """
    sizes = Sizes(
        batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
        end_inside, end_bottom, end_right, end_corner,
    )  # fmt: skip
    BLOCK: tl.constexpr = const.BLOCK
    BLOCK_D: tl.constexpr = const.BLOCK_D
    PRECISION: tl.constexpr = const.PRECISION
    head = tl.program_id(0)
    share = find_share(tl.program_id(1), sizes, const)
    N: tl.constexpr = const.MH * const.MW
    BLOCKS: tl.constexpr = (N + BLOCK - 1) // BLOCK
    channels = sizes.heads * const.D
    table += head * (2 * const.MH - 1) * (2 * const.MW - 1)
    qkv += head * const.D
    pad += head * const.D
    d_out += head * const.D
    d_qkv += head * const.D
    for t in tl.range(share.first, sizes.batch * share.rows * share.columns * BLOCKS, share.step):
        window = find_window(t // BLOCKS, share)
        i = t % BLOCKS * BLOCK + tl.arange(0, BLOCK)
        at_queries = find_tokens(i, window, sizes, const)
        q = load_part(0, qkv, pad, at_queries, channels, const)
        d_o = load_tokens(d_out, at_queries, channels, const)
        top = tl.full((BLOCK,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        delta = tl.zeros((BLOCK,), tl.float32)
        for start in tl.range(0, N, const.STEP):
            j = start + tl.arange(0, const.STEP)
            at_keys = find_tokens(j, window, sizes, const)
            k = load_part(1, qkv, pad, at_keys, channels, const)
            v = load_part(2, qkv, pad, at_keys, channels, const)
            bias = make_bias(table, 1, i[:, None], j[None, :], share, sizes, mask_value, const)
            logits = multiply(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
            higher = tl.maximum(top, tl.max(logits, 1))
            # While all keys so far are masked the maximum is -inf, and -inf - -inf would be NaN.
            base = tl.where(higher == float("-inf"), 0.0, higher)
            weights = tl.exp2(logits - base[:, None])
            kept = tl.exp2(top - base)
            d_weights = multiply(d_o, tl.trans(v), PRECISION)
            total = total * kept + tl.sum(weights, 1)
            delta = delta * kept + tl.sum(weights * d_weights, 1)
            top = higher
        normaliser = top + tl.log2(total)
        delta /= total
        d_q = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        for start in tl.range(0, N, const.STEP):
            j = start + tl.arange(0, const.STEP)
            at_keys = find_tokens(j, window, sizes, const)
            k = load_part(1, qkv, pad, at_keys, channels, const)
            v = load_part(2, qkv, pad, at_keys, channels, const)
            bias = make_bias(table, 1, i[:, None], j[None, :], share, sizes, mask_value, const)
            logits = multiply(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
            weights = tl.exp2(logits - normaliser[:, None])
            d_weights = multiply(d_o, tl.trans(v), PRECISION)
            d_logits = weights * (d_weights - delta[:, None])
            d_q += multiply(round_to(d_logits, k.dtype), k, PRECISION)
        store_tokens(d_qkv, at_queries, 3 * channels, d_q * scale, const)
        own = find_stats(stats, window, head, sizes, const)
        tl.store(own + i, normaliser, i < N)
        tl.store(own + N + i, delta, i < N)


@triton.jit(do_not_specialize=SIZES)
def keys(
    d_out, qkv, table, pad, d_qkv, stats,
    batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
    end_inside, end_bottom, end_right, end_corner,
    scale, mask_value, const: tl.constexpr,
):  # fmt: skip
    """Writes d_k and d_v for the blocks of program (head, p)."""
    sizes = Sizes(
        batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
        end_inside, end_bottom, end_right, end_corner,
    )  # fmt: skip
    BLOCK: tl.constexpr = const.BLOCK
    BLOCK_D: tl.constexpr = const.BLOCK_D
    PRECISION: tl.constexpr = const.PRECISION
    head = tl.program_id(0)
    share = find_share(tl.program_id(1), sizes, const)
    N: tl.constexpr = const.MH * const.MW
    BLOCKS: tl.constexpr = (N + BLOCK - 1) // BLOCK
    channels = sizes.heads * const.D
    table += head * (2 * const.MH - 1) * (2 * const.MW - 1)
    qkv += head * const.D
    pad += head * const.D
    d_out += head * const.D
    d_qkv += head * const.D
    for t in tl.range(share.first, sizes.batch * share.rows * share.columns * BLOCKS, share.step):
        window = find_window(t // BLOCKS, share)
        own = find_stats(stats, window, head, sizes, const)
        j = t % BLOCKS * BLOCK + tl.arange(0, BLOCK)
        at_keys = find_tokens(j, window, sizes, const)
        k = load_part(1, qkv, pad, at_keys, channels, const)
        v = load_part(2, qkv, pad, at_keys, channels, const)
        d_k = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        d_v = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        for start in tl.range(0, N, const.STEP):
            i = start + tl.arange(0, const.STEP)
            at_queries = find_tokens(i, window, sizes, const)
            q = load_part(0, qkv, pad, at_queries, channels, const)
            d_o = load_tokens(d_out, at_queries, channels, const)
            # Rows are keys and columns queries: the sums over queries need no transpose.
            bias = make_bias(table, 1, i[None, :], j[:, None], share, sizes, mask_value, const)
            logits = multiply(k, tl.trans(q), PRECISION) * (scale * LOG2E) + bias
            # A normaliser of inf gives queries beyond the window weights of 0.
            weights = tl.exp2(logits - tl.load(own + i, i < N, float("inf"))[None, :])
            d_v += multiply(round_to(weights, v.dtype), d_o, PRECISION)
            d_weights = multiply(v, tl.trans(d_o), PRECISION)
            d_logits = weights * (d_weights - tl.load(own + N + i, i < N, 0.0)[None, :])
            d_k += multiply(round_to(d_logits, q.dtype), q, PRECISION)
        store_tokens(d_qkv + channels, at_keys, 3 * channels, d_k * scale, const)
        store_tokens(d_qkv + 2 * channels, at_keys, 3 * channels, d_v, const)
