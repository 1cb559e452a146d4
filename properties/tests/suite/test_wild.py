"""Wrong Swins as they were seen in public code: each is broken by the law that names its fault."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from swin_properties import check
from swin_properties.adapters.implementation import Implementation
from swin_properties.judging import one_law
from swin_properties.judging.run import Report
from swin_properties.laws.law import LAWS

WILD = Path(__file__).with_name("wild")

BROKEN = {
    "bias_built_once": "relative_position_bias/definition",
    "drop_path_rank": "swin_block/drop-path",
    "embed_eps": "patch_embed/oracle",
    "gelu_half_table": "mlp/oracle",
    "mask_for_one_image": "window_attention/mask",
    "merge_along_rows": "patch_merging/oracle",
    "norm_of_a_slice": "layer_norm/slices",
    "onepass_variance": "swin_block/oracle",
    "pad_centred": "shifted_window_attention/padding",
    "reverse_channels_first": "window_reverse/inverts-partition",
    "roll_by_floor_of_minus": "shifted_window_attention/oracle",
    "roll_twice": "shifted_window_attention/oracle",
    "scale_by_heads": "window_attention/oracle",
    "shared_blocks": "swin_stage/oracle",
    "softmax_block_of_64": "swin_block/oracle",
    "table_in_half": "relative_position_bias/definition",
    "table_in_half_inference": "relative_position_bias/definition",
    "window_number_by_height": "window_partition/definition",
}
"""For each file a law that it breaks at quick effort in float32."""

CAUSES = {
    "drop_path_rank": ["broken on all 87 cases with several images, and holds on all 10 others"],
    "embed_eps": ["patch_embed is the first", "[patch-norm-eps-1e-3; seen: keras-hub, pull request 2298.]"],
    "gelu_half_table": ["mlp is the first", "[gelu-half-table; seen: ggml, llama.cpp issue 29252.]"],
    "mask_for_one_image": ["cases with several windows and several images, and holds on all"],
    "merge_along_rows": [
        "cases with a side of the grid above 2, and holds on all",
        "[merge-along-rows; seen:",
    ],
    "norm_of_a_slice": ["[offset-ignored; seen: PyTorch's LayerNorm on MPS"],
    "pad_centred": ["cases with a padded grid, and holds on all", "[pad-centred; seen: aurora.]"],
    "reverse_channels_first": [
        "cases with a window of more than one token and several channels, and holds on all",
        "[reverse-channels-first; seen:",
    ],
    "roll_by_floor_of_minus": [
        "cases with a shift along an axis whose window side is odd, and holds on all",
        "[roll-rounded-up; seen: Two public copies of V1",
    ],
    "roll_twice": ["[shift-of-rows-for-both; seen: HEAL-SWIN.]"],
    "scale_by_heads": [
        "number of heads other than the channels of a head and weights with queries",
        "[scale-by-heads; seen: timm's attention2d",
    ],
    "shared_blocks": [
        "with all blocks switched off it is right, so the fault is in the blocks",
        "[blocks-shared; seen: A public copy of V1",
    ],
    "softmax_block_of_64": ["cases with a window side above 8, and holds on all"],
    "table_in_half": ["[table-in-half; seen:"],
    "window_number_by_height": [
        "cases with several windows along the rows and unlike numbers of windows along the two axes",
        "[windows-numbered-by-height; seen: A public port to C++.]",
    ],
}
"""For some files what the cause has to say; the others are placed at their component."""

SLOW = ("onepass_variance", "roll_by_floor_of_minus", "roll_twice", "scale_by_heads", "shared_blocks")
"""Files whose cause takes many seconds to find: only the profile deep asks for it."""

LIMITS = (
    *("window_5", "window_7", "tokens_32", "heads_3"),
    *("head_dim_4", "channels_12", "grid_15", "not_head_dim_32"),
)
"""Blocks that are right up to a size, or but for one: each is broken at quick effort."""


@pytest.fixture(autouse=True)
def beside_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(WILD))


def load(name: str) -> Any:
    module = importlib.import_module(name)
    sys.modules.pop(name)
    return module


def judge(adapter: Any, law: str, **options: Any) -> Report:
    return check(adapter, only=law, **{"effort": "quick", "shrink": 3.0, **options})


def is_block_broken(adapter: Any) -> bool:
    """Tells whether a block is not the oracle's at quick effort; why is not asked."""
    law, quick = LAWS["swin_block/oracle"], one_law.EFFORTS["quick"]
    return one_law.run_law(law, Implementation(adapter), quick, 0, str, shrink=0.0).status == "broken"


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_swin_breaks_the_law_of_its_fault(name: str, deep: bool) -> None:
    if name in SLOW and not deep:
        law, judged = LAWS[BROKEN[name]], Implementation(load(name).adapter)
        assert one_law.run_law(law, judged, one_law.EFFORTS["quick"], 0, str, shrink=0.0).status == "broken"
        return
    report = judge(load(name).adapter, BROKEN[name])
    assert [result.law for result in report.of("broken")] == [BROKEN[name]]
    told = report.cause.replace("With", "with")
    for words in CAUSES.get(name, [" is the first component that is wrong"]):
        assert words in told


def test_an_index_in_floats_is_broken_in_bfloat16() -> None:
    law = "relative_position_bias/definition"
    assert judge(load("float_index_buffer").adapter, law, dtype="bfloat16", effort="default").of("broken")


@pytest.mark.parametrize("name", LIMITS)
def test_a_block_that_is_right_up_to_a_size_is_broken(name: str) -> None:
    assert is_block_broken(getattr(load("limits"), name))


def test_a_block_that_is_wrong_where_32_does_not_divide_the_tokens_is_broken() -> None:
    odd = load("limits").limited(lambda sizes: sizes["tokens"] % 32 != 0)
    assert is_block_broken(odd)


def test_a_block_that_is_wrong_from_many_windows_on_is_broken(deep: bool) -> None:
    """Default effort asks the cases by which it is broken; the profile deep asks it all."""
    law, limits = LAWS["swin_block/oracle"], load("limits")
    beyond = limits.limited(lambda sizes: sizes["windows"] >= 65536)
    if deep:
        for adapter in (limits.batch_windows_4096, beyond):
            assert judge(adapter, law.name, effort="default").of("broken")
    effort, judged = one_law.EFFORTS["default"], Implementation(beyond)
    assert "4097 windows" in one_law.choose_large(law, effort, judged)
    (many,) = [case for case in one_law.choose_life_size(law, effort, judged) if case.batch > 65536]
    assert one_law.run_case(law, judged, many, str).status == "broken"
    fewer = Implementation(limits.batch_windows_4096)
    assert one_law.run_case(law, fewer, replace(many, batch=4097), str).status == "broken"


@pytest.mark.parametrize("name", ["clean", "four_regions_control"])
def test_a_right_swin_conforms(name: str) -> None:
    report = check(load(name).adapter, only="*/oracle", effort="quick")
    assert report.exit_code == 0, [result.counterexample for result in report.of("broken")]


def test_every_file_is_asked() -> None:
    others = {"clean", "four_regions_control", "limits", "float_index_buffer"}
    assert {path.stem for path in WILD.glob("*.py")} == set(BROKEN) | others
