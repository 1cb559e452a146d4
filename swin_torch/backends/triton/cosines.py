"""Queries and keys of length 1, and their gradients, in one launch each.

A token has 3 x heads vectors of head_dim channels, one after the other: queries, keys, values.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.windows import round_to


@triton.jit(do_not_specialize=["vectors"])
def turn(qkv, factors, out, vectors, heads, head_dim, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Writes out = qkv, queries and keys divided by their length, queries times their head's factor.

    Program p has the ROWS vectors from p ROWS on; BLOCK is the power of two from head_dim on.
    """
    vector = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)[None, :]
    own = vector[:, None] * head_dim + channel
    there = (vector < vectors)[:, None] & (channel < head_dim)
    x = tl.load(qkv + own, there, 0.0).to(tl.float32)
    slot = (vector % (3 * heads)).to(tl.int32)
    inverse = invert_length(tl.sum(x * x, 1), qkv.dtype.element_ty)
    factor = tl.load(factors + slot, slot < heads, 1.0)
    scale = tl.where(slot < 2 * heads, factor * inverse, 1.0)
    tl.store(out + own, round_to(x * scale[:, None], out.dtype.element_ty), there)


@triton.jit
def invert_length(squares, kind: tl.constexpr):
    """Returns 1 / max(length, 1e-12) from the squares of lengths; 0 for length 0 in float16."""
    inverse = 1.0 / tl.sqrt(tl.maximum(squares, 1e-24))
    if kind == tl.float16:
        inverse = tl.where(squares > 0, inverse, 0.0)
    return inverse


@triton.jit(do_not_specialize=["rows"])
def turn_backward(
    gradient, qkv, factors, of_qkv, sums, rows, heads, head_dim,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes the gradient of qkv from that of what `turn` writes, and sums of what the factors are given.

    Program (p, slot) of P takes every P-th ROWS tokens, of each the vector ``slot``; it writes the sum of its
    tokens to sums (P, 3 heads), which means something for queries.
    """
    p, slot = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, BLOCK)[None, :]
    factor = tl.load(factors + slot, slot < heads, 1.0)
    total = tl.zeros((ROWS,), tl.float32)
    for first in tl.range(p * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
        own = (row * 3 * heads + slot) * head_dim + channel
        there = (row < rows) & (channel < head_dim)
        x = tl.load(qkv + own, there, 0.0).to(tl.float32)
        given = tl.load(gradient + own, there, 0.0).to(tl.float32)
        squares = tl.sum(x * x, 1)
        inverse = invert_length(squares, qkv.dtype.element_ty)
        units = x * inverse[:, None]
        along = tl.sum(units * given, 1)
        total += along
        back = tl.where(squares > 1e-24, along, 0.0)
        of_x = (given - units * back[:, None]) * (inverse * factor)[:, None]
        of_x = tl.where(slot < 2 * heads, of_x, given)
        tl.store(of_qkv + own, round_to(of_x, of_qkv.dtype.element_ty), there)
    tl.store(sums + p * 3 * heads + slot, tl.sum(total, 0))
