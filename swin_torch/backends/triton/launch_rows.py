"""Launches the kernels that compute tokens one by one: linear layers, and the residual sum with its norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swin_torch.backends.triton import Norm, choices, columns, cosines, launch, norms, products
from swin_torch.backends.triton.choices import Tile, round_to_power
from swin_torch.backends.triton.launch import Shape, choose_precision, use_device


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: Norm | None, gelu: bool, onto: Tensor | None
) -> Tensor:
    """Returns onto + gelu(norm(x) weight^T + bias), (..., C) -> (..., K), in onto's or the weight's type."""
    columns, channels = weight.shape
    out = x.new_empty(*x.shape[:-1], columns, dtype=(weight if onto is None else onto).dtype)
    rows = x.numel() // channels
    if out.numel():
        multiprocessors = launch.count_multiprocessors(x.device)
        around = norm is not None, gelu, onto is not None
        tile = choices.choose_linear(x, weight, *around, multiprocessors)
        shape = make_linear_shape(tile, weight)
        shape.constants.update(NORM=norm is not None, BIAS=bias is not None, GELU=gelu, ONTO=onto is not None)
        gain, shift, eps = norm or (x, x, 0.0)  # any tensor where none is read
        tensors = x, weight, x if bias is None else bias, gain, shift, x if onto is None else onto, out
        with use_device(x):
            launch.run(
                products.linear,
                count_programs(tile, rows, columns, multiprocessors),
                *tensors,
                rows,
                columns,
                eps,
                **shape.constants,
                num_warps=shape.num_warps,
                num_stages=shape.num_stages,
            )
    return out


def make_linear_shape(tile: Tile, weight: Tensor) -> Shape:
    """Returns the constants, warps and stages that `linear` is compiled with for a weight (K, C)."""
    constants = {
        "CHANNELS": weight.shape[1],
        "BLOCK_ROWS": tile.rows,
        "BLOCK_COLUMNS": tile.columns,
        "STEP": tile.step // 2 if weight.dtype == torch.float32 else tile.step,
        "PRECISION": choose_precision(weight),
    }
    return Shape(constants, tile.num_warps, tile.num_stages)


def count_programs(tile: Tile, rows: int, columns: int, multiprocessors: int) -> tuple[int, int]:
    """Returns the number of row blocks, and of the programs that divide a row block's columns.

    There are as few of these as keep all multiprocessors busy: each computes the norm of its rows again.
    """
    row_blocks, column_blocks = -(-rows // tile.rows), -(-columns // tile.columns)
    waves = 2 * tile.programs * multiprocessors
    return row_blocks, min(column_blocks, -(-waves // row_blocks))


def norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Returns LayerNorm(x) in a type, (..., C)."""
    out = torch.empty_like(x, dtype=dtype)
    channels = x.shape[-1]
    return _run_norm(norms.norm, x, gain, shift, out, (channels, eps), make_norm_constants(channels))


