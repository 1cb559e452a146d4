"""Attention in windows of up to 64 tokens: one tile holds a window's logits; bias and mask stay in registers.

`windows` describes the kernels' arguments.
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


@triton.jit(do_not_specialize=SIZES)
def forward(
    qkv, table, pad, out,
    batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
    end_inside, end_bottom, end_right, end_corner,
    scale, mask_value, const: tl.constexpr,
):  # fmt: skip
    """Writes out = softmax(scale q k^T + bias + mask) v for the windows of program (head, p)."""
    sizes = Sizes(
        batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
        end_inside, end_bottom, end_right, end_corner,
    )  # fmt: skip
    BLOCK: tl.constexpr = const.BLOCK
    PRECISION: tl.constexpr = const.PRECISION
    head = tl.program_id(0)
    share = find_share(tl.program_id(1), sizes, const)
    channels = sizes.heads * const.D
    i = tl.arange(0, BLOCK)
    table += head
    bias = make_bias(table, sizes.heads, i[:, None], i[None, :], share, sizes, mask_value, const)
    qkv += head * const.D
    pad += head * const.D
    out += head * const.D
    for w in tl.range(share.first, sizes.batch * share.rows * share.columns, share.step):
        tokens = find_tokens(i, find_window(w, share), sizes, const)
        q = load_part(0, qkv, pad, tokens, channels, const)
        k = load_part(1, qkv, pad, tokens, channels, const)
        v = load_part(2, qkv, pad, tokens, channels, const)
        logits = multiply(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
        weights = tl.exp2(logits - tl.max(logits, 1)[:, None])
        total = tl.sum(weights, 1)
        attended = multiply(round_to(weights, v.dtype), v, PRECISION) / total[:, None]
        store_tokens(out, tokens, channels, attended, const)


@triton.jit(do_not_specialize=SIZES)
def backward(
    d_out, qkv, table, pad, d_qkv, d_bias,
    batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
    end_inside, end_bottom, end_right, end_corner,
    scale, mask_value, const: tl.constexpr,
):  # fmt: skip
    """Writes d_qkv for the windows of program (head, p), and the sum of their d_bias."""
    sizes = Sizes(
        batch, heads, height, width, rows, columns, period_h, period_w, roll_h, roll_w, cut_h, cut_w,
        end_inside, end_bottom, end_right, end_corner,
    )  # fmt: skip
    BLOCK: tl.constexpr = const.BLOCK
    PRECISION: tl.constexpr = const.PRECISION
    head, p = tl.program_id(0), tl.program_id(1)
    share = find_share(p, sizes, const)
    channels = sizes.heads * const.D
    i = tl.arange(0, BLOCK)
    table += head
    bias = make_bias(table, sizes.heads, i[:, None], i[None, :], share, sizes, mask_value, const)
    qkv += head * const.D
    pad += head * const.D
    d_out += head * const.D
    d_qkv += head * const.D
    d_bias_sum = tl.zeros((BLOCK, BLOCK), tl.float32)
    for w in tl.range(share.first, sizes.batch * share.rows * share.columns, share.step):
        tokens = find_tokens(i, find_window(w, share), sizes, const)
        q = load_part(0, qkv, pad, tokens, channels, const)
        k = load_part(1, qkv, pad, tokens, channels, const)
        v = load_part(2, qkv, pad, tokens, channels, const)
        # Padded queries are cropped: their gradient is 0.
        d_o = load_tokens(d_out, tokens, channels, const)
        logits = multiply(q, tl.trans(k), PRECISION) * (scale * LOG2E) + bias
        weights = tl.exp2(logits - tl.max(logits, 1)[:, None])
        weights *= (1.0 / tl.sum(weights, 1))[:, None]
        # Each gradient is stored as soon as it is computed: this kernel is short of registers.
        d_v = multiply(tl.trans(round_to(weights, v.dtype)), d_o, PRECISION)
        store_tokens(d_qkv + 2 * channels, tokens, 3 * channels, d_v, const)
        d_weights = multiply(d_o, tl.trans(v), PRECISION)
        d_logits = weights * (d_weights - tl.sum(weights * d_weights, 1)[:, None])
        d_bias_sum += d_logits
        narrow = round_to(d_logits, q.dtype)
        d_q = multiply(narrow, k, PRECISION) * scale
        store_tokens(d_qkv, tokens, 3 * channels, d_q, const)
        d_k = multiply(tl.trans(narrow), q, PRECISION) * scale
        store_tokens(d_qkv + channels, tokens, 3 * channels, d_k, const)
    N: tl.constexpr = const.MH * const.MW
    d_bias += (p * sizes.heads + head) * N * N
    tl.store(d_bias + i[:, None] * N + i[None, :], d_bias_sum, (i < N)[:, None] & (i < N)[None, :])
