"""What explains broken laws: the component, the trait of the cases, the part, and the planted bugs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import swin_reference
from conftest import heavy
from studies.diagnosis import count
from studies.diagnosis.judge import Told, draw_pairs, judge
from studies.diagnosis.page import write_page
from swin_properties import check
from swin_properties.adapters.implementation import Implementation
from swin_properties.budget.precision import PRECISIONS
from swin_properties.bugs import GALLERY, kills
from swin_properties.bugs.backward.gallery import BUGS
from swin_properties.bugs.backward.kills import shipped
from swin_properties.bugs.causes.components import Place, find_first_wrong, list_used, order_by_use
from swin_properties.bugs.causes.explain import Cause, explain, find_cause, look_closer, name_bugs
from swin_properties.bugs.causes.match import is_same, make_exhibit, plant
from swin_properties.bugs.causes.sampling import Asked
from swin_properties.bugs.causes.traits import find_trait
from swin_properties.cases.case import GridCase, NetCase
from swin_properties.judging import run
from swin_properties.judging.report import LawResult, Report
from swin_properties.laws.law import LAWS


def offer(implementation: Any, *names: str) -> Implementation:
    """Returns an implementation that offers some of another's callables."""
    offered = {name: getattr(implementation, name) for name in names}
    return Implementation(SimpleNamespace(precision="float32", **offered))


def ask(judged: Implementation, only: str | None = None) -> Report:
    """Returns what all laws, or some, find at quick effort, without a cause."""
    request = run.make_request("it", only, effort="quick", shrink=2.0)
    return run.ask_laws(request, run.InProcess(request, judged, explain), run.Watcher())


def find(judged: Implementation, only: str | None = None) -> Cause:
    report = ask(judged, only)
    cause = find_cause(judged, report)
    assert cause is not None
    return cause


def list_bugs(cause: Cause) -> list[str]:
    return [name for alike in cause.cover for found in alike for name in found.bugs]


BACKWARD = next(bug for bug, laws in shipped().items() if "layer_norm/gradient" in laws)

ATTENTION = "fault is in the attention branch"


@pytest.mark.parametrize(
    ("bug", "offered", "words"),
    [
        ("mask-dropped", "swin_block", ["all", "cases with a shift, and holds", ATTENTION, "the shift"]),
        ("roll-sign", "swin_block", [ATTENTION, "holds on all"]),
        (
            "bias-transposed",
            "swin_block",
            ["a window of more than one token", "the fault is in the position bias"],
        ),
        (
            "merge-columns-first",
            "swin_stage",
            ["with all blocks switched off by weights of 0 it is still wrong", "or a block adds something"],
        ),
        ("gelu-tanh", "swin_block", ["the fault is in the MLP branch"]),
    ],
)
def test_a_classic_fault_is_named_from_one_callable(bug: str, offered: str, words: list[str]) -> None:
    judged = offer(kills.planted(GALLERY[bug], PRECISIONS["float32"]).adapter, offered)
    cause = find(judged, f"{offered}/oracle")
    assert bug in list_bugs(cause)
    assert len(list_bugs(cause)) <= 2  # a transposed index and a transposed bias are the same from outside
    assert GALLERY[bug].wrong in str(cause)
    assert f"{offered} is the first component that is wrong" in str(cause)
    for word in words:
        assert word.lower() in str(cause).lower()


def test_a_fault_that_the_gallery_does_not_hold_is_placed() -> None:
    def odd(x: Any, *args: Any) -> Any:
        return 1.5 * swin_reference.shifted_window_attention(x, *args)

    implementation = SimpleNamespace(**vars(swin_reference.variant()) | {"shifted_window_attention": odd})
    judged = offer(implementation, "window_attention", "shifted_window_attention", "mlp")
    cause = find(judged, "*attention/[olm]*")
    assert cause.cover == ()
    assert cause.place is not None
    assert (cause.place.name, cause.place.holding) == ("shifted_window_attention", ("window_attention",))
    assert "of what it uses, window_attention are right" in str(cause)
    assert "No planted bug, and no two together, explain it." in str(cause)


