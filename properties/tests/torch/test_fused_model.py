"""The model around the fused attention: right, few launches, little kept for backward."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from conftest import heavy
from swin_properties import check
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.budget import RHO_LIMIT
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import GridCase
from swin_properties.judging.compare import evaluate
from swin_properties.judging.gradients import measure_slopes
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS, Derivative
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.functional import gelu

import swin_torch
from swin_torch.attention.counting import (
    count_as_on_a_gpu,
    count_launches,
    count_launches_on_a_gpu,
    count_saved_bytes,
)
from swin_torch.backends import triton as kernels
from swin_torch.blocks import products, recompute
from swin_torch.blocks.parts import find_parameters
from swin_torch.geometry.conventions import CANONICAL
from swin_torch.geometry.plan import make_plan
from swin_torch.model.layers import SwinBlock
from swin_torch.torch_adapter import Adapter, CompiledAdapter

PUBLISHED = 53.3e6
"""Bytes an image that Swin-T keeps in bfloat16 in official, timm and torchvision: each layer its own."""


class Little(Adapter):
    """The fused adapter, training as on a GPU."""

    keeping = "little"


class Halves(Adapter):
    keeping = "halves"


class TracedAdapter(CompiledAdapter):
    """Traced and differentiated ahead of time as compiled code is, then run by PyTorch: in seconds."""

    backend = "aot_eager_decomp_partition"


def tiny(**overrides: Any) -> swin_torch.SwinTransformer:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4, "num_classes": 3}
    return swin_torch.swin_t(**sizes | overrides)


def images(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("adapter", [Little, Halves])
def test_gradients_are_right_whatever_is_kept(adapter: type[Adapter], dtype: str) -> None:
    for only in ("swin_block/gradient", "swin_stage/gradient"):
        report = check(adapter(dtype), only=only, effort="quick")
        assert report.exit_code == 0, report.of("broken")


@pytest.mark.parametrize("adapter", [Little, Halves, Adapter])
@pytest.mark.parametrize("factors", [(0.0, 2.0), (1.5, 1.5)])
def test_gradients_past_dropped_branches_are_the_oracles(
    adapter: type[Adapter], factors: tuple[float, float]
) -> None:
    case = GridCase.parse("batch=2 seed=1 grid=4x5 window=3x2 shift=1x1 heads=2 head_dim=3")
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    kept = np.array(factors), np.array(factors[::-1])
    asked = Derivative("swin_block", args, {"kept": kept}, directions=2)
    found = measure_slopes(Implementation(adapter("float64"), PRECISIONS["float64"]), asked, case)
    assert max(part.rho for part in found) <= RHO_LIMIT


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning")
@heavy
def test_compiled_it_holds_the_laws_of_a_block_and_a_network(deep: bool) -> None:
    effort = "default" if deep else "quick"
    for only in ("swin_block/[og]r*", "swin_transformer/oracle"):
        report = check(TracedAdapter("float32"), only=only, effort=effort)
        assert report.exit_code == 0, report.of("broken")


def test_a_block_that_keeps_little_has_the_gradients_of_finite_differences() -> None:
    torch.manual_seed(0)
    block = SwinBlock(4, 2, (2, 2), 5).double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    plan = make_plan((2, 3), (2, 2), (1, 0), 2, CANONICAL)
    factors = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    for kept in ((None, None), (factors, None), (factors, factors)):
        assert torch.autograd.gradcheck(
            lambda x, *_, kept=kept: recompute.forward(block, find_parameters(block), x, plan, kept),
            (x, factors, *block.parameters()),
        )


def test_a_norm_and_a_merge_that_keep_little_have_the_gradients_of_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    norm, layer = nn.LayerNorm(4).double(), nn.Linear(4, 5).double()
    given = norm.weight, norm.bias, norm.eps
    assert torch.autograd.gradcheck(lambda x, *_: recompute.norm(x, *given), (x, *norm.parameters()))
    assert torch.autograd.gradcheck(
        lambda x, *_: recompute.norm_linear(x, *given, layer.weight, layer.bias),
        (x, *norm.parameters(), *layer.parameters()),
    )


def test_a_gpu_would_be_given_at_most_80_launches() -> None:
    model, x = swin_torch.swin_t().bfloat16().eval(), images(1, 3, 224, 224).bfloat16()
    with torch.no_grad():
        found = count_launches_on_a_gpu(lambda: model(x))
    assert found.total() <= 80, found
    assert found["forward"] == 12, "an attention a block"
    assert found["linear"] == 4 * 12, "four a block"
    assert (found["norm"], found["merge_norm"]) == (1, 3), "after the patches, and in a merge"
    assert found["clone"] == 1, "of the patches; the norm of a merge gathers its tokens itself"
    assert found["native_layer_norm"] == 1, "at the end"


@pytest.mark.parametrize("merge", [swin_torch.PatchMerging, swin_torch.SwinV2PatchMerging])
def test_a_merge_that_c_refuses_gathers_its_tokens_once(merge: Any) -> None:
    with torch.no_grad():
        found = count_launches(lambda: merge(4).double()(torch.zeros(1, 4, 6, 4, dtype=torch.float64)))
    assert found["clone"] == 1, found


def test_counting_sees_copies_and_looks_into_our_operators() -> None:
    x = torch.zeros(2, 3)
    assert count_launches(lambda: x.T.reshape(1, 6)) == Counter({"clone": 1})
    assert count_launches(lambda: x.view(6).relu().view(2, 3)) == Counter({"relu": 1})
    grid, table = torch.zeros(1, 4, 4, 24, dtype=torch.float64), torch.zeros(49, 2)
    with torch.no_grad():
        inside = count_launches(lambda: swin_torch.shifted_window_attention_core(grid, table, 2, 4))
        assert sum("attention" in name for name in inside) == 1, inside
        strided, table = torch.zeros(1, 24, 4, 4).permute(0, 2, 3, 1), torch.zeros(49, 2)
        found = count_launches_on_a_gpu(
            lambda: swin_torch.shifted_window_attention_core(strided, table, 2, 4)
        )
    assert found == Counter({"clone": 1, "forward": 1}), "a copy that our operator makes"


def test_training_keeps_at_most_55_hundredths_of_what_others_keep() -> None:
    model, x = swin_torch.swin_t().bfloat16(), images(1, 3, 224, 224, dtype=torch.bfloat16)
    with count_as_on_a_gpu():
        kept = count_saved_bytes(lambda: model(x), model)
    assert 0.4 * PUBLISHED < kept <= 0.55 * PUBLISHED
    halves = swin_torch.swin_t(keeping="halves").bfloat16()
    assert count_saved_bytes(lambda: halves(x), halves) <= 0.15 * PUBLISHED
    plain = swin_torch.swin_t(ways="plain").bfloat16()
    assert count_saved_bytes(lambda: plain(x), plain) > PUBLISHED, "written out it keeps more"


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_large_residual_does_not_hide_what_is_added_to_it(dtype: str) -> None:
    case = GridCase.parse("batch=84 recipe=big seed=2 heads=3 head_dim=4")
    outcome = evaluate(LAWS["swin_block/branches"], load_implementation("swin_torch", dtype), case)
    assert outcome.seen is None


def test_ways_and_what_is_kept_are_checked() -> None:
    with pytest.raises(ValueError, match="most, little, halves for backward, got 'all': use one"):
        tiny(keeping="all")
    with pytest.raises(ValueError, match="in ways 'fast' or 'plain', got 'slow': use one"):
        tiny(ways="slow")


class LowRank(nn.Linear):
    """A layer that was replaced: more than its weight and bias."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


