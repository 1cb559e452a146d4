"""The gradient of the bias in windows of more than 64 tokens, tile by tile.

`windows` describes the kernels' arguments.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.blocks_backward import find_stats
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
)


@triton.jit(do_not_specialize=SIZES)
def bias_gradient(
    d_out, qkv, table, pad, d_bias, stats,
    batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
    end_inside, end_bottom, end_right, end_corner,
    scale, mask_value, const: tl.constexpr,
):  # fmt: skip
    """Writes one tile (BLOCK, BLOCK) of d_bias, the sum over the windows of program (head, p, tile)."""
    sizes = Sizes(
        batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
        end_inside, end_bottom, end_right, end_corner,
    )  # fmt: skip
    BLOCK: tl.constexpr = const.BLOCK
    PRECISION: tl.constexpr = const.PRECISION
    head, p = tl.program_id(0), tl.program_id(1)
    share = find_share(p, sizes, const)
    N: tl.constexpr = const.MH * const.MW
    BLOCKS: tl.constexpr = (N + BLOCK - 1) // BLOCK
    channels = sizes.heads * const.D
    table += head * (2 * const.MH - 1) * (2 * const.MW - 1)
    qkv += head * const.D
    pad += head * const.D
    d_out += head * const.D
    tile = tl.program_id(2)
    i = tile // BLOCKS * BLOCK + tl.arange(0, BLOCK)
    j = tile % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    d_bias_sum = tl.zeros((BLOCK, BLOCK), tl.float32)
    bias = make_bias(table, 1, i[:, None], j[None, :], share, sizes, mask_value, const)
    for w in tl.range(share.first, sizes.batch * share.rows * share.columns, share.step):
        window = find_window(w, share)
        own = find_stats(stats, window, head, sizes, const)
        at_queries = find_tokens(i, window, sizes, const)
        at_keys = find_tokens(j, window, sizes, const)
        q = load_part(0, qkv, pad, at_queries, channels, const)
        k = load_part(1, qkv, pad, at_keys, channels, const)
        v = load_part(2, qkv, pad, at_keys, channels, const)
        d_o = load_tokens(d_out, at_queries, channels, const)
        logits = multiply(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
        weights = tl.exp2(logits - tl.load(own + i, i < N, 0.0)[:, None])
        d_weights = multiply(d_o, tl.trans(v), PRECISION)
        d_bias_sum += weights * (d_weights - tl.load(own + N + i, i < N, 0.0)[:, None])
    d_bias += (p * sizes.heads + head) * N * N
    tl.store(d_bias + i[:, None] * N + j[None, :], d_bias_sum, (i < N)[:, None] & (j < N)[None, :])
