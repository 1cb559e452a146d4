"""Launches the kernels that compute tokens one by one: linear layers, and the residual sum with its norm."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_torch.backends.triton import Norm, choices, launch, norms, products
from swin_torch.backends.triton.choices import Tile, power_of_two
from swin_torch.backends.triton.launch import Shape, on, precision


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, norm: Norm | None, gelu: bool, onto: Tensor | None
) -> Tensor:
    """Returns onto + gelu(norm(x) weight^T + bias), (..., C) -> (..., K), in onto's or the weight's type."""
    columns, channels = weight.shape
    out = x.new_empty(*x.shape[:-1], columns, dtype=(weight if onto is None else onto).dtype)
    rows = x.numel() // channels
    if out.numel():
        multiprocessors = launch.multiprocessors(x.device)
        around = norm is not None, gelu, onto is not None
        tile = choices.linear(x, weight, *around, multiprocessors)
        shape = linear_shape(tile, weight)
        shape.constants.update(NORM=norm is not None, BIAS=bias is not None, GELU=gelu, ONTO=onto is not None)
        gain, shift, eps = norm or (x, x, 0.0)  # any tensor where none is read
        tensors = x, weight, x if bias is None else bias, gain, shift, x if onto is None else onto, out
        with on(x):
            launch.run(
                products.linear,
                linear_programs(tile, rows, columns, multiprocessors),
                *tensors,
                rows,
                columns,
                eps,
                **shape.constants,
                num_warps=shape.num_warps,
                num_stages=shape.num_stages,
            )
    return out


def linear_shape(tile: Tile, weight: Tensor) -> Shape:
    """Returns the constants, warps and stages that `linear` is compiled with for a weight (K, C)."""
    constants = {
        "CHANNELS": weight.shape[1],
        "BLOCK_ROWS": tile.rows,
        "BLOCK_COLUMNS": tile.columns,
        "STEP": tile.step // 2 if weight.dtype == torch.float32 else tile.step,
        "PRECISION": precision(weight),
    }
    return Shape(constants, tile.num_warps, tile.num_stages)


def linear_programs(tile: Tile, rows: int, columns: int, multiprocessors: int) -> tuple[int, int]:
    """Returns the number of row blocks, and of the programs that divide a row block's columns.

    There are as few of these as keep all multiprocessors busy: each computes the norm of its rows again.
    """
    row_blocks, column_blocks = -(-rows // tile.rows), -(-columns // tile.columns)
    waves = 2 * tile.programs * multiprocessors
    return row_blocks, min(column_blocks, -(-waves // row_blocks))


def norm(x: Tensor, gain: Tensor, shift: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Returns LayerNorm(x) in a type, (..., C)."""
    out = torch.empty_like(x, dtype=dtype)
    if x.numel():
        channels = x.shape[-1]
        constants = norm_constants(channels)
        rows = x.numel() // channels
        with on(x):
            launch.run(
                norms.norm,
                (-(-rows // constants["ROWS"]),),
                *(x, gain, shift, out),
                *(rows, channels, eps),
                **constants,
                num_warps=NORM_WARPS,
            )
    return out


def norm_backward(gradient: Tensor, x: Tensor, gain: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of a LayerNorm's input (..., C), weight and bias (C) each."""
    channels = x.shape[-1]
    of_x, constants = torch.empty_like(x), norm_constants(channels)
    rows = x.numel() // channels
    programs = max(1, min(-(-rows // constants["ROWS"]), NORM_PROGRAMS * launch.multiprocessors(x.device)))
    of_gain, of_shift = torch.empty(2, programs, channels, dtype=torch.float32, device=x.device).unbind()
    with on(x):
        launch.run(
            norms.norm_backward,
            (programs,),
            *(gradient, x, gain, of_x, of_gain, of_shift),
            *(rows, channels, eps),
            **constants,
            num_warps=NORM_WARPS,
        )
    return of_x, of_gain.sum(0).to(gain.dtype), of_shift.sum(0).to(gain.dtype)


NORM_WARPS = 4
NORM_PROGRAMS = 4
"""Of a multiprocessor, in backward: each program writes sums of its own."""


def norm_constants(channels: int) -> dict[str, int]:
    """Returns the constants of `norm` and its backward: 16 channels a thread, at least one row."""
    block = power_of_two(channels)
    return {"ROWS": max(1, 32 * NORM_WARPS * 16 // block), "BLOCK": block}


def add_norm(
    x: Tensor, branch: Tensor, gain: Tensor, shift: Tensor, eps: float, ahead: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns x + branch (+ ahead) and LayerNorm(x + branch), (..., C) each."""
    y, normed = torch.empty_like(x), torch.empty_like(x)
    channels = x.shape[-1]
    block = power_of_two(channels)
    if x.numel():
        tensors = x, branch, gain, shift, gain if ahead is None else ahead, y, normed
        constants = {"BLOCK": block, "AHEAD": ahead is not None}
        with on(x):
            launch.run(
                norms.add_norm,
                (x.numel() // channels,),
                *tensors,
                channels,
                eps,
                **constants,
                num_warps=row_warps(block),
            )
    return y, normed


def row_warps(block: int) -> int:
    """Returns the warps for a row of ``block`` channels: 8 channels a thread, one load of 16 bytes."""
    return min(8, max(1, block // 256))
