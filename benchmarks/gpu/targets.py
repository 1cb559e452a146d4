"""Lists what is searched: a kernel at a size, the choices to launch it with, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from swin_properties.budget.budget import RHO_LIMIT, deviation
from swin_properties.cases.case import GridCase
from swin_properties.judging import gradients
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws import choosing
from swin_properties.laws.law import LAWS
from torch import Tensor

from benchmarks.cases.attention_operator import Case as AttentionCase
from benchmarks.cases.attention_operator import Sizes
from benchmarks.cases.case import SIZES
from benchmarks.cases.case import Case as Component
from benchmarks.cases.verdicts import compute_exact_and_budget, widen
from swin_torch.backends.triton import choices, launch, launch_rows
from swin_torch.backends.triton.choices import Attention, Tile
from swin_torch.blocks import ways
from swin_torch.blocks.ways import Way, compute_in_five_launches
from swin_torch.geometry.plan import Plan
from swin_torch.torch_adapter import Adapter

PRECISION, DTYPE = "bfloat16", torch.bfloat16

Choice = Attention | Tile | str


@dataclass(frozen=True)
class Target:
    """Holds one kernel at one size.

    ``candidates``: the choices to launch it with, today's first, then the most promising.  ``launch`` is
    timed.  ``check`` raises ``ValueError`` if the kernel, as it is launched now, computes another function
    than the oracle.
    """

    name: str
    table: str
    key: str
    candidates: tuple[Choice, ...]
    launch: Callable[[], object]
    check: Callable[[], None]


def list_targets(device: str, reduced: bool) -> Iterator[Target]:
    """Yields all targets; those in which a network spends most time come first."""
    if reduced:
        yield from list_attention_targets(Grid(8, 16, 1, 4, 2), 1, device)
        yield from islice(list_attention_targets(Grid(9, 16, 1, 9, 4), 1, device), 1)
        yield from islice(list_layer_targets("tiny", 1, device), 0, None, 4)
        return
    yield from list_attention_targets(Grid(56, 96, 3, 7, 3), 128, device)
    yield from list_layer_targets("stage1", 128, device)
    yield from list_layer_targets("stage3", 128, device)
    yield from list_layer_targets("stage2", 128, device)
    yield from list_layer_targets("stage4", 128, device)
    yield from list_attention_targets(Grid(64, 96, 3, 8, 4), 128, device)  # the window of Swin V2
    yield from list_attention_targets(Grid(96, 128, 4, 12, 6), 32, device)


class Grid(NamedTuple):
    """Holds a grid's side, channels, heads, window and shift."""

    side: int
    channels: int
    heads: int
    window: int
    shift: int

    def __str__(self) -> str:
        return f"{self.side}x{self.side}x{self.channels}, window {self.window}"


def list_attention_targets(grid: Grid, batch: int, device: str) -> Iterator[Target]:
    """Yields the attention kernels of a grid, forward and backward."""
    size, window = (grid.side,) * 2, (grid.window,) * 2
    plan = Plan(size, size, window, (grid.shift,) * 2, grid.heads, False)
    tensors = AttentionTensors(grid, batch, device)
    judge = GradientJudge(grid, device)
    for name in launch.KERNELS[plan.tokens <= choices.ONE_TILE]:
        forward = name == "forward"
        today = choices.estimate_attention(name, plan, tensors.qkv)
        yield Target(
            f"attention, {name}, {grid}",
            "attention",
            choices.make_attention_key(name, plan, tensors.qkv),
            (today, *list_other_choices(today, plan.tokens <= choices.ONE_TILE)),
            tensors.forward(plan) if forward else tensors.backward(plan),
            tensors.check if forward else judge.check,
        )


def list_other_choices(today: Attention, one_tile: bool) -> Iterator[Attention]:
    """Yields choices that differ from today's: in one thing at first, then in several.

    Two warps are left out: compiled for sm_90 they spill registers in all kernels but one.

    >>> [choice.programs for choice in list_other_choices(Attention(64, 0, 4, 3, 4), True)][:3]
    [3, 6, 8]
    """
    for programs in (3, 6, 8, 2, 4):
        if programs != today.programs:
            yield today._replace(programs=programs)
    for warps in (4, 8):
        if warps != today.num_warps:
            yield today._replace(num_warps=warps)
    for stages in (2, 3, 1, 4):
        if stages != today.num_stages:
            yield today._replace(num_stages=stages)
    if one_tile:
        yield today._replace(num_warps=8, programs=2)
        yield today._replace(num_warps=4, programs=6, num_stages=2)
        return
    for programs in (4, 3, 6, 8):  # one stage needs few enough registers for so many
        yield today._replace(num_stages=1, programs=programs)
    yield today._replace(block=32, num_warps=4, programs=4)
    yield today._replace(block=128, num_warps=8)
    if today.step != 64:
        yield today._replace(step=64)