def test_a_fault_is_put_down_to_what_is_used_not_to_what_uses_it() -> None:
    judged = offer(plant(("index-transposed",)), "relative_position_index", "window_attention", "swin_block")
    cause = find(judged, "*/[fo]*")
    assert cause.place is not None
    assert cause.place.name == "relative_position_index"
    assert order_by_use(["swin_block", "window_reverse", "window_partition"])[:2] == [
        "window_partition",
        "window_reverse",
    ]
    assert {"swin_stage", "patch_embed"} <= list_used("swin_transformer")


def test_the_callable_whose_own_laws_are_broken_is_meant_where_a_law_asks_two() -> None:
    def reverse(windows: Any, *args: Any) -> Any:
        return swin_reference.window_reverse(windows, *args)[::-1]

    wrong = SimpleNamespace(**vars(swin_reference.variant()) | {"window_reverse": reverse})
    judged = offer(wrong, "window_partition", "window_reverse")
    report = ask(judged, "window_*/[di]*")
    place = find_first_wrong(report, report.of("broken"))
    assert place is not None
    assert place.name == "window_reverse"


@pytest.mark.parametrize("bug", ["reverse-channels-first", "reverse-not-permuted", "reverse-swaps-sides"])
def test_what_a_right_callable_does_not_undo_is_wrong_before_what_uses_it(bug: str) -> None:
    judged = offer(plant((bug,)), "window_partition", "window_reverse", "shifted_window_attention")
    report = ask(judged, "window_*/*,shifted_window_attention/oracle")
    assert "shifted_window_attention/oracle" in [result.law for result in report.of("broken")]
    place = find_first_wrong(report, report.of("broken"))
    assert place is not None
    assert place.name == "window_reverse"


def test_two_faults_are_named_together_or_each_with_its_laws() -> None:
    judged = offer(plant(("gelu-tanh", "mask-dropped")), "mlp", "shifted_window_attention", "swin_block")
    cause = find(judged, "*/[bo]*")
    assert {"gelu-tanh", "mask-dropped"} <= set(list_bugs(cause))


def test_a_crash_is_told_once_and_as_a_crash() -> None:
    def crash(x: Any, params: Any, *args: Any) -> Any:
        if x.shape[1] != x.shape[2]:
            raise TypeError("square grids only")
        return swin_reference.swin_block(x, params, *args)

    cause = find(offer(SimpleNamespace(swin_block=crash), "swin_block"), "swin_block/[bop]*")
    text = str(cause)
    assert text.count("square grids only") == 1
    assert "It raises: swin_block raised TypeError: square grids only" in text
    assert "a height different from the width" in text
    assert cause.cover == ()


def test_what_its_convention_rejects_is_told_as_that() -> None:
    offered = {name: getattr(swin_reference, name) for name in ("swin_block", "patch_merging")}
    judged = Implementation(
        SimpleNamespace(precision="float64", **offered), convention=run.convention_named("official")
    )
    cause = find(judged, "swin_block/*")
    assert [text.partition(" returned")[0] for text, _ in cause.refused] == ["swin_block"]
    assert "(1 law)" in str(cause)  # one law says so, not every law that drew such a size
    assert "returned a result where the official convention raises an error" in str(cause)
    assert "judge it under another convention" in str(cause)
    assert cause.cover == ()


def test_a_bug_that_is_left_out_is_not_named_nor_another() -> None:
    report = ask(judged := offer(plant(("bias-transposed",)), "relative_position_bias"))
    whole = find_cause(judged, report)
    assert whole is not None
    assert "bias-transposed" in list_bugs(whole)
    cause = name_bugs(whole, judged, report, {"bias-transposed", "index-transposed"})
    assert cause.cover == ()
    assert "a window of more than one token" in str(cause)


def test_what_writes_to_its_inputs_in_a_way_of_its_own_is_explained_by_no_bug() -> None:
    """The bug's own rounding is asked also for laws that look at the arguments after the call."""

    def layer_norm(x: Any, params: Any, eps: float = 1e-5) -> Any:
        result = swin_reference.layer_norm(x, params, eps)
        x *= np.float32(1.0009765625)
        return result

    judged = offer(SimpleNamespace(layer_norm=layer_norm), "layer_norm")
    assert find(judged, "layer_norm/keeps-inputs").cover == ()


