"""Attention in windows of more than 64 tokens: a block of queries at a time goes through the keys in steps.

The softmax is computed along the way.  Bias and mask are made again for each step from the head's table,
which is small enough to stay in the cache.  `windows` describes the kernels' arguments.
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
    make_bias,
    multiply,
    round_to,
    store_tokens,
)


@triton.jit(do_not_specialize=SIZES)
def forward(
    qkv, table, pad, out,
    batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
    end_inside, end_bottom, end_right, end_corner,
    scale, mask_value, const: tl.constexpr,
):  # fmt: skip
    """Writes out = softmax(scale q k^T + bias + mask) v for the blocks of program (head, p).

    The running maximum, sum and average are Milakov & Gimelshein's (2018).
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
    out += head * const.D
    for t in tl.range(share.first, sizes.batch * share.rows * share.columns * BLOCKS, share.step):
        window = find_window(t // BLOCKS, share)
        i = t % BLOCKS * BLOCK + tl.arange(0, BLOCK)
        at_queries = find_tokens(i, window, sizes, const)
        q = load_part(0, qkv, pad, at_queries, channels, const)
        top = tl.full((BLOCK,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        attended = tl.zeros((BLOCK, BLOCK_D), tl.float32)
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
            total = total * kept + tl.sum(weights, 1)
            attended *= kept[:, None]
            attended += multiply(round_to(weights, v.dtype), v, PRECISION)
            top = higher
        attended /= total[:, None]
        store_tokens(out, at_queries, channels, attended, const)
