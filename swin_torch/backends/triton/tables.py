"""The gradient of the bias table from that of the bias: the sum over the pairs of tokens with each offset."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.windows import round_to


@triton.jit
def sum_by_offset(
    d_bias, d_table, heads, offsets,
    MH: tl.constexpr, MW: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes ROWS rows of d_table (offsets, heads) from d_bias (heads, N, N), for program (head, p).

    BLOCK is the power of two from N = MH MW on.  The order of the sums is fixed: every run gives the same.
    """
    head = tl.program_id(0)
    offset = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None]
    query = tl.arange(0, BLOCK)[None, :]
    # The offset is query - key, so that each query has at most one key of it.
    down, right = offset // (2 * MW - 1) - (MH - 1), offset % (2 * MW - 1) - (MW - 1)
    row, column = query // MW - down, query % MW - right
    there = (query < MH * MW) & (row >= 0) & (row < MH) & (column >= 0) & (column < MW) & (offset < offsets)
    pairs = (head * MH * MW + query) * (MH * MW) + row * MW + column
    total = tl.sum(tl.load(d_bias + pairs, there, 0.0), 1)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    tl.store(d_table + rows * heads + head, round_to(total, d_table.dtype.element_ty), rows < offsets)