@heavy
def test_where_only_gradients_are_wrong_nothing_is_said_of_planted_bugs() -> None:
    judged = Implementation(BUGS[BACKWARD].implementation("float32"), PRECISIONS["float32"])
    text = str(find(judged, "layer_norm/gradient"))
    assert "layer_norm is the first component that is wrong" in text
    assert "planted bug" not in text


def test_a_conforming_implementation_has_no_cause() -> None:
    judged = offer(swin_reference, "layer_norm", "mlp")
    assert find_cause(judged, ask(judged, "mlp/*")) is None


def test_a_trait_needs_several_cases_of_each_kind() -> None:
    few = [(GridCase(grid=(1, 2)), True), (GridCase(grid=(2, 2)), False)]
    assert str(find_trait(few)) == "broken on 1 of 2 cases that were tried"
    sizes = [(GridCase(grid=(side, side)), side > 5) for side in range(1, 12)]
    assert "a side of the grid above 5, and holds on all 5 others" in str(find_trait(sizes))
    assert find_trait([(GridCase(), False)]) is None


def test_a_trait_has_three_properties_where_each_excludes_several_cases() -> None:
    sides = (1, 2, 3, 4)
    cases = [GridCase(batch=b, grid=(h, h), heads=n) for b in (1, 2) for h in sides for n in sides]
    text = str(find_trait([(case, min(case.batch, case.grid[0], case.heads) > 1) for case in cases]))
    words = "several tokens in the grid and several heads and several images"
    assert f"{words}, and holds on all 23 others" in text


def test_a_property_that_excludes_one_case_is_no_part_of_a_trait() -> None:
    sides = (1, 2, 3, 4)
    sample = [
        (GridCase(batch=b, grid=(h, h), heads=2, head_dim=2), h > 1) for b in (1, 2, 3, 4) for h in sides
    ]
    text = str(find_trait([*sample, (GridCase(grid=(2, 2), head_dim=4), False)]))
    assert text == "broken on 12 of 13 cases with several tokens in the grid, and holds on all 4 others"


def test_a_planted_bug_is_not_named_where_what_is_wrong_first_is_not_explained() -> None:
    """The known fault is in what uses the unknown one: it might be the same by chance."""

    def index(window: Any) -> Any:
        return np.roll(swin_reference.relative_position_index(window), 1)

    known = plant(("bias-first-head",)).relative_position_bias
    both = SimpleNamespace(relative_position_index=index, relative_position_bias=known)
    cause = find(offer(both, "relative_position_index", "relative_position_bias"))
    assert [one.bugs for one in cause.found] == [("bias-first-head",)]
    assert cause.cover == ()


def test_a_bug_whose_answer_is_bad_in_the_same_way_is_the_same() -> None:
    """It has another shape, which is told with its sizes."""
    law, case = LAWS["swin_stage/oracle"], NetCase(image=(2, 2), depths=(1, 1), heads=(1, 1), embed_dim=4)
    missing = kills.planted(GALLERY["merge-missing"], PRECISIONS["float32"])
    exhibit = make_exhibit(law, missing, case)
    assert exhibit is not None
    assert "it should be (1, 1, 1, 8)" in str(exhibit.given)
    assert is_same(("merge-missing",), missing, [exhibit])
    assert not is_same(("merge-reversed",), missing, [exhibit])


def test_a_bug_that_is_right_on_all_cases_compared_is_not_the_same() -> None:
    judged = offer(swin_reference, "layer_norm")
    exhibit = make_exhibit(LAWS["layer_norm/oracle"], judged, GridCase(batch=9, head_dim=4))
    assert exhibit is not None
    assert not is_same(("norm-all-tokens",), judged, [exhibit])  # the grid has one token


def test_a_network_that_held_on_few_cases_is_asked_more_before_what_uses_it_is_blamed() -> None:
    def ask_more(law: str) -> list[Asked]:
        return [Asked(NetCase(), law == "swin_stage/oracle")]

    place = Place("swin_transformer", holding=("swin_stage", "swin_features"))
    broken = [LawResult("swin_transformer/oracle", "", "broken")]
    held = [LawResult(f"{name}/oracle", "", "holds", cases=2) for name in ("swin_stage", "swin_features")]
    report = Report("it", "float32", "quick", 0, [*held, *broken])
    found, law, _ = look_closer(place, broken, report, ask_more)
    assert (found.name, law) == ("swin_stage", "swin_stage/oracle")
    found, law, _ = look_closer(place, broken, report, lambda _: [])
    assert (found.name, law) == ("swin_transformer", "swin_transformer/oracle")


