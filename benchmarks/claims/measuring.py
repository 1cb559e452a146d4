"""Measures the paper's claims on cost again.

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
from swin_timing import interleaved
from swin_timing.interleaved import DISTURBED, Timings
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import operations
from benchmarks.cases.case import Case
from benchmarks.cases.verdicts import explain_adapter_fault
from benchmarks.claims.formulations import SWIN, TABLE, Formulation
from benchmarks.machine.description import make_sentence
from benchmarks.pages import markdown
from swin_torch import WindowAttention

STAGES = {
    "stage 1": (56, 96, 3, 2),
    "stage 2": (28, 192, 6, 2),
    "stage 3": (14, 384, 12, 6),
    "stage 4": (7, 768, 24, 2),
}
"""The side of the grid, channels, heads and blocks of each stage of Swin-T at 224 pixels."""
WINDOW, SHIFT = 7, 3
SIDES = (28, 42, 56, 84, 112)
"""The sides of the growing grid; 28 x 28 = 784 tokens are more than 4 times 2 C."""
CHANNELS, HEADS = 96, 3


def measure_table5() -> dict[str, Timings]:
    """Times each stage's attention in each formulation, interleaved; judges the two that are Swin first.

    Errors: ``ValueError`` if one of these two computes another function.
    """
    for name in SWIN:
        if why := explain_adapter_fault(
            Formulation(TABLE[name]), name, Case("shifted_window_attention", "small")
        ):
            raise ValueError(f"cyclic shift and padding compute Swin's attention, but {why}: correct it")
    return {stage: interleaved.measure(_make_runs(*sizes[:3])) for stage, sizes in STAGES.items()}


def _make_runs(side: int, channels: int, heads: int) -> dict[str, Callable[[], Any]]:
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
    """Holds the cost of one kind of attention on each grid: by formula, by torch's count, in seconds."""

    formula: list[int]
    counted: list[int]
    seconds: list[float]


def measure_growth() -> tuple[dict[str, Growth], float]:
    """Measures window attention, global attention, and the part of the latter between its linear layers.

    Returns them by name, and the anchor's spread.

    Errors: ``ValueError`` where formula and count differ.
    """
    times = [interleaved.measure(_make_growing_runs(side)) for side in SIDES]
    found = {}
    for kind, formula in KINDS.items():
        by_formula = [formula(side**2) for side in SIDES]
        counted = [_count_by_torch(kind, side) for side in SIDES]
        if by_formula != counted:
            raise ValueError(
                f"operations are what torch counts, {kind} has {by_formula} and {counted}: correct one"
            )
        found[kind] = Growth(by_formula, counted, [timings.best(kind) for timings in times])
    return found, max(timings.disturbance for timings in times)


def _count_window(tokens: int) -> int:
    return operations.count_attention(tokens, CHANNELS, WINDOW**2)


def _count_global(tokens: int) -> int:
    return operations.count_attention(tokens, CHANNELS, tokens)


def _count_attending(tokens: int) -> int:
    return operations.count_attending(tokens, CHANNELS, tokens)


KINDS = {
    "window": _count_window,
    "global": _count_global,
    "global, attending": _count_attending,
}
"""The formulas: window attention, global attention, and the attention term of the latter alone."""


def _make_growing_runs(side: int) -> Mapping[str, Callable[[], Any]]:
    """Returns the runs; global attention has no bias, whose table and logits would need gigabytes."""
    attention = WindowAttention(CHANNELS, HEADS, WINDOW).eval()
    x = torch.randn(1, side, side, CHANNELS)
    q, k, v = (part.contiguous() for part in _split_heads(torch.randn(1, side**2, 3 * CHANNELS)))
    attend = TABLE["shifted window, cyclic"]

    def globally() -> Any:
        mixed = scaled_dot_product_attention(*_split_heads(attention.qkv(x.flatten(1, 2))))
        return attention.proj(mixed.transpose(1, 2).flatten(2))

    runs = {
        "window": lambda: attend(x, attention, WINDOW, SHIFT),
        "global": globally,
        "global, attending": lambda: scaled_dot_product_attention(q, k, v),
    }
    return {name: torch.no_grad()(run) for name, run in runs.items()}


