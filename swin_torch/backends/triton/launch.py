"""Launches the attention kernels: chooses programs and tiles, and prepares the arguments."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache, lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swin_torch.backends.triton import blocks, blocks_backward, blocks_bias, choices, tables, tile
from swin_torch.backends.triton.choices import ONE_TILE, Attention, round_to_power
from swin_torch.backends.triton.windows import Constants, Sizes
from swin_torch.geometry.plan import Plan

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


OFFSETS_AT_ONCE = 1024
"""The numbers of the bias's gradient that a program reads at once: for some offsets those of every query."""


class Shape(NamedTuple):
    """How a kernel is compiled: constants, warps of a program, and how many loads are under way at once."""

    constants: dict[str, Any]
    num_warps: int
    num_stages: int


def forward(
    qkv: Tensor, bias_table: Tensor, pad_qkv: Tensor | None, plan: Plan, scale: float, mask_value: float
) -> Tensor:
    """Returns the attended grid: (B, H, W, 3 C) -> (B, H, W, C)."""
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
    if out.numel():
        tensors = qkv, _lay_out_table(bias_table, plan), _lay_out_padding(qkv, pad_qkv, plan), out
        with use_device(qkv):
            _launch("forward", tensors, plan, qkv, scale, mask_value)
    return out


def backward(
    d_out: Tensor,
    qkv: Tensor,
    bias_table: Tensor,
    pad_qkv: Tensor | None,
    plan: Plan,
    scale: float,
    mask_value: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of qkv, of the bias table, and of the padding's qkv (3 C)."""
    d_qkv = torch.empty_like(qkv)
    if not qkv.numel():
        return d_qkv, torch.zeros_like(bias_table), qkv.new_zeros(qkv.shape[3], dtype=torch.float32)
    tensors = d_out, qkv, _lay_out_table(bias_table, plan), _lay_out_padding(qkv, pad_qkv, plan)
    common = plan, qkv, scale, mask_value
    small = plan.tokens <= ONE_TILE
    sums = arrange("backward" if small else "bias_gradient", plan, qkv).sizes.end_corner
    d_bias = torch.empty(sums, plan.heads, plan.tokens, plan.tokens, dtype=torch.float32, device=qkv.device)
    with use_device(qkv):
        if small:
            _launch("backward", (*tensors, d_qkv, d_bias), *common)
        else:
            stats = d_bias.new_empty(len(qkv) * prod(plan.counts), plan.heads, 2, plan.tokens)
            for name in ("queries", "keys"):
                _launch(name, (*tensors, d_qkv, stats), *common)
            _launch("bias_gradient", (*tensors, d_bias, stats), *common)
    d_table = torch.empty_like(bias_table, memory_format=torch.contiguous_format)
    with use_device(qkv):
        sum_by_offset(d_bias.sum(0), d_table, plan)
    return d_qkv, d_table, _sum_padding(d_out, d_qkv, plan)


def sum_by_offset(d_bias: Tensor, d_table: Tensor, plan: Plan) -> None:
    """Writes the gradient of the bias table (rows, heads) from that of the bias (heads, N, N)."""
    (mh, mw), block = plan.window, round_to_power(plan.tokens)
    rows = max(1, OFFSETS_AT_ONCE // block)
    run(
        tables.sum_by_offset,
        (plan.heads, -(-len(d_table) // rows)),
        *(d_bias, d_table),
        *(plan.heads, len(d_table)),
        MH=mh,
        MW=mw,
        ROWS=rows,
        BLOCK=block,
        num_warps=4,
    )


def find_shape(name: str, plan: Plan, qkv: Tensor) -> Shape:
    """Returns the constants, warps and stages that an attention kernel is compiled with."""
    return arrange(name, plan, qkv).shape


class Arrangement(NamedTuple):
    """How a kernel is launched at some sizes: what it is compiled with, its programs, its `Sizes`."""

    shape: Shape
    programs: tuple[int, int, int]
    sizes: Sizes


def arrange(name: str, plan: Plan, qkv: Tensor) -> Arrangement:
    """Returns how an attention kernel is launched for qkv (B, H, W, 3 C)."""
    choice = choices.choose_attention(name, plan, qkv)
    batch, *_, channels = qkv.shape
    return _arrange(
        name, plan, batch, channels, choose_precision(qkv), choice, count_multiprocessors(qkv.device)
    )


@lru_cache(maxsize=512)  # without it this takes as long as a small kernel
def _arrange(
    name: str,
    plan: Plan,
    batch: int,
    channels: int,
    multiplied: str,
    choice: Attention,
    processors: int,
) -> Arrangement:
    head_dim = channels // 3 // plan.heads
    tiles = choices.count_tiles_of_bias(plan, choice.block) if name == "bias_gradient" else 1
    (mh, mw), (sh, sw), (ph, pw) = plan.window, plan.shift, plan.period
    constants = Constants(
        MH=mh,
        MW=mw,
        D=head_dim,
        BLOCK=choice.block,
        BLOCK_D=round_to_power(head_dim),
        STEP=choice.step if plan.tokens > ONE_TILE and name != "bias_gradient" else 0,
        PADDED=plan.is_padded,
        SHIFTED_ROWS=int(sh > 0),
        SHIFTED_COLUMNS=int(sw > 0),
        PRECISION=multiplied,
    )
    ends = _divide_programs(plan, batch, -(-processors * choice.programs // tiles))
    rolls_and_cuts = sh % ph, sw % pw, mh - sh, mw - sw
    return Arrangement(
        Shape({"const": constants}, choice.num_warps, choice.num_stages),
        (plan.heads, ends[-1], tiles),
        Sizes(batch, plan.heads, *plan.grid, *plan.counts, ph, pw, *rolls_and_cuts, *ends),
    )


def _launch(
    name: str, tensors: tuple[Tensor, ...], plan: Plan, qkv: Tensor, scale: float, mask_value: float
) -> None:
    arranged = arrange(name, plan, qkv)
    shape = arranged.shape
    run(
        KERNELS[plan.tokens <= ONE_TILE][name],
        arranged.programs,
        *tensors,
        *arranged.sizes,
        scale,
        mask_value,
        **shape.constants,
        num_warps=shape.num_warps,
        num_stages=shape.num_stages,
    )


_compiled: dict[tuple[Any, ...], Any] = {}
"""The compiled kernels by what Triton compiled them for."""


def run(kernel: Any, programs: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
    """Launches a kernel; `swin_torch.attention.counting` counts these calls.

    Triton looks at every argument anew, for longer than a small kernel runs.  So a kernel that was compiled
    for such arguments is launched at once.
    """
    key = kernel.fn, args[0].get_device(), *map(_describe, args), *kwargs.values()
    compiled = _compiled.get(key)
    if compiled is None:
        compiled = kernel[programs](*args, **kwargs)
        if compiled is not None:  # interpreted kernels are not compiled
            _compiled[key] = compiled
        return
    constants = (kwargs[name] for name in kernel.arg_names[len(args) :])
    compiled[(*programs, 1, 1)[:3]](*args, *constants)


def _describe(argument: Any) -> Any:
    """Returns what Triton may compile an argument for: its type, whether it is 1 or a multiple of 16."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    if isinstance(argument, int):
        return "one" if argument == 1 else argument % 16 == 0, argument >> 31
    return type(argument)


def _divide_programs(plan: Plan, batch: int, target: int) -> tuple[int, ...]:
    """Divides about ``target`` / heads programs between the classes, and returns where each class's end.

    A class has programs in proportion to its windows.  The kernels' order of the classes is: inside, bottom,
    right, corner.
    """
    windows = {(False, False): 0, (True, False): 0, (False, True): 0, (True, True): 0}
    for rows, columns, down, right in plan.list_classes():
        windows[down, right] = batch * (rows.stop - rows.start) * (columns.stop - columns.start)
    each = target / plan.heads / sum(windows.values())
    ends, end = [], 0
    for count in windows.values():
        end += min(count, max(1, round(count * each)))
        ends.append(end)
    return tuple(ends)


def _lay_out_table(bias_table: Tensor, plan: Plan) -> Tensor:
    """Returns the bias table as the kernels read it: (rows, heads) for small windows, else (heads, rows).

    Small windows' programs read it once.  The others read it at every step: a head's entries lie together.
    """
    if plan.tokens <= ONE_TILE:
        return bias_table.contiguous()
    return bias_table.T.to(torch.float32, memory_format=torch.contiguous_format).contiguous()


def _lay_out_padding(qkv: Tensor, pad_qkv: Tensor | None, plan: Plan) -> Tensor:
    """Returns the padding's qkv; without padding any tensor of the type, which is not read."""
    if not plan.is_padded:
        return qkv
    return qkv.new_zeros(qkv.shape[3]) if pad_qkv is None else pad_qkv.to(qkv.dtype).contiguous()


def _sum_padding(d_out: Tensor, d_qkv: Tensor, plan: Plan) -> Tensor:
    """Returns the gradient of the padding's qkv (3 C), from sums over the tokens of the image.

    The weights of a query sum to 1.  So over all keys of a window, with the padding, d_k sums to 0, and d_v
    to the sum of d_out: the padding has what the image's tokens leave.  Padded queries are cropped.
    """
    channels = d_out.shape[-1]
    d_pad = d_qkv.new_zeros(3 * channels, dtype=torch.float32)
    if plan.is_padded:
        d_pad[channels:] -= d_qkv[..., channels:].sum((0, 1, 2), dtype=torch.float32)
        d_pad[2 * channels :] += d_out.sum((0, 1, 2), dtype=torch.float32)
    return d_pad


def choose_precision(qkv: Tensor) -> str:
    """Returns how `windows.multiply` multiplies tensors such as this one."""
    if qkv.dtype == torch.bfloat16 and not qkv.is_cuda:
        return "widened"
    tf32 = qkv.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if tf32 else "ieee"


@cache
def count_multiprocessors(device: torch.device) -> int:
    """Returns the GPU's number of multiprocessors; 3 under the interpreter: programs have several windows."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 3


def use_device(tensor: Tensor) -> Any:
    """Returns a context in which the tensor's device is the current one, to which Triton launches."""
    if tensor.is_cuda and tensor.get_device() != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return _HERE


_HERE = nullcontext()