def tell(**changes: Any) -> Told:
    """Returns what a study was told of the bug without a mask, all of it right; or changed."""
    right = Told(
        ("mask-dropped",),
        "all components",
        place="shifted_window_mask",
        law="shifted_window_mask/definition",
        words=("a shift",),
        cases=("grid=2x2 window=2x2 shift=1x0", "grid=2x2 window=2x2"),
        broken=(True, False),
        trait_has=(True, False),
        named=("mask-dropped",),
    )
    return replace(right, **changes)


@pytest.mark.parametrize(
    ("check", "changes", "words"),
    [
        (
            count.check_component,
            {"place": "window_attention"},
            "told window_attention, it is shifted_window_m",
        ),
        (count.check_trait, {"trait_has": (False, True)}, "it differs on the cases with a shift"),
        (count.check_trait, {"trait_has": (True, True), "words": ()}, "it differs on the cases with a shift"),
        (count.check_trait, {"law": "swin_stage/oracle", "cases": ("image=2x2",)}, "about other cases"),
        (count.check_trait, {"law": ""}, "told nothing"),
        (count.check_named, {"named": ("roll-sign",)}, "named roll-sign"),
        (count.check_none_named, {"named_without": ("roll-sign",)}, "named roll-sign"),
        (
            count.check_part,
            {"part": "so the fault is in the MLP branch"},
            "right would be: a block adds something, in the",
        ),
    ],
)
def test_the_study_counts_what_is_told_wrongly(check: Any, changes: dict[str, Any], words: str) -> None:
    assert check(tell()) == ""
    assert words in check(tell(**changes))


def test_either_part_of_a_network_that_is_wrong_with_its_blocks_switched_off_is_right() -> None:
    part = "so the fault is outside the blocks, or a block adds something even then"
    assert count.check_part(tell(part=part)) == ""
    assert count.check_part(tell(part="so the fault is outside the blocks"))


def test_the_study_takes_a_trait_that_the_predicate_implies() -> None:
    assert count.check_trait(tell(trait_has=(True, True), words=("a window of more than one token",))) == ""


def test_the_study_judges_a_bug_and_writes_what_was_wrong() -> None:
    told = judge(("drop-rates-restart",), "all components")
    assert (told.place, told.named_without) == ("drop_path_rates", ())
    assert told.named == ("drop-rates-restart",)
    page = write_page([told, tell(place="mlp")], 3, 0)
    assert "left out: the component is right | 1 of 2 (50 %) | 90 % |" in page
    assert "2 judgements; the time was not enough for 1 of 3." in page
    assert "- mask-dropped: told mlp, it is shifted_window_mask" in page


def test_the_study_draws_pairs_of_which_each_bug_shows() -> None:
    pairs = draw_pairs(5, seed=0)
    assert len(set(pairs)) == 5
    assert pairs == draw_pairs(5, seed=0)


@pytest.mark.parametrize(
    ("bug", "law"),
    [
        pytest.param("v2-offset-divided-early", "continuous_position_bias_table/oracle", marks=heavy),
        ("v2-offset-xy", "continuous_position_bias_table/oracle"),
        pytest.param("v2-scale-no-exp", "cosine_window_attention/oracle", marks=heavy),
        ("v2-scale-floor", "cosine_window_attention/scales"),
        ("v2-norm-plus-eps", "cosine_window_attention/short-vectors"),
        ("v2-norm-of-the-sum", "swin_v2_block/oracle"),
    ],
)
def test_a_fault_of_v2_that_was_seen_is_named(bug: str, law: str) -> None:
    wrong = GALLERY[bug].implementation()
    wrong.name, wrong.precision = bug, "float64"
    report = check(wrong, only=law, effort="quick", shrink=1.0)
    assert [result.law for result in report.of("broken")] == [law]
    assert f"[{bug};" in report.cause