@pytest.mark.parametrize("keeping", ["most", "little"])
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_that_was_replaced_or_is_hooked_is_called(keeping: str, training: bool) -> None:
    block = swin_torch.SwinBlock(8, 2, 4, 16, keeping=keeping)
    block.mlp.fc2 = LowRank(16, 8)
    calls = []
    block.norm1.register_forward_hook(lambda *_: calls.append(1))
    x = images(1, 5, 6, 8)
    with torch.set_grad_enabled(training):
        got = block(x, 2)
        block.choose("plain")
        expected = block(x, 2)
    assert len(calls) == 2
    assert (got - expected).abs().max() < 0.5, "the replaced layer adds 1"


def test_under_autocast_it_is_what_its_layers_are_and_gradients_are_wide() -> None:
    x, models = images(2, 3, 24, 20), [tiny(keeping=keeping) for keeping in ("most", "little")]
    model = models[1]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = [one(x) for one in models]
    assert torch.equal(*outputs)
    assert outputs[0].dtype == torch.bfloat16
    outputs[1].float().square().sum().backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None for p in model.parameters())


def test_compiled_whole_and_at_most_twice_for_all_batches() -> None:
    torch.compiler.reset()  # another test may have compiled the same code for all batches
    model = tiny()
    counted = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counted, fullgraph=True)
    for batch in (2, 3, 5, 7):  # the second size teaches that batches vary
        x = images(batch, 3, 16, 20)
        assert compiled(x).shape == (batch, 3)
    assert counted.frame_count == 2
    torch.compiler.reset()


