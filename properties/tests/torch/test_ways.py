"""The ways of computing a block: which one runs, and what `explain` says of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import swin_torch
from swin_torch.backends.c import pointwise
from swin_torch.blocks import ways
from swin_torch.blocks.ways import MERGE_WAYS, WAYS

PLAIN = WAYS[-1].name
IMAGES = torch.randn(2, 3, 24, 20, generator=torch.Generator().manual_seed(1))


def network(**options: Any) -> swin_torch.SwinTransformer:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "window_size": 4, "num_classes": 3}
    return swin_torch.swin_t(**sizes | options)


def explained(
    model: nn.Module, gradients: bool = False, images: Tensor = IMAGES
) -> dict[str, tuple[Any, ...]]:
    """Returns for each block and merge its way and the reasons against the ways before it."""
    with torch.set_grad_enabled(gradients):
        return {name: (way, refused) for name, way, refused in swin_torch.explain(model, images)}


class Twice(nn.Module):
    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return 2 * (x if self.layer is None else self.layer(x))


def wrap(block: Any) -> None:
    block.attn.qkv = Twice(block.attn.qkv)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "hook": (
        lambda block: block.mlp.fc1.register_forward_hook(lambda *_: None),
        "mlp.fc1 has a forward hook",
    ),
    "hook of the block": (
        lambda block: block.register_forward_pre_hook(lambda *_: None),
        "it has a forward pre",
    ),
    "parametrization": (
        lambda block: parametrize.register_parametrization(block.attn.proj, "weight", Twice()),
        "attn.proj is a ParametrizedLinear",
    ),
    "replaced": (wrap, "attn.qkv is a Twice"),
    "forward": (
        lambda block: setattr(block.norm1, "forward", nn.Identity()),
        "norm1 has a forward of its own",
    ),
    "shape": (
        lambda block: setattr(block.norm2, "weight", nn.Parameter(torch.ones(1))),
        "the parameter norm2 is",
    ),
    "way": (lambda block: block.choose("plain"), "it was made with ways='plain'"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("gradients", [True, False])
def test_what_was_done_to_a_block_is_named_and_leaves_the_plain_way(change: str, gradients: bool) -> None:
    model = network()
    apply, reason = CHANGES[change]
    apply(model.layers[0].blocks[1])
    if change == "shape":
        with pytest.raises(RuntimeError, match="shape"), ways.recorded() as taken:
            model(IMAGES)
        assert taken[1].way == PLAIN
        assert taken[1].refused[WAYS[-2].name].startswith(reason)
        return
    found = explained(model, gradients)
    way, refused = found["layers.0.blocks.1"]
    assert way == PLAIN
    assert list(refused) == [one.name for one in WAYS[:-1]]
    assert refused[WAYS[-2].name].startswith(reason)
    assert all(found[name][0] != PLAIN for name in ("layers.0.blocks.0", "layers.1.blocks.0"))


@pytest.mark.usefixtures("compiler")
def test_each_way_is_taken_and_says_why_the_ones_before_it_are_not() -> None:
    assert explained(network())["layers.0.blocks.0"] == ("C", {})
    way, refused = explained(network(), gradients=True)["layers.0.blocks.0"]
    assert (way, refused) == ("C, with gradients", {"C": "gradients are recorded"})
    way, refused = explained(network().double(), images=IMAGES.double())["layers.0.blocks.0"]
    assert way == "fused attention between products"
    assert refused["C"] == "x is float64 on cpu, C reads float32 on a CPU, row after row"
    assert refused["five Triton kernels"] == "x is not on a GPU"
    for keeping, name in (("little", "layers"), ("halves", "halves")):
        way, refused = explained(network(keeping=keeping), gradients=True)["layers.0.blocks.0"]
        assert way == f"fused attention, {name} computed again in backward"
        assert refused["C, with gradients"] == f"training keeps {keeping!r}, not 'most'"
    with torch.autocast("cpu", torch.bfloat16):
        way, refused = explained(network())["layers.0.blocks.0"]
    assert (way, refused["C"]) == ("fused attention", "autocast chooses the types of its layers")
    large = network(embed_dim=129 * 2, num_heads=(2, 4))
    assert "C has no kernel for windows of 16 tokens and heads of 129 channels" in str(
        explained(large)["layers.0.blocks.0"][1]
    )


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "takes", lambda *_: False)
    for name, (way, refused) in explained(network()).items():
        assert refused["C"] == "no C is compiled: there is no compiler, or SWIN_TORCH_NATIVE is 0", name
        assert way != "C"


def test_the_table_that_runs_is_the_one_that_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    never = ways.Way("never", lambda _: "it never takes anything", calls.append)
    always = ways.Way("always", lambda _: None, lambda call: call.x)
    monkeypatch.setattr(ways, "WAYS", (never, always, *WAYS))
    found = explained(network())
    assert found["layers.0.blocks.0"] == ("always", {"never": "it never takes anything"})
    assert not calls


@pytest.mark.parametrize("training", [True, False])
def test_to_explain_changes_nothing(training: bool) -> None:
    model = network(drop_path_rate=0.5).train(training)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    torch.manual_seed(3)
    expected = model(IMAGES)
    torch.manual_seed(3)
    text = str(swin_torch.explain(model, IMAGES))
    assert torch.equal(model(IMAGES), expected), "the random numbers go on where they were"
    assert model.training is training
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert "layers.0.blocks.0, layers.0.blocks.1, layers.1.blocks.0: " in text


def test_a_merge_is_explained_too() -> None:
    model = network()
    model.layers[0].downsample.reduction = Twice(model.layers[0].downsample.reduction)
    way, refused = explained(model)["layers.0.downsample"]
    assert way == MERGE_WAYS[-1].name
    assert set(refused.values()) == {"reduction is a Twice"}
