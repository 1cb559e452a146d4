"""Launches the attention kernels: how many programs, which tiles, and what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swin_torch.backends.triton import blocks, blocks_backward, blocks_bias, choices, tile
from swin_torch.backends.triton.choices import ONE_TILE, power_of_two
from swin_torch.geometry.plan import Plan, table_gradient

KERNELS = {
    True: {"forward": tile.forward, "backward": tile.backward},
    False: {
        "forward": blocks.forward,
        "queries": blocks_backward.queries,
        "keys": blocks_backward.keys,
        "bias_gradient": blocks_bias.bias_gradient,
    },
}
"""The kernels by whether one tile holds a window, and by their names in `choices`."""


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
    if out.numel():
        given = qkv, _table(bias_table, plan), _padding(qkv, pad_qkv, plan), out
        ends, _ = shared_out("forward", plan, qkv)
        with on(qkv):
            _launch("forward", given, plan, qkv, ends, scale, mask_value)
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
    of_qkv = torch.empty_like(qkv)
    if not qkv.numel():
        return of_qkv, torch.zeros_like(bias_table), qkv.new_zeros(qkv.shape[3], dtype=torch.float32)
    given = gradient, qkv, _table(bias_table, plan), _padding(qkv, pad_qkv, plan)
    common = plan, qkv
    small = plan.tokens <= ONE_TILE
    few, tiles = shared_out("backward" if small else "bias_gradient", *common)
    of_bias = torch.empty(
        few[-1], plan.heads, plan.tokens, plan.tokens, dtype=torch.float32, device=qkv.device
    )
    with on(qkv):
        if small:
            _launch("backward", (*given, of_qkv, of_bias), *common, few, scale, mask_value)
        else:
            stats = of_bias.new_empty(len(qkv) * prod(plan.counts), plan.heads, 2, plan.tokens)
            for name in ("queries", "keys"):
                ends, _ = shared_out(name, *common)
                _launch(name, (*given, of_qkv, stats), *common, ends, scale, mask_value)
            _launch("bias_gradient", (*given, of_bias, stats), *common, few, scale, mask_value, tiles)
    of_table = table_gradient(of_bias.sum(0), plan.window).to(bias_table.dtype)
    return of_qkv, of_table, _padding_gradient(gradient, of_qkv, plan)


def shared_out(name: str, plan: Plan, qkv: Tensor) -> tuple[tuple[int, ...], int]:
    """Returns where each class's programs end, and how many tiles of the bias a program stands for."""
    choice = choices.attention(name, plan, qkv)
    tiles = choices.tiles_of_bias(plan, choice.block) if name == "bias_gradient" else 1
    target = multiprocessors(qkv.device) * choice.programs
    return _programs(plan, len(qkv), -(-target // tiles)), tiles


def compiled_shape(name: str, plan: Plan, qkv: Tensor) -> Shape:
    """Returns the constants, warps and stages that an attention kernel is compiled with."""
    choice = choices.attention(name, plan, qkv)
    head_dim = qkv.shape[3] // 3 // plan.heads
    constants = {
        "MH": plan.window[0],
        "MW": plan.window[1],
        "D": head_dim,
        "BLOCK": choice.block,
        "BLOCK_D": power_of_two(head_dim),
        "PADDED": plan.is_padded,
        "SHIFTED_ROWS": int(plan.shift[0] > 0),
        "SHIFTED_COLUMNS": int(plan.shift[1] > 0),
        "PRECISION": precision(qkv),
    }
    if plan.tokens > ONE_TILE and name != "bias_gradient":
        constants["STEP"] = choice.step
    return Shape(constants, choice.num_warps, choice.num_stages)


def _launch(
    name: str,
    tensors: tuple[Tensor, ...],
    plan: Plan,
    qkv: Tensor,
    ends: tuple[int, ...],
    scale: float,
    mask_value: float,
    tiles: int = 1,
) -> None:
    shape = compiled_shape(name, plan, qkv)
    (mh, mw), (sh, sw), (ph, pw) = plan.window, plan.shift, plan.period
    sizes = (*plan.grid, *plan.counts, ph, pw, sh % ph, sw % pw, mh - sh, mw - sw)
    run(
        KERNELS[plan.tokens <= ONE_TILE][name],
        (plan.heads, ends[-1], tiles),
        *tensors,
        len(qkv),
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