def test_images_with_the_channels_last_cost_no_further_copy() -> None:
    model, x = tiny().eval(), images(2, 3, 24, 20)
    last = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(model(x), model(last))
        assert count_launches(lambda: model(x)) == count_launches(lambda: model(last))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_inference_is_finite_at_any_size(dtype: torch.dtype) -> None:
    model = tiny().to(dtype).eval()
    with torch.no_grad():
        for height, width in ((1, 1), (7, 3), (13, 29), (4, 97), (31, 31)):
            assert model(images(1, 3, height, width, dtype=dtype)).isfinite().all(), (height, width)
        assert model(images(0, 3, 16, 16, dtype=dtype)).shape == (0, 3)


def test_the_norm_s_kernel_takes_contiguous_rows_only() -> None:
    x, gain = torch.zeros(2, 4), torch.ones(4)
    assert kernels.takes_rows(x, x, gain, gain)
    assert kernels.takes_rows(x, x, gain, gain, gain)
    assert not kernels.takes_rows(x.double(), x.double(), gain.double(), gain.double())
    assert kernels.takes_rows(x, x.bfloat16(), gain, gain)
    assert not kernels.takes_rows(x, torch.zeros(4, 2).T, gain, gain)
    assert not kernels.takes_rows(x, x[:1], gain, gain)
    assert not kernels.takes_rows(x, x, gain, gain[:3])
    assert not kernels.takes_rows(x, x, gain, gain, gain.to("meta"))
    long = torch.zeros(1, 2 * kernels.LARGEST_ROW)
    assert not kernels.takes_rows(long, long, long[0], long[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: CUDA graphs record a GPU's work")
def test_a_cuda_graph_gives_what_it_recorded() -> None:
    model = tiny().cuda().eval()
    first, second = images(1, 3, 16, 16).cuda(), 2 * images(1, 3, 16, 16).cuda()
    replay = swin_torch.graphed(model, first)
    with torch.no_grad():
        for x in (first, second):
            assert torch.equal(replay(x), model(x))
    with pytest.raises(ValueError, match="a CUDA graph is of one shape"):
        replay(first[..., :8])


def test_gelu_and_bias_in_the_product_are_pytorch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    # From -2 on: below, GELU is so small that each float32 erf rounds in its own way.
    x, one = torch.arange(-16, 64).view(10, 8).bfloat16() / 8, torch.eye(8).bfloat16()
    for _ in ("by oneDNN where it is offered", "by PyTorch"):
        assert torch.equal(products.linear(x, one, None, gelu=True), gelu(x))
        assert torch.equal(products.linear(x, one, one[0], gelu=True), gelu(x + one[0]))
        assert torch.equal(products.linear(x, 2 * one, one[0]), 2 * x + one[0])
        monkeypatch.setattr(products, "_has_onednn", lambda: False)
