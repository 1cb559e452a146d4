"""What is timed is what is judged: a prepared callable gives exactly what the adapter's own call gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from swin_properties.adapters.answers import Declined
from swin_properties.adapters.contract import CONTRACT, result_shape
from swin_properties.adapters.load import load
from swin_properties.adapters.torch import TorchAdapter
from swin_properties.cases.case import GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import with_v2
from swin_reference import parameters
from swin_reference.config import convention_named
from torch import Tensor, nn

from swin_torch import Adapter

GRID = GridCase(batch=2, grid=(8, 8), window=(4, 4), shift=(2, 2), heads=2, head_dim=4)
NET = NetCase(
    image=(16, 16), patch=(2, 2), window=(4, 4), depths=(2, 1), heads=(2, 4), embed_dim=8, classes=3
)
IMPLEMENTATIONS = ["swin_torch", "swin_torch:plain", "peer:timm", "peer:torchvision", "peer:transformers"]


def arguments() -> dict[str, tuple[Any, ...]]:
    """Arguments of the callables, arrays as float32, in which they are exact."""
    cases = with_v2({GridCase: GRID, NetCase: NET, ScheduleCase: ScheduleCase()})
    return {name: narrow(entry.arguments(cases[entry.kind])) for name, entry in CONTRACT.items()}


def narrow(value: Any) -> Any:
    """The same with arrays of float32."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32)
    if isinstance(value, dict):
        return {name: narrow(child) for name, child in value.items()}
    return type(value)(narrow(child) for child in value) if isinstance(value, (list, tuple)) else value


def equal(tensors: Any, arrays: Any) -> bool:
    """Whether results at any level are the same numbers, one as tensors, one as arrays."""
    if isinstance(arrays, dict):
        return tensors.keys() == arrays.keys() and all(equal(tensors[name], arrays[name]) for name in arrays)
    if isinstance(arrays, (list, tuple)):
        return len(tensors) == len(arrays) and all(map(equal, tensors, arrays))
    if arrays is None:
        return tensors is None
    return bool(np.array_equal(tensors.detach().numpy(), arrays))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_prepared_callable_gives_what_the_call_gives(implementation: str) -> None:
    adapter, asked = load(implementation), 0
    for name, args in arguments().items():
        if hasattr(adapter, name):
            ready = adapter.prepare(name, *args)
            expected = getattr(adapter, name)(*args)
            for _ in range(2):
                assert equal(ready(), expected), name
            asked += 1
    assert asked >= 10


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_prepared_vjp_gives_the_gradients_and_does_not_add_them_up(implementation: str) -> None:
    adapter, rng, asked = load(implementation), np.random.default_rng(0), 0
    for name, args in arguments().items():
        shape = result_shape(name, args, convention_named("canonical"))
        if hasattr(adapter, name) and name.startswith(("window_a", "shifted_window_a", "mlp", "swin")):
            draw = lambda shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
            cotangent = [draw(one) for one in shape] if isinstance(shape, list) else draw(shape)
            ready = adapter.prepare("vjp", name, cotangent, *args)
            expected = adapter.vjp(name, cotangent, *args)
            for _ in range(2):
                assert equal(ready(), expected), name
            asked += 1
    assert asked >= 6


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_later_calls_leave_a_prepared_module_alone(implementation: str) -> None:
    adapter = load(implementation)
    x, params, *sizes = arguments()["swin_block"]
    others = narrow(parameters.hot_parameters(parameters.block_shapes(8, 2, 4, 16), seed=5))
    ready, before = adapter.prepare("swin_block", x, params, *sizes), adapter.swin_block(x, params, *sizes)
    adapter.prepare("swin_block", x, others, *sizes)
    assert not equal(torch.from_numpy(before), adapter.swin_block(x, others, *sizes))
    assert equal(ready(), before)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_modules_are_loaded_before_the_work(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = load(implementation).prepare("swin_stage", *arguments()["swin_stage"])

    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise AssertionError("a module is made or given weights while its work is timed")

    for method in ("__init__", "load_state_dict", "get_submodule", "to"):
        monkeypatch.setattr(nn.Module, method, refuse)
    ready()


def test_inference_records_no_graph() -> None:
    for adapter in (Adapter(), load("peer:timm")):
        assert not adapter.prepare("mlp", *arguments()["mlp"])().requires_grad


class Anew(TorchAdapter):
    """Makes its module in each call."""

    def layer_norm(self, x: Tensor, params: Any, eps: float = 1e-5) -> Tensor:
        return self.loaded(nn.LayerNorm(x.shape[-1], eps), params)(x)


def test_a_module_made_in_each_call_is_refused() -> None:
    with pytest.raises(ValueError, match=r"makes no modules, got a new LayerNorm .*: give self.loaded a fun"):
        Anew().prepare("layer_norm", *arguments()["layer_norm"])


def test_sizes_that_a_peer_declines_are_declined() -> None:
    x, params, *_ = arguments()["swin_block"]
    with pytest.raises(Declined, match="square windows only"):
        load("peer:transformers").prepare("swin_block", x, params, 2, (2, 4), 0)