def merge_norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """Returns LayerNorm of 2x2 tokens side by side: (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 4 C)."""
    batch, height, width, channels = x.shape
    out = x.new_empty(batch, -(-height // 2), -(-width // 2), 4 * channels)
    sizes = height, width, channels, eps
    return _run_norm(norms.merge_norm, x, gain, shift, out, sizes, make_merge_constants(channels))


def _run_norm(
    kernel: Any,
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    out: Tensor,
    sizes: tuple[float, ...],
    constants: dict[str, int],
) -> Tensor:
    """Launches a norm that writes ``out``, and returns it; ``sizes`` follow the number of its rows."""
    if x.numel():
        rows = out.numel() // out.shape[-1]
        with use_device(x):
            launch.run(
                kernel,
                (-(-rows // constants["ROWS"]),),
                *(x, gain, shift, out, rows, *sizes),
                **constants,
                num_warps=NORM_WARPS,
            )
    return out


def norm_backward(
    gradient: Tensor, x: Tensor, gain: Tensor, eps: float, onto: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of a LayerNorm's input (..., C), plus onto, and of its weight and bias (C)."""
    channels = x.shape[-1]
    of_x, constants = torch.empty_like(x), make_norm_constants(channels)
    rows = x.numel() // channels
    programs = share_rows(rows, constants["ROWS"], NORM_PROGRAMS * launch.count_multiprocessors(x.device))
    sums = torch.empty(2, programs, channels, dtype=torch.float32, device=x.device)
    with use_device(x):
        launch.run(
            norms.norm_backward,
            (programs,),
            *(gradient, x, gain, x if onto is None else onto, of_x, *sums.unbind()),
            *(rows, channels, eps),
            **constants,
            ONTO=onto is not None,
            num_warps=NORM_WARPS,
        )
    of_gain, of_shift = sums.sum(1).unbind()
    return of_x, of_gain, of_shift


NORM_WARPS = 4
NORM_PROGRAMS = 4
"""Of a multiprocessor, in backward: each program writes sums of its own."""


def share_rows(rows: int, at_once: int, most: int) -> int:
    """Returns how many programs divide rows, each taking some at once: at least one, for no rows too."""
    return max(1, min(-(-rows // at_once), most))


def make_norm_constants(channels: int) -> dict[str, int]:
    """Returns the constants of `norm` and its backward: 16 channels a thread, at least one row."""
    block = round_to_power(channels)
    return {"ROWS": max(1, 32 * NORM_WARPS * 16 // block), "BLOCK": block}


def make_merge_constants(channels: int) -> dict[str, int]:
    """Returns the constants of `merge_norm`: as many numbers a thread as in a norm of 4 times the channels.

    >>> make_merge_constants(96)
    {'ROWS': 4, 'BLOCK': 128}
    """
    constants = make_norm_constants(4 * channels)
    return constants | {"BLOCK": constants["BLOCK"] // 4}


def add_norm(
    x: Tensor,
    branch: Tensor,
    gain: Tensor,
    shift: Tensor,
    eps: float,
    ahead: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Returns x + branch (+ ahead), and LayerNorm(x + branch) in a type, (..., C) each."""
    y = torch.empty_like(x, dtype=torch.promote_types(x.dtype, branch.dtype))
    normed = torch.empty_like(x, dtype=dtype)
    channels = x.shape[-1]
    block = round_to_power(channels)
    if x.numel():
        tensors = x, branch, gain, shift, gain if ahead is None else ahead, y, normed
        constants = {"BLOCK": block, "AHEAD": ahead is not None}
        with use_device(x):
            launch.run(
                norms.add_norm,
                (x.numel() // channels,),
                *tensors,
                channels,
                eps,
                **constants,
                num_warps=count_warps(block),
            )
    return y, normed


def narrow(x: Tensor, factor: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Returns factor x in a type, (B, ..., C), and its sums over all tokens (C); factor is (B)."""
    stored = factor is not None or dtype != x.dtype
    out = torch.empty_like(x, dtype=dtype) if stored else x
    channels = x.shape[-1]
    rows = x.numel() // channels
    tensors, sizes = (x, x if factor is None else factor, out), (rows, channels, rows // x.shape[0])
    return out, _pass_over(columns.narrow, tensors, *sizes, SCALED=factor is not None, STORED=stored)


def gelu_backward(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gelu(x) and the gradient of x, (..., C) each, and the sums of that over all tokens (C)."""
    active, of_x = torch.empty_like(x), torch.empty_like(x)
    channels = x.shape[-1]
    sums = _pass_over(columns.gelu_backward, (x, gradient, active, of_x), x.numel() // channels, channels)
    return active, of_x, sums


def turn(qkv: Tensor, factors: Tensor) -> Tensor:
    """Returns qkv (..., 3 C) with queries and keys of length 1, queries times their head's factor (heads)."""
    out, heads = torch.empty_like(qkv), len(factors)
    head_dim = qkv.shape[-1] // 3 // heads
    constants, vectors = make_norm_constants(head_dim), qkv.numel() // head_dim
    if vectors:
        with use_device(qkv):
            launch.run(
                cosines.turn,
                (-(-vectors // constants["ROWS"]),),
                *(qkv, factors, out),
                *(vectors, heads, head_dim),
                **constants,
                num_warps=NORM_WARPS,
            )
    return out


def turn_backward(gradient: Tensor, qkv: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of qkv (..., 3 C) and of the factors (heads) from that of what `turn` returns."""
    of_qkv, heads = torch.empty_like(gradient), len(factors)
    head_dim = qkv.shape[-1] // 3 // heads
    constants, rows = make_norm_constants(head_dim), qkv.numel() // qkv.shape[-1]
    most = -(-NORM_PROGRAMS * launch.count_multiprocessors(qkv.device) // (3 * heads))
    programs = share_rows(rows, constants["ROWS"], most)
    sums = torch.empty(programs, 3 * heads, dtype=torch.float32, device=qkv.device)
    with use_device(qkv):
        launch.run(
            cosines.turn_backward,
            (programs, 3 * heads),
            *(gradient, qkv, factors, of_qkv, sums),
            *(rows, heads, head_dim),
            **constants,
            num_warps=NORM_WARPS,
        )
    return of_qkv, sums[:, :heads].sum(0)


PASS_ROWS, PASS_BLOCK, PASS_WARPS = 32, 128, 4
"""The tokens and channels that a program of a pass reads at once, and its warps."""

PASS_PROGRAMS = 4
"""Of a multiprocessor: each writes sums of its own."""


def _pass_over(
    kernel: Any, tensors: tuple[Tensor, ...], rows: int, channels: int, *sizes: int, **constants: bool
) -> Tensor:
    """Launches a kernel of `columns`, and returns its sums over all tokens (C)."""
    x = tensors[0]
    block = min(PASS_BLOCK, round_to_power(channels))
    blocks = -(-channels // block)
    most = -(-PASS_PROGRAMS * launch.count_multiprocessors(x.device) // blocks)
    programs = share_rows(rows, PASS_ROWS, most)
    sums = torch.empty(programs, channels, dtype=torch.float32, device=x.device)
    with use_device(x):
        launch.run(
            kernel,
            (programs, blocks),
            *(*tensors, sums),
            *(rows, channels, *sizes),
            ROWS=PASS_ROWS,
            BLOCK=block,
            **constants,
            num_warps=PASS_WARPS,
        )
    return sums.sum(0)


def count_warps(block: int) -> int:
    """Returns the warps for a row of ``block`` channels: 8 channels a thread, one load of 16 bytes."""
    return min(8, max(1, block // 256))
