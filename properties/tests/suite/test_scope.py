"""Scopes: cases are moved inside them, every law gets its full number, and what is no scope is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import swin_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from swin_properties import check
from swin_properties.adapters.contract import CONTRACT, SCOPE, list_parameters
from swin_properties.adapters.implementation import Implementation
from swin_properties.adapters.scope import FINDS, Scope, read_scope
from swin_properties.cases.case import GridCase
from swin_properties.cases.case_v2 import turn_into_v2
from swin_properties.cases.strategies import Drawn, grids, networks
from swin_properties.commands.cli import main
from swin_properties.judging import one_law
from swin_properties.laws.law import LAWS
from swin_properties.reports import json as as_json
from swin_properties.reports import junit
from swin_reference.config import convention_named
from swin_reference.sizes import pair
from swin_weights import flatten

import swin_torch

STATED = [
    {"square_windows": True},
    {"square_grids": True},
    {"whole_windows": True},
    {"square_grids": True, "whole_windows": True},
    {"square_windows": True, "square_grids": True, "whole_windows": True, "shift": "half", "own_shift": True},
    {"qkv_bias": "always", "patch_norm": "never"},
    {"qkv_bias": "never", "patch_norm": "always"},
    {"shift": "half"},
    {"own_shift": True},
    {"image_sizes": [(9, 6), 8]},
    {"no_qk_scale": True, "no_position_embedding": True},
    {
        "network": "patch=2x2,window=2x2,depths=2x1,heads=1x2,embed_dim=4,hidden=12,classes=9",
        "image_sizes": [8],
    },
    {"block": "grid=6x4,window=3x2,shift=1x1,heads=2,head_dim=3,hidden=7"},
    {"own_weights": True},
    {"no_pretrained_window": True},
]
OF_V1 = grids().strategy, networks().strategy
ANY_CASE = st.one_of(*OF_V1, *(cases.map(turn_into_v2) for cases in OF_V1))


class UsualBlock:
    """Swin as most copies have it: square windows, and a bias of queries, keys and values always."""

    scope = {"square_windows": True, "qkv_bias": "always"}  # noqa: RUF012

    def __init__(self) -> None:
        self.adapter = swin_torch.adapter

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.adapter, name)
        if name not in CONTRACT and name != "vjp":
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            called, given = (args[0], args[2:]) if name == "vjp" else (name, args)
            self.insist(dict(zip((one.name for one in list_parameters(called)), given, strict=False)))
            return value(*args, **kwargs)

        call.__signature__ = swin_signature(name)  # type: ignore[attr-defined]
        return call

    def insist(self, given: dict[str, Any]) -> None:
        """Fails where such a copy would."""
        windows = [value for key, value in given.items() if key.endswith("window_size")]
        windows += [given["config"].window_size] if "config" in given else []
        assert all(len(set(pair(window))) == 1 for window in windows)
        names = flatten(given.get("params", {}))
        of_qkv = [name.removesuffix("qkv.weight") for name in names if name.endswith("qkv.weight")]
        assert all(f"{part}qkv.bias" in names or f"{part}q_bias" in names for part in of_qkv)


def swin_signature(name: str) -> Any:
    """The signature that a callable of swin_torch has."""
    from inspect import signature

    return signature(getattr(swin_torch.adapter, name))


def test_square_windows_and_biases_only_get_the_full_number_of_every_law(deep: bool) -> None:
    """The profile deep asks every law; without it those of a component by itself and of a block."""
    report = check(UsualBlock(), effort="quick", only=None if deep else "*[bn]/[a-fk-z]*")
    assert report.scope == "square_windows, qkv_bias always"
    assert not report.of("broken"), report.of("broken")[0]
    assert not report.of("not offered")
    assert [result.law for result in report.results if result.planned is not None] == []
    quick, judged = one_law.EFFORTS["quick"], Implementation(swin_torch.adapter)
    for result in report.results:
        law = LAWS[result.law]
        if isinstance(law.cases, Drawn):
            few = law.name == "drop_path_rates/linear"  # which may draw a case again
            assert result.cases >= one_law.count_planned(law, quick, judged) - few, result


def test_a_large_block_is_asked_as_few_cases_as_quick_effort_asks() -> None:
    sizes = "grid={},window=7x7,shift=3x3,heads=3,head_dim=32,hidden=384"
    of_block = [
        Implementation(SimpleNamespace(scope={"block": sizes.format(grid)})) for grid in ("56x56", "7x7")
    ]
    default = one_law.EFFORTS["default"]
    large, small = (one_law.limit_effort(default, implementation) for implementation in of_block)
    assert (large.grids, small) == (one_law.EFFORTS["quick"].grids, default)


def test_every_word_is_said_in_the_contract_and_read() -> None:
    assert list(SCOPE) == list(FINDS) == list(vars(Scope()))
    assert {word for stated in STATED for word in stated} == set(SCOPE)


@pytest.mark.parametrize("stated", STATED, ids=str)
def test_a_case_is_moved_inside_the_scope(stated: dict[str, Any]) -> None:
    scope, decided = read_scope(stated), convention_named("torchvision")

    @settings(max_examples=25, deadline=None, database=None)
    @given(ANY_CASE)
    def ask(case: Any) -> None:
        for name, entry in CONTRACT.items():
            if type(case) is entry.kind and name != "resize_relative_position_bias":
                if name in ("window_partition", "window_reverse", "shifted_window_mask"):
                    case = replace(case, grid=case.padded)  # as their laws do
                fitted = scope.fit(case, [name], decided)
                outside = scope.find_reason(name, entry.arguments(fitted), {}, decided)
                assert not outside, (name, outside, fitted)
                assert scope.fit(fitted, [name], decided) == fitted

    ask()


@settings(max_examples=100, deadline=None, database=None)
@given(grids(whole=True).strategy)
def test_whole_windows_stay_whole_and_tokens_do_not_become_fewer(case: GridCase) -> None:
    for stated in STATED:
        fitted = read_scope(stated).fit(case, ["swin_block"], convention_named("canonical"))
        assert fitted.grid == fitted.padded
        before, after = (one.batch * one.grid[0] * one.grid[1] for one in (case, fitted))
        assert after >= before


def test_what_is_out_of_scope_is_not_offered_or_declined() -> None:
    plain = SimpleNamespace(
        **vars(swin_reference.variant()), scope={"no_qk_scale": True, "qkv_bias": "never"}
    )
    report = check(plain, only="window_attention/*", effort="quick")
    absent = {result.law: result.missing for result in report.of("not offered")}
    assert absent["window_attention/qk-scale"] == ("window_attention.qk_scale",)
    assert "window_attention.params.qkv.bias" in absent["window_attention/key-bias-gradient"]
    report = check(plain, only="shifted_window_attention/hard-mask", effort="quick")
    assert report.results[0].missing == ("any case drawn",)  # the law needs a bias of queries
    assert set(report.declined) == {"the scope is qkv_bias never"}
    report = check(plain, only="swin_transformer/qk-scale", effort="quick")
    assert report.results[0].missing == ("swin_transformer.config.qk_scale",)


def few_windows(_name: str, *args: Any) -> str | None:
    """Declines all but windows of two rows, which are too few to draw the full number of."""
    return None if args[1:] == ((2, 5),) else "windows of 2x5 only"


def test_a_law_that_got_fewer_cases_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter = SimpleNamespace(
        relative_position_bias=swin_reference.relative_position_bias,
        declines=few_windows,
        precision="float64",
    )
    report = check(adapter, only="relative_position_bias/definition")
    (result,) = report.results
    assert result.status == "holds"
    assert result.planned is not None
    assert 0 < result.cases < result.planned
    assert result.counted == f"{result.cases} of {result.planned}"
    (law,) = json.loads(as_json.text(report))["laws"]
    assert (law["cases"], law["planned_cases"]) == (result.cases, result.planned)
    assert f"asked on {result.counted} cases" in junit.text(report)
    file = tmp_path / "few.py"
    file.write_text(
        "from swin_reference import relative_position_bias\nprecision = 'float64'\n"
        "def declines(name, *args):\n    return None if args[1:] == ((2, 5),) else 'windows of 2x5 only'\n"
    )
    words = "--only", "relative_position_bias/definition", "--in-process"
    assert main(["check", str(file), *words]) == 0
    assert f" {result.counted} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        ("{'square_window': True}", "got 'square_window': use 'square_windows'"),
        ("{'qkv_bias': 'sometimes'}", "qkv_bias of a scope is 'always' or 'never', got 'sometimes'"),
        ("{'own_shift': 1}", "own_shift of a scope is True or False, got 1"),
        ("{'shift': True}", "shift of a scope is 'half', got True"),
        ("{'image_sizes': 224}", "image_sizes of a scope is a list of sizes, got 224"),
        ("{'image_sizes': [0]}", "image_sizes of a scope is a list of sizes, got [0]"),
        ("['square_windows']", "a scope is a dict from words to values"),
        ("{3: True}", "got 3: use a listed name"),
    ],
)
def test_what_is_no_scope_is_one_sentence(
    stated: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"from swin_reference import mlp\nscope = {stated}\n")
    assert main(["check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert sentence in err
