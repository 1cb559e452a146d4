"""What goes token by token, under Triton's interpreter, on numbers that leave nothing to round: exact."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from swin_torch.backends import triton as kernels
from swin_torch.blocks import recompute
from swin_torch.blocks.parts import find_parameters
from swin_torch.geometry.functional import merge_neighbours
from swin_torch.geometry.plan import Plan, sum_by_offset
from swin_torch.model.layers import SwinBlock

triton = pytest.importorskip("triton", reason="triton is not installed")
import triton.language as tl  # noqa: E402

from swin_torch.backends.triton import launch, windows  # noqa: E402

SIZES = (5, 6, 7), (70, 48, 130), (130, 64, 33), (65, 96, 64), (1600, 16, 130)
"""Rows, inputs and outputs: within a tile and a step, beyond both, more blocks than programs."""

GRIDS = {(2, 6): 1.0, (8, 8): 1.0, (1, 4): 0.5, (6, 1): 0.5, (1, 1): 0.25}
"""Sides of grids to merge, and the share of the 2x2 neighbours that lies inside of the grid."""

FAR, FAR_BELOW = 6, -16
"""From the first on GELU is its argument to the last bit, up to the second it is 0."""


class Around(NamedTuple):
    """What lies around the product."""

    norm: bool
    bias: bool
    gelu: bool
    onto: bool


def wrong(dtype: torch.dtype, sizes: tuple[int, int, int], around: Around) -> list[list[int]]:
    """Where the kernel's output is not the exact one; GELU is asked only where it rounds nothing."""
    rows, inputs, outputs = sizes
    draw = torch.Generator().manual_seed(rows)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-2, 3, shape, generator=draw).double()

    weight, onto, gain, shift = whole(outputs, inputs), whole(rows, outputs), whole(inputs), whole(inputs)
    bias = 4 * FAR * whole(outputs)
    x = normed = whole(rows, inputs)
    if around.norm:  # its row's mean + 1 or - 1: with an epsilon of 3, normed to half of that
        signs = balanced(inputs, kernels_step(dtype, weight))
        x, normed = 8 * x[:, :1] + signs, (0.5 * signs * gain + shift).expand(rows, -1)
    total = normed @ weight.T + bias * around.bias
    certain = torch.ones_like(total, dtype=torch.bool)
    if around.gelu:
        certain, total = (total >= FAR) | (total <= FAR_BELOW) | (total == 0), total.relu()
    x, weight, bias, gain, shift, onto = (one.to(dtype) for one in (x, weight, bias, gain, shift, onto))
    found = kernels.launch_linear(
        x,
        weight,
        bias if around.bias else None,
        (gain, shift, 3.0) if around.norm else None,
        around.gelu,
        onto if around.onto else None,
    )
    assert certain.any()
    exact = (total + onto * around.onto).to(dtype)
    return [*(certain & (found != exact)).nonzero().tolist()]


def wrong_sums(dtype: torch.dtype) -> Iterator[str]:
    """Where the residual's sum, the norm after it, or a norm alone is not the exact one."""
    for rows, channels, ahead in product((1, 5, 130), (6, 16, 40), (False, True)):
        draw = torch.Generator().manual_seed(channels)
        x, gain, shift, later = (
            torch.randint(-2, 3, (n, channels), generator=draw).double() for n in (rows, 1, 1, 1)
        )
        signs, middle = balanced(channels, channels), 8 * x[:, :1]
        given = [one.to(dtype) for one in (x, middle + signs - x, gain[0], shift[0])]
        found = kernels.launch_add_norm(*given, 3.0, later[0].to(dtype) if ahead else None, dtype)
        exact = middle + signs + later * ahead, (0.5 * signs * gain + shift).expand(rows, -1)
        if not all(torch.equal(one, other.to(dtype)) for one, other in zip(found, exact, strict=True)):
            yield f"sum and norm of {rows} rows of {channels} channels, ahead {ahead}"
        normed = kernels.launch_norm((middle + signs).to(dtype), given[2], given[3], 3.0, dtype)
        if not torch.equal(normed, exact[1].to(dtype)):
            yield f"norm of {rows} rows of {channels} channels"


