"""Launching the kernels: how many programs, which tiles, and what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swin_torch.kernels import blocks, blocks_backward, blocks_bias, tile
from swin_torch.plan import Plan, table_gradient

ONE_TILE = 64
"""Tokens of a window up to which one tile holds all its logits."""

FORWARD_PROGRAMS, BACKWARD_PROGRAMS = 4, 2
"""Programs a multiprocessor that its registers hold at once: 128 and 255 a thread."""


class Shape(NamedTuple):
    """How a kernel is compiled: its constants, warps a program, and how many loads are under way at once."""

    constants: dict[str, Any]
    num_warps: int
    num_stages: int


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """The attended grid: (B, H, W, 3 C) -> (B, H, W, C)."""
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
    if not out.numel():
        return out
    small = plan.tokens <= ONE_TILE
    shape = compiled_shape(plan, qkv, backward=False)
    table, pad = _table(bias_table, plan), _padding(qkv, pad_qkv, plan)
    programs = _programs(
        plan, len(qkv), multiprocessors(qkv.device) * (FORWARD_PROGRAMS if small else BACKWARD_PROGRAMS)
    )
    with on(qkv):
        kernel = tile.forward if small else blocks.forward
        _launch(kernel, (qkv, table, pad, out), plan, len(qkv), programs, scale, mask_value, shape)
    return out


def backward(
    gradient: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of qkv, of the bias table, and of the padding's qkv (3 C)."""
    batch, heads, tokens = len(qkv), plan.heads, plan.tokens
    of_qkv = torch.empty_like(qkv)
    if not qkv.numel():
        return of_qkv, torch.zeros_like(bias_table), qkv.new_zeros(qkv.shape[3], dtype=torch.float32)
    shape = compiled_shape(plan, qkv, backward=True)
    given = gradient, qkv, _table(bias_table, plan), _padding(qkv, pad_qkv, plan)
    target = multiprocessors(qkv.device) * BACKWARD_PROGRAMS
    few = _programs(plan, batch, target)
    if tokens > ONE_TILE:  # each program's bias is as many programs more
        tiles = (-(-tokens // shape.constants["BLOCK"])) ** 2
        few = _programs(plan, batch, -(-target // tiles))
    of_bias = torch.empty(few[-1], heads, tokens, tokens, dtype=torch.float32, device=qkv.device)
    with on(qkv):
        common = plan, batch
        if tokens <= ONE_TILE:
            _launch(tile.backward, (*given, of_qkv, of_bias), *common, few, scale, mask_value, shape)
        else:
            many = _programs(plan, batch, target)
            stats = of_bias.new_empty(batch * prod(plan.counts), heads, 2, tokens)
            for kernel in (blocks_backward.queries, blocks_backward.keys):
                _launch(kernel, (*given, of_qkv, stats), *common, many, scale, mask_value, shape)
            shape.constants.pop("STEP")
            arguments = (*given, of_bias, stats)
            _launch(blocks_bias.bias_gradient, arguments, *common, few, scale, mask_value, shape, tiles=tiles)
    of_table = table_gradient(of_bias.sum(0), plan.window).to(bias_table.dtype)
    return of_qkv, of_table, _padding_gradient(gradient, of_qkv, plan)


def compiled_shape(plan: Plan, qkv: Tensor, backward: bool) -> Shape:
    """The constants, warps and stages of a plan's kernels."""
    tokens, head_dim = plan.tokens, qkv.shape[3] // 3 // plan.heads
    block = min(ONE_TILE, power_of_two(tokens))
    constants = {
        "MH": plan.window[0],
        "MW": plan.window[1],
        "D": head_dim,
        "BLOCK": block,
        "BLOCK_D": power_of_two(head_dim),
        "PADDED": plan.is_padded,
        "SHIFTED_ROWS": int(plan.shift[0] > 0),
        "SHIFTED_COLUMNS": int(plan.shift[1] > 0),
        "PRECISION": precision(qkv),
    }
    if tokens > ONE_TILE:
        constants["STEP"] = fitting(tokens, (64, 32, 16))
    wide = qkv.dtype == torch.float32 or head_dim > 64
    warps = {16: 1, 32: 2, 64: 8 if wide else 4}[block]
    return Shape(constants, warps, 1 if wide else 2 if backward else 3)


def _launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    plan: Plan,
    batch: int,
    ends: tuple[int, ...],
    scale: float,
    mask_value: float,
    shape: Shape,
    tiles: int = 1,
) -> None:
    (mh, mw), (sh, sw), (ph, pw) = plan.window, plan.shift, plan.period
    sizes = (*plan.grid, *plan.counts, ph, pw, sh % ph, sw % pw, mh - sh, mw - sw)
    run(
        kernel,
        (plan.heads, ends[-1], tiles),
        *tensors,
        batch,
        plan.heads,
        *sizes,
        *ends,
        scale,
        mask_value,
        **shape.constants,
        num_warps=shape.num_warps,
        num_stages=shape.num_stages,
    )


def run(kernel: Any, programs: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
    """Every launch there is: where they are counted."""
    kernel[programs](*args, **kwargs)


def _programs(plan: Plan, batch: int, target: int) -> tuple[int, ...]:
    """About ``target`` / heads programs a head, shared out by windows: where each class's programs end.

    The classes are in the kernels' order: interior, bottom, right, corner.
    """
    windows = {(False, False): 0, (True, False): 0, (False, True): 0, (True, True): 0}
    for rows, columns, down, right in plan.classes():
        windows[down, right] = batch * (rows.stop - rows.start) * (columns.stop - columns.start)
    each = target / plan.heads / sum(windows.values())
    ends, end = [], 0
    for count in windows.values():
        end += min(count, max(1, round(count * each)))
        ends.append(end)
    return tuple(ends)


def _table(bias_table: Tensor, plan: Plan) -> Tensor:
    """As it is where a program reads it once; else one row a head, so that a head's bias is near together."""
    if plan.tokens <= ONE_TILE:
        return bias_table.contiguous()
    return bias_table.T.to(torch.float32, memory_format=torch.contiguous_format).contiguous()


def _padding(qkv: Tensor, pad_qkv: Tensor | None, plan: Plan) -> Tensor:
    """The padding's qkv; where there is none, any tensor of the type, which is not read."""
    if not plan.is_padded:
        return qkv
    return qkv.new_zeros(qkv.shape[3]) if pad_qkv is None else pad_qkv.to(qkv.dtype).contiguous()


def _padding_gradient(gradient: Tensor, of_qkv: Tensor, plan: Plan) -> Tensor:
    """The gradient of the padding's qkv: what is missing in the sums over the tokens of the image.

    A softmax's weights sum to 1: over all keys of a window, padding too, the keys' gradients sum to 0, and
    the values' to the sum of the outputs'.  Padded queries are cropped.
    """
    channels = gradient.shape[-1]
    of_pad = of_qkv.new_zeros(3 * channels, dtype=torch.float32)
    if plan.is_padded:
        of_pad[channels:] -= of_qkv[..., channels:].sum((0, 1, 2), dtype=torch.float32)
        of_pad[2 * channels :] += gradient.sum((0, 1, 2), dtype=torch.float32)
    return of_pad


def fitting(count: int, steps: tuple[int, ...]) -> int:
    """Of steps from the largest down the first that wastes little beyond the last of so many."""
    padded = {step: -(-count // step) * step for step in steps}
    return next(step for step in padded if padded[step] <= 1.15 * min(padded.values()))


def power_of_two(number: int) -> int:
    """The next power of two, at least the 16 that a tensor core takes."""
    return max(16, 1 << (number - 1).bit_length())


def precision(qkv: Tensor) -> str:
    """How `places.product` multiplies tensors as this one."""
    if qkv.dtype == torch.bfloat16 and not qkv.is_cuda:
        return "widened"
    tf32 = qkv.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if tf32 else "ieee"


@cache
def multiprocessors(device: torch.device) -> int:
    """The GPU's; under the interpreter few, so that programs go through several windows there too."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3


@contextmanager
def on(tensor: Tensor) -> Iterator[None]:
    """Launches go to the current device: makes it the tensor's."""
    if tensor.is_cuda:
        with torch.cuda.device(tensor.device):
            yield
    else:
        yield
