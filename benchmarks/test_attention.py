"""Shifted-window attention, the whole (S)W-MSA, at the sizes of Swin-T's first stages."""

from __future__ import annotations

from typing import Any

import pytest
import swin_reference
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from swin_properties.budget import budget, deviation, perturbed_residuals
from swin_properties.judged import Expected, Perturbed
from swin_properties.precision import PRECISIONS
from swin_reference.checkpoint import flatten
from swin_reference.parameters import hot_parameters, window_attention_shapes

from swin_torch import WindowAttention, functional

STAGES = {"stage1": (56, 96, 3), "stage2": (28, 192, 6)}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("implementation", ["oracle", "swin_torch"])
def test_shifted_window_attention(benchmark: BenchmarkFixture, implementation: str, stage: str) -> None:
    side, channels, heads = STAGES[stage]
    params = hot_parameters(window_attention_shapes(channels, heads, 7))
    # Exact in float32: the oracle gets the same numbers as the module.
    x = torch.randn(1, side, side, channels, generator=torch.Generator().manual_seed(0)).double()
    expected = swin_reference.shifted_window_attention(x.numpy(), params, heads, 7, 3)
    if implementation == "oracle":
        got: Any = benchmark(swin_reference.shifted_window_attention, x.numpy(), params, heads, 7, 3)
    else:
        attention = WindowAttention(channels, heads, 7)
        attention.load_state_dict({name: torch.from_numpy(w) for name, w in flatten(params).items()})
        with torch.no_grad():
            got = benchmark(functional.shifted_window_attention, x.float(), attention, 7, 3).numpy()
    precision = PRECISIONS["float64" if implementation == "oracle" else "float32"]
    oracle = Expected(swin_reference)

    def perturbed(number: int) -> list[tuple[Any, Any]]:
        run = Perturbed(precision, oracle, number)
        return [(run.shifted_window_attention(x.numpy(), params, heads, 7, 3), expected)]

    (residuals,) = perturbed_residuals(perturbed)
    assert deviation(got, expected, budget(residuals, expected, precision)).holds
