"""A block in training on a CPU: the oracle's, and its gradients those of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import swin_properties.laws  # noqa: F401 -- LAWS is filled
import torch
from swin_properties.budget.budget import RHO_LIMIT
from swin_properties.cases.case import GridCase
from swin_properties.judging.compare import evaluate
from swin_properties.judging.gradients import measure_slopes
from swin_properties.judging.implementation import load_implementation
from swin_properties.laws.law import LAWS, Derivative

from swin_torch.backends.c import pointwise
from swin_torch.blocks import cpu_inference as blocks
from swin_torch.blocks import cpu_training as training
from swin_torch.blocks.ways import compute_by_layers, make_call, recorded
from swin_torch.model.layers import SwinBlock
from swin_torch.torch_adapter import Adapter

TRAINED = "window=3 grid=7x8 shift=1 heads=2 head_dim=5", "window=4 grid=4x4 shift=0 heads=1 head_dim=8"


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Training(Adapter):
    """The adapter, its blocks as in training even where no gradient is asked for."""

    def _blocks(self, *args: Any, **kwargs: Any) -> Any:
        module: Any = super()._blocks(*args, **kwargs)
        return torch.enable_grad()(module)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("law", ["swin_block/gradient", "swin_block/drop-path", "swin_block/kept-all"])
@pytest.mark.parametrize("case", TRAINED)
def test_a_block_in_training_is_the_oracles(law: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    forward = training.forward
    monkeypatch.setattr(blocks, "ROWS", 10)
    monkeypatch.setattr(training, "forward", lambda *args: (called.append(1), forward(*args))[1])
    outcome = evaluate(LAWS[law], load_implementation(Training("float32")), GridCase.parse(case))
    assert outcome.seen is None
    assert called


Gradients = list[torch.Tensor | None]


def gradients(block: SwinBlock) -> Gradients:
    """Of the input and of the parameters."""
    generator = torch.Generator().manual_seed(0)
    x, cotangent = (torch.randn(2, 5, 7, 12, generator=generator) for _ in range(2))
    block.zero_grad()
    block(x.requires_grad_(), 1).backward(cotangent)
    return [x.grad, *(parameter.grad for parameter in block.parameters())]


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def trained(request: pytest.FixtureRequest) -> SwinBlock:
    torch.manual_seed(0)
    return SwinBlock(12, 2, 3, 20, qkv_bias=request.param)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("rows", [10, 784])
@pytest.mark.parametrize("kept", [(0.0, 2.0), (1.5, 1.5)])
@pytest.mark.parametrize("threads", [1, 3], indirect=True)
def test_the_gradients_past_dropped_branches_are_the_oracles(
    rows: int, kept: tuple[float, float], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", rows)
    monkeypatch.setattr(pointwise, "FEW", 100)  # every thread has something to do
    assert torch.get_num_threads() == threads
    case = GridCase.parse(f"{TRAINED[0]} batch=2")
    args = case.tokens(), case.block(), case.heads, case.window, case.shift
    factors = np.array(kept), np.array(kept[::-1])
    asked = Derivative("swin_block", args, {"kept": factors}, directions=2)
    fused = load_implementation("swin_torch", "float32")
    found = measure_slopes(fused, asked, case)
    assert max(part.rho for part in found) <= RHO_LIMIT


@pytest.mark.usefixtures("compiler")
def test_what_is_frozen_has_no_gradient_and_changes_no_other(trained: SwinBlock) -> None:
    before = gradients(trained)
    names = ["", *dict(trained.named_parameters())]
    frozen = {"attn.qkv.weight", "mlp.fc1.weight", "mlp.fc2.bias", "norm2.weight"}
    for name in frozen:
        trained.get_parameter(name).requires_grad_(False)
    for name, ours, whole in zip(names, gradients(trained), before, strict=True):
        assert ours is None if name in frozen else torch.equal(ours, whole)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("threads", [3], indirect=True)
def test_the_same_gradients_at_each_run_of_several_threads(
    threads: int, trained: SwinBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointwise, "FEW", 100)
    assert torch.get_num_threads() == threads
    found = [part for part in zip(gradients(trained), gradients(trained), strict=True) if part[0] is not None]
    assert all(torch.equal(*part) for part in found)


@pytest.mark.usefixtures("compiler")
def test_a_norm_without_a_bias_is_called(trained: SwinBlock) -> None:
    x = torch.randn(1, 5, 7, 12)
    with recorded() as taken:
        trained(x, 1)
        trained.norm2 = torch.nn.LayerNorm(12, bias=False)
        found = trained(x, 1)
    assert [one.way for one in taken] == ["C, with gradients", "fused attention"]
    assert torch.equal(found, compute_by_layers(make_call(trained, x, 1)))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("case", TRAINED)
def test_a_merge_in_training_is_the_oracles(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    kept = training.norm_linear
    monkeypatch.setattr(blocks, "ROWS", 3)
    monkeypatch.setattr(training, "norm_linear", lambda *args: (called.append(1), kept(*args))[1])
    for law in ("patch_merging/gradient", "patch_merging/oracle"):
        fused = load_implementation("swin_torch", "float32")
        assert evaluate(LAWS[law], fused, GridCase.parse(case)).seen is None
    assert called


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("grad", [True, False])
def test_a_call_leaves_what_another_gave_and_kept(grad: bool, trained: SwinBlock) -> None:
    x, other, cotangent = torch.randn(3, 2, 5, 7, 12)
    with torch.set_grad_enabled(grad):
        alone = trained(x.requires_grad_(), 1)
        expected = alone.detach().clone(), *(torch.autograd.grad(alone, x, cotangent) if grad else ())
        found = trained(x, 1)
        trained(other, 1)
        again = found.detach(), *(torch.autograd.grad(found, x, cotangent) if grad else ())
    assert all(map(torch.equal, again, expected))
