"""A fused block that has more than parameters is computed in the plain way; what changes is seen."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as every
from torch.nn.utils import parametrizations, parametrize, prune

import swin_torch
from swin_torch.blocks.parts import KEEPING as KEPT
from swin_torch.blocks.ways import WAYS, recorded

KEEPING = (None, *KEPT)
PARTS = ("", "norm1", "attn", "attn.qkv", "attn.proj", "norm2", "mlp", "mlp.fc1", "mlp.fc2")
"""A block and what is below it."""

WITH_GRADIENTS = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
EACH_KEEPING = pytest.mark.parametrize("keeping", KEEPING)


def network(**overrides: Any) -> swin_torch.SwinTransformer:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4, "num_classes": 3}
    return swin_torch.swin_t(**sizes | overrides)


def block(ways: str = "fast", keeping: str | None = None) -> swin_torch.SwinBlock:
    torch.manual_seed(0)
    return swin_torch.SwinBlock(8, 2, 4, 16, ways=ways, keeping=keeping)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


IMAGES, TOKENS = drawn(2, 3, 24, 20), drawn(2, 5, 6, 8)


class LowRank(nn.Module):
    """A linear layer with an adapter of low rank, as LoRA wraps one."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.weight, self.bias = layer.weight, layer.bias  # as some do, so that those who look find them
        self.down = nn.Parameter(drawn(2, layer.in_features))
        self.up = nn.Parameter(drawn(layer.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


class Quantised(nn.Linear):
    """A linear layer whose weight is rounded when it is called."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, (self.weight * 64).round() / 64, self.bias)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Elsewhere(Tensor):
    """A weight that a linear layer doubles: its numbers are not those in memory, which C would read."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not nn.functional.linear:
            return super().__torch_function__(function, types, args, kwargs or {})
        x, weight, bias = args
        with torch._C.DisableTorchFunctionSubclass():
            return function(x, 2 * weight, bias)


def put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, part)


def below(module: nn.Module, *kinds: type[nn.Module]) -> list[str]:
    """The names of the modules that are called: lists of modules are not."""
    return [
        name
        for name, part in module.named_modules()
        if not isinstance(part, nn.ModuleList) and (not kinds or isinstance(part, kinds))
    ]


def hooked(part: nn.Module, calls: list[Any], kind: str) -> Any:
    """Registers a hook of one kind; what it is called with is of no interest."""

    def note(*_: Any, **__: Any) -> None:
        calls.append(part)

    register = getattr(part, f"register_{kind.removesuffix(' with kwargs')}")
    return register(note, with_kwargs=True) if kind.endswith("kwargs") else register(note)


FORWARD = "forward_hook", "forward_pre_hook", "forward_hook with kwargs", "forward_pre_hook with kwargs"
BACKWARD = "full_backward_hook", "full_backward_pre_hook"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the blocks and merges that a fused model computes in the plain way."""
    found: Counter[str] = Counter()
    with recorded() as taken:
        yield found
    for one in taken:
        if one.way == WAYS[-1].name and one.module.ways == "fast":  # type: ignore[union-attr]
            found["blocks" if isinstance(one.module, swin_torch.SwinBlock) else "merges"] += 1


def gradients(module: nn.Module, *args: Any) -> list[Tensor]:
    """Those of every parameter; the input wants one too, or backward hooks warn that they have none."""
    module.zero_grad()
    module(args[0].clone().requires_grad_(), *args[1:]).square().sum().backward()
    return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]


@EACH_KEEPING
@pytest.mark.parametrize("kind", [*FORWARD, *BACKWARD])
@WITH_GRADIENTS
def test_a_hook_on_every_submodule_fires(keeping: str | None, kind: str, training: bool) -> None:
    model, calls = network(keeping=keeping).train(training), []
    names = below(model)
    for name in names:
        hooked(model.get_submodule(name), calls, kind)
    images = IMAGES.clone().requires_grad_()  # where the input wants no gradient, backward hooks have none
    with torch.set_grad_enabled(training or kind in BACKWARD):
        output = model(images)
    if kind in BACKWARD:
        output.sum().backward()
    assert Counter(map(id, calls)) == Counter(id(model.get_submodule(name)) for name in names)
    assert {"layers.0", "layers.0.blocks.1.attn", "layers.0.downsample", "patch_embed.proj"} < set(names)


@EACH_KEEPING
@WITH_GRADIENTS
def test_without_anything_of_the_kind_no_block_takes_the_plain_way(
    keeping: str | None, training: bool
) -> None:
    model = network(keeping=keeping).train(training)
    with torch.set_grad_enabled(training), counted() as plain:
        model(IMAGES)
    assert plain["blocks"] == 0


def of_hooks() -> dict[str, Callable[[nn.Module], Any]]:
    kinds = (*FORWARD, *BACKWARD)
    return {kind: lambda part, kind=kind: hooked(part, [], kind) for kind in kinds}


def patched(part: nn.Module) -> None:
    forward = part.forward
    part.forward = lambda *args: 2 * forward(*args)  # type: ignore[method-assign]


LINEAR: dict[str, Callable[[nn.Module], Any]] = {
    "parametrization": lambda part: parametrize.register_parametrization(part, "weight", Doubled()),
    "weight norm": lambda part: parametrizations.weight_norm(part),
    "spectral norm of old": lambda part: nn.utils.spectral_norm(part),
    "pruning": lambda part: prune.l1_unstructured(part, "weight", 0.5),
    "a weight of another type": lambda part: setattr(
        part,
        "weight",
        nn.Parameter(part.weight.detach().as_subclass(Elsewhere)),  # type: ignore[arg-type]
    ),
}
TOUCHES = of_hooks() | {"forward of its own": patched} | LINEAR
"""What is done to a part in its place."""


@EACH_KEEPING
@pytest.mark.parametrize("touch", TOUCHES)
@WITH_GRADIENTS
def test_a_block_that_is_touched_anywhere_is_what_it_is_unfused(
    keeping: str | None, touch: str, training: bool
) -> None:
    for name in PARTS:
        plain = block("plain")
        if touch in LINEAR and not isinstance(plain.get_submodule(name), nn.Linear):
            continue
        TOUCHES[touch](plain.get_submodule(name))
        fused = block(keeping=keeping)
        TOUCHES[touch](fused.get_submodule(name))
        plain, fused = plain.train(training), fused.train(training)
        kept = torch.tensor([0.0, 1.5]), torch.tensor([1.5, 1.5])
        with torch.set_grad_enabled(training), counted() as found:
            assert torch.equal(fused(TOKENS, 2, kept), plain(TOKENS, 2, kept)), name
        assert found["blocks"] == 1, name
        if training:
            assert all(map(torch.equal, gradients(fused, TOKENS, 2), gradients(plain, TOKENS, 2))), name


@EACH_KEEPING
@pytest.mark.parametrize("touch", TOUCHES)
@WITH_GRADIENTS
def test_a_merge_that_is_touched_anywhere_is_what_it_is_unfused(
    keeping: str | None, touch: str, training: bool
) -> None:
    for name in ("", "norm", "reduction"):
        if touch in LINEAR and name != "reduction":
            continue
        both = []
        for ways in ("plain", "fast"):
            torch.manual_seed(0)
            both.append(swin_torch.PatchMerging(8, ways=ways, keeping=keeping).train(training))
            TOUCHES[touch](both[-1].get_submodule(name))
        plain, fused = both
        with torch.set_grad_enabled(training), counted() as found:
            assert torch.equal(fused(TOKENS), plain(TOKENS)), name
        assert found["merges"] == 1, name


@pytest.mark.parametrize("kind", [*FORWARD[:2], "full_backward_hook", "full_backward_pre_hook"])
def test_a_hook_on_all_modules_fires_in_each(kind: str) -> None:
    model, calls = network(), []
    register = getattr(every, f"register_module_{kind}")
    handle = register(lambda part, *_: calls.append(part))
    try:
        model(IMAGES.clone().requires_grad_()).sum().backward()
    finally:
        handle.remove()
    assert Counter(map(id, calls)) == Counter(id(model.get_submodule(name)) for name in below(model))


def test_an_image_below_one_patch_is_told_what_is_wrong_with_it() -> None:
    images = torch.zeros(1, 3, 3, 8)
    for decision, said in (("drop", "at least one patch of 4x4, got 3x8"), ("reject", "whole patches")):
        model = swin_torch.swin_t(depths=(1,), num_heads=(1,), embed_dim=8, convention=f"image={decision}")
        with pytest.raises(ValueError, match=said):
            model(images)


def test_a_hook_that_is_removed_leaves_a_fused_block() -> None:
    fused = block()
    before = fused(TOKENS, 2)
    for part in fused.modules():
        with counted() as found:
            handle = part.register_forward_hook(lambda *_: None)
            fused(TOKENS, 2)
            handle.remove()
            assert torch.equal(fused(TOKENS, 2), before)
        assert found["blocks"] == 1


@pytest.mark.parametrize("name", ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"])
@pytest.mark.parametrize("wrap", [LowRank, "quantised"])
@EACH_KEEPING
@WITH_GRADIENTS
def test_a_layer_that_is_wrapped_or_quantised_is_called_and_trained(
    keeping: str | None, wrap: Any, name: str, training: bool
) -> None:
    both = network(ways="plain"), network(keeping=keeping)
    before = both[1](IMAGES)
    for model in both:
        for number in (0, 1):
            one = model.layers[number].blocks[1]
            layer = one.get_submodule(name)
            if wrap == "quantised":
                part: nn.Module = Quantised(layer.in_features, layer.out_features)
                part.load_state_dict(layer.state_dict())
            else:
                part = wrap(layer)
            put(one, name, part)
        model.train(training)
    plain, fused = both
    with torch.set_grad_enabled(training), counted() as found:
        output = fused(IMAGES)
    assert found["blocks"] == 2, "the blocks that are touched, and no other"
    assert not torch.equal(output, before)
    for index in (0, 1):  # block by block: the rest of the model is fused in one of the two
        ours, theirs = (model.layers[index].blocks[1] for model in both)
        x = drawn(2, 5, 6, 8 << index)
        with torch.set_grad_enabled(training):
            assert torch.equal(ours(x, 2), theirs(x, 2))
        if training:
            found_gradients = gradients(ours, x, 2)
            assert all(map(torch.equal, found_gradients, gradients(theirs, x, 2)))
            assert len(found_gradients) == len(list(ours.parameters()))
    assert plain.state_dict().keys() == fused.state_dict().keys()


def test_an_adapter_around_the_patches_projection_is_called() -> None:
    class Twice(nn.Module):
        def __init__(self, layer: nn.Conv2d) -> None:
            super().__init__()
            self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

        def forward(self, images: Tensor) -> Tensor:
            return 2 * self.layer(images)

    embed = swin_torch.PatchEmbed(8, patch_size=4, norm=False)
    before = embed(IMAGES)
    embed.proj = Twice(embed.proj)  # type: ignore[assignment]
    assert torch.equal(
        embed(IMAGES), 2 * nn.functional.conv2d(IMAGES, *embed.parameters(), 4).permute(0, 2, 3, 1)
    )
    assert not torch.equal(embed(IMAGES), before)


def in_place(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)


def through_data(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.25)


def replaced(model: nn.Module) -> None:
    for part in model.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(parameter.detach() * 1.25))


def by_an_optimizer(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(IMAGES.to(next(model.parameters()).dtype)).square().sum().backward()
        optimizer.step()


def loaded(model: nn.Module) -> None:
    model.load_state_dict({name: x * 1.25 for name, x in model.state_dict().items()})


def assigned(model: nn.Module) -> None:
    model.load_state_dict({name: x * 1.25 for name, x in model.state_dict().items()}, assign=True)


def widened(model: nn.Module) -> None:
    model.to(torch.float64)


def narrowed_and_back(model: nn.Module) -> None:
    model.to(torch.bfloat16).to(torch.float32)


CHANGES = (in_place, through_data, replaced, by_an_optimizer, loaded, assigned, widened, narrowed_and_back)


@EACH_KEEPING
@pytest.mark.parametrize("change", CHANGES)
@WITH_GRADIENTS
def test_weights_that_change_after_the_first_forward_are_seen(
    keeping: str | None, change: Callable[[nn.Module], None], training: bool
) -> None:
    model = network(keeping=keeping).train(training)
    with torch.set_grad_enabled(training):
        before = model(IMAGES)
    change(model)
    dtype = next(model.parameters()).dtype
    anew = network(keeping=keeping).to(dtype).train(training)
    anew.load_state_dict(model.state_dict())
    with torch.set_grad_enabled(training):
        after = model(IMAGES.to(dtype))
        assert torch.equal(after, anew(IMAGES.to(dtype)))
    assert after.dtype == dtype
    assert not torch.equal(after, before.to(dtype))


def pickled(model: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(model))


@EACH_KEEPING
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@WITH_GRADIENTS
def test_a_copy_is_fused_and_a_model_of_its_own(
    keeping: str | None, copied: Callable[[nn.Module], Any], training: bool
) -> None:
    model = network(keeping=keeping).train(training)
    with torch.set_grad_enabled(training):
        before = model(IMAGES)
        other = copied(model)
        with counted() as plain:
            assert torch.equal(other(IMAGES), before)
        assert plain["blocks"] == 0
        for one in other.layers[0].blocks:
            assert (one.ways, one.keeping) == ("fast", keeping)
        in_place(other)
        assert not torch.equal(other(IMAGES), before)
        assert torch.equal(model(IMAGES), before)


def test_a_fused_model_has_the_names_of_the_plain_one() -> None:
    plain, fused = network(ways="plain"), network()
    fused(IMAGES).sum().backward()
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in fused.named_modules()] == [name for name, _ in plain.named_modules()]
    plain.load_state_dict(fused.state_dict())


WITHOUT_A_COMPILER = """
import warnings
from swin_properties import check
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    report = check("swin_torch", only="swin_transformer/oracle", effort="quick")
    report_of_training = check("swin_torch", only="swin_block/gradient", effort="quick")
print(report.exit_code, report_of_training.exit_code)
print(*(one.message for one in said if "slower" in str(one.message)), sep=chr(10))
"""


def test_without_a_compiler_a_model_works_and_says_once_that_it_is_slower() -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CC", "SWIN_TORCH_NATIVE")
    }
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_COMPILER],
        env=environment | {"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    codes, *said = run.stdout.splitlines()
    assert codes == "0 0"
    assert len(said) == 1, said
    assert "without its native kernel, correct but slower: there is no C compiler" in said[0]


@pytest.mark.parametrize("name", PARTS)
def test_compiled_a_hook_fires_wherever_it_is(name: str) -> None:
    plain, fused = block("plain").eval(), block().eval()
    for one in (plain, fused):
        one.get_submodule(name).register_forward_hook(lambda *found: 2 * found[2])
    compiled = torch.compile(fused, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(TOKENS, 2), plain(TOKENS, 2))
    torch.compiler.reset()


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this torch has no gloo: no process group to shard in",
)
def test_a_block_that_is_fully_sharded_stays_fused_and_one_with_a_sharded_layer_is_right() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    expected = block()(TOKENS, 2)
    plain = block("plain")(TOKENS, 2)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        whole, parts = block(), block()
        fully_shard(whole, mesh=mesh)
        with counted() as found:
            assert torch.equal(whole(TOKENS, 2), expected)
        assert found["blocks"] == 0
        fully_shard(parts.norm2, mesh=mesh)
        assert torch.equal(parts(TOKENS, 2), plain)
    finally:
        torch.distributed.destroy_process_group()
