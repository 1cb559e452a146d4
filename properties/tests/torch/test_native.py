"""The fused attention in C: right at every size and number of threads, and done without where it must be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import swin_properties.laws  # noqa: F401 -- LAWS is filled
import torch
from swin_properties.cases.case import GridCase
from swin_properties.judging.compare import evaluate
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS
from torch.nn.functional import gelu

from swin_torch import SwinBlock, shifted_window_attention_core
from swin_torch.attention.counting import count_launches
from swin_torch.backends import c as native
from swin_torch.backends import torch_ops as composed
from swin_torch.backends.c import building, pointwise
from swin_torch.backends.slower import say_once
from swin_torch.blocks import cpu_inference as blocks
from swin_torch.geometry.plan import Plan

ODD = Plan((9, 13), (12, 15), (4, 3), (1, 2), 2, False)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process: nothing is compiled, no compiler known, nothing said."""
    kept = native._load_kernel, building._find_compiler, say_once
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
    fused = load_implementation("swin_torch", "float32")
    outcome = evaluate(LAWS["shifted_window_attention/oracle"], fused, grid)
    assert outcome.seen is None
    assert outcome.rho < 1


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "case",
    [
        "window=7 grid=14x15 shift=3 heads=2 head_dim=32",
        "window=12 grid=13x12 shift=6 heads=1 head_dim=17",
        "window=2x9 grid=5x11 shift=1x4 heads=1 head_dim=40",
    ],
)
def test_its_gradients_are_the_oracles(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    backward = native.backward
    monkeypatch.setattr(native, "backward", lambda *args: (called.append(1), backward(*args))[1])
    law = LAWS["shifted_window_attention/gradient"]
    fused = load_implementation("swin_torch", "float32")
    outcome = evaluate(law, fused, GridCase.parse(case))
    assert called
    assert outcome.seen is None


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "case", ["window=7 grid=29x30 shift=3 heads=2 head_dim=5", "window=4 grid=4x4 shift=0 heads=1 head_dim=3"]
)
def test_a_block_without_gradients_is_the_oracles(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    forward = blocks.forward
    monkeypatch.setattr(blocks, "ROWS", 100)  # several pieces, the last not whole
    monkeypatch.setattr(blocks, "forward", lambda *args: (called.append(1), forward(*args))[1])
    for law in ("swin_block/oracle", "swin_block/keeps-inputs"):
        fused = load_implementation("swin_torch", "float32")
        outcome = evaluate(LAWS[law], fused, GridCase.parse(case))
        assert outcome.seen is None
    assert called


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("plan", "head_dim"), [(ODD, 3), (Plan((7, 14), (7, 14), (7, 7), (3, 3), 2, False), 32)]
)
def test_bfloat16_is_float32_rounded_once_at_the_end(plan: Plan, head_dim: int) -> None:
    qkv, table, pad, *sizes = arguments(plan, head_dim)
    qkv, pad, of_out = (
        qkv.bfloat16(),
        pad.bfloat16(),
        torch.randn(*qkv.shape[:3], qkv.shape[3] // 3).bfloat16(),
    )
    assert native.takes(qkv, plan)
    wide = qkv.float(), table, pad.float(), *sizes
    assert torch.equal(native.forward(qkv, table, pad, *sizes), native.forward(*wide).bfloat16())
    found = native.backward(of_out, qkv, table, pad, *sizes)
    expected = native.backward(of_out.float(), *wide)
    assert [one.dtype for one in found] == [torch.bfloat16, torch.float32, torch.float32]
    assert all(torch.equal(one, other.to(one.dtype)) for one, other in zip(found, expected, strict=True))


@pytest.mark.usefixtures("compiler")
def test_nan_stays_in_bfloat16() -> None:
    qkv, table, *others = arguments()
    table[0, 0] = torch.tensor(-1, dtype=torch.int32).view(
        torch.float32
    )  # rounded up, its bits are those of 0
    found = native.forward(qkv.bfloat16(), table, *others).isnan()
    assert found.any()
    assert torch.equal(found, native.forward(qkv, table, *others).isnan())


@pytest.mark.usefixtures("compiler")
def test_half_way_between_two_of_bfloat16_is_the_even_one() -> None:
    values = 1 + torch.randint(128, (1, 4, 8, 8), generator=torch.Generator().manual_seed(0)) / 128
    qkv = torch.cat([torch.zeros(1, 4, 8, 16), values], 3).bfloat16()
    plan = Plan((4, 8), (4, 8), (1, 2), (0, 0), 1, False)
    found = native.forward(qkv, torch.zeros(3, 1), None, plan, 1.0, -math.inf)
    means = values.unflatten(2, (4, 2)).mean(3, keepdim=True).expand(-1, -1, -1, 2, -1).flatten(2, 3)
    assert (means != means.bfloat16()).any()
    assert torch.equal(found, means.bfloat16())


@pytest.mark.usefixtures("compiler")
def test_the_same_at_any_number_of_threads() -> None:
    given, before = arguments(), torch.get_num_threads()
    qkv, of_out = given[0], torch.ones(*given[0].shape[:3], 6)
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        of_qkv = native.backward(of_out, *given)[0]
        results.append([native.forward(*given), of_qkv, pointwise.gelu(qkv, torch.empty_like(qkv))])
    torch.set_num_threads(before)
    for result in results:
        assert all(map(torch.equal, result, results[0]))
        assert all(part.isfinite().all() for part in result)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("channels", [1, 8, 19])
def test_gelu_is_at_least_as_near_as_pytorchs(channels: int) -> None:
    x = torch.linspace(-9, 9, 40 * 19 * channels).view(-1, channels)
    exact = gelu(x.double())
    theirs = (gelu(x) - exact).abs().max()
    assert (pointwise.gelu(x, torch.empty_like(x)) - exact).abs().max() <= theirs
    far = torch.tensor([-1e30, -20.0, 20.0, 1e30, math.nan])
    found = pointwise.gelu(far, torch.empty_like(far))
    assert torch.equal(found.nan_to_num(5), torch.tensor([0.0, 0.0, 20.0, 1e30, 5.0]))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("channels", [1, 8, 19])
def test_the_slope_of_gelu_is_as_near_as_pytorchs(channels: int) -> None:
    x = torch.linspace(-9, 9, 40 * 19 * channels).view(-1, channels)
    ones, out = torch.ones_like(x), torch.empty_like(x)
    slope = torch.ops.aten.gelu_backward
    exact = slope(torch.ones_like(x).double(), x.double())
    theirs = (slope(ones, x) - exact).abs().max()
    assert torch.equal(pointwise.gelu_backward(x, ones, out), pointwise.gelu(x, out.clone()))
    assert (ones - exact).abs().max() <= theirs + torch.finfo().eps
    far, of = torch.tensor([-math.inf, -1e30, -20.0, 20.0, 1e30, math.inf, math.nan]), torch.full((7,), 2.0)
    pointwise.gelu_backward(far, of, torch.empty(7))
    assert torch.equal(of.nan_to_num(5), torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 5.0]))