def _split_heads(qkv: Any) -> Any:
    return qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)


def _count_by_torch(kind: str, side: int) -> int:
    """Returns what torch counts in the same attention, on tensors without memory."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        attention = WindowAttention(CHANNELS, HEADS, WINDOW)
        x = torch.empty(1, side, side, CHANNELS)
        if kind == "window":
            TABLE["shifted window, cyclic"](x, attention, WINDOW, SHIFT)
            return int(counter.get_total_flops())
        qkv = attention.qkv(x.flatten(1, 2)) if kind == "global" else torch.empty(1, side**2, 3 * CHANNELS)
        q, k, v = _split_heads(qkv)
        mixed = (q @ k.mT).softmax(-1) @ v
        if kind == "global":
            attention.proj(mixed.transpose(1, 2).flatten(2))
        return int(counter.get_total_flops())


def fit_exponent(costs: list[float] | list[int]) -> float:
    """Returns the exponent e of cost ~ tokens^e, fitted to the logarithms by least squares.

    >>> round(fit_exponent([side**4 for side in SIDES]), 6)
    2.0
    """
    tokens = np.log([side**2 for side in SIDES])
    return float(np.polyfit(tokens, np.log(costs), 1)[0])


def compute_exponent(costs: list[int]) -> float:
    """Returns the exponent between the smallest and the largest grid, which has 16 times the tokens."""
    return log(costs[-1] / costs[0], SIDES[-1] ** 2 / SIDES[0] ** 2)


def make_table5_text(found: dict[str, Timings]) -> str:
    """Returns table 5: ms by stage, their sum over Swin-T's blocks, and its ratio to cyclic shift."""
    sums = {name: _sum_seconds(found, name) for name in TABLE}
    rows = [
        [
            name,
            *(f"{1e3 * timings.best(name):.2f}" for timings in found.values()),
            f"{1e3 * sums[name]:.1f}",
            f"{sums[name] / sums[SWIN[0]]:.2f}x",
        ]
        for name in TABLE
    ]
    spread = max(timings.disturbance for timings in found.values())
    heads = ["attention of one block, ms", *found, "all 12 blocks", "against cyclic"]
    return f"{markdown.make_table(heads, rows)}\n\n{_make_note(spread)}"


def _sum_seconds(found: dict[str, Timings], name: str) -> float:
    """Returns the seconds of all blocks of Swin-T; of Swin's formulations every second block is unshifted."""
    total = 0.0
    for stage, timings in found.items():
        half = STAGES[stage][3] // 2
        even = next(iter(TABLE)) if name in SWIN else name
        total += half * (timings.best(even) + timings.best(name))
    return total


def make_growth_text(found: dict[str, Growth], spread: float) -> str:
    """Returns the table of growth: operations and milliseconds by grid, and the exponents."""
    rows = []
    for kind, cost in found.items():
        giga = [f"{count / 1e9:.2f}" for count in cost.counted]
        rows.append([f"{kind}, Gop", *giga, f"{compute_exponent(cost.counted):.3f}"])
        rows.append(
            [f"{kind}, ms", *(f"{1e3 * s:.1f}" for s in cost.seconds), f"{fit_exponent(cost.seconds):.2f}"]
        )
    heads = ["cost", *(f"{side}x{side}" for side in SIDES), "exponent"]
    return f"{markdown.make_table(heads, rows)}\n\n{_make_note(spread)}"


def _make_note(spread: float) -> str:
    disturbed = "; **the machine was disturbed, read ratios with care**" if spread > DISTURBED else ""
    return f"{make_sentence()}. The anchor's spread was {spread:.0%}{disturbed}."
