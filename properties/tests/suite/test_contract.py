"""The contract says what the oracle does: signatures, shapes, what may be missing, and sizes as pairs."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import swin_reference
from swin_properties import check, pairs
from swin_properties.adapters.contract import CONTRACT, Swin, list_parameters, result_shape
from swin_properties.cases.case import GridCase, NetCase, ScheduleCase
from swin_properties.cases.case_v2 import with_v2
from swin_reference.conventions import CONVENTIONS
from swin_weights import flatten, unflatten

CASES = with_v2(
    {
        GridCase: GridCase(batch=2, grid=(5, 7), window=(2, 3), shift=(0, 2), heads=3, head_dim=2),
        NetCase: NetCase(
            image=(17, 15),
            patch=(2, 3),
            window=(3, 2),
            depths=(2, 1),
            heads=(3, 1),
            embed_dim=6,
            classes=3,
            position_embedding=1,
        ),
        ScheduleCase: ScheduleCase(depths=(2, 1)),
    }
)
"""A rectangular window, a shift along one axis, odd numbers of heads, odd grids."""


def arguments(name: str) -> tuple[Any, ...]:
    return CONTRACT[name].arguments(CASES[CONTRACT[name].kind])


def shapes(result: Any) -> Any:
    return [one.shape for one in result] if isinstance(result, list) else result.shape


def test_the_table_has_the_callables_of_the_protocol_in_order() -> None:
    assert list(CONTRACT) == [name for name in vars(Swin) if not name.startswith("_")]


@pytest.mark.parametrize("name", CONTRACT)
def test_the_oracle_takes_what_the_contract_gives(name: str) -> None:
    ours, oracle = list_parameters(name), list(signature(getattr(swin_reference, name)).parameters.values())
    assert [(one.name, one.default) for one in ours] == [
        (one.name, one.default) for one in oracle[: len(ours)]
    ]
    assert all(one.default is not one.empty for one in oracle[len(ours) :])


@pytest.mark.parametrize("name", CONTRACT)
def test_the_oracle_gives_the_shape_that_the_contract_says(name: str) -> None:
    args = arguments(name)
    expected = result_shape(name, args, CONVENTIONS["canonical"])
    assert shapes(getattr(swin_reference, name)(*args)) == expected


@pytest.mark.parametrize(
    ("name", "missing"), [(name, part) for name, entry in CONTRACT.items() for part in entry.missing]
)
def test_what_may_be_missing_may_be_missing(name: str, missing: str) -> None:
    x, params, *sizes = arguments(name)
    without = {"head": {"classes": 0}, "absolute_pos_embed": {"position_embedding": 0}}
    if missing in without:
        case: Any = CASES[CONTRACT[name].kind]
        sizes = [replace(case, **without[missing]).config]
    parts = [f".{part}" for part in missing.split(", ")]  # some are missing together
    flat = flatten(params)
    kept = {key: value for key, value in flat.items() if not any(part in f".{key}" for part in parts)}
    assert len(kept) < len(flat)
    result = getattr(swin_reference, name)(x, unflatten(kept), *sizes)
    assert np.isfinite(result[0] if isinstance(result, list) else result).all()


class Recorder:
    """The oracle, which keeps the sizes that it is given."""

    def __init__(self) -> None:
        self.sizes: list[Any] = []
        self.precision = "float64"

    def __getattr__(self, name: str) -> Any:
        if name not in CONTRACT:
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            named = dict(zip((one.name for one in list_parameters(name)), args, strict=False)) | kwargs
            self.sizes += [value for key, value in named.items() if key.endswith("_size")]
            if "config" in named:
                config = named["config"]
                self.sizes += [config.image_size, config.patch_size, config.window_size]
            return getattr(swin_reference, name)(*args, **kwargs)

        return call


def test_pairs_gives_every_size_as_a_pair() -> None:
    recorder = Recorder()
    adapter = pairs(recorder)
    square = GridCase(grid=(4, 4), window=(2, 2), shift=(1, 1))
    for name, entry in CONTRACT.items():
        if entry.kind is GridCase:
            args = [x[0] if isinstance(x, tuple) else x for x in entry.arguments(square)]
            getattr(adapter, name)(*args)
    config = swin_reference.SwinConfig(16, 2, 3, 4, (1,), (1,), 2, num_classes=3)
    params = swin_reference.hot_parameters(swin_reference.parameter_shapes(config))
    adapter.swin_transformer(np.ones((1, 3, 16, 16)), params, config=config)
    assert len(recorder.sizes) > 15
    assert all(isinstance(size, tuple) for size in recorder.sizes)


def test_an_adapter_in_pairs_is_judged_like_the_adapter_itself() -> None:
    recorder = Recorder()
    report = check(pairs(recorder), only="swin_block/*", effort="quick")
    assert report.exit_code == 0
    assert recorder.sizes
    assert all(isinstance(size, tuple) for size in recorder.sizes)


def test_pairs_knows_where_the_arguments_begin() -> None:
    def echo(*args: Any) -> Any:
        return args

    adapter = pairs(SimpleNamespace(vjp=echo, prepare=echo, declines=echo, name="mine"))
    assert adapter.declines("window_partition", 0, 4) == ("window_partition", 0, (4, 4))
    assert adapter.vjp("cyclic_shift", 0, 1, 2) == ("cyclic_shift", 0, 1, (2, 2))
    assert adapter.prepare("vjp", "cyclic_shift", 0, 1, 2) == ("vjp", "cyclic_shift", 0, 1, (2, 2))
    assert adapter.prepare("cyclic_shift", 1, 2) == ("cyclic_shift", 1, (2, 2))
    assert adapter.name == "mine"