class NativeNorm:
    """LayerNorm by the native pass."""

    precision, convention = "float32", "canonical"

    def layer_norm(self, x: np.ndarray, params: dict[str, np.ndarray], eps: float = 1e-5) -> np.ndarray:
        given, gain, shift = map(torch.tensor, (x, params["weight"], params["bias"]))
        return pointwise.norm(given, gain, shift, eps, torch.empty_like(given)).numpy()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    "law", [name for name, law in LAWS.items() if {*law.needs} <= {"layer_norm", "layer_norm.eps"}]
)
@pytest.mark.parametrize("channels", [5, 8, 19])
def test_the_norm_is_the_oracles(law: str, channels: int) -> None:
    case = GridCase.parse(f"window=3 grid=5x6 heads=1 head_dim={channels}")
    assert evaluate(LAWS[law], load_implementation(NativeNorm()), case).seen is None


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
    anew.setattr(building, "_find_cache", lambda: tmp_path)
    with pytest.warns(UserWarning, match="slower: .*false did not compile it"):
        assert not native.takes(arguments()[0], ODD)
    assert not list(tmp_path.iterdir()), "nothing half made is left"
    native._load_kernel.cache_clear()
    building._find_compiler.cache_clear()
    anew.setenv("SWIN_TORCH_NATIVE", "0")
    assert not native.takes(arguments()[0], ODD), "told not to, it says nothing"


@pytest.mark.usefixtures("compiler")
def test_what_c_does_is_counted() -> None:
    block = SwinBlock(8, 2, 4, 16)
    with torch.no_grad():
        found = count_launches(lambda: block(torch.zeros(1, 4, 4, 8)))
    assert found["norm"] == 2
    assert found["expand_bias"] == found["attend"] == 1