class AttentionTensors:
    """Holds the tensors of a grid's attention: empty for compiling, filled when `case` is first used."""

    def __init__(self, grid: Grid, batch: int, device: str) -> None:
        self.grid, self.batch, self.device = grid, batch, device
        channels, self.scale = grid.channels, (grid.channels // grid.heads) ** -0.5
        shape = batch, grid.side, grid.side
        self.qkv = torch.empty(*shape, 3 * channels, dtype=DTYPE, device=device)
        self.gradient = torch.empty(*shape, channels, dtype=DTYPE, device=device)
        self.table = torch.empty((2 * grid.window - 1) ** 2, grid.heads, dtype=DTYPE, device=device)

    @cached_property
    def case(self) -> AttentionCase:
        """The case whose random tensors fill these."""
        case = AttentionCase(Sizes(*self.grid), self.batch, DTYPE, self.device)
        for mine, drawn in ((self.qkv, case.qkv), (self.gradient, case.cotangent), (self.table, case.table)):
            mine.copy_(drawn.detach())
        return case

    def forward(self, plan: Plan) -> Callable[[], Tensor]:
        """Returns the launch of the forward kernel."""
        return lambda: launch.forward(self.qkv, self.table, None, plan, self.scale, -torch.inf)

    def backward(self, plan: Plan) -> Callable[[], Any]:
        """Returns the launches of the backward kernels."""
        return lambda: launch.backward(
            self.gradient, self.qkv, self.table, None, plan, self.scale, -torch.inf
        )

    def check(self) -> None:
        """Judges the forward kernel on the first image of what is timed."""
        self.case.check("fused")


class GradientJudge:
    """Judges the backward kernels by the law of the gradient, with the grid's window and heads.

    The oracle's side is computed once.
    """

    def __init__(self, grid: Grid, device: str) -> None:
        few = grid.window > 8 or device == "cpu"  # the oracle takes seconds for each window
        side, head_dim = grid.window if few else 2 * grid.window, grid.channels // grid.heads
        self.grid_case = GridCase(
            grid=(side, side), window=(grid.window,) * 2, shift=(grid.shift,) * 2, head_dim=head_dim
        )
        self.device = device

    @cached_property
    def sides(self) -> tuple[Any, Any, Any]:
        """The implementation, the question of the law, and the oracle's side of it."""
        choosing.choose_laws()
        name = "swin_torch" if self.device == "cpu" else "swin_torch:cuda"
        judged = load_implementation(name, PRECISION, "canonical")
        asked = LAWS["shifted_window_attention/gradient"].body(judged, self.grid_case)
        asked = replace(asked, directions=1 if self.device == "cpu" else 2)
        return judged, asked, gradients.compute_expected(asked, self.grid_case, judged.precision)

    def check(self) -> None:
        """Judges the kernels as they are launched now."""
        judged, asked, oracle = self.sides
        worst = max(gradients.compare_slopes(judged, asked, *oracle), key=lambda slope: slope.rho)
        if worst.rho > RHO_LIMIT:
            raise ValueError(f"the gradient by {worst.part} is {worst.rho:.3g} budgets from the oracle's")


TILES = (
    Tile(128, 64, 32, 8, 3, 2),
    Tile(128, 128, 64, 8, 3, 1),
    Tile(128, 128, 32, 8, 4, 1),
    Tile(128, 64, 64, 4, 3, 2),
    Tile(64, 128, 64, 4, 3, 2),
    Tile(128, 128, 32, 4, 4, 2),
    Tile(128, 64, 32, 4, 4, 3),
    Tile(64, 64, 64, 4, 4, 4),
    Tile(256, 64, 32, 8, 3, 1),
)
"""The tiles of a linear layer; Triton takes only powers of two."""

LARGEST_HELD = 256
"""The most channels that are tried in one step, in which a program reads its tokens once."""


def list_tiles(inputs: int) -> Iterator[Tile]:
    """Yields the tiles for a layer of so many inputs; those that take all inputs in one step come first.

    >>> next(list_tiles(96))
    Tile(rows=128, columns=64, step=128, num_warps=8, num_stages=2, programs=2)
    """
    step = choices.round_to_power(inputs)
    if step <= LARGEST_HELD:
        yield Tile(128, 64, step, 8, 2, 2)
        yield Tile(128, 64, step, 4, 2, 2)
        yield Tile(64, 64, step, 4, 2, 4)
        yield Tile(128, 128, step, 8, 2, 1)
        yield Tile(64, 128, step, 4, 2, 2)
        yield Tile(128, 64, step, 8, 3, 2)
        yield Tile(128, 32, step, 4, 3, 3)
    yield from TILES


def list_layer_targets(size: str, batch: int, device: str) -> Iterator[Target]:
    """Yields the linear layers of a stage's block, then the choice of how the block is computed."""
    block = Block(size, batch, device)
    for name, inputs, outputs, norm, gelu, onto in block.layers:
        given = block.make_layer(inputs, outputs, norm, gelu, onto)
        weight: Tensor = given["weight"]
        today = choices.estimate_linear(outputs, inputs)
        yield Target(
            f"{name}, {size}",
            "linear",
            choices.make_linear_key(weight, norm, gelu, onto),
            (today, *(tile for tile in list_tiles(inputs) if tile != today)),
            lambda given=given: launch_rows.linear(**given),  # type: ignore[misc]
            block.check_launches,
        )
    yield Target(
        f"block, {size}",
        "block",
        choices.make_way_key(block.tokens),
        choices.WAYS,
        lambda: block.run_chosen(),
        block.check_chosen,
    )


class Block:
    """Runs a stage's shifted block without gradients, on a batch of equal images."""

    def __init__(self, size: str, batch: int, device: str) -> None:
        self.size, self.batch, self.device = SIZES[size], batch, device
        self.component = Component("swin_block", size)
        shape = batch, self.size.grid, self.size.grid, self.size.channels
        self.tokens = torch.empty(shape, dtype=DTYPE, device=device)

    @property
    def layers(self) -> list[tuple[str, int, int, bool, bool, bool]]:
        """Each linear layer: name, inputs, outputs, and whether it includes norm, GELU, residual."""
        c = self.size.channels
        return [
            ("norm and qkv", c, 3 * c, True, False, False),
            ("projection and residual", c, c, False, False, True),
            ("norm, fc1 and GELU", c, 4 * c, True, True, False),
            ("fc2 and residual", 4 * c, c, False, False, True),
        ]

    def make_layer(self, inputs: int, outputs: int, norm: bool, gelu: bool, onto: bool) -> dict[str, Any]:
        """Returns random arguments for the launch of a linear layer."""

        def make(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=DTYPE, device=self.device)

        rows = self.batch * self.size.grid**2
        return {
            "x": make(rows, inputs),
            "weight": make(outputs, inputs) * inputs**-0.5,
            "bias": make(outputs),
            "norm": (make(inputs), make(inputs), 1e-5) if norm else None,
            "gelu": gelu,
            "onto": make(rows, outputs) if onto else None,
        }

    @cached_property
    def _images(self) -> Any:
        image, *_ = self.component.arguments
        return np.repeat(image, self.batch, 0)

    @cached_property
    def _exact(self) -> tuple[Any, Any]:
        return compute_exact_and_budget("swin_block", widen(self.component.arguments), PRECISION)

    @cached_property
    def run_chosen(self) -> Callable[[], Any]:
        """Returns a run of the block, which computes it in the way that is chosen when it runs."""
        _, *rest = self.component.arguments
        return Adapter(PRECISION, self.device).prepare("swin_block", self._images, *rest)

    def check_chosen(self) -> None:
        """Judges the way that is chosen now on the last image of the batch."""
        got = self.run_chosen()[-1:].double().cpu().numpy()
        if not (apart := deviation(got, *self._exact)).holds:
            raise ValueError(f"the block is {apart.rho:.3g} budgets from the oracle's")

    def check_launches(self) -> None:
        """Judges the five launches, whichever way is chosen now."""
        only = Way("five launches", lambda call: call.obstacle, compute_in_five_launches)
        with patch.object(ways, "WAYS", (only,)):
            self.check_chosen()
