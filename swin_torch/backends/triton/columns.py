"""Passes over tokens that also sum each channel over all tokens: the gradient of a linear layer's bias.

Each kernel has (P, column blocks) programs: program p of P takes every P-th ROWS tokens, and writes the sums
of its tokens into row p of ``sums`` (P, columns).
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_torch.backends.triton.windows import round_to


@triton.jit(do_not_specialize=["rows", "each"])
def narrow(
    x, factor, out, sums, rows, columns, each,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, SCALED: tl.constexpr, STORED: tl.constexpr,
):  # fmt: skip
    """Writes out = x, rounded to the type of out, and the sums of out over tokens.

    x and out (rows, columns).  If SCALED, x is first multiplied by factor (rows / each), one number for each
    ``each`` tokens.  Unless STORED, out is not written: it is x.
    """
    p = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    total = tl.zeros((ROWS, BLOCK), tl.float32)  # summed over rows at the end: once, not each time
    for first in tl.range(p * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
        own, there = row * columns + column[None, :], (row < rows) & inside[None, :]
        tokens = tl.load(x + own, there, 0.0).to(tl.float32)
        if SCALED:
            tokens *= tl.load(factor + row // each, row < rows, 0.0).to(tl.float32)
        if STORED:
            rounded = round_to(tokens, out.dtype.element_ty)
            tl.store(out + own, rounded, there)
            tokens = rounded.to(tl.float32)
        total += tokens
    tl.store(sums + p * columns + column, tl.sum(total, 0), inside)


@triton.jit(do_not_specialize=["rows"])
def gelu_backward(x, gradient, active, of_x, sums, rows, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Writes active = gelu(x), of_x = gradient gelu'(x), and the sums of of_x over tokens.

    x, gradient, active and of_x (rows, columns).
    """
    p = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    total = tl.zeros((ROWS, BLOCK), tl.float32)  # summed over rows at the end: once, not each time
    for first in tl.range(p * ROWS, rows, tl.num_programs(0) * ROWS):
        row = (first + tl.arange(0, ROWS)).to(tl.int64)[:, None]
        own, there = row * columns + column[None, :], (row < rows) & inside[None, :]
        tokens = tl.load(x + own, there, 0.0).to(tl.float32)
        below, density = normal(tokens, x.dtype.element_ty)
        tl.store(active + own, round_to(tokens * below, active.dtype.element_ty), there)
        given = tl.load(gradient + own, there, 0.0).to(tl.float32)
        result = round_to(given * (below + tokens * density), of_x.dtype.element_ty)
        tl.store(of_x + own, result, there)
        total += result.to(tl.float32)
    tl.store(sums + p * columns + column, tl.sum(total, 0), inside)


@triton.jit
def normal(x, kind: tl.constexpr):
    """Returns the normal distribution Phi(x) and its density, to be rounded to a type.

    For types of two bytes Phi has an error of at most 8e-8, in half the instructions of `tl.erf`: Abramowitz
    and Stegun, 7.1.26, erfc(z) = p(t) exp(-z^2) with t = 1 / (1 + 0.3275911 z) for z >= 0.
    """
    exponential = tl.exp2(x * x * -0.7213475204444817)  # exp(-x^2 / 2)
    if kind == tl.float32:
        below = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
    else:
        t = 1.0 / (1.0 + 0.3275911 * 0.7071067811865476 * tl.abs(x))
        p = (1.061405429 * t - 1.453152027) * t + 1.421413741
        p = ((p * t - 0.284496736) * t + 0.254829592) * t
        tail = 0.5 * p * exponential  # Phi(-|x|)
        below = tl.where(x > 0, 1.0 - tail, tail)
    return below, exponential * 0.3989422804014327
