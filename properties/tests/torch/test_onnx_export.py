"""Exported, plain or fused, a network is right at every size that its graph answers for, or fails."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import swin_reference
import torch
from swin_properties.budget.budget import deviation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.cases.case import NetCase
from swin_properties.predict.logits import compare_logits
from swin_reference.config import CONVENTIONS
from swin_weights import flatten
from torch import Tensor, nn
from torch.export import Dim

import swin_torch
from swin_torch.blocks.parts import KEEPING, Computed

Exported = Callable[[Tensor], Tensor]

CASE = NetCase(
    batch=3,
    image=(64, 96),
    patch=(4, 4),
    window=(4, 4),
    depths=(2, 2),
    heads=(1, 2),
    embed_dim=12,
    classes=400,  # many, for a steady budget
)
"""Grids of 16x24 and 8x12: whole windows, larger than the window."""

WHOLE, PADDED = (64, 96), (50, 37)
BATCH = {0: Dim("batch", min=1, max=64)}
SIDES = {axis: 32 * Dim(name, min=2, max=64) for axis, name in ((2, "rows"), (3, "columns"))}
"""Multiples of patch, merge and window, from two windows in the last stage on."""

FUSED = pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])


def network(fused: bool = False, case: NetCase = CASE, keeping: str | None = None) -> nn.Module:
    ways = "fast" if fused else "plain"
    model = swin_torch.SwinTransformer(case.config, ways=ways, keeping=keeping).eval()
    model.load_state_dict({name: torch.from_numpy(x) for name, x in flatten(case.network()).items()})
    return model


def images(batch: int, size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(replace(CASE, batch=batch, image=size).images()).float()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, 4, generator=torch.Generator().manual_seed(1))


def eager(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def check_logits(exported: Exported, batch: int, size: tuple[int, int], case: NetCase = CASE) -> None:
    """An exported network beside the oracle and beside eager PyTorch, within the budget of float32."""
    x = images(batch, size)
    got = exported(x).double().numpy()
    given = x.double().numpy(), case.network(), case.config
    found = compare_logits(got, swin_reference.swin_transformer(*given), *given, PRECISIONS["float32"])
    assert found.deviation.holds, (batch, size, found.deviation)
    beside = deviation(got, eager(network(case=case), x).double().numpy(), found.beta)
    assert beside.holds, (batch, size, beside)


def needs(*packages: str) -> Any:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} is not installed")


with_onnx = needs("onnx", "onnxruntime")
with_onnxscript = needs("onnx", "onnxruntime", "onnxscript")


@contextmanager
def exporters_warnings_ignored() -> Iterator[None]:
    """What the exporters say of themselves: that one is old, and traces sizes as numbers; what both call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec", FutureWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield


