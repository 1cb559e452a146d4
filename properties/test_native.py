"""The fused attention in C: right at every size and number of threads, and done without where it must be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import swin_properties.laws  # noqa: F401 -- LAWS is filled
import torch
from swin_properties.cases import GridCase
from swin_properties.evaluate import evaluate
from swin_properties.implementations import judged
from swin_properties.registry import LAWS

from swin_torch import composed, native, shifted_window_attention_core
from swin_torch.native import building
from swin_torch.plan import Plan
from swin_torch.slower import say_once

ODD = Plan((9, 13), (12, 15), (4, 3), (1, 2), 2, False)


@pytest.fixture
def compiler() -> None:
    if building._compiler() is None:
        pytest.skip("there is no C compiler")


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process: nothing is compiled, no compiler known, nothing said."""
    kept = native._attention, building._compiler, say_once
    for function in kept:
        function.cache_clear()
    yield monkeypatch
    for function in kept:
        function.cache_clear()


def arguments(plan: Plan = ODD, head_dim: int = 3, mask_value: float = -math.inf) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)
    channels = 3 * head_dim * plan.heads
    qkv = torch.randn(3, *plan.grid, channels, generator=generator)
    rows = (2 * plan.window[0] - 1) * (2 * plan.window[1] - 1)
    table = torch.randn(rows, plan.heads, generator=generator)
    return qkv, table, torch.randn(channels, generator=generator), plan, 0.5, mask_value


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "case",
    [
        "window=7 grid=28x21 shift=3 heads=3 head_dim=32",
        "window=12 grid=13x25 shift=6 heads=1 head_dim=32",
        "window=16 grid=16x33 shift=8 heads=1 head_dim=17",
        "window=3x20 grid=7x41 shift=1x7 heads=2 head_dim=64",
    ],
)
def test_it_is_the_oracles_at_large_windows_and_heads(case: str) -> None:
    grid = GridCase.parse(case)
    qkv = torch.empty(1, *grid.grid, 3 * grid.heads * grid.head_dim)
    assert native.takes(qkv, Plan(grid.grid, grid.grid, grid.window, grid.shift, grid.heads, False))
    outcome = evaluate(LAWS["shifted_window_attention/oracle"], judged("swin_torch:fused", "float32"), grid)
    assert outcome.seen is None
    assert outcome.rho < 1


@pytest.mark.usefixtures("compiler")
def test_the_same_at_any_number_of_threads() -> None:
    given, before = arguments(), torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(native.forward(*given))
    torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)
    assert results[0].isfinite().all()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_hidden(value: float) -> None:
    qkv, *others = arguments()
    for channel in range(18):  # in q, in k, in v
        broken = qkv.clone()
        broken[1, 4, 5, channel] = value
        theirs, ours = composed.forward(broken, *others), native.forward(broken, *others)
        assert torch.equal(ours.isfinite(), theirs.isfinite()), channel
        assert not ours.isfinite().all()


@pytest.mark.usefixtures("compiler")
def test_a_kernel_forgets_the_windows_before() -> None:
    small, large = (
        Plan((2, 3), (2, 3), (2, 3), (0, 0), 2, False),
        Plan((2, 4), (2, 4), (2, 4), (0, 0), 2, False),
    )
    expected = native.forward(*arguments(small))
    qkv, *others = arguments(large)
    native.forward(torch.full_like(qkv, math.nan), *others)
    assert torch.equal(native.forward(*arguments(small)), expected)


def test_other_types_and_huge_windows_are_not_for_it() -> None:
    huge = Plan((17, 17), (17, 17), (17, 17), (0, 0), 1, False)
    assert not native.takes(torch.zeros(1, 17, 17, 3), huge)
    assert not native.takes(arguments()[0].double(), ODD)
    assert not native.takes(torch.zeros(1, 9, 13, 3 * 2 * 129), ODD)


def test_without_a_compiler_it_is_slower_and_says_so_once(anew: pytest.MonkeyPatch) -> None:
    expected = composed.forward(*arguments())
    anew.setattr(building.shutil, "which", lambda _: None)
    qkv, table, pad, plan, scale, _ = arguments()
    call = lambda: shifted_window_attention_core(  # noqa: E731
        qkv, table, 2, plan.window, plan.shift, qk_scale=scale, pad_qkv=pad
    )
    with pytest.warns(
        UserWarning, match="without its native kernel, correct but slower: there is no C compiler"
    ):
        assert torch.equal(call(), expected)
    assert torch.equal(call(), expected)  # a second warning would be an error


def test_a_compiler_that_fails_is_done_without(anew: pytest.MonkeyPatch, tmp_path: Any) -> None:
    anew.setenv("CC", "false")
    anew.setattr(building, "_cache", lambda: tmp_path)
    with pytest.warns(UserWarning, match="slower: .*false did not compile it"):
        assert not native.takes(arguments()[0], ODD)
    assert not list(tmp_path.iterdir()), "nothing half made is left"
    native._attention.cache_clear()
    building._compiler.cache_clear()
    anew.setenv("SWIN_TORCH_NATIVE", "0")
    assert not native.takes(arguments()[0], ODD), "told not to, it says nothing"
