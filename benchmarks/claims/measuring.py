"""The paper's claims on cost, measured again: `make claims`.

Table 5 compares ways to restrict attention; section 3.1 says that the cost of window attention is linear in
the number of tokens, and of global attention quadratic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from swin_reference import parameters
from swin_timing.interleaved import Paired, measured
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import operations
from benchmarks.cases.case import Case
from benchmarks.cases.verdicts import fault_of
from benchmarks.claims.formulations import SWIN, TABLE, Formulation
from benchmarks.machine.description import sentence
from benchmarks.pages import markdown
from swin_torch import WindowAttention

STAGES = {
    "stage 1": (56, 96, 3, 2),
    "stage 2": (28, 192, 6, 2),
    "stage 3": (14, 384, 12, 6),
    "stage 4": (7, 768, 24, 2),
}
"""Grid, channels, heads and blocks of Swin-T at 224 pixels."""
WINDOW, SHIFT = 7, 3
SIDES = (28, 42, 56, 84, 112)
"""Grids of the growing image; 784 tokens are 4 times 2 C."""
CHANNELS, HEADS = 96, 3


def table5() -> dict[str, Paired]:
    """Each stage's attention in each formulation, interleaved; the two that are Swin's are judged first."""
    for name in SWIN:
        if why := fault_of(Formulation(TABLE[name]), name, Case("shifted_window_attention", "small")):
            raise ValueError(f"cyclic shift and padding compute Swin's attention, but {why}: mend it")
    return {stage: measured(_runs(*sizes[:3])) for stage, sizes in STAGES.items()}


def _runs(side: int, channels: int, heads: int) -> dict[str, Callable[[], Any]]:
    x = np.random.default_rng(0).standard_normal((1, side, side, channels), np.float32)
    shift = SHIFT if side > WINDOW else 0
    runs = {}
    for name, attend in TABLE.items():
        window = side if name == "global" else WINDOW
        params = parameters.hot_parameters(parameters.window_attention_shapes(channels, heads, window))
        runs[name] = Formulation(attend).prepare("shifted_window_attention", x, params, heads, window, shift)
    return runs


@dataclass(frozen=True)
class Growth:
    """What one kind of attention costs on each grid: counted by formula, by torch, and in seconds."""

    formula: list[int]
    counted: list[int]
    seconds: list[float]


def growth() -> tuple[dict[str, Growth], float]:
    """Window attention, global, and of that the part between the linear layers; and the anchor's spread.

    Errors: ``ValueError`` where formula and count differ.
    """
    times = [measured(_growing(side)) for side in SIDES]
    found = {}
    for kind, formula in KINDS.items():
        by_formula = [formula(side**2) for side in SIDES]
        counted = [_counted(kind, side) for side in SIDES]
        if by_formula != counted:
            raise ValueError(
                f"operations are what torch counts, {kind} has {by_formula} and {counted}: mend one"
            )
        found[kind] = Growth(by_formula, counted, [paired.best(kind) for paired in times])
    return found, max(paired.disturbance for paired in times)


def _window_operations(tokens: int) -> int:
    return operations.attention(tokens, CHANNELS, WINDOW**2)


def _global_operations(tokens: int) -> int:
    return operations.attention(tokens, CHANNELS, tokens)


def _attending_operations(tokens: int) -> int:
    return operations.attending(tokens, CHANNELS, tokens)


KINDS = {
    "window": _window_operations,
    "global": _global_operations,
    "global, attending": _attending_operations,
}
"""The formulas of what grows: window attention, global attention, and of that the attention term alone."""


def _growing(side: int) -> Mapping[str, Callable[[], Any]]:
    """What is timed: no bias in global attention, whose table and logits would need gigabytes."""
    attention = WindowAttention(CHANNELS, HEADS, WINDOW).eval()
    x = torch.randn(1, side, side, CHANNELS)
    q, k, v = (part.contiguous() for part in _by_head(torch.randn(1, side**2, 3 * CHANNELS)))
    attend = TABLE["shifted window, cyclic"]

    def globally() -> Any:
        mixed = scaled_dot_product_attention(*_by_head(attention.qkv(x.flatten(1, 2))))
        return attention.proj(mixed.transpose(1, 2).flatten(2))

    runs = {
        "window": lambda: attend(x, attention, WINDOW, SHIFT),
        "global": globally,
        "global, attending": lambda: scaled_dot_product_attention(q, k, v),
    }
    return {name: torch.no_grad()(run) for name, run in runs.items()}


def _by_head(qkv: Any) -> Any:
    return qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)


def _counted(kind: str, side: int) -> int:
    """What torch counts in the same attention, step by step, on tensors without memory."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        attention = WindowAttention(CHANNELS, HEADS, WINDOW)
        x = torch.empty(1, side, side, CHANNELS)
        if kind == "window":
            TABLE["shifted window, cyclic"](x, attention, WINDOW, SHIFT)
            return counter.get_total_flops()
        qkv = attention.qkv(x.flatten(1, 2)) if kind == "global" else torch.empty(1, side**2, 3 * CHANNELS)
        q, k, v = _by_head(qkv)
        mixed = (q @ k.mT).softmax(-1) @ v
        if kind == "global":
            attention.proj(mixed.transpose(1, 2).flatten(2))
        return counter.get_total_flops()