def answering(graph: bytes) -> Exported:
    """An exported file as onnxruntime computes it; its errors are not printed as well."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"images": x.numpy()})[0])


def legacy(model: nn.Module, size: tuple[int, int], dynamic: dict[int, str]) -> Exported:
    file = io.BytesIO()
    axes = {"images": dynamic, "logits": {0: "batch"}}
    names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": axes}
    with exporters_warnings_ignored():
        torch.onnx.export(model, (images(2, size),), file, dynamo=False, **names)  # type: ignore[arg-type]
    return answering(file.getvalue())


def by_dynamo(model: nn.Module, size: tuple[int, int], dims: dict[int, Any]) -> Exported:
    with exporters_warnings_ignored():
        program = torch.onnx.export(
            model,
            (images(2, size),),
            dynamo=True,
            dynamic_shapes=(dims,),
            input_names=["images"],
            verbose=False,
        )
    assert program is not None
    return answering(program.model_proto.SerializeToString())


def fails(exported: Exported, size: tuple[int, int], batch: int = 1) -> bool:
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        exported(images(batch, size))
    except (errors.InvalidArgument, errors.Fail, errors.RuntimeException):
        return True
    return False


@with_onnx
@FUSED
@pytest.mark.parametrize("size", [WHOLE, PADDED])
def test_by_the_older_exporter_it_is_right_at_every_batch_and_fails_at_another_size(
    fused: bool, size: tuple[int, int]
) -> None:
    exported = legacy(network(fused), size, {0: "batch"})
    for batch in (1, 3):
        check_logits(exported, batch, size)
    for other in (WHOLE[::-1], (32, 32), (52, 40), (64, 64)):
        assert fails(exported, other)


@with_onnx
@pytest.mark.parametrize("size", [WHOLE, PADDED, (32, 32)])
def test_told_that_sizes_vary_the_older_exporter_s_graph_fails_at_another_grid(size: tuple[int, int]) -> None:
    exported = legacy(network(), size, {0: "batch", 2: "rows", 3: "columns"})
    check_logits(exported, 3, size)
    grid = [-(-side // 4) for side in size]
    for batch, *other in product((1, 4), (16, 32, 48, 50, 64, 128), (32, 37, 40, 64, 96, 128)):
        rows, columns = other
        same = [-(-side // 4) for side in other] == grid
        assert same or fails(exported, (rows, columns), batch), other


@with_onnxscript
def test_by_the_newer_exporter_it_is_right_at_every_batch_and_fails_at_another_size() -> None:
    exported = by_dynamo(network(), PADDED, BATCH)
    for batch in (1, 3):
        check_logits(exported, batch, PADDED)
    for other in (PADDED[::-1], (52, 40), (32, 32), WHOLE):
        assert fails(exported, other)


@with_onnxscript
def test_with_dynamic_sides_it_is_right_at_whole_windows_and_fails_at_all_others() -> None:
    case = replace(CASE, depths=(1, 2))
    exported = by_dynamo(network(True, case), WHOLE, BATCH | SIDES)
    for size in (WHOLE, (64, 64), (128, 64), (96, 160)):
        for batch in (1, 3):
            check_logits(exported, batch, size, case)
    outside = [
        *product((32,), (32, 64, 96, 128)),  # one window in the last stage: no shift
        *product((64, 96, 128), (32,)),
        *product((64,), [side for side in range(34, 96, 3) if side % 32]),  # no whole windows, or patches
        *product((16, 48, 72, 80, 112), (64, 48, 16)),
    ]
    for size in outside:
        for batch in (1, 4):
            assert fails(exported, size, batch), size


def unchecked(program: torch.export.ExportedProgram) -> Exported:
    """The operators alone, as a runtime that checks no sizes computes them."""
    module: Any = program.module(check_guards=False)
    module._forward_pre_hooks.clear()
    for node in [node for node in module.graph.nodes if "assert" in str(node.target)]:
        module.graph.erase_node(node)
    module.recompile()
    return module  # type: ignore[no-any-return]


def answers(exported: Exported, model: nn.Module, inputs: list[Tensor]) -> list[tuple[int, ...]]:
    """The sizes that a graph answers for, and rightly; at others an operator of its own fails."""
    found = []
    for x in inputs:
        try:
            got = eager(exported, x)  # type: ignore[arg-type]
        except (RuntimeError, IndexError):
            continue
        assert torch.equal(got, eager(model, x)), x.shape
        found.append(tuple(x.shape[1:3]))
    return found


AUTOMATIC = {0: Dim.AUTO, 1: Dim.AUTO, 2: Dim.AUTO}
GRIDS = list(product((2, 3, 4, 5, 8, 9, 12), repeat=2))
SEVERAL, ONE, ONE_ALONG, LESS = (8, 12), (4, 4), (4, 8), (3, 5)


@pytest.mark.parametrize(
    ("convention", "grid", "strict"),
    [
        ("canonical", SEVERAL, True),
        ("canonical", LESS, False),
        ("canonical", (9, 10), False),
        ("torchvision", ONE_ALONG, False),
        ("transformers", (9, 10), False),
        ("transformers", ONE, False),
    ],
)
def test_under_every_convention_a_graph_is_right_or_fails(
    convention: str, grid: tuple[int, int], strict: bool
) -> None:
    torch.manual_seed(0)
    stage = swin_torch.SwinStage(4, 2, 1, 4, 8, merge=False, convention=CONVENTIONS[convention]).eval()
    for parameter in stage.parameters():
        nn.init.normal_(parameter)
    example, *inputs = (drawn(2, *sides) for sides in [grid, *GRIDS])
    program = torch.export.export(stage, (example,), dynamic_shapes=(AUTOMATIC,), strict=strict)
    for block in stage.blocks:
        block.choose("plain")  # what is exported are its operations
    found = answers(unchecked(program), stage, inputs)
    assert grid in found or grid not in GRIDS
    if grid == (9, 10):
        assert (12, 5) in found, "exported where it is padded, it pads other grids"


@with_onnxscript
def test_a_network_that_is_built_for_one_size_answers_for_no_other() -> None:
    case = replace(CASE, convention="timm", image=(16, 32), depths=(1,), heads=(2,))
    exported = by_dynamo(network(case=case), case.image, {2: Dim.AUTO, 3: Dim.AUTO})
    assert not fails(exported, case.image, batch=2)
    for size in ((16, 16), (32, 16), (32, 32), (32, 64), (8, 32), (16, 64)):
        assert fails(exported, size, batch=2), size


@pytest.mark.parametrize(("dynamic", "strict"), [(None, False), (BATCH, False), (BATCH, True)])
def test_torch_export_gives_the_plain_operations(dynamic: Any, strict: bool) -> None:
    case = replace(CASE, depths=(2,), heads=(2,)) if strict else CASE
    given: Any = {"args": (images(2, WHOLE),), "strict": strict}
    if dynamic:
        given["dynamic_shapes"] = (dynamic,)
    plain, fused = (torch.export.export(network(one, case), **given) for one in (False, True))
    assert str(plain.graph) == str(fused.graph)
    for batch in (1, 2, 3) if dynamic else (2,):
        x = images(batch, WHOLE)
        assert torch.equal(eager(fused.module(), x), eager(network(case=case), x))
        assert torch.equal(eager(plain.module(), x), eager(network(case=case), x))


@pytest.mark.parametrize("keeping", KEEPING)
def test_whatever_training_keeps_a_graph_in_training_is_plain(keeping: str) -> None:
    program = torch.export.export(network(True, keeping=keeping).train(), (images(2, WHOLE),))
    plain = torch.export.export(network().train(), (images(2, WHOLE),))
    assert str(program.graph) == str(plain.graph)


def test_traced_it_is_the_plain_operations() -> None:
    with exporters_warnings_ignored(), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.trace", DeprecationWarning)
        traced = torch.jit.trace(network(True), images(2, PADDED))
    assert "swin_torch::" not in str(traced.inlined_graph)
    for batch in (1, 3):
        x = images(batch, PADDED)
        assert torch.equal(eager(traced, x), eager(network(), x))


def unfused(model: nn.Module) -> nn.Module:
    for part in model.modules():
        if isinstance(part, Computed):
            part.choose("plain")
    return model


def test_an_adapter_is_exported_with_its_layer() -> None:
    class Twice(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer, self.weight, self.bias = layer, layer.weight, layer.bias

        def forward(self, x: Tensor) -> Tensor:
            return 2 * self.layer(x)

    model: Any = network(True)
    before = eager(model, images(1, PADDED))
    model.patch_embed.proj = Twice(model.patch_embed.proj)
    model.layers[0].blocks[0].attn.qkv = Twice(model.layers[0].blocks[0].attn.qkv)
    exported = torch.export.export(model, (images(2, PADDED),), dynamic_shapes=(BATCH,)).module()
    got = eager(exported, images(1, PADDED))
    assert torch.equal(got, eager(unfused(model), images(1, PADDED)))
    assert not torch.equal(got, before)