def wrong_merges(dtype: torch.dtype) -> Iterator[str]:
    """Where the norm of a merge is not the exact one: neighbours outside of the grid count as zeros."""
    for (sides, there), channels in product(GRIDS.items(), (4, 6, 24)):
        draw = torch.Generator().manual_seed(channels)
        signs = balanced(channels, channels).expand(2, *sides, channels)
        cells = 2, -(-sides[0] // 2), -(-sides[1] // 2), 1
        middle = torch.randint(-2, 3, cells, generator=draw).repeat_interleave(2, 1).repeat_interleave(2, 2)
        x = signs + 8 * middle if there == 1 else signs
        gain, shift = torch.randint(-2, 3, (2, 4 * channels), generator=draw).double()
        given = [one.to(dtype).contiguous() for one in (x, gain, shift)]
        found = kernels.launch_merge_norm(*given, 4.0 - there)
        exact = 0.5 * merge_neighbours(signs) * gain + shift
        if not torch.equal(found, exact.to(dtype)):
            yield f"merge of {sides} tokens of {channels} channels"
    x, (gain, shift) = torch.randn(2, 5, 7, 6).to(dtype), torch.randn(2, 24).to(dtype)
    whole = kernels.launch_merge_norm(x, gain, shift, 1e-5)
    for down, across in product((slice(0, 2), slice(2, 3)), (slice(0, 3), slice(3, 4))):
        part = x[:, 2 * down.start : 2 * down.stop, 2 * across.start : 2 * across.stop].contiguous()
        if not torch.equal(whole[:, down, across], kernels.launch_merge_norm(part, gain, shift, 1e-5)):
            yield f"merge of a grid's part {down}, {across}"


def wrong_norm_gradients(dtype: torch.dtype) -> Iterator[str]:
    """Where a norm's gradients are not the exact ones, for numbers of types that differ as under autocast."""
    for rows, channels in product((1, 5, 3000), (8, 16, 64)):  # a mean of so many rounds nothing
        draw = torch.Generator().manual_seed(channels)
        gradient, gain, middle = (
            torch.randint(-2, 3, shape, generator=draw).double()
            for shape in ((rows, channels), (channels,), (rows, 1))
        )
        normed = 0.5 * balanced(channels, channels)  # of tokens 1 from their mean, with an epsilon of 3
        pulled = gradient * gain
        of_x = 0.5 * (
            pulled - pulled.mean(1, keepdim=True) - normed * (pulled * normed).mean(1, keepdim=True)
        )
        exact = of_x, (gradient * normed).sum(0), gradient.sum(0)
        for of_gain, onto in product({dtype, torch.float32}, (False, True)):
            found = kernels.launch_norm_backward(
                gradient.to(dtype),
                (8 * middle + 2 * normed).to(dtype),
                gain.to(of_gain),
                3.0,
                gradient.to(dtype) if onto else None,
            )
            wanted = exact[0] + gradient * onto, *exact[1:]
            types = dtype, torch.float32, torch.float32
            if not all(torch.equal(f, e.to(t)) for f, e, t in zip(found, wanted, types, strict=True)):
                yield f"gradients of the norm of {rows}x{channels}, weight in {of_gain}, added to {onto}"


def wrong_passes(dtype: torch.dtype) -> Iterator[str]:
    """Where a pass over tokens gives other than the exact numbers, or another sum of them."""
    for images, tokens, channels in (
        (1, 1, 3),
        (3, 5, 16),
        (2, 70, 130),
        (2, 500, 8),
    ):  # the last: each program takes several tiles
        draw = torch.Generator().manual_seed(channels)
        x, given = (
            torch.randint(-1, 2, (images, tokens, channels), generator=draw).double() for _ in range(2)
        )
        factor = torch.randint(0, 3, (images,), generator=draw).double()
        for scaled, out in product((False, True), {dtype, torch.float32}):
            exact = x * factor.view(-1, 1, 1) if scaled else x
            found, sums = kernels.launch_narrow(x.to(out), factor.to(out) if scaled else None, dtype)
            if not (torch.equal(found, exact.to(dtype)) and torch.equal(sums, exact.sum((0, 1)).float())):
                yield f"sums of {images}x{tokens} tokens of {channels} channels, scaled {scaled}, from {out}"
        # So far from 0, GELU is the identity or zero; at 0 its slope is a half.
        of_x = given * (0.5 * (x + 1))
        exact = (64 * x).clamp(min=0), of_x
        active, *found = kernels.launch_gelu_backward((64 * x).to(dtype), given.to(dtype))
        wanted = of_x.to(dtype), of_x.sum((0, 1)).float()
        alike = torch.equal(active, exact[0].to(dtype))
        if not (alike and all(map(torch.equal, found, wanted))):
            yield f"GELU's gradient of {images}x{tokens} tokens of {channels} channels"


def wrong_tables(dtype: torch.dtype) -> Iterator[str]:
    """Where the gradient of a bias table is not the sum over the pairs with each offset."""
    for window, heads in (((1, 1), 1), ((2, 3), 3), ((7, 7), 2), ((9, 4), 1)):
        n, plan = window[0] * window[1], Plan(window, window, window, (0, 0), heads, False)
        draw = torch.Generator().manual_seed(n)
        of_bias = torch.randint(-2, 3, (heads, n, n), generator=draw).float()
        found = torch.empty((2 * window[0] - 1) * (2 * window[1] - 1), heads, dtype=dtype)
        launch.sum_by_offset(of_bias, found, plan)
        if not torch.equal(found, sum_by_offset(of_bias, window).to(dtype)):
            yield f"gradient of the table of window {window}"


@triton.jit
def in_tf32(x, out):  # type: ignore[no-untyped-def]
    """Rounds eight numbers."""
    i = tl.arange(0, 8)
    tl.store(out + i, windows.round_to_tf32(tl.load(x + i)))


def wrong_rounding() -> Iterator[str]:
    """Where tf32 is not rounded to the nearest number of 11 bits, whose ties go away from 0."""
    step, huge = 2.0**-10, 2.0**127
    x = [1.0, 1 + 0.4 * step, 1 + 0.5 * step, 1 + 0.6 * step, -1 - 0.5 * step, 0.0, huge, torch.inf]
    exact = torch.tensor([1.0, 1.0, 1 + step, 1 + step, -1 - step, 0.0, huge, torch.inf])
    found = torch.empty_like(exact)
    in_tf32[(1,)](torch.tensor(x), found)
    if not torch.equal(found, exact):
        yield f"tf32: {found.tolist()}"


def wrong_in_training(dtype: torch.dtype) -> Iterator[str]:
    """Where layers that keep little give, with and without dropped paths, other than exact outputs."""
    draw = torch.Generator().manual_seed(0)
    x, attended = (torch.randint(-2, 3, (3, 1, 2, 6), generator=draw).to(dtype) for _ in range(2))
    block = SwinBlock(6, 1, 1, 5)
    block.norm2.eps = 3.0
    projection, norm, layer = block.attn.proj, block.norm2, block.mlp.fc1
    for one in (projection, layer):
        one.weight.data.copy_(torch.randint(-2, 3, one.weight.shape, generator=draw))
        one.bias.data.copy_(torch.randint(-2, 3, one.bias.shape, generator=draw))
    block.to(dtype)
    for kept in (None, torch.tensor([0.0, 1.0, 2.0], dtype=dtype)):
        factor = 1.0 if kept is None else kept.view(-1, 1, 1, 1)
        signs, branch = balanced(6, 6).to(dtype), factor * projection(attended)
        given = 8 * x[..., :1] + signs - branch
        y, out = recompute.compute_hidden(given, attended, kept, find_parameters(block), 3.0)
        if not (torch.equal(y, given + branch) and torch.equal(out, layer((0.5 * signs).expand_as(x)))):
            yield f"projection, residual, norm and linear layer, kept {kept}"
    with torch.autocast("cpu", torch.bfloat16):
        given = 8 * x[..., :1].float() + balanced(6, 6).float()
        of = norm.float(), layer.float()
        out = recompute.norm_linear(given, *of[0].parameters(), 3.0, *of[1].parameters())
    if out.dtype != torch.bfloat16:
        yield f"autocast to bfloat16 gives {out.dtype}"


def wrong_negated(dtype: torch.dtype) -> Iterator[str]:
    """Where a gradient that is kept negated in memory, with a mark, is taken for its negative."""
    draw = torch.Generator().manual_seed(0)
    block = SwinBlock(6, 1, 1, 5).to(dtype)
    plan, of = Plan((1, 2), (1, 2), (1, 1), (0, 0), 1, False), find_parameters(block)
    x, gradient = (torch.randint(-2, 3, (3, 1, 2, 6), generator=draw).to(dtype) for _ in range(2))
    x.requires_grad_()
    for name, y in (
        ("block", recompute.forward(block, of, x, plan, (None, None))),
        ("norm", recompute.norm(x, of.norm1, of.norm1_bias, 1e-5)),
    ):
        found, exact = (
            torch.autograd.grad(y, x, one, retain_graph=True)[0]
            for one in (torch._neg_view(-gradient), gradient)
        )
        if not torch.equal(found, exact):
            yield f"gradient of a {name} from a negated one"


def balanced(inputs: int, step: int) -> Tensor:
    """As many 1 as -1; the kernel's first two steps differ in their means."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(inputs // 2)
    if inputs >= 2 * step:
        signs[:step], signs[step : 2 * step] = 1.0, -1.0
    return signs


def kernels_step(dtype: torch.dtype, weight: Tensor) -> int:
    """Channels that the kernel takes at once."""
    from swin_torch.backends.triton import choices, launch_rows

    return launch_rows.make_linear_shape(choices.FEW, weight.to(dtype)).constants["STEP"]


def all_wrong(dtype: torch.dtype) -> Iterator[str]:
    """Every combination that is wrong, and where first."""
    for sizes, *around in product(SIZES, *[(False, True)] * 4):
        if found := wrong(dtype, sizes, Around(*around)):
            yield f"{sizes}, {Around(*around)}: {len(found)} wrong, first {found[0]}"
    yield from wrong_sums(dtype)
    yield from wrong_merges(dtype)
    yield from wrong_norm_gradients(dtype)
    yield from wrong_passes(dtype)
    yield from wrong_tables(dtype)
    yield from wrong_rounding()
    yield from wrong_in_training(dtype)
    yield from wrong_negated(dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_goes_token_by_token_is_exact(dtype: str, deep: bool) -> None:
    if dtype != "bfloat16" and not deep:
        pytest.skip("the profile deep is not asked for: types besides bfloat16")
    run = subprocess.run(
        [sys.executable, __file__, dtype],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


if __name__ == "__main__":
    print(*(found := list(all_wrong(getattr(torch, sys.argv[1])))), sep="\n")
    sys.exit(bool(found))