def exponent(costs: list[float] | list[int]) -> float:
    """The exponent e of cost ~ tokens^e, fitted to logarithms by least squares.

    >>> round(exponent([side**4 for side in SIDES]), 6)
    2.0
    """
    tokens = np.log([side**2 for side in SIDES])
    return float(np.polyfit(tokens, np.log(costs), 1)[0])


def exact_exponent(costs: list[int]) -> float:
    """The exponent between the least and the greatest grid, which is 4 times as wide: 16 times the tokens."""
    return log(costs[-1] / costs[0], SIDES[-1] ** 2 / SIDES[0] ** 2)


def table5_text(found: dict[str, Paired]) -> str:
    """The table: ms by stage, their sum over Swin-T's blocks, and that against cyclic shift."""
    sums = {name: _sum(found, name) for name in TABLE}
    rows = [
        [
            name,
            *(f"{1e3 * paired.best(name):.2f}" for paired in found.values()),
            f"{1e3 * sums[name]:.1f}",
            f"{sums[name] / sums[SWIN[0]]:.2f}x",
        ]
        for name in TABLE
    ]
    spread = max(paired.disturbance for paired in found.values())
    heads = ["attention of one block, ms", *found, "all 12 blocks", "against cyclic"]
    return f"{markdown.table(heads, rows)}\n\n{_note(spread)}"


def _sum(found: dict[str, Paired], name: str) -> float:
    """Seconds of all blocks of Swin-T; of Swin's own formulations every second one is not shifted."""
    total = 0.0
    for stage, paired in found.items():
        half, every = STAGES[stage][3] // 2, TABLE.keys()
        even = next(iter(every)) if name in SWIN else name
        total += half * (paired.best(even) + paired.best(name))
    return total


def growth_text(found: dict[str, Growth], spread: float) -> str:
    """The table: operations and milliseconds by grid, and the exponents."""
    rows = []
    for kind, cost in found.items():
        giga = [f"{count / 1e9:.2f}" for count in cost.counted]
        rows.append([f"{kind}, Gop", *giga, f"{exact_exponent(cost.counted):.3f}"])
        rows.append(
            [f"{kind}, ms", *(f"{1e3 * s:.1f}" for s in cost.seconds), f"{exponent(cost.seconds):.2f}"]
        )
    heads = ["cost", *(f"{side}x{side}" for side in SIDES), "exponent"]
    return f"{markdown.table(heads, rows)}\n\n{_note(spread)}"


def _note(spread: float) -> str:
    disturbed = "; **the machine was disturbed, read ratios with care**" if spread > 0.25 else ""
    return f"{sentence()}. The anchor's spread was {spread:.0%}{disturbed}."
